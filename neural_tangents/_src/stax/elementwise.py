"""Nonlinearities, and what users' own are written with."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layer import InternalLayer
from neural_tangents._core.numerics import safe_sqrt
from neural_tangents.stax import (
    ABRelu,
    Abs,
    Cos,
    Diagonal,
    Elementwise,
    ElementwiseNumerical,
    Erf,
    Exp,
    ExpNormalized,
    Gabor,
    Gaussian,
    Gelu,
    Hermite,
    LeakyRelu,
    Monomial,
    Polynomial,
    Rbf,
    RectifiedMonomial,
    Relu,
    Sigmoid_like,
    Sign,
    Sin,
    requires,
)

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_elementwise as __getattr__  # noqa: F401

__all__ = [
    "ABRelu",
    "Abs",
    "Cos",
    "Elementwise",
    "ElementwiseNumerical",
    "Erf",
    "Exp",
    "ExpNormalized",
    "Gabor",
    "Gaussian",
    "Gelu",
    "Hermite",
    "LeakyRelu",
    "Monomial",
    "Polynomial",
    "Rbf",
    "RectifiedMonomial",
    "Relu",
    "Sigmoid_like",
    "Sign",
    "Sin",
]


def _elementwise(
    fn: Callable[[Array], Array] | None, name: str, nngp_fn: Callable[[Kernel], Kernel] | None
) -> InternalLayer:
    """The three functions of a nonlinearity, for a factory decorated with `layer`.

    Args:
      fn: the nonlinearity, applied to arrays; None if only its kernel is known.
      name: what users call it.
      nngp_fn: the kernel of the outputs, from that of Gaussian inputs; None if only `fn` is known.
    """

    def apply_fn(params: Any, inputs: Any, **kwargs: Any) -> Any:
        if fn is None:
            raise NotImplementedError(f"{name} has only a kernel: no function was given.")
        return fn(inputs)

    @requires(diagonal_spatial=Diagonal())
    def kernel_fn(k: Kernel, **kwargs: Any) -> Kernel:
        if nngp_fn is None:
            raise NotImplementedError(f"{name} has no kernel: only a function was given.")
        if not k.is_gaussian:
            raise ValueError(f"{name} needs a Gaussian input. Insert a layer with random weights, `Dense`, before it.")
        return nngp_fn(k).replace(is_gaussian=False)

    return lambda rng, input_shape: (input_shape, ()), apply_fn, kernel_fn


def _sqrt(x: Array, tol: float = 0.0) -> Array:
    """`sqrt(max(x, tol))`, with derivative 0 for `x <= tol`."""
    return safe_sqrt(x) if tol == 0 else jnp.sqrt(jnp.maximum(x, tol))


def _arctan2(x: Array, y: Array, fill_zero: float | None = None) -> Array:
    """`arctan2(x, y)`; where both are 0, `fill_zero` (None for 0), with derivatives 0."""
    none = (x == 0) & (y == 0)
    return jnp.where(none, fill_zero or 0, jnp.arctan2(x, jnp.where(none, 1, y)))
