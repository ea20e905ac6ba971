"""Chebyshev series on [-1, 1]: from values of a function to its coefficients, and from these to values."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.precision import matmul_precision


def chebyshev_nodes(n: int) -> np.ndarray:
    """The zeros of the polynomial of degree `n`."""
    return np.cos(math.pi * (np.arange(n) + 0.5) / n)


def chebyshev_coefficients(values: Any) -> Any:
    """Chebyshev coefficients along the first axis, from values at the nodes, which are an array of NumPy or of JAX."""
    n = len(values)
    matrix = 2 / n * np.cos(math.pi / n * np.arange(n)[:, None] * (np.arange(n) + 0.5))
    matrix[0] /= 2
    matrix = matrix.astype(values.dtype)
    if isinstance(values, np.ndarray):
        return np.tensordot(matrix, values, 1)
    return jnp.tensordot(matrix, values, 1, precision=matmul_precision())


def chebyshev_sum(terms: Sequence[Array] | Array, y: Array) -> Array:
    """`sum_j terms[j] T_j(y)`: even and odd terms by themselves, in two chains of operations half as long."""
    w = 2 * y * y - 1  # with it, `T_(2 i)(y) = T_i(w)` and `T_(2 i + 1)(y) = y W_i(w)`, where `W_1 = 2 w - 1`
    even, odd = [(jnp.zeros_like(y), jnp.zeros_like(y))] * 2
    for i in reversed(range(1, (len(terms) + 1) // 2)):
        even = 2 * w * even[0] - even[1] + terms[2 * i], even[0]
    for i in reversed(range(len(terms) // 2)):
        odd = 2 * w * odd[0] - odd[1] + terms[2 * i + 1], odd[0]
    return w * even[0] - even[1] + terms[0] + y * (odd[0] - odd[1])
