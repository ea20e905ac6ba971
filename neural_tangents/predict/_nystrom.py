"""A preconditioner for kernel matrices, whose few large eigenvalues are what makes iterative solvers slow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neural_tangents.predict._regularised import matmul


class Nystrom(NamedTuple):
    """The inverse of an approximation `P` of `K + D`, as `P⁻¹ = S (I - V diag(shrink) Vᵀ) S`.

    Attributes:
      scale: the diagonal of `S`, `[M]`.
      vectors: `V`, with orthonormal columns, `[M, rank]`.
      shrink: numbers from 0 to 1, `[rank]`.
    """

    scale: jax.Array
    vectors: jax.Array
    shrink: jax.Array

    def solve(self, v: jax.Array) -> jax.Array:
        """`P⁻¹ v`, for `v` of shape `[M, T]`."""
        v = self.scale[:, None] * v
        v = v - matmul(self.vectors, self.shrink[:, None] * matmul(self.vectors.T, v))
        return self.scale[:, None] * v


def nystrom(product: Callable[[jax.Array], jax.Array], diagonal: jax.Array, rank: int, key: Any, eps: float) -> Nystrom:
    """The randomised Nyström preconditioner of `K + D`, from one product of `K` with a random matrix `Ω`.

    The product gives the approximation `K Ω (Ωᵀ K Ω)⁻¹ (K Ω)ᵀ = U Λ Uᵀ` of `K`. It says nothing about directions
    orthogonal to `U`: there, `K` is taken to be `λ`, the smallest of the eigenvalues in `Λ`. So

        P = U Λ Uᵀ + λ (I - U Uᵀ) + D.

    Args:
      product: `v -> K v`, for a symmetric positive semi-definite `K` (`[M, M]`) and `v` of shape `[M, rank]`.
      diagonal: that of `D`, numbers >= 0, `[M]`.
      rank: the number of columns of `Ω`, from 1 to M.
      key: a random key.
      eps: the relative precision of products.

    Source: Frangella, Tropp, Udell, "Randomized Nyström Preconditioning", 2021, https://arxiv.org/abs/2110.02820,
    Algorithm 2.1; for `D = μ I`, the preconditioner of the paper is `P / (λ + μ)`. A pseudo-inverse takes the place of
    the shift by which the paper makes `Ωᵀ K Ω` invertible in floating point.
    """
    dtype = diagonal.dtype
    omega, _ = jnp.linalg.qr(jax.random.normal(key, (len(diagonal), rank), dtype))
    sketch = product(omega)
    core = matmul(omega.T, sketch)
    values, rotation = jnp.linalg.eigh((core + core.T) / 2)
    kept = values > 8 * eps * values[-1]
    roots = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
    vectors, singular = _left_singular(matmul(sketch, rotation) * roots[None, :])
    eigenvalues = jnp.square(singular)
    # Below this, eigenvalues are lost in rounding, or `P⁻¹` would not be positive definite because of it.
    least = max(eps, 100 * float(jnp.finfo(dtype).eps)) * eigenvalues[0]
    rest = jnp.maximum(diagonal + eigenvalues[-1], least)
    scale = jax.lax.rsqrt(jnp.where(rest > 0, rest, 1))
    excess = jnp.maximum(eigenvalues - eigenvalues[-1], 0)  # which a fused multiplication may make negative
    vectors, singular = _left_singular(scale[:, None] * vectors * jnp.sqrt(excess)[None, :])
    return Nystrom(scale, vectors, 1 - 1 / (1 + jnp.square(singular)))


def _left_singular(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    vectors, values, _ = jnp.linalg.svd(x, full_matrices=False)
    return vectors, values
