"""Names for annotations of programs that use this library.

Networks:
  `Layer`: a layer or a network, the triple `(init_fn, apply_fn, kernel_fn)`.
  `InitFn`: draws parameters of the finite network.
  `ApplyFn`: applies it; `ApplyOptions` are its keyword arguments.
  `KernelFn`: computes kernels of the infinite network; `KernelOptions` are its keyword arguments, and `KernelName` is
    what its argument `get` may name.

Layers that users write:
  `InternalLayer`: the triple of functions that a factory decorated with `stax.layer` returns.
  `InternalLayerMasked`: the triple, or four functions, if it is decorated with `stax.supports_masking` too.

Data:
  `PyTree`: any tree of arrays, such as parameters.
  `Axes`: one axis or several.
  `Shape`, `Shapes`: the shape of an array, and network trees of shapes.

Example:
  >>> from typing import Unpack
  >>> import jax
  >>> import jax.numpy as jnp
  >>> from neural_tangents import stax
  >>> from neural_tangents.typing import KernelFn, KernelOptions, Layer
  >>>
  >>> def mlp(depth: int, width: int) -> Layer:
  ...     return stax.serial(*[stax.Dense(width), stax.Relu()] * depth, stax.Dense(1))
  >>>
  >>> def total_variance(kernel_fn: KernelFn, x: jax.Array, **options: Unpack[KernelOptions]) -> jax.Array:
  ...     return jnp.trace(kernel_fn(x, None, "nngp", **options))
"""

from neural_tangents._core.layer import (
    ApplyFn,
    ApplyOptions,
    InitFn,
    InternalLayer,
    InternalLayerMasked,
    KernelFn,
    KernelName,
    KernelOptions,
    Layer,
)
from neural_tangents._core.types import Axes, PyTree, Shape, Shapes

__all__ = [
    "ApplyFn",
    "ApplyOptions",
    "Axes",
    "InitFn",
    "InternalLayer",
    "InternalLayerMasked",
    "KernelFn",
    "KernelName",
    "KernelOptions",
    "Layer",
    "PyTree",
    "Shape",
    "Shapes",
]
