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


def test_few_numbers_are_differentiated_forward():
    """Also where a pass backward is asked for: there is none through a loop of unknown length."""

    def fn(a, b, x):
        y = jax.lax.while_loop(lambda y: jnp.any(y < 100), lambda y: y * a + b, x)
        return {"y": y, "long": y > 200}

    def total(a, b, x, forward=2):
        return jnp.sum(two_ways(fn, fn, a, b, x, forward=forward)["y"])

    x = jnp.array([1.0, 3.0])
    for gradient in (jax.grad(total, (0, 1)), jax.jit(jax.grad(total, (0, 1)))):
        found = gradient(2.0, 1.0, x)
        steps, expected = 1e-3, []
        for da, db in ((steps, 0), (0, steps)):
            expected.append((total(2 + da, 1 + db, x) - total(2 - da, 1 - db, x)) / (2 * steps))
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    np.testing.assert_allclose(jax.jvp(lambda a: total(a, 1.0, x), (2.0,), (3.0,))[1], 3 * found[0], rtol=1e-6)
    with pytest.raises(ValueError, match="Reverse-mode"):
        jax.grad(total)(2.0, 1.0, x, 0)
    with pytest.raises(ValueError, match="Reverse-mode"):
        jax.grad(total, 2)(2.0, 1.0, x)
