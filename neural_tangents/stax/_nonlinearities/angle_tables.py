"""Expectations of any function of two Gaussians, tabulated: tensors of Chebyshev coefficients, computed with NumPy.

For `u`, `v` with standard deviations `s1`, `s2` and the acute angle `phi`, that is, correlation `cos(phi)`,
`E[g(u) g(v)]` is a smooth function of the three, for functions `g` that are smooth but for a kink or a jump at 0. It
has only one scale, `phi ~ 1 / s`, on which it varies, so that polynomials in `log(1 + s / UNIT)` and
`log(1 + LARGEST phi)` converge fast. The even and the odd part of `g` are tabulated each by itself: between them
expectations vanish, and those for obtuse angles follow by symmetry.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.polynomial.legendre import leggauss

# Standard deviations from 0 to `LARGEST`, with a resolution of `UNIT` near 0; `sqrt(1 - cos(phi))` likewise.
UNIT, LARGEST = 0.3, 32.0
_SPAN, _NEAR = math.log1p(LARGEST / UNIT), 0.3
_DEVIATIONS, _ANGLES = 36, 48  # numbers of nodes


class Entrywise:
    """A function of arrays in double precision.

    Attributes:
      parity: 1 if it is even, -1 if it is odd, else 0.
    """

    def __init__(self, fn: Callable[[np.ndarray], np.ndarray]):
        x = np.geomspace(1e-3, 300, 100)
        self._fn, right, left = fn, fn(x), fn(-x)
        self.parity = 1 if np.array_equal(right, left) else -1 if np.array_equal(right, -left) else 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self._fn(x)


@dataclasses.dataclass(frozen=True)
class AngleTable:
    """The even or the odd part `g` of a function, by the expectations `E[g(u) g(v)]`.

    With `x(s) = 2 log(1 + s / UNIT) / log(1 + LARGEST / UNIT) - 1`, `y(phi)` likewise, and Chebyshev polynomials `T`,

        E[g(u) g(v)] = sum_jab core[j, a, b] T_j(y) h_a(s1) h_b(s2),
        h_a(s) = s^order (1 + s)^(growth - order) sum_m basis[m, a] T_m(x).

    Attributes:
      odd: whether `g` is odd.
      order: of the zero of `g` at 0.
      growth: the exponent with which `g` grows.
      basis: functions of a standard deviation, `(M, R)`.
      core: `(J, R, R)`.
    """

    odd: bool
    order: int
    growth: float
    basis: np.ndarray
    core: np.ndarray

    def weight(self, s: Any) -> Any:
        """The factor of all functions of a standard deviation, of which there are no more beyond `LARGEST`."""
        return s**self.order * (1 + s) ** (self.growth - self.order)

    def functions(self, s: np.ndarray) -> np.ndarray:
        """`h_a(s)`, `(*shape of s, R)`."""
        return self.weight(s)[..., None] * (
            chebyshev.chebvander(place_of_deviation(s), len(self.basis) - 1) @ self.basis
        )

    def __call__(self, s: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Expectations for all pairs of standard deviations, for each angle."""
        h = self.functions(s)
        core = np.tensordot(
            chebyshev.chebvander(place_of_distance(2 * np.sin(phi / 2) ** 2), len(self.core) - 1), self.core, 1
        )
        return h @ core @ h.T

    def rounded(self, tolerance: float) -> "AngleTable":
        """With fewer terms, each of which is left out if it is small compared with the largest expectation."""
        sizes = np.linalg.norm(self.core.reshape(len(self.core), -1), axis=1)
        n = max(1, int(np.sum(_tails(sizes) > tolerance)))
        r = max(1, int(np.sum(_tails(np.linalg.norm(self.core, axis=(0, 2))) > tolerance)))
        return dataclasses.replace(self, basis=self.basis[:, :r], core=self.core[:n, :r, :r])


def _tails(sizes: np.ndarray) -> np.ndarray:
    return np.sqrt(np.cumsum(sizes[::-1] ** 2)[::-1])


def place_of_deviation(s: Any, xp: Any = np) -> Any:
    """`x(s)` of `AngleTable`, with NumPy or with JAX."""
    return 2 / _SPAN * xp.log1p(xp.minimum(s, LARGEST) / UNIT) - 1


def place_of_distance(d: Any, xp: Any = np) -> Any:
    """`y(d)` of `AngleTable`, with NumPy, or with the square root `xp`."""
    t = np.sqrt(d) if xp is np else xp(d)
    return 2 * (1 + _NEAR) * t / (t + _NEAR) - 1


class Rule(NamedTuple):
    """A quadrature rule for `E[g(u) g(v)]` in polar coordinates, between two rays on which `u` or `v` vanish.

    Attributes:
      place: places between the rays, from 0 to 1, in order and symmetric; refined towards both.
      weights: their weights.
      radius: distances from the origin, refined towards it.
      radial: their weights, with the density.
    """

    place: np.ndarray
    weights: np.ndarray
    radius: np.ndarray
    radial: np.ndarray

    @classmethod
    def of(cls, nodes: int) -> "Rule":
        """A rule with some nodes for each panel."""
        half, weights = panels(np.append(0, 0.5 * 4.0 ** np.arange(-4, 1)), nodes)
        r, w = panels(np.array([0, 2 / 27, 2 / 9, 2 / 3, 2, 4, 6, 8.6]), nodes)
        both = np.append(weights, weights[::-1])
        return cls(np.append(half, 1 - half[::-1]), both, r, w * r * np.exp(-r * r / 2) / math.pi)

    def moments(self, fn: Entrywise, s: np.ndarray, phi: float) -> tuple[np.ndarray, np.ndarray]:
        """`E[g(u) g(v)]` of the even and of the odd part of a function, for all pairs of standard deviations."""
        even, odd = np.zeros((2, len(s), len(s)))
        for angle, sign in ((phi, -1), (math.pi - phi, 1)):  # in the first segment `u > 0 > v`, then both are positive
            x = s[:, None, None] * (np.sin(angle * self.place)[:, None] * self.radius)
            weights = angle * self.weights[:, None] * self.radial
            right, left = fn(x), None if fn.parity else fn(-x)
            if fn.parity != -1:
                even += _products(right if left is None else (right + left) / 2, weights)
            if fn.parity != 1:
                odd += sign * _products(right if left is None else (right - left) / 2, weights)
        return even, odd


def _products(g: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums over nodes of `g(u) g(v)`; `v` is `u` of the mirrored node."""
    result = (g * weights).reshape(len(g), -1) @ g[:, ::-1].reshape(len(g), -1).T
    return (result + result.T) / 2


def panels(edges: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of a Gauss-Legendre rule on each of some intervals."""
    x, w = leggauss(nodes)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def angle_tables(fn: Entrywise) -> list[AngleTable]:
    """The parts of a function that are not zero."""
    rule = Rule.of(12)
    s = UNIT * np.expm1((chebyshev_nodes(_DEVIATIONS) + 1) / 2 * _SPAN)
    y = (chebyshev_nodes(_ANGLES) + 1) / 2
    phi = 2 * np.arcsin(_NEAR * y / (1 + _NEAR - y) / math.sqrt(2))
    moments = [rule.moments(fn, s, angle) for angle in phi]
    squares = [np.diagonal(square) for square in rule.moments(fn, s, 0.0)]
    tiny = np.array([1e-3, 2e-3])
    tiny_squares = [np.diagonal(square) for square in rule.moments(fn, tiny, 0.0)]
    largest = sum(squares)
    present = [np.any(square > 1e-24 * largest) for square in squares]
    # Functions may vanish near 0.
    squares = [np.maximum(square, 1e-40 * np.max(largest)) for square in squares]
    return [
        _part(bool(odd), s, np.stack([m[odd] for m in moments]), squares[odd], tiny_squares[odd])
        for odd in (0, 1)
        if present[odd]
    ]


def _part(odd: bool, s: np.ndarray, moments: np.ndarray, squares: np.ndarray, tiny: np.ndarray) -> AngleTable:
    """A part, from its expectations at all nodes, and from `E[g(u)^2]` there and at two tiny deviations."""
    order = max(0, round(math.log2(tiny[1] / tiny[0]) / 2)) if tiny[0] > 0 else 4
    growth = math.log(squares[0] / squares[1]) / math.log(s[0] / s[1]) / 2
    size = np.sqrt(squares)
    core = chebyshev_coefficients(moments / (size[:, None] * size))
    # The functions of one deviation that count most.
    values, _, _ = np.linalg.svd(np.moveaxis(core, 1, 0).reshape(len(s), -1), full_matrices=False)
    core = values.T @ core @ values
    part = AngleTable(odd, order, growth, values, core)
    basis = chebyshev_coefficients(size[:, None] * values / part.weight(s)[:, None])
    return dataclasses.replace(part, basis=basis)


def chebyshev_nodes(n: int) -> np.ndarray:
    """The zeros of the polynomial of degree `n`."""
    return np.cos(math.pi * (np.arange(n) + 0.5) / n)


def chebyshev_coefficients(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients along the first axis, from values at the nodes."""
    n = len(values)
    matrix = chebyshev.chebvander(chebyshev_nodes(n), n - 1).T * (2 / n)
    matrix[0] /= 2
    return np.tensordot(matrix, values, 1)
