"""Derivatives of the moments: finite where formulas are singular, and right elsewhere."""

import dual_truth as truth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_cases import DUALS
from sweeps import mostly_slow

from neural_tangents import stax

# The derivative of the nonlinearity has a singular part, which the second moment leaves out, or stands in for.
NO_PRICE = ("sign", "rectified 0")

SINGULAR = [(0, 0, 0), (0, 0, 1), (1, 1, 1), (-1, 1, 1), (0.5, 0.25, 1), (-3, 9, 1)]
MODERATE = np.array([0.3, 1.0, 7.0])


def regular_grid(dtype, variances=MODERATE):
    """All pairs of variances, and all correlations but -1 and 1, as one axis."""
    return [jnp.asarray(x[:, :, 1:-1].ravel(), dtype) for x in truth.grid(variances)]


@pytest.mark.parametrize("name", mostly_slow(DUALS, ["relu", "sign", "sigmoid", "gelu", "shifted sin"]))
def test_finite_at_singular_points(name, dtype):
    def moments(x):
        return jnp.stack(DUALS[name].moments(*x))

    reverse, forward = jax.jacrev(moments), jax.jacfwd(moments)
    derivatives = [reverse, jax.jacfwd(reverse)]
    if dtype == np.float64:  # not in both types, to compile less
        derivatives += [forward, jax.jacrev(forward)]
    computed = jax.jit(jax.vmap(lambda x: [d(x) for d in derivatives]))(jnp.asarray(SINGULAR, dtype))
    for values in computed:
        assert values.dtype == dtype
        assert jnp.isfinite(values).all()
    for one, other in zip(computed[:2], computed[2:], strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * jnp.abs(one).max())


@pytest.mark.parametrize("name", [name for name in DUALS if name not in NO_PRICE])
def test_second_moment_is_derivative_of_first(name, dtype):
    moments = DUALS[name].moments
    k, q1, q2 = (jnp.asarray(x.ravel(), dtype) for x in truth.grid(np.array([1e-6, 0.3, 7.0])))
    slope = jax.grad(lambda k: moments(k, q1, q2)[0].sum())(k)
    k_dot = moments(k, q1, q2)[1]
    size = jnp.sqrt(jnp.abs(moments(q1, q1, q1)[1] * moments(q2, q2, q2)[1]))
    tolerance = 1e-13 if dtype == np.float64 else 1e-5
    assert jnp.max(jnp.abs(slope - k_dot) - tolerance * size) <= 0


@pytest.mark.parametrize("name", [name for name in DUALS if name != "quadrature"])
def test_finite_differences(name):
    moments = DUALS[name].moments
    with jax.enable_x64(True):
        arrays = regular_grid(np.float64)
        _, q1, q2 = arrays
        sizes = [jnp.sqrt(jnp.abs(a * b) + 1e-3) for a, b in zip(moments(q1, q1, q1), moments(q2, q2, q2), strict=True)]
        room = 1 - np.abs(arrays[0]) / np.sqrt(q1 * q2)
        _, pullback = jax.vjp(moments, *arrays)
        for output, size in enumerate(sizes):
            ones = [jnp.full_like(q1, i == output) for i in range(2)]
            for argument, derivative in enumerate(pullback(tuple(ones))):
                # A series in the correlation near one converges up to one only.
                step = 1e-2 * room * jnp.sqrt(q1 * q2) if argument == 0 else 1e-2 * room * arrays[argument]
                difference = central_difference(lambda *x: moments(*x)[output], arrays, argument, step)  # noqa: B023
                assert jnp.max(jnp.abs(derivative - difference) * step / size) < 1e-9, (output, argument)


def central_difference(fn, arrays, argument, step):
    """Sixth-order difference quotient."""

    def odd(n):
        shifted = [[x + (i == argument) * sign * n * step for i, x in enumerate(arrays)] for sign in (1, -1)]
        return fn(*shifted[0]) - fn(*shifted[1])

    return (45 * odd(1) - 9 * odd(2) + odd(3)) / (60 * step)


@pytest.mark.parametrize("name", ["relu", "rectified 3", "sigmoid", "gelu", "shifted sin", "gabor", "gaussian"])
def test_second_derivatives(name):
    moments = DUALS[name].moments
    with jax.enable_x64(True):
        x = jnp.stack(regular_grid(np.float64), -1)
        second = jax.jit(jax.vmap(jax.hessian(lambda x: moments(*x)[0])))(x)
        first = jax.jit(jax.vmap(jax.grad(lambda x: moments(*x)[1])))(x)
        np.testing.assert_allclose(second[:, 0], first, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(second, jnp.swapaxes(second, 1, 2), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["relu", "abs", "rectified 3", "sigmoid", "gelu", "shifted sin", "gaussian"])
def test_single_precision_near_parallel(name):
    variances = np.asarray(MODERATE, np.float32)
    q1, q2 = np.meshgrid(variances, variances)
    k = np.float32(1 - 1e-4) * np.sqrt(q1 * q2)
    gradients = []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            arrays = [jnp.asarray(x, dtype) for x in (k, q1, q2)]
            gradients.append(jax.grad(lambda *x: DUALS[name].moments(*x)[0].sum(), (0, 1, 2))(*arrays))
    for got, want in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3 * np.abs(want).max())


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.filterwarnings("ignore:.*ElementwiseNumerical.*:UserWarning")
def test_values_that_a_function_captures(given):
    """A hyper-parameter of a user's function, with and without its derivative given."""

    def total(a):
        df = (lambda x: a / jnp.cosh(a * x) ** 2) if given else None
        layer = stax.ElementwiseNumerical(lambda x: jnp.tanh(a * x), 9, df)
        return jnp.sum(stax.serial(stax.Dense(1), layer)[2](np.eye(3) + 0.1, None, "ntk"))

    with jax.enable_x64(True):
        wanted = (total(0.7 + 1e-5) - total(0.7 - 1e-5)) / 2e-5
        for transform in (jax.grad, lambda fn: jax.jit(jax.grad(fn))):
            np.testing.assert_allclose(transform(total)(0.7), wanted, rtol=1e-8)
