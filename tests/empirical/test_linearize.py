"""Taylor series of networks in their parameters, against polynomials and explicit derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS, X1, X2, assert_close, full_ntk, jacobians, mlp, normal, reduced

import neural_tangents as nt

MOVED = {name: value + 0.3 * normal(*value.shape) for name, value in MLP_PARAMS.items()}


def cubic(p, x):
    """A polynomial of third degree in the parameters, with outputs in a tree."""
    h = x @ p["w"]
    return {"y": (h**2) @ p["v"] - 2 * h[:, :3], "z": (h.sum(1), p["v"])}


PARAMS = {"w": normal(5, 4), "v": normal(4, 3)}
OTHER = {"w": normal(5, 4), "v": normal(4, 3)}


@pytest.mark.slow
def test_polynomials_are_their_own_series(dtype):
    params, other, x = (jax.tree.map(lambda a: jnp.asarray(a, dtype), tree) for tree in (PARAMS, OTHER, X1))
    expected = cubic(other, x)
    for degree in (3, 4):
        found = nt.taylor_expand(cubic, params, degree)(other, x)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: assert_close(a, b, 1e-5 if dtype == np.float32 else 1e-12), found, expected)
    assert np.abs(nt.taylor_expand(cubic, params, 2)(other, x)["y"] - expected["y"]).max() > 0.1


@pytest.mark.parametrize("degree", range(5))
def test_terms_of_the_series_of_exp(degree):
    with jax.enable_x64(True):
        f = nt.taylor_expand(lambda p, x: x * jnp.exp(p), jnp.asarray(0.5), degree)
        terms = [0.7**k / np.prod(np.arange(1, k + 1)) for k in range(degree + 1)]
        np.testing.assert_allclose(f(jnp.asarray(1.2), 3.0), 3 * np.exp(0.5) * sum(terms), rtol=1e-14)


def test_linearized_network_is_the_value_and_the_jacobian():
    with jax.enable_x64(True):
        (jacobian,) = jacobians(mlp, MLP_PARAMS, X1)
        steps = [np.ravel(MOVED[name] - MLP_PARAMS[name]) for name in sorted(MLP_PARAMS)]
        expected = mlp(MLP_PARAMS, X1) + sum(j @ step for j, step in zip(jacobian, steps, strict=True))
        assert_close(nt.linearize(mlp, MLP_PARAMS)(MOVED, X1), expected)
        assert_close(nt.taylor_expand(mlp, MLP_PARAMS, 1)(MOVED, X1), expected)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_at_the_centre_a_series_is_the_function(degree):
    found = nt.taylor_expand(mlp, MLP_PARAMS, degree)(MLP_PARAMS, X1)
    assert_close(found, mlp(MLP_PARAMS, X1), 1e-6)


def test_degree_zero_is_constant():
    f = nt.taylor_expand(cubic, PARAMS, 0)
    jax.tree.map(np.testing.assert_array_equal, f(OTHER, X1), jax.tree.map(jnp.asarray, cubic(PARAMS, X1)))
    gradient = jax.grad(lambda p: f(p, X1)["y"].sum())(jax.tree.map(jnp.asarray, OTHER))
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_relu_networks_are_linear_between_kinks():
    def f(p, x):
        return jax.nn.relu(x @ p["w"]) @ p["v"]

    with jax.enable_x64(True):
        step = jax.tree.map(lambda a: 1e-3 * a, OTHER)
        near = jax.tree.map(np.add, PARAMS, step)
        assert ((X1 @ PARAMS["w"] > 0) == (X1 @ near["w"] > 0)).all()
        assert_close(nt.taylor_expand(f, PARAMS, 2)(near, X1), f(near, X1), 1e-13)
        # The term of second order is all that linearization leaves out.
        expected = ((X1 @ PARAMS["w"] > 0) * (X1 @ step["w"])) @ step["v"]
        assert_close(f(near, X1) - nt.linearize(f, PARAMS)(near, X1), expected, 1e-9)


def test_under_transformations():
    with jax.enable_x64(True):
        f = nt.taylor_expand(mlp, MLP_PARAMS, 2)
        expected = f(MOVED, X1)
        assert_close(jax.jit(f)(MOVED, X1), expected, 1e-13)
        assert_close(jax.vmap(lambda x: f(MOVED, x[None])[0])(X1), expected, 1e-13)
        assert_close(jax.jit(lambda around: nt.taylor_expand(mlp, around, 2)(MOVED, X1))(MLP_PARAMS), expected, 1e-13)
        # The gradient of a linearized network is that of the network, at the centre, wherever it is taken.
        linear = nt.linearize(mlp, MLP_PARAMS)
        found = jax.grad(lambda p: linear(p, X1).sum())(MOVED)
        jax.tree.map(assert_close, found, jax.grad(lambda p: mlp(p, X1).sum())(MLP_PARAMS))


@pytest.mark.slow
def test_kernel_of_a_linearized_network_is_that_of_the_network():
    with jax.enable_x64(True):
        (truth,) = full_ntk(mlp, MLP_PARAMS, X1, X2)
        fn = nt.empirical_ntk_fn(nt.linearize(mlp, MLP_PARAMS), (), (), None, 3)
        assert_close(fn(X1, X2, MOVED), reduced(truth))


def test_all_other_arguments_go_to_the_function():
    def f(p, x, y, *, scale, name):
        assert name == "name"
        return (p * x + y) * scale

    found = nt.linearize(f, jnp.asarray(2.0))(jnp.asarray(3.0), X1, 1.0, scale=2.0, name="name")
    np.testing.assert_allclose(found, 2 * (3 * X1 + 1), rtol=1e-5)


def test_series_of_complex_networks():
    with jax.enable_x64(True):
        params, other = (tree["w"] + 1j * tree["w"][::-1] for tree in (PARAMS, OTHER))
        assert_close(nt.taylor_expand(lambda p, x: (x @ p) ** 2, params, 2)(other, X1), (X1 @ other) ** 2, 1e-12)


def test_errors():
    with pytest.raises(ValueError, match="`degree` of a Taylor expansion to be 0 or more, got -1"):
        nt.taylor_expand(mlp, MLP_PARAMS, -1)
    with pytest.raises(TypeError, match="float"):
        nt.taylor_expand(mlp, MLP_PARAMS, 1.5)
    with pytest.raises(TypeError, match=r"got int\d+ at params\['b'\]"):
        nt.linearize(mlp, {**MLP_PARAMS, "b": np.arange(6)})
    f = nt.linearize(mlp, MLP_PARAMS)
    for wrong in ({**MLP_PARAMS, "c": X1}, {**MLP_PARAMS, "b": normal(7)}, list(MLP_PARAMS.values())):
        with pytest.raises(ValueError, match="Expected parameters with the tree and the shapes of those"):
            f(wrong, X1)
