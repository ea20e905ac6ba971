"""Products with a kernel, and its rows, for kernels in memory and for functions."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import matmul

# Products that cannot be left to one multiplication of matrices take the kernel this many entries at a time: as many as
# stay in the cache when they are converted.
BLOCK = 2**19

Product: TypeAlias = Callable[[jax.Array], jax.Array]


def product_of_function(function: Callable[[Any], Any], outputs: Outputs, dtype: Any) -> tuple[Product, float]:
    """`v -> K v` for `v` of shape `[M, T]`, and its precision."""
    expected = jax.ShapeDtypeStruct(outputs.described_sizes, dtype)
    found = jax.eval_shape(function, expected)
    if getattr(found, "shape", None) != expected.shape:
        raise ValueError(
            f"Expected `kernel` to map arrays of shape {expected.shape} to arrays of this shape, for outputs of shape "
            f"{outputs.shape} with trace_axes={outputs.traced}, got {getattr(found, 'shape', found)}. Pass the "
            f"`trace_axes` that the kernel was made with."
        )

    def column(v: jax.Array) -> jax.Array:
        return function(v.reshape(expected.shape)).astype(dtype).reshape(-1)

    def product(v: jax.Array) -> jax.Array:
        return lax.map(column, v.T).T

    return product, precision(found.dtype, dtype)


def product_of_array(kernel: jax.Array, outputs: Outputs, dtype: Any) -> Product:
    """The same for an interleaved kernel."""
    if kernel.ndim == 2 and kernel.dtype == dtype:
        return functools.partial(matmul, kernel)
    if kernel.ndim == 0:
        return functools.partial(operator.mul, kernel.astype(dtype))
    # A conversion, or rearrangement, of the kernel as a whole would take memory for another one. Rows are taken with a
    # stride, so that every device of those which they are spread over has some of each block.
    stride = math.gcd(len(kernel), jax.device_count())
    strided = kernel.reshape(stride, -1, *kernel.shape[1:])
    count = strided.shape[1]
    block = min(count, max(1, BLOCK * count // kernel.size))

    def product(v: jax.Array) -> jax.Array:
        def step(i: jax.Array, out: jax.Array) -> jax.Array:
            start = jnp.minimum(i * block, count - block)  # the last block overlaps with the one before it
            rows = lax.dynamic_slice_in_dim(strided, start, block, axis=1)
            matrix = outputs.matrix(rows.reshape(-1, *kernel.shape[1:]).astype(dtype))
            return lax.dynamic_update_slice_in_dim(out, matmul(matrix, v).reshape(stride, block, -1), start, axis=1)

        out = jnp.zeros((stride, count, v.size // len(kernel)), dtype)
        return lax.fori_loop(0, -(-count // block), step, out).reshape(v.shape)

    return product


def rows_of_array(kernel: jax.Array, outputs: Outputs, dtype: Any) -> Product:
    """Rows of the matrix `K` that an interleaved kernel is read as, by their numbers: `[R] -> [R, M]`."""
    if kernel.ndim == 0:
        return lambda numbers: jnp.full((len(numbers), 1), kernel.astype(dtype))

    def rows(numbers: jax.Array) -> jax.Array:
        places = jnp.unravel_index(numbers, outputs.described_sizes)
        index = tuple(entry for place in places for entry in (place, slice(None)))
        return kernel[index].astype(dtype).reshape(len(numbers), -1)

    return rows


def precision(*dtypes: Any) -> float:
    """The relative precision of products of numbers of these types."""
    return max(float(jnp.finfo(dtype).eps) for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact))
