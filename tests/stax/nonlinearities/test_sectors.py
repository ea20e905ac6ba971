"""Quadrature in sectors, of functions whose expectations are known."""

import jax.numpy as jnp
import numpy as np

from neural_tangents.stax._nonlinearities.sectors import Quadrature, Rule, graded, panels

S, PHI = np.array([0.5, 3.0]), np.array([0.0, 0.01, 1.0, np.pi / 2])


def step(x):
    return jnp.where(x > 0, 1.0, 0.0)


def test_step_and_given_derivative():
    """`P(u > 0, v > 0) = (pi - theta) / (2 pi)`, and `E[|u| |v|]` with the arc-cosine function."""
    (even, odd), (absolute, none) = Quadrature(step, jnp.abs)(S, PHI, Rule.of(0.01))
    angles = PHI[:, None, None] * np.ones((2, 2))
    np.testing.assert_allclose(even, 0.25 + 0 * angles, rtol=1e-12)
    np.testing.assert_allclose(odd, 0.25 - angles / (2 * np.pi), rtol=0, atol=1e-13)
    want = 2 / np.pi * (np.sin(angles) + (np.pi / 2 - angles) * np.cos(angles)) * np.outer(S, S)
    np.testing.assert_allclose(absolute, want, rtol=1e-12)
    assert not np.any(none)


def test_derivative_by_jax():
    """`E[sin(u) sin(v)]` and `E[cos(u) cos(v)]`, and values."""
    quadrature, s = Quadrature(jnp.sin), S / 4
    (none, odd), (even, _) = quadrature(s, PHI, Rule.of(0.01))
    size, k = np.exp(-(s[:, None] ** 2 + s**2) / 2), np.cos(PHI)[:, None, None] * np.outer(s, s)
    np.testing.assert_allclose(odd, size * np.sinh(k), rtol=0, atol=1e-11)
    np.testing.assert_allclose(even, size * np.cosh(k), rtol=0, atol=1e-11)
    assert not np.any(none)
    np.testing.assert_allclose(quadrature.values(S), [np.sin(S), np.cos(S)], rtol=1e-14)


def test_rules():
    for x, weights in (graded(2.0, 0.01, 20), panels(np.array([0, 0.5, 2.0]), 9)):
        np.testing.assert_allclose(np.sum(weights * x**3), 4.0, rtol=1e-10)
        assert np.all(np.diff(x) > 0) and 0 < x[0] and x[-1] < 2
