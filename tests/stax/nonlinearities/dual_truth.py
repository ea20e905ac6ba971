"""Expectations over pairs of Gaussians, by quadrature of the nonlinearity itself in float64: no closed form is used."""

from collections.abc import Callable
from math import factorial

import numpy as np

VARIANCES = np.array([1e-6, 1e-3, 0.3, 1.0, 7.0, 1e3])
CORRELATIONS = np.array([-1, -0.999, -0.7, 0, 0.4, 0.99, 1])

Function = Callable[[np.ndarray], np.ndarray]


def grid(variances: np.ndarray = VARIANCES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays `k, q1, q2` over all pairs of variances and all correlations."""
    q1, q2, rho = np.meshgrid(variances, variances, CORRELATIONS, indexing="ij")
    return rho * np.sqrt(q1 * q2), q1, q2


def smooth_moment(f: Function, sharpness: float, reach: float, variances: np.ndarray = VARIANCES) -> np.ndarray:
    """`E[f(u) f(v)]` on the grid, for an entire function `f`.

    The trapezoidal rule converges exponentially for such functions, with a step that resolves the narrower one of the
    density and of `f`. Of the latter that is `1 / sharpness`; the density is cut off at `reach` standard deviations.
    """
    n = len(variances)
    result = np.empty((n, n, len(CORRELATIONS)))
    for i, q1 in enumerate(variances):
        for j, q2 in enumerate(variances[: i + 1]):
            for m, rho in enumerate(CORRELATIONS):
                result[i, j, m] = result[j, i, m] = _smooth_entry(f, sharpness, reach, q1, q2, rho)
    return result


def _smooth_entry(f: Function, sharpness: float, reach: float, q1: float, q2: float, rho: float) -> float:
    s = np.sqrt(1 - rho**2)
    x, wx = _normal_rule(sharpness * np.sqrt(q1 + q2), reach)
    y, wy = _normal_rule(sharpness * np.sqrt(q2) * s, reach) if s > 0 else (np.zeros(1), np.ones(1))
    total = 0.0
    for rows in np.array_split(np.arange(len(x)), 1 + len(x) * len(y) // 200_000):
        v = np.sqrt(q2) * (rho * x[rows, None] + s * y)
        total += wx[rows] * f(np.sqrt(q1) * x[rows]) @ (f(v) @ wy)
    return total


def _normal_rule(frequency: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    step = 0.4 / max(1.6, frequency)
    n = int(reach / step)
    x = step * np.arange(-n, n + 1)
    return x, step * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def homogeneous_moment(f: Function, degree: int) -> np.ndarray:
    """`E[f(u) f(v)]` on the grid, for `f` with `f(r x) = r^degree f(x)` for all `r > 0`.

    In polar coordinates, the radial integral is a factorial; the angular one is cut where `u` or `v` change their sign.
    """
    k, q1, q2 = grid()
    theta = np.arccos(CORRELATIONS)
    cuts = np.stack([0 * theta, theta, 0 * theta + np.pi, theta + np.pi, 0 * theta + 2 * np.pi], axis=-1) - np.pi / 2
    nodes, weights = np.polynomial.legendre.leggauss(20)
    low, high = cuts[:, :-1, None], cuts[:, 1:, None]
    phi = (low + high) / 2 + (high - low) / 2 * nodes
    angular = np.sum((high - low) / 2 * weights * f(np.cos(phi)) * f(np.cos(phi - theta[:, None, None])), axis=(1, 2))
    return 2.0**degree * factorial(degree) / (2 * np.pi) * (q1 * q2) ** (degree / 2) * angular


def scale(moment: np.ndarray) -> np.ndarray:
    """`sqrt(E[f(u)^2] E[f(v)^2])` on the grid."""
    variance = np.diagonal(moment[:, :, -1])
    return np.sqrt(variance[:, None] * variance)[:, :, None]
