"""Derivatives of the moments: finite where formulas are singular, and right elsewhere."""

import dual_truth as truth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_dual_values import CASES

from neural_tangents.stax._dual._custom import custom
from neural_tangents.stax._dual._exponential import exp_normalized
from neural_tangents.stax._dual._quadrature import quadrature

DUALS = {name: case.dual for name, case in CASES.items()} | {
    "normalized": exp_normalized(0.7, -1.0, False),
    "clipped": exp_normalized(0.7, -1.0, True),
    "quadrature": quadrature(jnp.tanh, 6, None),
    "custom": custom(None, lambda k, q1, q2: q1 * q2 * jnp.sin(k), lambda k, q1, q2: q1 * q2 * jnp.cos(k)),
}
# The derivative of the activation has a singular part, which the second moment leaves out, or stands in for.
NO_PRICE = {"sign", "rectified 0"}
# Formulas assume variances of one.
UNIT = {f"hermite {d}" for d in range(7)}

SINGULAR = [(0, 0, 0), (0, 0, 1), (1, 1, 1), (-1, 1, 1), (0.5, 0.25, 1), (-3, 9, 1)]
MODERATE = np.array([0.3, 1.0, 7.0])


def regular_grid(dtype, variances=MODERATE):
    """All pairs of variances, and all correlations but -1 and 1, as one axis."""
    return [jnp.asarray(x[:, :, 1:-1].ravel(), dtype) for x in truth.grid(variances)]


@pytest.mark.parametrize("name", DUALS)
def test_finite_at_singular_points(name, dtype):
    if name == "growing gaussian":
        pytest.skip("its expectation diverges at large variances")

    def nngp(x):
        return DUALS[name].moments(*x)[0]

    def k_dot(x):
        return DUALS[name].moments(*x)[1]

    points = jnp.asarray(SINGULAR, dtype)
    for fn in (nngp, k_dot):
        for derivative in (jax.jacrev(fn), jax.jacfwd(fn), jax.jacfwd(jax.jacrev(fn)), jax.jacrev(jax.jacfwd(fn))):
            values = jax.jit(jax.vmap(derivative))(points)
            assert values.dtype == dtype
            assert jnp.isfinite(values).all(), (fn.__name__, values)


@pytest.mark.parametrize("name", DUALS)
def test_variance_has_finite_derivatives(name, dtype):
    variance = DUALS[name].variance
    points = jnp.asarray([0.0, 1e-6, 1.0], dtype)
    for derivative in (jax.grad(variance), jax.grad(jax.grad(variance)), jax.jacfwd(jax.jacfwd(variance))):
        assert jnp.isfinite(jax.vmap(derivative)(points)).all()


@pytest.mark.parametrize("name", DUALS.keys() - NO_PRICE)
def test_second_moment_is_derivative_of_first(name, dtype):
    moments = DUALS[name].moments
    variances = np.array([1e-6, 0.3, 1.0]) if name == "growing gaussian" else np.array([1e-6, 0.3, 7.0])
    k, q1, q2 = (jnp.asarray(x.ravel(), dtype) for x in truth.grid(variances))
    slope = jax.vmap(jax.grad(lambda *x: moments(*x)[0]))(k, q1, q2)
    k_dot = moments(k, q1, q2)[1]
    size = jnp.sqrt(jnp.abs(moments(q1, q1, q1)[1] * moments(q2, q2, q2)[1]))
    tolerance = 1e-13 if dtype == np.float64 else 1e-5
    assert jnp.max(jnp.abs(slope - k_dot) - tolerance * size) <= 0


@pytest.mark.parametrize("name", DUALS.keys() - {"quadrature"})
def test_finite_differences(name):
    moments = DUALS[name].moments
    with jax.enable_x64(True):
        arrays = regular_grid(np.float64, MODERATE[:2] if name == "growing gaussian" else MODERATE)
        limit = 1 - np.abs(arrays[0]) / np.sqrt(arrays[1] * arrays[2])
        for output in (0, 1):
            size = jnp.sqrt(jnp.abs(moments(arrays[1], *arrays[1:])[output]) + 1e-3)
            size = size * jnp.sqrt(jnp.abs(moments(arrays[2], arrays[2], arrays[2])[output]) + 1e-3)
            for argument in range(3):
                derivative = jax.vmap(jax.grad(lambda *x: moments(*x)[output], argument))(*arrays)  # noqa: B023
                # The radius of convergence around a correlation near one is the distance to one.
                step = 1e-2 * limit * jnp.where(argument == 0, jnp.sqrt(arrays[1] * arrays[2]), arrays[argument])
                difference = central_difference(lambda *x: moments(*x)[output], arrays, argument, step)  # noqa: B023
                error = jnp.abs(derivative - difference) * step / size
                assert jnp.max(error) < 1e-9, (output, argument)


def central_difference(fn, arrays, argument, step):
    """Sixth-order difference quotient."""

    def odd(n):
        shifted = [[x + (i == argument) * sign * n * step for i, x in enumerate(arrays)] for sign in (1, -1)]
        return fn(*shifted[0]) - fn(*shifted[1])

    return (45 * odd(1) - 9 * odd(2) + odd(3)) / (60 * step)


@pytest.mark.parametrize("name", ["relu", "rectified 2", "erf", "gelu", "sin", "gabor", "gaussian", "normalized"])
def test_second_derivatives(name):
    moments = DUALS[name].moments
    with jax.enable_x64(True):
        k, q1, q2 = regular_grid(np.float64)
        slope = jax.vmap(jax.grad(lambda *x: moments(*x)[1]))
        for hessian in (jax.hessian, lambda f: jax.jacrev(jax.jacfwd(f))):
            second = jax.vmap(hessian(lambda x: moments(*x)[0]))(jnp.stack([k, q1, q2], -1))
            np.testing.assert_allclose(second[:, 0, 0], slope(k, q1, q2), rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(second, jnp.swapaxes(second, 1, 2), rtol=1e-9, atol=1e-11)
        # Half the second derivative in `k` is the mixed one, and twice the mixed one in `q1`: the heat equation.
        mixed = jax.vmap(jax.grad(lambda *x: moments(*x)[1], 1))(k, q1, q2)
        np.testing.assert_allclose(second[:, 0, 1], mixed, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["relu", "leaky relu", "abs", "rectified 2", "erf", "gelu", "sin", "gaussian"])
def test_single_precision_near_parallel(name):
    moments = DUALS[name].moments
    gradients = []
    for x64 in (True, False):
        with jax.enable_x64(x64):
            q1, q2 = (jnp.asarray(x, np.float64 if x64 else np.float32) for x in np.meshgrid(MODERATE, MODERATE))
            k = jnp.asarray((1 - 1e-4) * np.sqrt(np.outer(MODERATE, MODERATE)), np.float32).astype(q1.dtype)
            gradient = jax.grad(lambda *x: moments(*x)[0].sum(), (0, 1, 2))(
                k, q1.astype(np.float32).astype(k.dtype), q2
            )
            gradients.append(np.asarray(gradient, np.float64))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=2e-3, atol=2e-3 * np.abs(gradients[0]).max())
