"""Functions with two ways of evaluation: which one is used when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.two_ways import two_ways


@pytest.fixture
def network():
    """`sum(a x)^3` with a record of which way was traced, and of what was known then."""
    calls = []

    def way(name):
        def fn(numbers, x):
            calls.append((name, [isinstance(a, float) for a in numbers["a"]]))
            return {"y": sum(numbers["a"]) * x**3, "flag": jnp.any(x > 0) & numbers["flag"]}

        return fn

    def fn(a, x, flag=True):
        return two_ways(way("values"), way("derivatives"), {"a": a, "flag": flag}, x)["y"]

    return fn, calls


def test_values(network):
    fn, calls = network
    x = jnp.arange(3.0)
    np.testing.assert_allclose(jax.jit(lambda x: fn([2.0, 1.0], x))(x), 3 * x**3)
    assert calls == [("values", [True, True])]  # what is known remains so
    np.testing.assert_allclose(jax.vmap(lambda x: fn([2.0, 1.0], x))(x), 3 * x**3)
    assert {name for name, _ in calls} == {"values"}


def test_derivatives(network):
    fn, calls = network
    x = 2.0
    np.testing.assert_allclose(jax.grad(lambda x: fn([2.0, 1.0], x))(x), 9 * x**2)
    assert calls[-1] == ("derivatives", [True, True])
    np.testing.assert_allclose(jax.grad(lambda a: fn([a, 1.0, a], x))(3.0), 2 * x**3)
    np.testing.assert_allclose(jax.grad(jax.grad(lambda x: fn([x, 1.0], x, x > 0)))(x), 12 * x**2 + 6 * x)
    np.testing.assert_allclose(jax.jvp(jax.grad(lambda x: fn([2.0], x)), (x,), (1.0,))[1], 12 * x)
    np.testing.assert_allclose(jax.vmap(jax.jit(jax.grad(lambda x: fn([2.0], x))))(jnp.arange(3.0)), [0, 6, 24])


def test_only_what_changes_is_differentiated():
    """Of what does not, derivatives may not exist."""

    def fn(x, y):
        return x * jax.pure_callback(lambda y: y, y, y)

    gradient = jax.jit(jax.grad(lambda x, y: two_ways(fn, fn, x, y)))
    assert gradient(2.0, 3.0) == 3
