"""`empirical_kernel_fn`: which kernels it returns, and in which form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS, NETWORKS, X1, X2, assert_close, full_ntk, mlp, reduced

import neural_tangents as nt


@pytest.fixture(scope="module")
def truth():
    """NNGP and NTK, with the mean over the last axis."""
    with jax.enable_x64(True):
        first, second = (np.asarray(mlp(MLP_PARAMS, x)) for x in (X1, X2))
        return {"nngp": first @ second.T / 3, "ntk": reduced(full_ntk(mlp, MLP_PARAMS, X1, X2)[0], (-1,))}


@pytest.mark.parametrize("get", ["nngp", "ntk", "NTK"])
def test_one_kernel(get, truth):
    with jax.enable_x64(True):
        kernel = nt.empirical_kernel_fn(mlp, implementation=3)(X1, X2, get, MLP_PARAMS)
        assert_close(kernel, truth[get.lower()])


@pytest.mark.parametrize(
    ("get", "fields"),
    [
        (None, ("nngp", "ntk")),
        (("nngp", "ntk"), ("nngp", "ntk")),
        (("ntk", "nngp"), ("ntk", "nngp")),
        (["ntk"], ("ntk",)),
    ],
)
def test_several_kernels(get, fields, truth):
    with jax.enable_x64(True):
        kernels = nt.empirical_kernel_fn(mlp, vmap_axes=0, implementation=1)(X1, X2, get, MLP_PARAMS)
        assert type(kernels).__name__ == "EmpiricalKernel" and kernels._fields == fields
        for name in fields:
            assert_close(getattr(kernels, name), truth[name])


def test_outputs_in_a_tree_have_named_tuples_as_leaves():
    with jax.enable_x64(True):
        net = NETWORKS["two outputs"].cast(np.float64)
        kernel_fn = jax.jit(nt.empirical_kernel_fn(net.f, (-1,), implementation=3), static_argnums=2)
        kernels = kernel_fn(net.x1, net.x2, ("ntk", "nngp"), net.params)
        alone = kernel_fn(net.x1, net.x2, "ntk", net.params)
        expected = full_ntk(net.f, net.params, net.x1, net.x2)
        assert set(kernels) == set(alone) == {"mean", "rest"}
        assert kernels["rest"][0]._fields == ("ntk", "nngp")
        assert_close(kernels["mean"].ntk, reduced(expected[0], (-1,)))
        assert_close(kernels["rest"][0].ntk, reduced(expected[1], (-1,)))
        assert_close(alone["rest"][0], reduced(expected[1], (-1,)))
        rest1, rest2 = (np.asarray(net.f(net.params, x)["rest"][0]) for x in (net.x1, net.x2))
        assert_close(kernels["rest"][0].nngp, reduced(np.multiply.outer(rest1, rest2), (-1,)))


def test_arguments_go_to_both_kernels():
    """Axes, axes of samples, keyword arguments."""

    def f(p, x, scale):
        return mlp(p, x) * scale

    with jax.enable_x64(True):
        kernel_fn = nt.empirical_kernel_fn(f, (), (-1,), (0, 0, {"scale": 0}), 3)
        scale1, scale2 = np.arange(1.0, 4)[:, None], np.arange(4.0, 6)[:, None]
        kernels = jax.jit(kernel_fn, static_argnums=2)(X1, X2, None, MLP_PARAMS, scale=(scale1, scale2))
        scales = (scale1 @ scale2.T)[..., None]
        assert_close(kernels.ntk, scales * reduced(full_ntk(mlp, MLP_PARAMS, X1, X2)[0], (), (-1,)))
        first, second = (np.asarray(mlp(MLP_PARAMS, x)) for x in (X1, X2))
        assert_close(kernels.nngp, scales * (first[:, None] * second[None]))


def test_only_kernels_that_are_asked_for_are_computed():
    @jax.custom_jvp
    def without_derivative(x):
        return x

    @without_derivative.defjvp
    def _(primals, tangents):
        raise AssertionError("differentiated")

    def f(p, x):
        return without_derivative(x @ p)

    kernel_fn = nt.empirical_kernel_fn(f, implementation=1)
    assert kernel_fn(X1, X2, "nngp", jnp.eye(5)).shape == (3, 2)
    with pytest.raises(AssertionError, match="differentiated"):
        kernel_fn(X1, X2, "ntk", jnp.eye(5))


def test_ensembles_of_predictions_take_the_kernel():
    """The trained linear model is the minimum-norm one; on training inputs it gives the labels."""
    with jax.enable_x64(True):
        kernel_fn = nt.empirical_kernel_fn(mlp, (-1,), implementation=1)
        y = np.sin(np.arange(3.0))[:, None]

        def bound(x1, x2, get, **kwargs):
            return kernel_fn(x1, x2, get, MLP_PARAMS, **kwargs)

        predict = nt.predict.gradient_descent_mse_ensemble(bound, X1, y)
        assert_close(predict(x_test=X1, get="ntk"), y, 1e-6)
        theta = np.asarray(bound(X1, None, "ntk"))
        expected = np.asarray(bound(X2, X1, "ntk")) @ np.linalg.solve(theta, y)
        assert_close(predict(x_test=X2, get="ntk"), expected, 1e-8)


def test_errors():
    kernel_fn = nt.empirical_kernel_fn(mlp)
    with pytest.raises(KeyError, match=r"Unknown `get`: \['cov1'\]. Known names: \['nngp', 'ntk'\]"):
        kernel_fn(X1, X2, "cov1", MLP_PARAMS)
    with pytest.raises(ValueError, match="duplicates"):
        kernel_fn(X1, X2, ("ntk", "ntk"), MLP_PARAMS)
    with pytest.raises(ValueError, match="`get` is empty"):
        kernel_fn(X1, X2, (), MLP_PARAMS)
    with pytest.raises(ValueError, match="`get` or `params` is missing"):  # there is no default
        kernel_fn(X1, X2, params=MLP_PARAMS)
    with pytest.raises(ValueError, match="`get` or `params` is missing"):
        kernel_fn(X1, X2, MLP_PARAMS)
    with pytest.raises(KeyError, match="`implementation`"):
        nt.empirical_kernel_fn(mlp, implementation=-1)
