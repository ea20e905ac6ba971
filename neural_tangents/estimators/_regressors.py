"""Regression by infinite networks, with the conventions of scikit-learn."""

from typing import Any, Self

import numpy as np

from neural_tangents.estimators._docstrings import with_arguments
from neural_tangents.estimators._estimator import KernelEstimator
from neural_tangents.estimators._scikit_learn import MultiOutputMixin, RegressorMixin, validate_data
from neural_tangents.estimators._standardise import spread_of_equal


class _KernelRegressor(MultiOutputMixin, RegressorMixin, KernelEstimator):
    """What both regressors share."""

    def __init__(
        self,
        network: Any = None,
        *,
        hyperparameters: Any = None,
        alpha: Any = "loo",
        output_scale: Any = "loo",
        feature_learning: int = 0,
        standardize: bool = True,
        normalize_y: bool = True,
        max_exact: int = 4000,
        random_state: Any = None,
    ) -> None:
        self.network = network
        self.hyperparameters = hyperparameters
        self.alpha = alpha
        self.output_scale = output_scale
        self.feature_learning = feature_learning
        self.standardize = standardize
        self.normalize_y = normalize_y
        self.max_exact = max_exact
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learns targets.

        Args:
          X: inputs, `(N, d)`, or `(N, ...)` as the network takes them; an array, a list, or a data frame.
          y: targets, `(N,)` or `(N, T)`.
          sample_weight: weights `w_i >= 0` of the inputs, `(N,)`; None for 1. Noise has the variance `α k̄ / w_i`.

        Returns:
          The estimator itself.

        Raises:
          ValueError: arrays have the wrong shape, or numbers that are not finite, or an argument is out of range.
          TypeError: `network` is none, or does not fit `hyperparameters`.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, allow_nd=True)
        y = np.asarray(y, np.float64)
        weights = self._checked_weights(sample_weight, len(X))
        self._target_shape = y.shape[1:]
        self._fit_targets(X, y.reshape(len(y), -1), weights, self.normalize_y, self.normalize_y)
        noise = self._noise * self._targets.scale**2
        if isinstance(self.output_scale, str):
            squares, count, single = spread_of_equal(X, y.reshape(len(y), -1), weights)
            noise = (single * noise + squares) / (single + count)
        self.noise_variance_ = noise if self._target_shape else float(noise[0])
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predicts targets: the mean of the ensemble, and its spread if asked for.

        Args:
          X: inputs, `(n, d)`.
          return_std: whether to return standard deviations.
          return_cov: whether to return the covariance of all inputs.

        Returns:
          The mean, `(n,)` or `(n, T)`; or the mean and standard deviations of the same shape; or the mean and the
          covariance, `(n, n)` or `(n, n, T)`. For the spread of new targets, add `noise_variance_` to the variances.

        Raises:
          ValueError: inputs have the wrong shape, or both are asked for.
          NotFittedError: `fit` was not called.
        """
        x = self._checked_inputs(X)
        spread = self._spread(x, return_std, return_cov)
        mean = self._as_targets(self._targets.inverse(self._predictor.mean(x)))
        if spread is None:
            return mean
        if return_std:
            return mean, self._as_targets(spread[:, None] * self._targets.scale)
        covariance = spread[..., None] * self._targets.scale**2
        return mean, covariance if self._target_shape else covariance[..., 0]

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Draws outputs of networks of the ensemble, without the noise of targets.

        Args:
          X: inputs, `(n, d)`.
          n_samples: the number of draws.
          random_state: a seed, or a `numpy.random.RandomState`.

        Returns:
          Draws, `(n, n_samples)` or `(n, T, n_samples)`.

        Raises:
          ValueError: inputs have the wrong shape.
          NotFittedError: `fit` was not called.
        """
        draws = self._draws(self._checked_inputs(X), n_samples, random_state)
        draws = draws * self._targets.scale[:, None] + self._targets.offset[:, None]
        return draws if self._target_shape else draws[:, 0]

    def _as_targets(self, a: np.ndarray) -> np.ndarray:
        """Targets `(n, T)` in the form that those of the training set had."""
        return a if self._target_shape else a[:, 0]


@with_arguments
class NTKRegressor(_KernelRegressor):
    """Regression by an infinite ensemble of wide networks, all of whose layers are trained by gradient descent.

    With the NTK `Θ`, the NNGP kernel `𝒦`, weights `W` of the training points, `A = Θ_td (Θ_dd + α k̄ W⁻¹)⁻¹`, the mean
    `k̄` of the diagonal of `Θ_dd`, and the scale `s` of outputs, standardised targets are predicted with

        mean = A y,    cov = s (𝒦_tt + A 𝒦_dd Aᵀ - A 𝒦_dt - 𝒦_td Aᵀ).
    """

    _get = "ntk"


@with_arguments
class NNGPRegressor(_KernelRegressor):
    """Regression by an infinitely wide Bayesian network, which is a Gaussian process with the NNGP kernel.

    With this kernel `𝒦`, weights `W` of the training points, `𝒦_α = 𝒦_dd + α k̄ W⁻¹`, the mean `k̄` of the diagonal of
    `𝒦_dd`, and the scale `s` of outputs, standardised targets are predicted with

        mean = 𝒦_td 𝒦_α⁻¹ y,    cov = s (𝒦_tt - 𝒦_td 𝒦_α⁻¹ 𝒦_dt).
    """

    _get = "nngp"
