"""Expectations over pairs of Gaussians by nested quadrature in float64, of functions that are smooth between kinks.

`E[f(u) f(v)]` is an integral over `u`, and for each `u` one over `v`. Both are cut at the kinks, and refined towards
them and towards 0, where functions vary on their own scale, however wide the Gaussians are.
"""

from collections.abc import Callable, Sequence

import numpy as np

VARIANCES = np.array([1e-3, 0.3, 5.0, 100.0])
CORRELATIONS = np.array([-1, -0.9999, -0.6, 0, 0.8, 0.99999, 1])

Function = Callable[[np.ndarray], np.ndarray]
_X, _W = np.polynomial.legendre.leggauss(14)
_REACH = 9.0


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays `k, q1, q2` over all pairs of variances and all correlations."""
    q1, q2, rho = np.meshgrid(VARIANCES, VARIANCES, CORRELATIONS, indexing="ij")
    return rho * np.sqrt(q1 * q2), q1, q2


def moment(
    f: Function, kinks: Sequence[float], variances: np.ndarray = VARIANCES, correlations: np.ndarray = CORRELATIONS
) -> np.ndarray:
    """`E[f(u) f(v)]` on the grid."""
    n = len(variances)
    result = np.empty((n, n, len(correlations)))
    for i, s1 in enumerate(np.sqrt(variances)):
        for j, s2 in enumerate(np.sqrt(variances[: i + 1])):
            for m, rho in enumerate(correlations):
                result[i, j, m] = result[j, i, m] = _entry(f, sorted({0.0, *kinks}), s1, s2, rho)
    return result


def scale(moments: np.ndarray) -> np.ndarray:
    """`sqrt(E[f(u)^2] E[f(v)^2])` on the grid."""
    variance = np.diagonal(moments[:, :, -1])
    return np.sqrt(variance[:, None] * variance)[:, :, None]


def _entry(f: Function, kinks: Sequence[float], s1: float, s2: float, rho: float) -> float:
    s = np.sqrt(1 - rho**2)
    cuts = [t / s1 for t in kinks] + [t / (s2 * rho) for t in kinks if rho]
    z, weights = _normal_rule(np.array([cuts]))
    if s == 0:
        return float(np.sum(weights * f(s1 * z) * f(s2 * rho * z)))
    w, inner = _normal_rule((np.array(kinks) / s2 - rho * z.T) / s)
    return float(np.sum(weights * f(s1 * z) * np.sum(inner * f(s2 * (rho * z.T + s * w)), axis=1)))


def _normal_rule(cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the normal density, refined towards some cuts; `(rows, cuts)` gives `(rows, nodes)`."""
    steps = np.concatenate([[0], 4.0 ** -np.arange(6.0)[::-1], [2, 4]])
    near = np.concatenate([-steps[:0:-1], steps])
    edges = (cuts[:, :, None] + near).reshape(len(cuts), -1)
    whole = np.broadcast_to(np.arange(-_REACH, _REACH + 1, 1.5), (len(cuts), 13))
    edges = np.sort(np.clip(np.concatenate([edges, whole], axis=1), -_REACH, _REACH), axis=1)
    half = np.diff(edges, axis=1)[:, :, None] / 2
    x = edges[:, :-1, None] + half * (1 + _X)
    w = half * _W * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return x.reshape(len(cuts), -1), w.reshape(len(cuts), -1)
