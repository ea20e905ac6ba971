"""What all estimators share: from validated data to a predictor."""

import numbers
from typing import Any

import jax.numpy as jnp
import numpy as np

from neural_tangents.estimators._evidence import Evidence
from neural_tangents.estimators._exact_predictor import ExactPredictor
from neural_tangents.estimators._feature_learning import Fit, learn_features, square_root
from neural_tangents.estimators._low_rank_predictor import LowRankPredictor
from neural_tangents.estimators._network_kernel import NetworkKernel, check_network, packed, unpacked
from neural_tangents.estimators._ridge import Ridge, best_scale
from neural_tangents.estimators._scikit_learn import (
    BaseEstimator,
    check_array,
    check_is_fitted,
    check_random_state,
    validate_data,
)
from neural_tangents.estimators._standardise import Affine, distinct


class KernelEstimator(BaseEstimator):
    """An estimator by the kernels of a network; subclasses have the arguments, and say what targets are."""

    _get: str  # the kernel that governs predictions

    network: Any
    hyperparameters: Any
    alpha: Any
    output_scale: Any
    feature_learning: Any
    standardize: Any
    max_exact: Any
    random_state: Any

    def _fit_targets(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, centre: bool, scale: bool) -> None:
        """Learns targets `(N, T)`, which are centred and scaled first if so asked."""
        self._check_arguments(x)
        random = check_random_state(self.random_state)
        x, y, weights = distinct(x, y, weights)
        self._inputs = Affine.standardising(x, weights, self.standardize, self.standardize)
        self._targets = Affine.standardising(y, weights, centre, scale)
        x, y = self._inputs(x), self._targets(y)
        is_exact = len(x) <= self.max_exact
        some = slice(None) if is_exact else random.choice(len(x), self.max_exact, replace=False)
        kernel, fit = self._fitted(x[some], y[some], weights[some])
        self._root = None if fit.matrix is None else square_root(fit.matrix, len(fit.matrix))
        x = x if self._root is None else x @ self._root
        if is_exact:
            coefficients = fit.ridge.solve(fit.noise, y)
            self._predictor: ExactPredictor | LowRankPredictor = ExactPredictor(
                kernel, self._get, x, fit.ridge, fit.noise, coefficients
            )
        else:
            rank, seed = max(1, self.max_exact // 2), random.randint(2**31 - 1)
            self._predictor = LowRankPredictor.of(kernel, self._get, x, y, weights, fit.noise, rank, seed)

    def _fitted(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[NetworkKernel, Fit]:
        """Chooses hyper-parameters, features, and noise, by the points whose kernel is decomposed."""
        kernel = NetworkKernel(self.network, None if self.hyperparameters is None else dict(self.hyperparameters))
        scale = None if isinstance(self.output_scale, str) else float(self.output_scale)
        found = None
        eps = float(jnp.finfo(jnp.result_type(float)).eps)
        if self.hyperparameters is not None:
            alpha = None if isinstance(self.alpha, str) else float(self.alpha) or 8 * eps
            kernel, found = Evidence(kernel, self._get, x, y, weights, scale, alpha).maximised()

        def fit(matrix: np.ndarray | None) -> Fit:
            moved = x if matrix is None else x @ square_root(matrix, len(matrix))
            ridge = Ridge.of(kernel.matrix(moved, None, self._get), weights, eps)
            if self.alpha == "loo":
                noise = ridge.best_for_left_out(y)
            elif self.alpha == "ml":
                noise = ridge.most_likely(y, scale) if found is None or matrix is not None else found
            else:
                noise = float(self.alpha) * ridge.mean_diagonal or ridge.smallest
            return Fit(matrix, ridge, noise, float(ridge.leave_one_out(np.array([noise]), y)[0]))

        best = learn_features(fit, kernel, self._get, x, y, self.feature_learning)
        ridge, noise = best.ridge, np.array([best.noise])
        if self.output_scale == "loo":
            moved = x if best.matrix is None else x @ square_root(best.matrix, len(best.matrix))
            prior = None if self._get == "nngp" else kernel.matrix(moved, None, "nngp")
            self.output_scale_ = ridge.left_out_scale(best.noise, y, prior)
        else:
            self.output_scale_ = float(best_scale(ridge.quadratic(noise, y), y.size)[0]) if scale is None else scale
        self.alpha_ = best.noise / ridge.mean_diagonal
        self._noise = self.output_scale_ * best.noise
        self.leave_one_out_error_ = best.error
        self.log_marginal_likelihood_value_ = float(ridge.log_likelihood(noise, y, scale)[0])
        self.hyperparameters_ = kernel.values
        self.feature_matrix_ = best.matrix
        return kernel, best

    def _check_arguments(self, x: np.ndarray) -> None:
        check_network(self.network, self.hyperparameters)
        _check_choice("alpha", self.alpha, ("loo", "ml"), zero=True)
        _check_choice("output_scale", self.output_scale, ("loo", "ml"), zero=False)
        for name, least in (("feature_learning", 0), ("max_exact", 1)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < least:
                raise ValueError(f"Expected `{name}` to be an integer >= {least}, got {value!r}.")
        if self.feature_learning and x.ndim > 2:
            raise ValueError(f"Expected inputs of shape (N, d) for `feature_learning`, got {x.shape}. Set it to 0.")

    def _checked_weights(self, sample_weight: Any, n: int) -> np.ndarray:
        if sample_weight is None:
            return np.ones(n)
        weights = check_array(sample_weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight")
        if weights.shape != (n,):
            raise ValueError(f"Expected `sample_weight` of shape {(n,)}, one for each row of X, got {weights.shape}.")
        if weights.min() < 0:
            raise ValueError(f"Expected sample weights >= 0, got {weights.min()}.")
        if weights.max() == 0:
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return weights

    def _checked_inputs(self, X: Any) -> np.ndarray:
        """Inputs of a fitted estimator, as the network gets them."""
        check_is_fitted(self, "alpha_")
        x = self._inputs(validate_data(self, X, dtype=np.float64, reset=False, allow_nd=True))
        return x if self._root is None else x @ self._root

    def _spread(self, x: np.ndarray, return_std: bool, return_cov: bool) -> np.ndarray | None:
        """The standard deviations `(n,)`, or the covariance `(n, n)`, of standardised targets, if asked for."""
        if return_std and return_cov:
            raise ValueError(
                "Expected at most one of `return_std` and `return_cov`. The diagonal of the covariance is std²."
            )
        if return_std:
            return np.sqrt(self.output_scale_ * self._predictor.variance(x))
        return self.output_scale_ * self._predictor.covariance(x) if return_cov else None

    def _draws(self, x: np.ndarray, n_samples: int, random_state: Any) -> np.ndarray:
        """Draws of standardised targets without noise, `(n, T, n_samples)`."""
        if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
            raise ValueError(f"Expected `n_samples` to be an integer >= 1, got {n_samples!r}.")
        random = check_random_state(random_state)
        mean = self._predictor.mean(x)
        values, vectors = np.linalg.eigh(self.output_scale_ * self._predictor.covariance(x))
        normal = random.standard_normal((*mean.shape, n_samples))
        half = vectors * np.sqrt(np.maximum(values, 0))
        return mean[..., None] + np.einsum("ij,jts->its", half, normal, optimize=True)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {**state, "network": packed(state["network"])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "network": unpacked(state["network"])})


def _check_choice(name: str, value: Any, words: tuple[str, ...], zero: bool) -> None:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if isinstance(value, str) and value in words:
        return
    if not is_number or not (0 <= value < np.inf if zero else 0 < value < np.inf):
        texts = ", ".join(repr(word) for word in words)
        raise ValueError(f"Expected `{name}` to be {texts} or a number {'>=' if zero else '>'} 0, got {value!r}.")
