"""Accuracy, derivatives and special values of the elementary functions."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special

from neural_tangents._core import numerics

BOTH = pytest.mark.parametrize("x64", [False, True], ids=["f32", "f64"])


def dtype_of(x64):
    return np.float64 if x64 else np.float32


def circle(seed, dtype):
    """Angles in [0, pi], from 1e-30 on, and points of the unit circle with errors of rounding only."""
    uniform = np.random.RandomState(seed).uniform(0, np.pi, 20_000)
    tiny = np.logspace(-30, 0, 200)
    theta = np.concatenate([uniform, tiny, np.pi - tiny[-100:], np.pi / 2 + tiny, np.pi / 2 - tiny])
    return np.cos(theta).astype(dtype), np.sin(theta).astype(dtype)


def series(degree):
    """Chebyshev interpolation of `(asin(sqrt z) / sqrt z - 1) / z` on [0, 1/2], as powers of `z`."""
    with mpmath.workdps(60):

        def f(t):
            root = mpmath.sqrt((t + 1) / 4)
            return (mpmath.asin(root) / root - 1) / root**2

        n = degree + 1
        nodes = [mpmath.pi * (2 * j + 1) / (2 * n) for j in range(n)]
        values = [f(mpmath.cos(t)) for t in nodes]
        powers = mpmath.matrix(n, n)
        for i, t in enumerate(nodes):
            for j in range(n):
                powers[i, j] = ((mpmath.cos(t) + 1) / 4) ** j
        return [float(c) for c in mpmath.lu_solve(powers, mpmath.matrix(values))]


@pytest.mark.parametrize("coefficients, rtol", [(numerics._ASIN_SHORT, 1e-8), (numerics._ASIN_LONG, 1e-15)])
def test_coefficients(coefficients, rtol):
    np.testing.assert_allclose(coefficients, series(len(coefficients) - 1), rtol=rtol)


@pytest.mark.parametrize("coefficients, rtol", [(numerics.ACOS_SHORT, 2e-8), (numerics.ACOS_LONG, 1e-15)])
def test_coefficients_of_acos(coefficients, rtol):
    """They interpolate `acos(1 - d) / sqrt(d)` at the Chebyshev points of [0, 1]."""
    n = len(coefficients)
    with mpmath.workdps(50):
        points = [(1 + mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * n))) / 2 for i in range(n)]
        powers = mpmath.matrix([[d**j for j in range(n)] for d in points])
        values = mpmath.matrix([mpmath.acos(1 - d) / mpmath.sqrt(d) for d in points])
        interpolated = [float(c) for c in mpmath.lu_solve(powers, values)]
    np.testing.assert_allclose(coefficients, interpolated, rtol=rtol)


@pytest.mark.parametrize("coefficients, rtol", [(numerics._ACUTE_SHORT, 1e-7), (numerics._ACUTE_LONG, 1e-14)])
def test_coefficients_of_acute_angle(coefficients, rtol):
    """They interpolate at the Chebyshev points of [0, sqrt(2) - 1]."""
    n = len(coefficients)
    with mpmath.workdps(50):
        root2 = mpmath.sqrt(2)
        points = [(root2 - 1) * (1 + mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * n))) / 2 for i in range(n)]
        distances = [p * (2 * root2 - p) for p in points]
        values = [(mpmath.acos(1 - d) / mpmath.sqrt(d) - mpmath.sqrt(2 - d)) / d for d in distances]
        powers = mpmath.matrix([[p**j for j in range(n)] for p in points])
        interpolated = [float(c) for c in mpmath.lu_solve(powers, mpmath.matrix(values))]
    np.testing.assert_allclose(coefficients, interpolated, rtol=rtol)


@BOTH
def test_acute_angle(x64):
    """Each part is precise, relative to itself, however small the angle is."""
    with jax.enable_x64(x64):
        eps = np.finfo(dtype_of(x64)).eps
        d = np.concatenate([np.linspace(0, 1, 1001)[1:], np.logspace(-25, 0, 500)]).astype(dtype_of(x64))
        got = numerics.acute_angle(jnp.asarray(d), jnp.sqrt(d))
        with mpmath.workdps(60):
            angles = [mpmath.acos(1 - mpmath.mpf(float(x))) for x in d]
            excess = [mpmath.sin(phi) - phi * mpmath.cos(phi) for phi in angles]
            for part, want in zip(got, (angles, map(mpmath.sin, angles), excess), strict=True):
                assert part.dtype == dtype_of(x64)
                np.testing.assert_allclose(np.asarray(part), [float(x) for x in want], rtol=4 * eps)


@BOTH
def test_angle(x64):
    with jax.enable_x64(x64):
        c, s = circle(0, dtype_of(x64))
        got = np.asarray(numerics.angle(jnp.asarray(c), jnp.asarray(s)))
        want = np.arctan2(s.astype(np.longdouble), c.astype(np.longdouble))
        assert got.dtype == dtype_of(x64)
        # Points with a rounding error are not exactly on the circle, which is worth another unit in the last place.
        np.testing.assert_allclose(got, want, rtol=3 * np.finfo(got.dtype).eps)


@BOTH
def test_latitude(x64):
    with jax.enable_x64(x64):
        s, c = circle(1, dtype_of(x64))
        s, c = np.concatenate([s, c]), np.concatenate([c, s])
        s, c = s[c >= 0], c[c >= 0]
        got = np.asarray(numerics.latitude(jnp.asarray(s), jnp.asarray(c)))
        want = np.arctan2(s.astype(np.longdouble), c.astype(np.longdouble))
        np.testing.assert_allclose(got, want, rtol=3 * np.finfo(got.dtype).eps)


@BOTH
def test_special_angles(x64):
    with jax.enable_x64(x64):
        dtype = dtype_of(x64)
        c, s = jnp.asarray([1, 0, -1], dtype), jnp.asarray([0, 1, 0], dtype)
        np.testing.assert_array_equal(numerics.angle(c, s), np.asarray([0, np.pi / 2, np.pi], dtype))
        np.testing.assert_array_equal(numerics.latitude(c, s), np.asarray([np.pi / 2, 0, -np.pi / 2], dtype))


@pytest.mark.slow
def test_derivatives_of_angles():
    with jax.enable_x64(True):
        t = jnp.linspace(0.0, jnp.pi, 9)
        first = jax.vmap(jax.grad(lambda t: numerics.angle(jnp.cos(t), jnp.sin(t)) ** 2))
        second = jax.vmap(jax.hessian(lambda t: numerics.angle(jnp.cos(t), jnp.sin(t)) ** 2))
        np.testing.assert_allclose(first(t), 2 * t, atol=1e-14)
        np.testing.assert_allclose(second(t), 2 * np.ones(9), atol=1e-14)
        slope = jax.vmap(jax.grad(lambda t: numerics.latitude(jnp.sin(t), jnp.cos(t))))
        np.testing.assert_allclose(slope(t - jnp.pi / 2), np.ones(9), atol=1e-14)


@pytest.mark.parametrize("fn", [numerics.safe_sqrt, numerics.safe_reciprocal])
def test_safe_functions(fn):
    derivatives = [fn, jax.grad(fn), jax.grad(jax.grad(fn)), jax.jacfwd(jax.jacfwd(fn))]
    assert [float(d(0.0)) for d in derivatives] == [0.0] * 4
    assert fn(-1.0) == 0
    exact = {numerics.safe_sqrt: [2.0, 1 / 4, -1 / 32], numerics.safe_reciprocal: [1 / 4, -1 / 16, 1 / 32]}[fn]
    np.testing.assert_allclose([d(4.0) for d in derivatives[:3]], exact, rtol=1e-6)


@BOTH
def test_determinant_of_parallel_inputs_is_zero(x64):
    with jax.enable_x64(x64):
        q = jnp.asarray(np.random.RandomState(2).lognormal(size=500), dtype_of(x64))
        np.testing.assert_array_equal(jax.jit(numerics.determinant)(q, q, q), np.zeros(500))
        np.testing.assert_array_equal(jax.jit(numerics.determinant)(-2 * q, q, 4 * q), np.zeros(500))
        d = jax.grad(numerics.determinant, argnums=(0, 1, 2))(*jnp.asarray([3.0, 2.0, 4.5], dtype_of(x64)))
        np.testing.assert_allclose(d, [-6, 4.5, 2])


@BOTH
def test_correlation(x64):
    with jax.enable_x64(x64):
        dtype = dtype_of(x64)
        random = np.random.RandomState(3)
        q1, q2 = (np.asarray(random.lognormal(sigma=9, size=4000), dtype) for _ in range(2))
        k = np.sqrt(q1) * np.sqrt(q2)
        # One unit in the last place more or less must not matter.
        for neighbour in (k, np.nextafter(k, dtype(0)), np.nextafter(k, dtype(np.inf))):
            np.testing.assert_array_equal(numerics.correlation(neighbour, q1, q2), np.ones(4000))
            np.testing.assert_array_equal(numerics.correlation(-neighbour, q1, q2), -np.ones(4000))
        np.testing.assert_allclose(numerics.correlation(0.3 * k, q1, q2), 0.3, rtol=4 * np.finfo(dtype).eps)
        assert numerics.correlation(jnp.zeros(()), jnp.zeros(()), jnp.ones(())) == 0
        d = jax.grad(numerics.correlation, argnums=(0, 1, 2))(*jnp.asarray([1.0, 1.0, 1.0], dtype))
        np.testing.assert_allclose(d, [1, -0.5, -0.5])


@BOTH
def test_types(x64):
    with jax.enable_x64(x64):
        default = jnp.result_type(float)
        assert [x.dtype for x in numerics.as_floats(1, jnp.arange(3))] == [default] * 2
        assert [x.dtype for x in numerics.as_floats(np.float32(1), 2.0)] == [np.float32] * 2
        assert (jnp.ones(2, np.float32) * numerics.python_scalar(np.float64(2))).dtype == np.float32
        low = jnp.asarray([0.6], jnp.bfloat16), jnp.asarray([0.8], jnp.bfloat16)
        assert numerics.angle(*low).dtype == jnp.bfloat16


@pytest.mark.parametrize("fn, own", [(scipy.special.erf, numerics.erf), (scipy.special.erfc, numerics.erfc)])
def test_error_functions(fn, own, dtype):
    x = np.linspace(-4, 4, 41, dtype=dtype)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(jax.vmap(own)(x), fn(x.astype(float)), rtol=rtol, atol=rtol**2)
    sign = 1 if own is numerics.erf else -1
    slope = sign * 2 / np.sqrt(np.pi) * np.exp(-(x.astype(float) ** 2))
    np.testing.assert_allclose(jax.vmap(jax.grad(own))(x), slope, rtol=rtol)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(own)))(x), -2 * x * slope, rtol=rtol, atol=rtol**2)


@BOTH
def test_length(x64):
    """Also where it is 0, in derivatives of every order."""
    with jax.enable_x64(x64):
        q = jnp.asarray([0.0, 4.0, 2.25], dtype_of(x64))
        np.testing.assert_allclose(numerics.length(q), [0, 2, 1.5], rtol=1e-6)
        slopes = jax.vmap(jax.grad(numerics.length))(q)
        np.testing.assert_allclose(slopes, [0, 0.25, 1 / 3], rtol=1e-6)
        curvatures = jax.vmap(jax.grad(jax.grad(numerics.length)))(q)
        np.testing.assert_allclose(curvatures, [0, -1 / 32, -1 / 13.5], rtol=1e-6)
