"""Classification by infinite networks, with the conventions of scikit-learn."""

import numbers
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from neural_tangents.estimators._docstrings import with_arguments
from neural_tangents.estimators._estimator import KernelEstimator
from neural_tangents.estimators._probabilities import probabilities_of_largest
from neural_tangents.estimators._scikit_learn import (
    ClassifierMixin,
    check_classification_targets,
    check_random_state,
    validate_data,
)


class _KernelClassifier(ClassifierMixin, KernelEstimator):
    """What both classifiers share: regression on one-hot targets less the share of each class."""

    def __init__(
        self,
        network: Any = None,
        *,
        hyperparameters: Any = None,
        alpha: Any = "loo",
        output_scale: Any = "loo",
        feature_learning: int = 0,
        standardize: bool = True,
        class_weight: Any = None,
        max_exact: int = 4000,
        random_state: Any = None,
    ) -> None:
        self.network = network
        self.hyperparameters = hyperparameters
        self.alpha = alpha
        self.output_scale = output_scale
        self.feature_learning = feature_learning
        self.standardize = standardize
        self.class_weight = class_weight
        self.max_exact = max_exact
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learns classes.

        Args:
          X: inputs, `(N, d)`, or `(N, ...)` as the network takes them; an array, a list, or a data frame.
          y: classes, `(N,)`, numbers or strings.
          sample_weight: weights `>= 0` of the inputs, `(N,)`; None for 1. With the weight of its class, a product
            `w_i`, the noise of an input has the variance `α k̄ / w_i`.

        Returns:
          The estimator itself.

        Raises:
          ValueError: arrays have the wrong shape, or numbers that are not finite, there is one class only, or an
            argument is out of range.
          TypeError: `network` is none, or does not fit `hyperparameters`.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, allow_nd=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        weights = self._checked_weights(sample_weight, len(X))
        weights = weights * self._class_weights(codes, weights)[codes]
        total = np.bincount(codes, weights)
        if np.count_nonzero(total) < 2:
            raise ValueError(
                f"Expected at least 2 classes with positive weights, got one class only: {self.classes_[total > 0]}."
            )
        self._fit_targets(X, np.eye(len(self.classes_))[codes], weights, centre=True, scale=False)
        self.noise_variance_ = self._noise
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predicts classes: those whose one-hot targets have the largest mean.

        Args:
          X: inputs, `(n, d)`.
          return_std: whether to return standard deviations.
          return_cov: whether to return the covariance of all inputs.

        Returns:
          The classes, `(n,)`; or these and the standard deviations `(n,)`, or the covariance `(n, n)`, of the one-hot
          targets, without their noise. All classes share them.

        Raises:
          ValueError: inputs have the wrong shape, or both are asked for.
          NotFittedError: `fit` was not called.
        """
        x = self._checked_inputs(X)
        spread = self._spread(x, return_std, return_cov)
        classes = self.classes_[np.argmax(self._means(x), axis=1)]
        return classes if spread is None else (classes, spread)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class: that its target, with the noise of targets, is the largest.

        With means `m_c` of the one-hot targets, the variance `v` that classes share, and `σ² = v + noise_variance_`,

            p_c = E Π_{k ≠ c} Φ(z + (m_c - m_k) / σ),    z ~ N(0, 1),

        for two classes `p_1 = Φ((m_1 - m_0) / (√2 σ))`.

        Args:
          X: inputs, `(n, d)`.

        Returns:
          Probabilities, `(n, C)`, in the order of `classes_`.

        Raises:
          ValueError: inputs have the wrong shape.
          NotFittedError: `fit` was not called.

        Source: Girolami, Rogers, "Variational Bayesian Multinomial Probit Regression with Gaussian Process Priors",
        2006, for the integral; Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006, section 6.5, for
        regression on classes.
        """
        x = self._checked_inputs(X)
        variance = self.output_scale_ * self._predictor.variance(x) + self.noise_variance_
        return probabilities_of_largest(self._means(x), np.sqrt(variance))

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Draws classes: those whose drawn targets, with their noise, are the largest.

        Args:
          X: inputs, `(n, d)`.
          n_samples: the number of draws.
          random_state: a seed, or a `numpy.random.RandomState`.

        Returns:
          Draws, `(n, n_samples)`. Those for several inputs are of one network of the ensemble.

        Raises:
          ValueError: inputs have the wrong shape.
          NotFittedError: `fit` was not called.
        """
        random = check_random_state(random_state)
        draws = self._draws(self._checked_inputs(X), n_samples, random)
        draws += np.sqrt(self.noise_variance_) * random.standard_normal(draws.shape)
        return self.classes_[np.argmax(draws + self._targets.offset[:, None], axis=1)]

    def _means(self, x: np.ndarray) -> np.ndarray:
        """Means of the one-hot targets, `(n, C)`."""
        return self._targets.inverse(self._predictor.mean(x))

    def _class_weights(self, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The weight of each class."""
        if self.class_weight is None:
            return np.ones(len(self.classes_))
        if isinstance(self.class_weight, Mapping):
            return _given_weights(self.class_weight, self.classes_.tolist())
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            total = np.bincount(codes, weights)
            return np.divide(weights.sum() / np.count_nonzero(total), total, out=np.zeros(len(total)), where=total > 0)
        raise ValueError(
            f"Expected `class_weight` to be None, 'balanced', or weights by class, got {self.class_weight!r}."
        )


def _given_weights(weights: Mapping[Any, Any], classes: list[Any]) -> np.ndarray:
    """Weights of classes from weights by class."""
    wrong = {k: v for k, v in weights.items() if not isinstance(v, numbers.Real) or not 0 <= float(v) < np.inf}
    if wrong:
        raise ValueError(f"Expected class weights to be numbers >= 0, got {wrong}.")
    unknown = [label for label in weights if label not in classes]
    without = [label for label in classes if label not in weights]
    if unknown and without:  # with a weight for each class, there may be more: of classes of the whole data set
        raise ValueError(
            f"Expected `class_weight` by class, got weights of {unknown}, which are none, while {without} have none. "
            f"The classes are {classes}."
        )
    return np.array([weights.get(label, 1.0) for label in classes], np.float64)


@with_arguments
class NTKClassifier(_KernelClassifier):
    """Classification by an infinite ensemble of wide networks, trained by gradient descent on the squared loss.

    Targets are one-hot vectors less the share of each class. With the NTK `Θ`, the NNGP kernel `𝒦`, weights `W` of the
    training points, `A = Θ_td (Θ_dd + α k̄ W⁻¹)⁻¹`, the mean `k̄` of the diagonal of `Θ_dd`, and the scale `s` of
    outputs, they are predicted with

        mean = A y,    cov = s (𝒦_tt + A 𝒦_dd Aᵀ - A 𝒦_dt - 𝒦_td Aᵀ),

    the class is the one with the largest mean, and probabilities are those of `predict_proba`.
    """

    _get = "ntk"


@with_arguments
class NNGPClassifier(_KernelClassifier):
    """Classification by an infinitely wide Bayesian network, as a Gaussian process with the NNGP kernel.

    Targets are one-hot vectors less the share of each class. With the NNGP kernel `𝒦`, weights `W` of the training
    points, `𝒦_α = 𝒦_dd + α k̄ W⁻¹`, the mean `k̄` of the diagonal of `𝒦_dd`, and the scale `s` of outputs, they are
    predicted with

        mean = 𝒦_td 𝒦_α⁻¹ y,    cov = s (𝒦_tt - 𝒦_td 𝒦_α⁻¹ 𝒦_dt),

    the class is the one with the largest mean, and probabilities are those of `predict_proba`.
    """

    _get = "nngp"
