"""Predictions of trained networks, of ensembles of them, and of Gaussian processes, from kernels."""

from typing import TYPE_CHECKING

from neural_tangents.predict._conjugate_gradients import ConjugateGradients, conjugate_gradients
from neural_tangents.predict._ensemble import gradient_descent_mse_ensemble
from neural_tangents.predict._gp import gp_inference
from neural_tangents.predict._learning_rate import max_learning_rate
from neural_tangents.predict._mse import gradient_descent_mse
from neural_tangents.predict._ode import ODEState, gradient_descent
from neural_tangents.predict._results import Gaussian
from neural_tangents.predict._solve import Diagnostics

if not TYPE_CHECKING:  # which finds names that do not exist by itself
    from neural_tangents._core.missing_names import of_predict as __getattr__  # noqa: F401

__all__ = [
    "ConjugateGradients",
    "Diagnostics",
    "Gaussian",
    "ODEState",
    "conjugate_gradients",
    "gp_inference",
    "gradient_descent",
    "gradient_descent_mse",
    "gradient_descent_mse_ensemble",
    "max_learning_rate",
]
