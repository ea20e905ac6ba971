"""Tables of functions whose expectations are known, and what their error says."""

import numpy as np
import pytest

from neural_tangents.stax._nonlinearities.angle_tables import Entrywise, Rule, angle_tables, place_of_distance
from neural_tangents.stax._nonlinearities.hermite_tables import hermite_table


def step(x):
    return np.where(x > 0, 1.0, 0.0)


def test_parity():
    parities = [Entrywise(f).parity for f in (np.cos, np.sin, np.exp, np.abs)]
    assert parities == [1, -1, 0, 1]


def test_quadrature_of_half_lines():
    """`P(u > 0, v > 0) = (pi - theta) / (2 pi)`, and `E[|u| |v|]` with the arc-cosine function."""
    s = np.array([0.5, 3.0])
    for phi in (0.0, 0.01, 1.0, np.pi / 2):
        even, odd = Rule.of(12).moments(Entrywise(step), s, phi)
        np.testing.assert_allclose(even, 0.25, rtol=1e-12)
        np.testing.assert_allclose(odd, 0.25 - phi / (2 * np.pi), rtol=0, atol=1e-13)
        even, _ = Rule.of(12).moments(Entrywise(np.abs), s, phi)
        want = 2 / np.pi * (np.sin(phi) + (np.pi / 2 - phi) * np.cos(phi)) * np.outer(s, s)
        np.testing.assert_allclose(even, want, rtol=1e-12)


def test_table_of_a_bump():
    """`E[g(u) g(v)]` of `g(x) = exp(-x^2 / 8)` is one over the root of a determinant."""
    (table,) = angle_tables(Entrywise(lambda x: np.exp(-x * x / 8)))
    assert not table.odd and table.order == 0 and table.growth == pytest.approx(-0.5, abs=0.1)
    s, phi = np.array([0.0, 0.2, 1.0, 12.0]), np.array([0.0, 0.003, 0.4, 1.5])
    a = s * s / 4
    cosine = np.cos(phi)[:, None, None]
    want = ((1 + a[:, None]) * (1 + a) - cosine**2 * a[:, None] * a) ** -0.5
    size = (1 + 2 * a) ** -0.25
    exact, rounded = (np.max(np.abs(t(s, phi) - want) / (size[:, None] * size)) for t in (table, table.rounded(1e-5)))
    assert exact < 1e-9 < rounded < 1e-4
    assert table.rounded(1e-5).core.size < table.core.size / 4


def test_places_of_distances():
    np.testing.assert_allclose(place_of_distance(np.array([0.0, 1.0])), [-1, 1], rtol=1e-15)


@pytest.mark.parametrize("odd", [False, True])
def test_hermite_series(odd):
    """`exp(a x)` has the coefficients `exp(a^2 / 2) a^k / sqrt(k!)`."""
    table = hermite_table(np.sinh if odd else np.cosh, odd, int(odd), 1.3, 1e-12)
    s = 1.3
    a = s**table.order * np.sum(table.basis, axis=0)  # all polynomials are 1 at the end
    k = np.arange(len(a) - 1) * 2 + odd
    factorial = np.cumprod(np.append(1.0, np.arange(1, 60)))[k]
    np.testing.assert_allclose(a[:-1], np.exp(s * s / 2) * s**k / np.sqrt(factorial), rtol=1e-6, atol=1e-9)
    energy = np.exp(s * s) * (np.sinh if odd else np.cosh)(s * s)
    np.testing.assert_allclose(np.sum(a**2), energy, rtol=1e-9)  # with the last term


def test_kinks_have_no_short_hermite_series():
    assert hermite_table(np.abs, False, 1, 1.3, 1e-9) is None
