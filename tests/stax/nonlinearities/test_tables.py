"""Tables of functions whose expectations are known, and what their error says."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.stax._nonlinearities.angle_tables import angle_tables, place_of_distance
from neural_tangents.stax._nonlinearities.hermite_tables import half_line, hermite_table
from neural_tangents.stax._nonlinearities.sectors import Quadrature


def bump(x):
    return jnp.exp(-x * x / 8)


def bump_moments(s, phi):
    """`E[g(u) g(v)]` of `g(x) = exp(-x^2 / 8)` is one over the root of a determinant."""
    a = s * s / 4
    cosine = np.cos(phi)[:, None, None]
    return ((1 + a[:, None]) * (1 + a) - cosine**2 * a[:, None] * a) ** -0.5


def test_table_of_a_bump():
    quadrature = Quadrature(bump)
    (table,), (slope,) = angle_tables(quadrature, np.array([[1.0, 1.0], [1e-6 / 16, 4e-6 / 16]]))
    assert not table.odd and table.order == 0 and table.growth == pytest.approx(-0.5, abs=0.1)
    assert slope.odd and slope.order == 1
    s, phi = np.array([0.0, 0.2, 1.0, 12.0]), np.array([0.0, 0.003, 0.4, 1.5])
    want, size = bump_moments(s, phi), (1 + s * s / 2) ** -0.25
    exact, rounded = (np.max(np.abs(t(s, phi) - want) / (size[:, None] * size)) for t in (table, table.rounded(1e-5)))
    assert exact < 1e-9 < rounded < 1e-4
    assert table.rounded(1e-5).core.size < table.core.size / 4


def test_places_of_distances():
    np.testing.assert_allclose(place_of_distance(np.array([0.0, 1.0])), [-1, 1], rtol=1e-15)


@pytest.mark.parametrize("odd", [False, True])
def test_hermite_series(odd):
    """`exp(a x)` has the coefficients `exp(a^2 / 2) a^k / sqrt(k!)`."""
    part = (np.sinh if odd else np.cosh)(half_line()[0])
    table = hermite_table(part, odd, int(odd), 1.3, 1e-12)
    s = 1.3
    a = s**table.order * np.sum(table.basis, axis=0)  # all polynomials are 1 at the end
    k = np.arange(len(a) - 1) * 2 + odd
    factorial = np.cumprod(np.append(1.0, np.arange(1, 60)))[k]
    np.testing.assert_allclose(a[:-1], np.exp(s * s / 2) * s**k / np.sqrt(factorial), rtol=1e-6, atol=1e-9)
    energy = np.exp(s * s) * (np.sinh if odd else np.cosh)(s * s)
    np.testing.assert_allclose(np.sum(a**2), energy, rtol=1e-9)  # with the last term


def test_kinks_have_no_short_hermite_series():
    assert hermite_table(half_line()[0], False, 1, 1.3, 1e-9) is None
