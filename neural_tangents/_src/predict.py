"""Inference with kernels."""

from typing import TYPE_CHECKING

from neural_tangents._src.utils.utils import is_on_cpu as _is_on_cpu
from neural_tangents.predict import (
    Gaussian,
    ODEState,
    gp_inference,
    gradient_descent,
    gradient_descent_mse,
    gradient_descent_mse_ensemble,
    max_learning_rate,
)

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_predict as __getattr__  # noqa: F401

__all__ = [
    "Gaussian",
    "ODEState",
    "_is_on_cpu",
    "gp_inference",
    "gradient_descent",
    "gradient_descent_mse",
    "gradient_descent_mse_ensemble",
    "max_learning_rate",
]
