"""Ridge regression with a kernel at all ridges, from one eigendecomposition."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize

# Ridges tried before the best is refined, and how far they range, in units of the mean diagonal entry.
_TRIED = 41
_LARGEST = 1e3


class Ridge(NamedTuple):
    """The matrices `K + λ W⁻¹`, for all ridges `λ` and diagonal weights `W`, by `W^½ K W^½ = U diag(v) Uᵀ`.

    Attributes:
      eigenvalues: `v`, none of them negative.
      vectors: `U`.
      weights: the diagonal of `W`.
      mean_diagonal: the weighted mean of the diagonal entries of `K`.
      smallest: the smallest ridge that the rounding of `K` allows.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray
    mean_diagonal: float
    smallest: float

    @classmethod
    def of(cls, kernel: np.ndarray, weights: np.ndarray, eps: float) -> "Ridge":
        """Decomposes a kernel of float64 whose entries were rounded to a precision `eps`."""
        root = np.sqrt(weights)
        scaled = root[:, None] * kernel * root
        eigenvalues, vectors = scipy.linalg.eigh(scaled, overwrite_a=True, check_finite=False, driver="evd")
        total = float(weights @ np.diagonal(kernel)) or float(weights.sum())  # any unit will do for a kernel of zeros
        smallest = max(8 * eps, 1e-10) * total / len(weights)
        return cls(np.maximum(eigenvalues, 0), vectors, weights, total / float(weights.sum()), smallest)

    def solve(self, ridge: float, v: np.ndarray) -> np.ndarray:
        """`(K + λ W⁻¹)⁻¹ v`, for `v` of shape `(N, M)`."""
        root = np.sqrt(self.weights)[:, None]
        return root * (self.vectors @ ((self.vectors.T @ (root * v)) / (self.eigenvalues + ridge)[:, None]))

    def whiten(self, ridge: float, v: np.ndarray) -> np.ndarray:
        """`a` with `aᵀ a = vᵀ (K + λ W⁻¹)⁻¹ v`."""
        root = np.sqrt(self.weights)[:, None]
        return (self.vectors.T @ (root * v)) / np.sqrt(self.eigenvalues + ridge)[:, None]

    def leave_one_out(self, ridges: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The mean squared error of predictions of each point from all others, for each ridge.

        With `B = (K + λ W⁻¹)⁻¹`, the error of point `i` is `[B y]_i / B_ii`; means are weighted, and over targets.
        """
        residuals = self._residuals(ridges, y)
        return np.einsum("n,ntr->r", self.weights, residuals**2) / (self.weights.sum() * y.shape[1])

    def left_out_scale(self, ridge: float, y: np.ndarray, prior: np.ndarray | None) -> float:
        """The factor `s` for which squared errors of leaving one out are as large as predictions say, on average.

        The variance of a new target at point `i`, from all others, is `s / B_ii`. Of networks that are trained by the
        kernel `K`, with outputs of covariance `𝒦` before, it is `s ([B 𝒦 B]_ii / B_ii² + λ / w_i)`.

        Args:
          ridge: `λ`.
          y: targets, `(N, T)`.
          prior: `𝒦`; None if it is `K`.

        Returns:
          `s`; 1 for targets that are all 0, which say nothing about it.
        """
        root = np.sqrt(self.weights)[:, None]
        half = root * self.vectors
        inverse = (half / (self.eigenvalues + ridge)) @ half.T
        diagonal = np.diagonal(inverse)
        variances = 1 / diagonal
        if prior is not None:
            variances = np.einsum("ij,ij->i", inverse @ prior, inverse) / diagonal**2 + ridge / self.weights
        squares = self._residuals(np.array([ridge]), y)[..., 0] ** 2
        return float(np.mean(squares / variances[:, None])) or 1.0

    def quadratic(self, ridges: np.ndarray, y: np.ndarray) -> np.ndarray:
        """`tr yᵀ (K + λ W⁻¹)⁻¹ y` for each ridge."""
        projected = np.sum((self.vectors.T @ (np.sqrt(self.weights)[:, None] * y)) ** 2, axis=1)
        return projected @ self._inverse(ridges)

    def log_likelihood(self, ridges: np.ndarray, y: np.ndarray, scale: float | None) -> np.ndarray:
        """The logarithm of the density of `y` for covariances `s (K + λ W⁻¹)`, for each ridge.

        Args:
          ridges: `λ`.
          y: targets, `(N, T)`, independent along `T`.
          scale: `s`; None for the one that makes the density largest.
        """
        n, t = y.shape
        quadratic = self.quadratic(ridges, y)
        s = best_scale(quadratic, n * t) if scale is None else scale
        log_det = np.sum(np.log(self.eigenvalues[:, None] + ridges), axis=0) - np.sum(np.log(self.weights))
        return -0.5 * (quadratic / s + t * log_det + n * t * np.log(2 * np.pi * s))

    def best_for_left_out(self, y: np.ndarray) -> float:
        """The ridge with the smallest error of leaving one out."""
        return self._minimised(lambda ridges: np.log(self.leave_one_out(ridges, y) + np.finfo(float).tiny))

    def most_likely(self, y: np.ndarray, scale: float | None) -> float:
        """The ridge with the largest likelihood."""
        return self._minimised(lambda ridges: -self.log_likelihood(ridges, y, scale))

    def _minimised(self, loss: Callable[[np.ndarray], np.ndarray]) -> float:
        """Finds the best ridge of a few, and then the best between its neighbours."""
        largest = _LARGEST * self.mean_diagonal * self.weights.mean()
        grid = np.linspace(np.log(self.smallest), np.log(largest), _TRIED)
        losses = loss(np.exp(grid))
        best = int(np.argmin(losses))
        bounds = grid[max(best - 1, 0)], grid[min(best + 1, _TRIED - 1)]
        found = scipy.optimize.minimize_scalar(
            lambda x: float(loss(np.exp(np.array([x])))[0]), bounds=bounds, method="bounded", options={"xatol": 1e-3}
        )
        return float(np.exp(found.x if found.fun < losses[best] else grid[best]))

    def _residuals(self, ridges: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Errors of predictions of each point from all others, `(N, T, R)`."""
        root = np.sqrt(self.weights)[:, None]
        inverse = self._inverse(ridges)
        diagonal = root * (self.vectors**2 @ inverse)
        projected = self.vectors.T @ (root * y)
        solved = [self.vectors @ (projected[:, t, None] * inverse) for t in range(y.shape[1])]
        return np.stack([column / diagonal for column in solved], axis=1)

    def _inverse(self, ridges: np.ndarray) -> np.ndarray:
        return 1 / (self.eigenvalues[:, None] + ridges)


def best_scale(quadratic: np.ndarray, count: int) -> np.ndarray:
    """The factor of a covariance `A` with the largest density of `count` numbers `y`, from `yᵀ A⁻¹ y`; 1 for zeros."""
    return np.where(quadratic > 0, quadratic / count, 1.0)
