"""Infinitely wide neural networks in JAX: their kernels, and inference with them."""

from neural_tangents import predict, stax
from neural_tangents._core.kernel import Kernel

__version__ = "0.7.0"

__all__ = ["Kernel", "__version__", "predict", "stax"]
