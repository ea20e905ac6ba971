"""The matrix `K_λ = K + D` of a kernel and what is added to its diagonal, which is formed only while it is used."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.precision import matmul_precision
from neural_tangents.predict._finite import view
from neural_tangents.predict._outputs import Outputs


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product of two matrices at full precision, which kernels need since they are ill-conditioned."""
    return jnp.matmul(a, b, precision=matmul_precision())


def contract(a: jax.Array, b: jax.Array, diagonal: bool) -> jax.Array:
    """`aᵀ b`, or only its diagonal, which is the same sum in both, up to the order of its terms."""
    if a.shape != b.shape:
        return matmul(a.T, b)
    sums = jnp.sum(a.T * b.T, axis=1)  # of rows, in the order in which XLA solves for columns
    return sums if diagonal else with_diagonal(matmul(a.T, b), sums)


def diagonal(kernel: Any) -> Any:
    """The diagonal of an interleaved kernel of a set with itself, one axis for each pair of axes.

    Where the host has the kernel, this is an array of NumPy, for which nothing is compiled.
    """
    values = view(kernel) if is_concrete(kernel) else None
    if values is None:
        values = kernel
    for _ in range(values.ndim // 2):
        values = (np if isinstance(values, np.ndarray) else jnp).diagonal(values)  # of the first two axes: the last one
    return values


def with_diagonal(matrix: jax.Array, diagonal: jax.Array) -> jax.Array:
    """The matrix with another diagonal."""
    rows, columns = (lax.broadcasted_iota("int32", matrix.shape, axis) for axis in range(2))
    return jnp.where(rows == columns, diagonal[:, None], matrix)


def moves(tangent: Any) -> bool:
    """Whether a tangent of a rule with symbolic zeros is other than zero."""
    return tangent is not None and not isinstance(tangent, SymbolicZero)


@functools.partial(jax.tree_util.register_dataclass, data_fields=("kernel", "added"), meta_fields=("outputs",))
@dataclasses.dataclass(frozen=True, eq=False)
class Regularised:
    """The symmetric matrix `(K + Kᵀ) / 2 + diag(added)`, `[M, M]`.

    A kernel is symmetric up to rounding. Different factorisations read different halves, and must see one matrix.

    A pytree, and linear in its arrays, so that it also stands for the tangent of such a matrix.

    Attributes:
      kernel: the interleaved kernel `K`.
      added: what is added to the diagonal, `[M]`.
      outputs: the outputs that it is a kernel of.
    """

    kernel: jax.Array
    added: jax.Array
    outputs: Outputs

    @classmethod
    def of(cls, matrix: jax.Array) -> "Regularised":
        """A matrix with nothing added."""
        return cls(matrix, jnp.zeros(len(matrix), matrix.dtype), Outputs((len(matrix),), ()))

    def plus(self, jitter: jax.Array) -> "Regularised":
        """The matrix with `jitter` added to its whole diagonal."""
        return dataclasses.replace(self, added=self.added.astype(jitter.dtype) + jitter)

    def diagonal(self, dtype: Any) -> Any:
        """The diagonal, `[M]`."""
        return diagonal(self.kernel).reshape(-1).astype(dtype) + self.added.astype(dtype)

    def unregularised(self, dtype: Any) -> jax.Array:
        """`K` as it is, in some type."""
        return self.outputs.matrix(self.kernel.astype(dtype))

    def dense(self, dtype: Any) -> jax.Array:
        """The whole matrix. Under `jit` this takes one array, which a factorisation may overwrite."""
        k = self.unregularised(dtype)
        return with_diagonal((k + k.T) / 2, jnp.diagonal(k) + self.added.astype(dtype))

    def times(self, x: jax.Array) -> jax.Array:
        """The product with `x`, `[M, R]`, in the type of `x`."""
        k = self.unregularised(x.dtype)
        return (matmul(k, x) + matmul(k.T, x)) / 2 + self.added.astype(x.dtype)[:, None] * x
