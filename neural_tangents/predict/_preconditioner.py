"""A preconditioner for kernel matrices, whose few large eigenvalues are what makes iterative solvers slow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neural_tangents.predict._regularised import matmul


class Preconditioner(NamedTuple):
    """The inverse of an approximation `P` of a matrix, as `P⁻¹ = S (I - Bᵀ B) S`.

    Attributes:
      scale: the diagonal of `S`, `[M]`.
      rows: `B`, `[rank, M]`, perhaps in a smaller type than what it is applied to.
    """

    scale: jax.Array
    rows: jax.Array

    def solve(self, v: jax.Array) -> jax.Array:
        """`P⁻¹ v`, for `v` of shape `[M, T]`."""
        v = self.scale[:, None].astype(v.dtype) * v
        known = v.astype(self.rows.dtype)
        v = v - matmul(self.rows.T, matmul(self.rows, known)).astype(v.dtype)
        return self.scale[:, None].astype(v.dtype) * v


def preconditioner(rows: jax.Array, rest: jax.Array, added: jax.Array) -> Preconditioner:
    """The inverse of `P = F Fᵀ + diag(rest) + diag(added)`, by the formula of Woodbury.

    Args:
      rows: `Fᵀ`, `[rank, M]`. Numbers are computed, and kept, in its type.
      rest: what stands for the part of the kernel that `F Fᵀ` lacks, numbers >= 0, `[M]`. Numbers below their mean
        count as the mean: pivots have none of it, but their neighbours have.
      added: what is added to the diagonal of the kernel, numbers >= 0, `[M]`.
    """
    dtype = rows.dtype
    eps = 16 * float(jnp.finfo(dtype).eps)
    known = jnp.mean(jnp.sum(jnp.square(rows), axis=0))
    diagonal = jnp.maximum(jnp.maximum(rest, jnp.mean(rest)).astype(dtype) + added.astype(dtype), eps * known)
    diagonal = jnp.where(diagonal > 0, diagonal, 1)
    scaled = rows * jax.lax.rsqrt(diagonal)[None, :]
    gram = matmul(scaled, scaled.T)
    # Where the largest eigenvalue is lost in rounding of `I`, or the other way round, `P⁻¹` would not be positive
    # definite. A larger diagonal keeps it so.
    factor = jnp.maximum(1, eps * jnp.linalg.norm(gram))
    lower = jnp.linalg.cholesky(jnp.eye(len(gram), dtype=dtype) + gram / factor)
    solved = jax.scipy.linalg.solve_triangular(lower, scaled / jnp.sqrt(factor), lower=True)
    return Preconditioner(jax.lax.rsqrt(factor * diagonal), solved)


def sketch(
    product: Callable[[jax.Array], jax.Array], size: int, rank: int, key: Any, eps: float, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """`Fᵀ` for the approximation `F Fᵀ = K Ω (Ωᵀ K Ω)⁻¹ (K Ω)ᵀ` of `K`, from one product with a random matrix `Ω`.

    It takes the place of a partial Cholesky factorisation where there are products with `K` but no columns of it.

    Args:
      product: `v -> K v`, for a symmetric positive semi-definite `K` (`[M, M]`) and `v` of shape `[M, rank]`.
      size: `M`.
      rank: the number of columns of `Ω`, from 1 to M.
      key: a random key.
      eps: the relative precision of products.
      dtype: the type to compute in.

    Returns:
      `Fᵀ`, `[rank, M]`, and the smallest of its squared singular values, which tells what is left of `K`, `[M]`.

    Source: Frangella, Tropp, Udell, "Randomized Nyström Preconditioning", 2021, https://arxiv.org/abs/2110.02820,
    Algorithm 2.1. A pseudo-inverse takes the place of the shift by which the paper makes `Ωᵀ K Ω` invertible.
    """
    omega, _ = jnp.linalg.qr(jax.random.normal(key, (size, rank), dtype))
    image = product(omega)
    core = matmul(omega.T, image)
    values, rotation = jnp.linalg.eigh((core + core.T) / 2)
    kept = values > 8 * eps * values[-1]
    roots = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
    rows = (matmul(image, rotation) * roots[None, :]).T
    smallest = jnp.maximum(jnp.linalg.eigvalsh(matmul(rows, rows.T))[0], 0)
    return rows, jnp.full(size, smallest)
