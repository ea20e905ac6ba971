"""`empirical_nngp_fn` against products of outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS, NETWORKS, X1, X2, assert_close, mlp, normal, reduced

import neural_tangents as nt


def products(f, params, x1, x2):
    first, second = (jax.tree.leaves(f(params, x)) for x in (x1, x2))
    return [np.multiply.outer(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True)]


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "two outputs", "holomorphic"])
def test_products_of_outputs(name):
    with jax.enable_x64(True):
        net = NETWORKS[name].cast(np.float64)
        for trace_axes, diagonal_axes in (((), ()), ((-1,), ()), ((), (-1,))):
            kernel = jax.jit(nt.empirical_nngp_fn(net.f, trace_axes, diagonal_axes))(net.x1, net.x2, net.params)
            outputs = net.f(net.params, net.x1)
            assert jax.tree.structure(kernel) == jax.tree.structure(outputs)
            truth = products(net.f, net.params, net.x1, net.x2)
            for found, expected in zip(jax.tree.leaves(kernel), truth, strict=True):
                assert_close(found, reduced(expected, trace_axes, diagonal_axes))


@pytest.mark.parametrize(
    ("trace_axes", "diagonal_axes"),
    [((2, -2), ()), ((), (-1, 1)), ((1,), (-1,)), ((0,), (-1,)), ((-2,), (0,)), ((), (2, 0)), ((2, 0, 1), ()), (1, 0)],
)
def test_axes(trace_axes, diagonal_axes):
    def f(p, x):
        return jnp.sin(x)

    with jax.enable_x64(True):
        x1, x2 = normal(2, 3, 4), normal(2, 3, 4)
        sets = [(axes,) if isinstance(axes, int) else axes for axes in (trace_axes, diagonal_axes)]
        fn = nt.empirical_nngp_fn(f, trace_axes, diagonal_axes)
        for second in (x2, None):
            (truth,) = products(f, (), x1, x1 if second is None else second)
            assert_close(fn(x1, second, ()), reduced(truth, *sets))


def test_defaults_and_precision(dtype):
    params, x1, x2 = (jax.tree.map(lambda a: jnp.asarray(a, dtype), tree) for tree in (MLP_PARAMS, X1, X2))
    kernel = nt.empirical_nngp_fn(mlp)(x1, x2, params)
    assert kernel.dtype == dtype
    (truth,) = products(mlp, MLP_PARAMS, X1, X2)
    assert_close(kernel, reduced(truth, (-1,)), 1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.slow
def test_is_the_mean_over_random_networks_of_the_kernel_of_infinite_ones():
    """With one hidden layer this holds at any width."""
    init_fn, apply_fn, kernel_fn = nt.stax.serial(nt.stax.Dense(8), nt.stax.Relu(), nt.stax.Dense(4))
    draws = 3000
    keys = jax.random.split(jax.random.key(0), draws)
    fn = nt.empirical_nngp_fn(apply_fn)
    samples = np.asarray(jax.jit(jax.vmap(lambda key: fn(X1, X2, init_fn(key, X1.shape)[1])))(keys), np.float64)
    error = samples.std(0) / draws**0.5
    assert (np.abs(samples.mean(0) - kernel_fn(X1, X2, "nngp")) < 4 * error).all()
    assert (error < 0.05).all()


def test_keyword_arguments():
    def f(p, x, scale, name):
        assert name == "name"
        return mlp(p, x) * scale

    with jax.enable_x64(True):
        (truth,) = products(mlp, MLP_PARAMS, X1, X1)
        for second in (X1, None):
            for pair in ((2.0, 3.0), (np.full((3, 1), 2.0), np.full((3, 1), 3.0))):
                kernel = nt.empirical_nngp_fn(f)(X1, second, MLP_PARAMS, scale=pair, name="name")
                assert_close(kernel, 6 * reduced(truth, (-1,)))


def test_random_keys():
    def f(p, x, rng):
        return x * jax.random.bernoulli(rng, 0.5, x.shape)

    key = jax.random.key(1)
    with jax.enable_x64(True):
        first, second = f((), X1, key), f((), X2, jax.random.fold_in(key, 1))
        fn = nt.empirical_nngp_fn(f, (-1,))
        assert_close(fn(X1, None, (), rng=key), first @ first.T / 5)
        assert_close(fn(X1, X2, (), rng=key), first @ second.T / 5)


def test_errors():
    fn = nt.empirical_nngp_fn(mlp, (0,))
    with pytest.raises(ValueError, match="Axis 0 is traced or diagonal"):
        fn(X1, X2, MLP_PARAMS)
    with pytest.raises(TypeError, match=r"overlap in \[1\]"):
        nt.empirical_nngp_fn(mlp, (-1,), (1,))(X1, X2, MLP_PARAMS)
    with pytest.raises(ValueError, match=r"`trace_axes=\(2,\)` does not fit"):
        nt.empirical_nngp_fn(mlp, (2,))(X1, X2, MLP_PARAMS)
    with pytest.raises(ValueError, match="trees of arrays of the same structure"):
        fn(X1, (X2,), MLP_PARAMS)
