"""Zero and huge variances, types, broadcasting, and nonlinearities given by the user."""

import functools

import dual_truth as truth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_cases import CASES, DUALS

from neural_tangents.stax._nonlinearities.abrelu import abrelu
from neural_tangents.stax._nonlinearities.elementwise import custom
from neural_tangents.stax._nonlinearities.erf import erf
from neural_tangents.stax._nonlinearities.exponential import exp_normalized
from neural_tangents.stax._nonlinearities.gaussian import gaussian
from neural_tangents.stax._nonlinearities.gelu import gelu
from neural_tangents.stax._nonlinearities.polynomial import hermite, polynomial
from neural_tangents.stax._nonlinearities.quadrature import quadrature
from neural_tangents.stax._nonlinearities.rectified_monomial import rectified_monomial
from neural_tangents.stax._nonlinearities.sign import sign

SPECIAL = ("rectified 0", "hermite 3")  # a step has no value at zero; Hermite polynomials assume unit variance


@pytest.mark.parametrize("name", DUALS)
def test_variance_is_moment_with_itself(name, dtype):
    q = jnp.asarray(truth.VARIANCES, dtype)
    variance = DUALS[name].variance(q)
    assert variance.dtype == dtype
    np.testing.assert_allclose(DUALS[name].moments(q, q, q)[0], variance, rtol=8 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("name", [name for name in DUALS if name in CASES and name not in SPECIAL])
def test_zero_variance(name, dtype):
    """The moment with a constant input is the product of the means; that of a constant itself is its square."""
    dual = DUALS[name]
    zero, one = jnp.zeros((1, 1), dtype), jnp.ones((1, 1), dtype)
    at_zero = dual.fn(zero)
    assert at_zero.dtype == dtype
    np.testing.assert_allclose(dual.moments(zero, zero, zero)[0], at_zero**2, atol=1e-6)
    np.testing.assert_allclose(dual.variance(zero), at_zero**2, atol=1e-6)
    points, weights = np.polynomial.hermite_e.hermegauss(100)
    positive = dual.fn(jnp.asarray(np.abs(points), dtype)) + dual.fn(-jnp.asarray(np.abs(points), dtype))
    mean = weights @ np.asarray(positive) / (2 * np.sqrt(2 * np.pi))
    tolerance = 1e-2 if "rectified" in name or name in ("relu", "abs", "leaky relu") else 1e-5
    np.testing.assert_allclose(dual.moments(zero, zero, one)[0], at_zero * mean, rtol=tolerance, atol=1e-6)
    np.testing.assert_allclose(dual.moments(zero, one, zero)[0], at_zero * mean, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("name", DUALS)
def test_broadcasting_and_symmetry(name):
    random = np.random.RandomState(5)
    x1, x2 = random.normal(size=(3, 4)) / 2, random.normal(size=(2, 4)) / 2
    k, q1, q2 = x1 @ x2.T, np.sum(x1**2, 1)[:, None], np.sum(x2**2, 1)[None]
    moments = DUALS[name].moments
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        k, q1, q2 = (jnp.asarray(x, np.float32) for x in (k, q1, q2))
        small = moments(k, q1, q2)
        full = moments(k, *(jnp.broadcast_to(q, k.shape) for q in (q1, q2)))
        swapped = moments(k.T, q2.T, q1.T)
    for a, b, c in zip(small, full, swapped, strict=True):
        assert a.shape == k.shape and a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(a).max())
        np.testing.assert_allclose(a, c.T, rtol=1e-6, atol=1e-6 * np.abs(a).max())


@pytest.mark.parametrize("name", DUALS)
def test_numbers_and_half_precision(name):
    dual = DUALS[name]
    want = np.asarray(dual.moments(jnp.zeros(()), jnp.ones(()), jnp.ones(())))
    np.testing.assert_array_equal(dual.moments(0, 1, 1), want)
    with jax.enable_x64(True):
        half = dual.moments(*(jnp.asarray([x], jnp.bfloat16) for x in (0, 1, 1)))
        assert half[0].dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(half, np.float32)[:, 0], want, rtol=0.03, atol=0.03)


def test_numpy_parameters_keep_the_type():
    with jax.enable_x64(True):
        x = jnp.ones(3, np.float32)
        for dual in (abrelu(np.float64(0.5), np.float64(2)), erf(*np.ones(3)), gaussian(np.float64(1), np.float64(-1))):
            assert {y.dtype for y in (dual.fn(x), dual.variance(x), *dual.moments(x, x, x))} == {np.dtype(np.float32)}


def test_one_compilation_for_all_slopes():
    compiled = []
    with jax.log_compiles(False):
        jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
        try:
            x = jnp.linspace(0.1, 1, 17)
            abrelu(0.0, 1.0).moments(x, x, x)
            assert any("compile" in event for event in compiled)
            compiled.clear()
            abrelu(0.123, 4.56).moments(x, x, x)
            assert not any("compile" in event for event in compiled)
        finally:
            jax.monitoring.clear_event_listeners()


@pytest.mark.parametrize("dual", [abrelu(0.0, 1.0), abrelu(-1.0, 1.0), rectified_monomial(1), sign()])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_extreme_variances(dual, size):
    rho = jnp.asarray([-1.0, -0.3, 0.0, 0.8, 1.0])
    one = jnp.ones(5)
    homogeneous = dual.variance(jnp.full(5, size)) / dual.variance(one)
    for got, want, factor in zip(
        dual.moments(rho * size, one * size, one * size), dual.moments(rho, one, one), (homogeneous, 1), strict=True
    ):
        np.testing.assert_allclose(got / factor, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dual", [abrelu(0.0, 1.0), erf(1.0, 1.0, 0.0), gelu(False)])
def test_parallel_inputs_with_rounding_errors(dual, dtype):
    """`k` is that of an input with itself, but for its last bits."""
    q = jnp.asarray(np.random.RandomState(6).lognormal(size=100), dtype)
    exact = dual.moments(q, q, q)
    for k in (jnp.nextafter(q, jnp.zeros_like(q)), jnp.nextafter(q, 2 * q)):
        for got, want in zip(dual.moments(k, q, q), exact, strict=True):
            np.testing.assert_allclose(got, want, rtol=16 * jnp.finfo(dtype).eps)


def test_step_function():
    k = jnp.asarray([0.5, 1.0, -1.0])
    nngp, slope = rectified_monomial(0).moments(k, jnp.ones(3), jnp.ones(3))
    np.testing.assert_allclose(nngp, [1 / 3, 1 / 2, 0], rtol=1e-6)
    np.testing.assert_array_equal(slope, np.zeros(3))  # gradients of a finite network with steps are zero


def test_divergent_gaussian_is_infinite():
    k, q = jnp.asarray([0.0, 0.5, -0.5]), jnp.ones(3)
    nngp, slope = gaussian(1.0, 0.6).moments(k, q, q)
    np.testing.assert_array_equal(nngp, [np.inf] * 3)
    np.testing.assert_array_equal(slope, [np.inf, np.inf, -np.inf])


def test_relative_precision_of_erf_at_tiny_variance():
    k, q = jnp.asarray([1e-9, -3e-8, 1e-6]), jnp.full(3, 1e-6)
    np.testing.assert_allclose(erf(1.0, 1.0, 0.0).moments(k, q, q)[0], 4 / np.pi * k, rtol=5e-6)


def test_exp_normalized_clips():
    k, q = jnp.asarray([2.0, -2.0, 0.5]), jnp.ones(3)
    rho = np.asarray([2.0, -2.0, 0.5])
    for do_clip, used in ((False, rho), (True, np.clip(rho, -1, 1))):
        nngp, slope = exp_normalized(0.5, -1.0, do_clip).moments(k, q, q)
        np.testing.assert_allclose(nngp, np.exp(0.5 * (used - 1)), rtol=1e-6)
        np.testing.assert_allclose(slope, 0.5 * np.exp(0.5 * (used - 1)), rtol=1e-6)
    zeros = jnp.zeros(3)
    np.testing.assert_array_equal(exp_normalized(0.5, -1.0, True).moments(zeros, zeros, q)[0], zeros)


def test_no_coefficients():
    dual, x = polynomial([]), jnp.ones((2, 3))
    np.testing.assert_array_equal(dual.fn(x), 0 * x)
    np.testing.assert_array_equal(dual.moments(x, x, x), [0 * x, 0 * x])
    np.testing.assert_array_equal(dual.variance(x), 0 * x)


@pytest.mark.parametrize("name", CASES)
def test_fn(name):
    """What a finite network computes is what the moments were compared with."""
    with jax.enable_x64(True):
        x = np.linspace(-3, 3, 13)
        want = CASES[name].f(x)
        got = CASES[name].dual.fn(jnp.asarray(x))
        # GELU and the error function of finite networks are jax's own.
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_approximate_gelu_is_a_matter_of_finite_networks():
    x = jnp.linspace(-3, 3, 7)
    assert 1e-5 < jnp.abs(gelu(True).fn(x) - gelu(False).fn(x)).max() < 1e-2
    np.testing.assert_array_equal(gelu(True).variance(x**2), gelu(False).variance(x**2))


def product_rule(f, k, q1, q2, deg):
    """`E[f(u) f(v)]` with nodes along `u` and along what is left of `v`, as it is defined."""
    x, w = np.polynomial.hermite.hermgauss(deg)
    a, b = np.meshgrid(x, x, indexing="ij")
    k, q1, q2 = (y[..., None, None] for y in (k, q1, q2))
    u = np.sqrt(2 * q1) * a
    v = k * np.sqrt(2 / q1) * a + np.sqrt(2 * np.maximum(q2 - k**2 / q1, 0)) * b
    return np.sum(np.outer(w, w) * f(u) * f(v), (-1, -2)) / np.pi


def test_quadrature_scheme():
    """The mean of the product rules along both inputs, away from their singular points."""
    with jax.enable_x64(True):
        k, q1, q2 = (x[..., 1:-1] for x in truth.grid(np.array([0.3, 1.0, 7.0])))
        for df, g in ((None, lambda x: 1 - np.tanh(x) ** 2), (jnp.cos, np.cos)):
            computed = quadrature(jnp.tanh, 7, df).moments(k, q1, q2)
            for got, f in zip(computed, (np.tanh, g), strict=True):
                want = (product_rule(f, k, q1, q2, 7) + product_rule(f, k, q2, q1, 7)) / 2
                np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("deg", [4, 9])
@pytest.mark.parametrize(
    "f",
    [
        lambda xp, x: xp.tanh(x),
        lambda xp, x: xp.sign(x),
        lambda xp, x: xp.maximum(x, 0),
        lambda xp, x: xp.cos(3 * x),
        lambda xp, x: xp.clip(x - 1, -1, 1),
    ],
)
def test_quadrature_is_as_accurate_as_the_product_rule(f, deg):
    """For functions that are smooth and others, of which none is integrated well by so few nodes."""
    k, q1, q2 = truth.grid(np.array([0.3, 1.0, 2.2]))
    want, rule = (product_rule(functools.partial(f, np), k, q1, q2, n) for n in (120, deg))
    want = (want + np.swapaxes(want, 0, 1)) / 2
    with jax.enable_x64(True):
        got = np.asarray(quadrature(functools.partial(f, jnp), deg, None).moments(k, q1, q2)[0])
        np.testing.assert_allclose(got, np.swapaxes(got, 0, 1), rtol=1e-13, atol=1e-15)
    assert np.max(np.abs(got - want)) <= np.max(np.abs(rule - want)) + 1e-12


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_quadrature_is_exact_for_polynomials(degree):
    with jax.enable_x64(True):
        grid = [*truth.grid(np.array([0.0, 1e-3, 7.0]))]
        approximate = quadrature(lambda x: x**degree + 1.0, 4, None).moments(*grid)
        exact = polynomial([1.0 + (degree == 0), *[0.0] * (degree - 1), *[1.0] * (degree > 0)]).moments(*grid)
        for got, want in zip(approximate, exact, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12 * np.abs(want).max())


def test_quadrature_converges():
    with jax.enable_x64(True):
        grid = truth.grid(np.array([0.0, 0.1, 0.5]))
        approximate = quadrature(jax.scipy.special.erf, 25, None).moments(*grid)
        for got, want in zip(approximate, erf(1.0, 1.0, 0.0).moments(*grid), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-4)


def test_quadrature_in_constant_memory():
    def loss(deg):
        dual = quadrature(jnp.tanh, deg, None)
        return jax.grad(lambda k, q1, q2: sum(x.sum() for x in dual.moments(k, q1, q2)), (0, 1, 2))

    arguments = jnp.zeros((64, 64)), jnp.ones((64, 1)), jnp.ones((1, 64))
    memory = [
        jax.jit(loss(deg)).lower(*arguments).compile().memory_analysis().temp_size_in_bytes / (4 * 64 * 64)
        for deg in (4, 16)
    ]
    assert memory[1] < memory[0] + 4, memory


def test_custom_derivatives():
    def nngp_fn(k, q1, q2):
        return k**3 * q1 + q2

    q1, q2 = jnp.asarray([[1.0], [2.0]]), jnp.asarray([[3.0, 4.0, 5.0]])
    k = jnp.arange(6.0).reshape(2, 3)
    for d_nngp_fn in (None, lambda k, q1, q2: 3 * k**2 * q1):
        dual = custom(jnp.tanh, nngp_fn, d_nngp_fn)
        nngp, slope = dual.moments(k, q1, q2)
        np.testing.assert_allclose(nngp, k**3 * q1 + q2)
        np.testing.assert_allclose(slope, 3 * k**2 * q1)
    constant = custom(None, lambda k, q1, q2: 1, lambda k, q1, q2: 0)
    np.testing.assert_array_equal(constant.moments(k, q1, q2), [jnp.ones((2, 3)), jnp.zeros((2, 3))])


def test_custom_without_kernel():
    dual = custom(jnp.tanh, None, None)
    with pytest.raises(NotImplementedError, match="nngp_fn"):
        dual.moments(jnp.ones(1), jnp.ones(1), jnp.ones(1))
    with pytest.raises(NotImplementedError, match="nngp_fn"):
        dual.variance(jnp.ones(1))


def test_hermite_functions_are_orthonormal():
    with jax.enable_x64(True):
        points, weights = np.polynomial.hermite_e.hermegauss(20)
        values = np.stack([hermite(d).fn(jnp.asarray(points)) for d in range(8)])
        np.testing.assert_allclose((values * weights) @ values.T / np.sqrt(2 * np.pi), np.eye(8), atol=1e-12)
