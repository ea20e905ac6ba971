"""Expectations of any function of two Gaussians, tabulated: tensors of Chebyshev coefficients.

For `u`, `v` with standard deviations `s1`, `s2` and the acute angle `phi`, that is, correlation `cos(phi)`,
`E[g(u) g(v)]` is a smooth function of the three, for functions `g` that are smooth but for a kink or a jump at 0. It
has only one scale, `phi ~ 1 / s`, on which it varies, so that polynomials in `log(1 + s / UNIT)` and
`log(1 + LARGEST phi)` converge fast. The even and the odd part of `g` are tabulated each by itself: between them
expectations vanish, and those for obtuse angles follow by symmetry. Those of odd parts vanish at right angles.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from numpy.polynomial import chebyshev

from neural_tangents._core.chebyshev import chebyshev_coefficients, chebyshev_nodes
from neural_tangents.stax._nonlinearities.sectors import DEVIATIONS, Quadrature, Rule

# Standard deviations from 0 to `LARGEST`, with a resolution of `UNIT` near 0; `sqrt(1 - cos(phi))` likewise.
UNIT, LARGEST = 0.3, 32.0
_SPAN, _NEAR = math.log1p(LARGEST / UNIT), 0.3
_ANGLES = 48  # number of nodes
# The scale down to which the nodes of quadrature are refined.
FINEST = 0.01


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AngleTable:
    """The even or the odd part `g` of a function, by the expectations `E[g(u) g(v)]`.

    With `x(s) = 2 log(1 + s / UNIT) / log(1 + LARGEST / UNIT) - 1`, `y(phi)` likewise, and Chebyshev polynomials `T`,

        E[g(u) g(v)] = cos(phi)^odd sum_jab core[j, a, b] T_j(y) h_a(s1) h_b(s2),
        h_a(s) = s^order (1 + s)^(growth - order) sum_m basis[m, a] T_m(x).

    Attributes:
      odd: whether `g` is odd.
      order: of the zero of the function at 0.
      growth: the exponent with which it grows.
      basis: functions of a standard deviation, `(M, R)`.
      core: `(J, R, R)`.
    """

    odd: bool = dataclasses.field(metadata={"static": True})
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
        return h @ core @ h.T * (np.cos(phi) if self.odd else np.ones_like(phi))[:, None, None]

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


def angle_tables(quadrature: Quadrature, tiny: np.ndarray) -> list[list[AngleTable]]:
    """Those parts of a function, and of its derivative, that are not zero.

    Args:
      quadrature: their expectations.
      tiny: `E[g(u)^2]` of each at two standard deviations that are tiny, of which the second is twice the first.
    """
    s = UNIT * np.expm1((chebyshev_nodes(DEVIATIONS) + 1) / 2 * _SPAN)
    y = (chebyshev_nodes(_ANGLES) + 1) / 2
    phi = 2 * np.arcsin(_NEAR * y / (1 + _NEAR - y) / math.sqrt(2))
    moments = quadrature(s, phi, Rule.of(FINEST))
    return [_parts(s, phi, *arrays) for arrays in zip(moments, tiny, strict=True)]


def _parts(s: np.ndarray, phi: np.ndarray, moments: np.ndarray, near: np.ndarray) -> list[AngleTable]:
    """The parts of a function, from its expectations at all nodes, and from its square mean at tiny deviations."""
    squares = np.diagonal(moments[:, -1], axis1=1, axis2=2)  # at the smallest angle
    total = np.sum(squares, axis=0)
    present = [np.any(square > 1e-24 * total) for square in squares]
    if not any(present):
        return []  # 0, as the derivative of a function of steps
    total = np.maximum(total, 1e-40 * np.max(total))  # functions may vanish near 0
    order = min(2, max(0, round(math.log2(near[1] / near[0]) / 2))) if near[0] > 0 else 2
    growth = math.log(total[0] / total[1]) / math.log(s[0] / s[1]) / 2
    size = np.sqrt(total)
    relative = moments / (size[:, None] * size)
    relative[1] /= np.cos(phi)[:, None, None]
    return [_part(bool(odd), order, growth, s, size, relative[odd]) for odd in (0, 1) if present[odd]]


def _part(odd: bool, order: int, growth: float, s: np.ndarray, size: np.ndarray, relative: np.ndarray) -> AngleTable:
    core = chebyshev_coefficients(relative)
    # The functions of one deviation that count most.
    values, _, _ = np.linalg.svd(np.moveaxis(core, 1, 0).reshape(len(s), -1), full_matrices=False)
    core = values.T @ core @ values
    part = AngleTable(odd, order, growth, values, core)
    basis = chebyshev_coefficients(size[:, None] * values / part.weight(s)[:, None])
    return dataclasses.replace(part, basis=basis)


def distance_of_place(y: np.ndarray) -> np.ndarray:
    """The inverse of `place_of_distance`."""
    x = (y + 1) / 2
    return (_NEAR * x / (1 + _NEAR - x)) ** 2
