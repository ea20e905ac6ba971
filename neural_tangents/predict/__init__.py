"""Predictions of trained networks, of ensembles of them, and of Gaussian processes, from kernels.

Functions that take a training set and return a predictor, a function with a few methods:

    gp_inference                   Bayesian networks, and ensembles trained to convergence, from kernels
    gradient_descent_mse_ensemble  ensembles trained on the squared loss for any time, from a `kernel_fn` and inputs
    gradient_descent_mse           one network trained on the squared loss for any time, in closed form
    gradient_descent               one network trained on any loss, with or without momentum, by an ODE solver
    low_rank_ensemble              ensembles, for training sets whose kernels do not fit into memory

What they return, for annotations and help:

    GaussianProcess, GradientDescentMSEEnsemble, GradientDescentMSE, GradientDescent, LowRankEnsemble

What predictors return:

    Gaussian     mean and covariance, from which variances, standard deviations and draws follow
    Marginals    mean and variances, without the covariance
    Gaussians    predictions by name: `nngp`, `ntk`, `ntkgp`
    ODEState     outputs in training, from which `gradient_descent` can be resumed
    Influence    what each training point contributes to predictions and to their loss
    Diagnostics  how well a kernel is conditioned, and what was done to invert it

How many examples a task takes, from the spectrum of a kernel:

    spectrum, KernelSpectrum  eigenvalues of a kernel, and how much of the targets lies along each eigenfunction
    LearningCurve             errors to expect of training sets of several sizes

Tools for training and for large training sets:

    max_learning_rate                       the largest stable learning rate of gradient descent
    conjugate_gradients, ConjugateGradients linear systems with kernels too large to be factorised

docs/inference.md says which prediction means what.
"""

from typing import TYPE_CHECKING

from neural_tangents.predict._conjugate_gradients import ConjugateGradients, conjugate_gradients
from neural_tangents.predict._ensemble import GradientDescentMSEEnsemble, gradient_descent_mse_ensemble
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._gp import GaussianProcess, gp_inference
from neural_tangents.predict._influence import Influence
from neural_tangents.predict._learning_curve import KernelSpectrum, LearningCurve, spectrum
from neural_tangents.predict._learning_rate import max_learning_rate
from neural_tangents.predict._low_rank import LowRankEnsemble, low_rank_ensemble
from neural_tangents.predict._marginals import Marginals
from neural_tangents.predict._mse import GradientDescentMSE, gradient_descent_mse
from neural_tangents.predict._ode import GradientDescent, gradient_descent
from neural_tangents.predict._ode_state import ODEState
from neural_tangents.predict._results import Gaussians
from neural_tangents.predict._solve import Diagnostics

if not TYPE_CHECKING:  # type checkers find missing names by themselves
    from neural_tangents._core.missing_names import of_predict as __getattr__  # noqa: F401

__all__ = [
    "ConjugateGradients",
    "Diagnostics",
    "Gaussian",
    "GaussianProcess",
    "Gaussians",
    "GradientDescent",
    "GradientDescentMSE",
    "GradientDescentMSEEnsemble",
    "Influence",
    "KernelSpectrum",
    "LearningCurve",
    "LowRankEnsemble",
    "Marginals",
    "ODEState",
    "conjugate_gradients",
    "gp_inference",
    "gradient_descent",
    "gradient_descent_mse",
    "gradient_descent_mse_ensemble",
    "low_rank_ensemble",
    "max_learning_rate",
    "spectrum",
]
