"""The one place where a symmetric matrix is factorised: a ladder from the cheapest way to the one that never fails.

1. Cholesky. It counts as failed if a pivot is not above the level of rounding.
2. Cholesky after adding the smallest jitter to the diagonal for which it succeeds, from rounding level up to its root.
3. Eigendecomposition, where eigenvalues that are negative, or zero up to rounding, are left out: the pseudo-inverse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from neural_tangents.predict._spectral import matmul

_STEP = 4.0  # from one jitter to the next


class Factors(NamedTuple):
    """A factorised matrix.

    Attributes:
      is_cholesky: whether it is `L Lᵀ`, and not `V diag(values) Vᵀ`.
      matrix: `L`, lower triangular, or `V`.
      values: eigenvalues, with 0 for those left out; ones for `L Lᵀ`.
      jitter: what was added to the diagonal.
    """

    is_cholesky: jax.Array
    matrix: jax.Array
    values: jax.Array
    jitter: jax.Array


@contextmanager
def widened(in_float64: bool) -> Iterator[Any]:
    """A context in which arrays can have type float64, and a function that gives them this type; or nothing of it."""
    if not in_float64:
        yield lambda x: x
        return
    with jax.enable_x64(True):
        yield lambda x: x.astype("float64")


@jax.jit
def factorise(matrix: jax.Array) -> Factors:
    """The factors of a symmetric matrix."""
    scale = jnp.mean(jnp.abs(jnp.diagonal(matrix)))
    eps = jnp.finfo(matrix.dtype).eps
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)

    def attempt(jitter: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        lower = jnp.linalg.cholesky(matrix + jitter * identity)
        pivots = jnp.square(jnp.diagonal(lower))
        return jitter, lower, jnp.all(pivots > eps * scale)  # false for a pivot that is not a number

    def has_failed(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        jitter, _, ok = state
        return ~ok & (_STEP * jitter <= jnp.sqrt(eps) * scale) & (scale > 0)

    def climb(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        return attempt(jnp.maximum(_STEP * state[0], eps * scale))

    jitter, lower, ok = lax.while_loop(has_failed, climb, attempt(jnp.zeros((), matrix.dtype)))

    def by_eigenvalues() -> Factors:
        values, vectors = jnp.linalg.eigh(matrix)
        kept = values > eps * matrix.shape[0] * jnp.maximum(values[-1], 0)
        return Factors(ok, vectors, jnp.where(kept, values, 0), jnp.zeros_like(jitter))

    def by_cholesky() -> Factors:
        return Factors(ok, lower, jnp.ones_like(lower[0]), jitter)

    return lax.cond(ok, by_cholesky, by_eigenvalues)


def solve(matrix: jax.Array, factors: Factors, rhs: jax.Array, in_float64: bool) -> jax.Array:
    """`matrix⁻¹ rhs`, `[M, R]`, by the factors of the matrix, with derivatives of any order in both arguments."""

    def times(x: jax.Array) -> jax.Array:
        return matmul(matrix, x) + factors.jitter.astype(x.dtype) * x

    def by_factors(_: Any, b: jax.Array) -> jax.Array:
        with widened(in_float64) as wide:
            return _solve(factors, wide(b)).astype(b.dtype)

    return lax.custom_linear_solve(times, rhs, by_factors, symmetric=True)


@jax.jit
def _solve(factors: Factors, rhs: jax.Array) -> jax.Array:
    def by_cholesky() -> jax.Array:
        return jax.scipy.linalg.cho_solve((factors.matrix, True), rhs)

    def by_eigenvalues() -> jax.Array:
        there = factors.values > 0
        inverse = jnp.where(there, 1 / jnp.where(there, factors.values, 1), 0)
        return matmul(factors.matrix, inverse[:, None] * matmul(factors.matrix.T, rhs))

    return lax.cond(factors.is_cholesky, by_cholesky, by_eigenvalues)


def log_determinant(matrix: jax.Array, factors: Factors, in_float64: bool) -> jax.Array:
    """`log det matrix`, of the eigenvalues that are not left out, with derivatives of any order."""

    @jax.custom_jvp
    def value(matrix: jax.Array, factors: Factors) -> jax.Array:
        with widened(in_float64):
            diagonal = jnp.where(factors.is_cholesky, jnp.square(jnp.diagonal(factors.matrix)), factors.values)
            return jnp.sum(jnp.log(jnp.where(diagonal > 0, diagonal, 1))).astype(matrix.dtype)

    @value.defjvp
    def value_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[jax.Array, jax.Array]:
        change = solve(primals[0], factors, tangents[0], in_float64)
        return value(*primals), jnp.trace(change)

    return value(matrix, factors)
