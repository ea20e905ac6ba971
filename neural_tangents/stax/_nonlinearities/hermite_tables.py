"""Coefficients of functions of a Gaussian in Hermite polynomials, tabulated with NumPy."""

import dataclasses
import math

import jax
import numpy as np

from neural_tangents._core.chebyshev import chebyshev_coefficients, chebyshev_nodes
from neural_tangents.stax._nonlinearities.sectors import panels

# At most so many terms, of which some more are known, for standard deviations up to one of these.
_MOST, _KNOWN, LARGEST = 40, 80, (2.5, 1.8, 1.3)
_NODES = 28
# Panels of the half-line: from the scale of the smallest of Gaussians to the tails of the largest.
_SCALES, _PANELS = (1e-3, 40.0), 40


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HermiteTable:
    """The even or the odd part `g` of a function as a series, by Mehler's formula

        E[g(u) g(v)] = sum_i a_i(s1) a_i(s2) rho^k_i,    a_i(s) = E[g(s z) h_k_i(z)],    k_i = odd + 2 i,

    with normalised Hermite polynomials `h_k`, up to standard deviations of `largest`. The last term is what is left of
    `E[g(u)^2] = sum_i a_i^2`: so `rho = 1` is exact, and the error elsewhere is at most its square.

    Attributes:
      odd: whether `g` is odd.
      order: of the zero of `g` at 0.
      largest: the standard deviation up to which the series is accurate.
      basis: `a_i(s) = s^order sum_m basis[m, i] T_m(2 s / largest - 1)`.
    """

    odd: bool = dataclasses.field(metadata={"static": True})
    order: int = dataclasses.field(metadata={"static": True})
    largest: float
    basis: np.ndarray


def half_line() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for functions of a positive number on its own scale, and on those of Gaussians."""
    return panels(np.append(0, np.geomspace(*_SCALES, _PANELS)), 12)


def hermite_table(part: np.ndarray, odd: bool, order: int, largest: float, tolerance: float) -> HermiteTable | None:
    """The series of a part of a function, of as few terms as a tolerance allows; None if many would not do.

    Args:
      part: its values at the nodes of `half_line`.
      odd: whether it is odd.
      order: of its zero at 0.
      largest: standard deviation.
      tolerance: of relative errors.
    """
    x, weights = half_line()
    s = largest * (chebyshev_nodes(_NODES) + 1) / 2
    z = x / s[:, None]
    density = 2 * weights * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) / s[:, None]
    polynomials = _hermite(np.minimum(z, 40), 2 * _KNOWN + odd)[int(odd) :: 2]
    energy = density @ part**2
    energy = np.maximum(energy, 1e-30 * np.max(energy))  # functions may vanish near 0
    coefficients = np.einsum("ksx,sx->sk", polynomials, density * part)
    left = np.maximum(energy[:, None] - np.cumsum(coefficients**2, axis=1), 0)
    error = _largest_errors(coefficients, left, odd) / energy[:, None]
    enough = np.flatnonzero(np.all(error[:, :_MOST] <= tolerance, axis=0))
    if not len(enough):
        return None
    n = enough[0] + 1
    every = np.concatenate([coefficients[:, :n], np.sqrt(left[:, n - 1 : n])], axis=1)
    return HermiteTable(odd, order, largest, chebyshev_coefficients(every / s[:, None] ** order))


def _largest_errors(coefficients: np.ndarray, left: np.ndarray, odd: bool) -> np.ndarray:
    """What is left after each number of terms, less the one term that stands for it, at the worst correlation."""
    rho = 1 - np.append(0, np.geomspace(1e-5, 0.5, 60))
    powers = rho ** (odd + 2 * np.arange(coefficients.shape[1] + 1))[:, None]
    terms = coefficients[:, :, None] ** 2 * powers[:-1]
    rest = left[:, -1:, None] * powers[-1] + np.cumsum(terms[:, ::-1], axis=1)[:, ::-1]  # with what was not computed
    after = np.concatenate([rest[:, 1:], left[:, -1:, None] * powers[-1]], axis=1)
    return np.max(np.abs(left[:, :, None] * powers[1:] - after), axis=2) + left[:, -1:]


def _hermite(z: np.ndarray, n: int) -> np.ndarray:
    """The first `n` normalised Hermite polynomials, `(n, *shape of z)`."""
    h = [np.ones_like(z), z]
    for k in range(1, n - 1):
        h.append((z * h[k] - math.sqrt(k) * h[k - 1]) / math.sqrt(k + 1))
    return np.stack(h)
