"""Spectral functions against high precision, where plain formulas cancel, overflow or divide by zero."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
from jax import numpy as jnp

from neural_tangents.predict import _spectral as spectral
from neural_tangents.predict._regularised import Regularised

EIGENVALUES = (0.0, 1e-12, 1e-6, 1.0001e-6, 1e-3, 0.09, 0.1, 0.11, 1.0, 1.0000001, 40.0)
TIMES = (0.0, 1e-3, 1.0, 50.0, 1e4)


def integral(f, s, decay):
    """The integral of `f` over `0..s`, whose integrand falls like `e^{-decay u}`, on many panels."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    edges = np.concatenate([[0.0], np.geomspace(1e-8, 1.0, 40)]) * min(s, 60.0 / decay if decay else math.inf)
    panels = [((a + b) / 2, (b - a) / 2) for a, b in itertools.pairwise(edges)]
    return sum(half * np.sum(weights * f(middle + half * nodes)) for middle, half in panels)


def mean_exponential(x):
    return np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1), 1.0)


@pytest.mark.parametrize("s", TIMES)
def test_response(dtype, s):
    """`(1 - e^{-λs}) / λ` is the integral of `e^{-λu}`."""
    for lam in EIGENVALUES:
        got = spectral.RESPONSE.value(jnp.asarray(lam, dtype), jnp.asarray(s, dtype))
        want = integral(lambda u, lam=lam: np.exp(-lam * u), s, lam)
        np.testing.assert_allclose(got, want, rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("s", TIMES)
def test_divided_differences(dtype, s):
    """As integrals of `u e^{-min(a, b) u} g(|a - b| u)`, where nothing cancels."""
    for pair in itertools.product(EIGENVALUES, repeat=2):
        a, b = (float(dtype.type(lam)) for lam in pair)
        arguments = [jnp.asarray(number, dtype) for number in (a, b, s)]
        low, distance = min(a, b), abs(a - b)
        want = -s * np.exp(-low * s) * mean_exponential(distance * s)
        tolerance = 100 * np.finfo(dtype).eps
        for function in (spectral.DECAY, spectral.CHANGE):
            np.testing.assert_allclose(function.difference(*arguments), want, rtol=tolerance, atol=1e-30)
        want = -integral(lambda u, low=low, d=distance: u * np.exp(-low * u) * mean_exponential(d * u), s, low)
        np.testing.assert_allclose(spectral.RESPONSE.difference(*arguments), want, rtol=tolerance)


@pytest.mark.parametrize("function", [spectral.DECAY, spectral.CHANGE, spectral.RESPONSE])
def test_infinite_time(dtype, function):
    """Limits; nothing is ever learned about an eigenvector of eigenvalue 0."""
    lam, infinity = jnp.asarray([0.0, 1e-30, 2.0], dtype), jnp.asarray(np.inf, dtype)
    want = {spectral.DECAY: [1, 0, 0], spectral.CHANGE: [0, -1, -1], spectral.RESPONSE: [0, 1e30, 0.5]}[function]
    np.testing.assert_allclose(function.value(lam, infinity), np.asarray(want, dtype), rtol=1e-6)
    lam = jnp.asarray([0.0, 0.5, 2.0], dtype)
    assert np.isfinite(function.difference(lam[:, None], lam[None, :], infinity)).all()


@pytest.mark.parametrize("left", [None, 2])
@pytest.mark.parametrize("right", [None, 3])
def test_bilinear(dtype, left, right):
    rng = np.random.default_rng([left or 0, right or 0])
    phi = rng.normal(size=(4, 4))
    matrix = phi @ phi.T
    columns = [None if n is None else rng.normal(size=(4, n)) for n in (left, right)]
    a, b = (np.eye(4) if c is None else c for c in columns)
    e = scipy.linalg.expm(-0.7 * matrix)
    want = {"DECAY": e, "CHANGE": e - np.eye(4), "RESPONSE": np.linalg.solve(matrix, np.eye(4) - e)}
    matrix = Regularised.of(jnp.asarray(matrix, dtype))
    spectrum = spectral.decompose(matrix, dtype)
    columns = [None if c is None else c.astype(dtype) for c in columns]
    for name, function in want.items():
        got = spectral.bilinear(getattr(spectral, name), spectrum, matrix, jnp.asarray(0.7, dtype), *columns)
        np.testing.assert_allclose(got, a.T @ function @ b, atol=1e4 * np.finfo(dtype).eps)


def test_negative_eigenvalues_are_rounding(dtype):
    assert spectral.decompose(Regularised.of(jnp.diag(jnp.asarray([1.0, -1e-9], dtype))), dtype).values.tolist() == [
        0.0,
        1.0,
    ]
