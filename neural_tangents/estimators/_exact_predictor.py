"""Means and covariances of the ensemble from the whole kernel of the training set."""

import dataclasses
import functools

import numpy as np

from neural_tangents.estimators._network_kernel import NetworkKernel
from neural_tangents.estimators._ridge import Ridge

# Test points whose kernels with the training set are in memory at a time.
_AT_ONCE = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class ExactPredictor:
    """Predictions by `K + λ W⁻¹`, as of `predict.gp_inference`, for standardised inputs and targets.

    Attributes:
      kernel: of the network.
      get: `'nngp'` or `'ntk'`.
      x: training inputs.
      ridge: the decomposition of their kernel.
      noise: `λ`.
      coefficients: `(K + λ W⁻¹)⁻¹ y`, `(N, T)`.
    """

    kernel: NetworkKernel
    get: str
    x: np.ndarray
    ridge: Ridge
    noise: float
    coefficients: np.ndarray

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Means for inputs, `(n, T)`."""
        parts = [self.kernel.matrix(part, self.x, self.get) @ self.coefficients for part in _parts(x)]
        return np.concatenate(parts)

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Variances for inputs, `(n,)`, which the targets share."""
        prior = self.kernel.diagonal(x, "nngp")
        change = [self._change(part, diagonal=True) for part in _parts(x)]
        return np.maximum(prior + np.concatenate(change), 0)

    def covariance(self, x: np.ndarray) -> np.ndarray:
        """Covariances of inputs, `(n, n)`, which the targets share."""
        found = self.kernel.matrix(x, None, "nngp") + self._change(x, diagonal=False)
        return (found + found.T) / 2

    def _change(self, x: np.ndarray, diagonal: bool) -> np.ndarray:
        """What training adds to the covariance, or to the variances."""
        product = "ni,ni->i" if diagonal else "ni,nj->ij"
        k_dt = self.kernel.matrix(x, self.x, self.get).T
        if self.get == "nngp":
            white = self.ridge.whiten(self.noise, k_dt)
            return -np.einsum(product, white, white, optimize=True)
        prior_dt = self.kernel.matrix(x, self.x, "nngp").T
        a = self.ridge.solve(self.noise, k_dt)
        cross = np.einsum(product, a, prior_dt, optimize=True)
        return np.einsum(product, a, self._prior @ a, optimize=True) - cross - cross.T

    @functools.cached_property
    def _prior(self) -> np.ndarray:
        """The NNGP kernel of the training set."""
        return self.kernel.matrix(self.x, None, "nngp")


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + _AT_ONCE] for start in range(0, len(x), _AT_ONCE)]
