"""What the docstrings of all estimators have in common."""

import inspect
from typing import TypeVar

T = TypeVar("T", bound=type)

_COMMON = """\
Inputs are standardised, each feature (of images, each channel) to mean 0 and variance 1, {targets}
Equal inputs count as one, with the mean of their targets and the sum of their weights, which changes no prediction.
For more than `max_exact` different inputs, hyper-parameters, features, `α` and `s` are chosen by that many of them, at
random, and predictions are by kernels of low rank, `predict.low_rank_ensemble` with `max_exact / 2` columns. All inputs
count in them, without a matrix of all pairs, and variances come at the price of means; conjugate gradients would need
such a matrix in each iteration, and a solution for each variance.

Args:
  network: a network `(init_fn, apply_fn, kernel_fn)` of `stax` with one output, or a function `kernel_fn(x1, x2, get)`
    to kernels `(N1, N2)`; None for a fully-connected network with three hidden layers of ReLU. With
    `hyperparameters`, a function of these, by name, to one of both.
  hyperparameters: initial values by name, positive numbers, such as `{{"W_std": 1.5}}`. They are learned: by L-BFGS, to
    the largest marginal likelihood of the Gaussian process with kernel {kernel}, within a factor of 100 and together
    with `α` if that is no number. None for none.
  alpha: `α`, the variance of noise in units of `k̄`, a number >= 0 (0 for the least that rounding allows); `"loo"` for
    the one whose predictions of each point from all others have the smallest squared error; `"ml"` for the one with the
    largest marginal likelihood. All are found by one eigendecomposition.
  output_scale: `s`, by which covariances and the noise are multiplied; `"loo"` for the one with which predictions of
    each point from all others are as certain as they are right, on average over squared errors; `"ml"` for that of the
    largest marginal likelihood, `yᵀ ({kernel}_dd + α k̄ W⁻¹)⁻¹ y / N`. Means do not depend on it. 1 for targets that
    are all equal, which say nothing about it.
  feature_learning: how often a recursive feature machine replaces inputs `x` by `M^½ x`, for the mean `M` of
    `∇f(x_i) ∇f(x_i)ᵀ` over the training set, scaled to trace `d`, where `f` is the mean that was learned before. Of all
    iterations, that with the smallest squared error of leaving one out is kept. 0 for no such learning.
  standardize: whether to standardise inputs.
  {argument}
  max_exact: for how many different inputs a kernel matrix is decomposed, at most. 4,000 take some 40 seconds of one
    core and a gigabyte; time grows with the cube of the number, and memory with its square.
  random_state: a seed, or a `numpy.random.RandomState`, for what is chosen at random, where it is.

Attributes:
  alpha_: `α`.
  output_scale_: `s`.
  noise_variance_: of targets of weight 1: `s α k̄` in the units of the targets{of_each}.
  leave_one_out_error_: the mean squared error of predictions of each point from all others, of {standardised}.
  log_marginal_likelihood_value_: of the same targets, for the Gaussian process with kernel `s ({kernel} + α k̄ W⁻¹)`,
    with `s` as given, or the best.
  hyperparameters_: what was learned, by name; None if nothing was asked for.
  feature_matrix_: `M`; None for the identity.
  n_features_in_: the number of features.
  feature_names_in_: names of the columns of a data frame.{classes}

Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
https://arxiv.org/abs/1902.06720; Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006, sections 5.4.1
and 5.4.2; for `feature_learning`, Radhakrishnan, Beaglehole, Pandit, Belkin, "Mechanism for feature learning in neural
networks and backpropagation-free machine learning models", 2024, https://arxiv.org/abs/2212.13881.

Example:
  >>> from sklearn.datasets import {data}
  >>> from neural_tangents.estimators import {name}
  >>> X, y = {data}(return_X_y=True)
  >>> estimator = {name}().fit(X[::4], y[::4])
  >>> bool(estimator.score(X[1::4], y[1::4]) > {score})
  True
"""

_REGRESSION = dict(
    targets="and so are targets.",
    argument="normalize_y: whether to standardise targets.",
    of_each=". Where inputs\n"
    "    repeat, and `s` is no number, variances of targets at equal inputs take its place, averaged with it by\n"
    "    degrees of freedom, if other inputs occur once. One number for each output, if there are several",
    classes="",
    standardised="standardised targets at different inputs",
    data="load_diabetes",
    score=0.3,
)
_CLASSIFICATION = dict(
    targets="and targets are not scaled.",
    argument="class_weight: weights by class, 1 for others; 'balanced' for equal total weights of classes; None for 1.",
    of_each="",
    classes="\n  classes_: the classes, in order.",
    standardised="one-hot targets less their mean, at different inputs",
    data="load_breast_cancer",
    score=0.9,
)


def with_arguments(estimator: T) -> T:
    """Adds to the docstring of an estimator, which has its equations, what it shares with the others."""
    kind = _REGRESSION if "normalize_y" in inspect.signature(estimator).parameters else _CLASSIFICATION
    kernel = {"ntk": "Θ", "nngp": "𝒦"}[estimator._get]  # type: ignore[attr-defined]
    common = _COMMON.format(kernel=kernel, name=estimator.__name__, **kind)
    own = inspect.getdoc(estimator) or ""
    estimator.__doc__ = f"{own}\n\n{common}"
    return estimator
