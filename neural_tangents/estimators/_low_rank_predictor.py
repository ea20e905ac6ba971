"""Means and covariances of the ensemble for more training points than a kernel matrix can have."""

import dataclasses
from typing import Any

import jax
import numpy as np

from neural_tangents import predict
from neural_tangents.estimators._network_kernel import NetworkKernel


@dataclasses.dataclass(frozen=True)
class WeightedKernel:
    """The kernel `√w K(x, x') √w'` of pairs of inputs and roots of weights, as a `kernel_fn`.

    Noise of variance `λ / w` in the targets `y` of `K` is noise of variance `λ` in the targets `√w y` of this one.

    Attributes:
      kernel: `K`.
    """

    kernel: NetworkKernel

    def __call__(self, x1: tuple[Any, Any], x2: tuple[Any, Any] | None, get: str) -> jax.Array:
        (x1, root1), (x2, root2) = x1, (None, x1[1]) if x2 is None else x2
        return root1[:, None] * self.kernel(x1, x2, get) * root2[None, :]


@dataclasses.dataclass(frozen=True, eq=False)
class LowRankPredictor:
    """Predictions of `predict.low_rank_ensemble`, for standardised inputs and targets.

    Attributes:
      ensemble: of the weighted kernel.
      get: `'nngp'` or `'ntk'`.
      dtype: the type that inputs get.
    """

    ensemble: predict.LowRankEnsemble
    get: str
    dtype: Any

    @classmethod
    def of(
        cls,
        kernel: NetworkKernel,
        get: str,
        x: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray,
        noise: float,
        rank: int,
        seed: int,
    ) -> "LowRankPredictor":
        """Learns targets `y`, `(N, T)`, with noise of variance `noise / weights`, by `rank` columns of the kernel."""
        dtype, root = np.dtype(jax.dtypes.canonicalize_dtype(float)), np.sqrt(weights)
        ensemble = predict.low_rank_ensemble(
            WeightedKernel(kernel),
            (x.astype(dtype), root.astype(dtype)),
            (root[:, None] * y).astype(dtype),
            rank,
            diag_reg=noise,
            diag_reg_absolute_scale=True,
            key=jax.random.key(seed),
        )
        return cls(ensemble, get, dtype)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Means for inputs, `(n, T)`."""
        return np.asarray(self._predict(x, False), np.float64)

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Variances for inputs, `(n,)`, which the targets share."""
        return np.asarray(self._predict(x, "diag").variance[:, 0], np.float64)

    def covariance(self, x: np.ndarray) -> np.ndarray:
        """Covariances of inputs, `(n, n)`, which the targets share."""
        return np.asarray(self._predict(x, True).covariance, np.float64)

    def _predict(self, x: np.ndarray, compute_cov: bool | str) -> Any:
        x_test = x.astype(self.dtype), np.ones(len(x), self.dtype)
        return self.ensemble(x_test=x_test, get=self.get, compute_cov=compute_cov)
