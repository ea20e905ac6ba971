"""The one place where a symmetric matrix is factorised: a ladder from the cheapest way to the one that never fails.

1. Cholesky. It counts as failed if a pivot is not above the level of rounding.
2. Cholesky after adding the smallest jitter to the diagonal for which it succeeds, from rounding level up to its root.
3. Eigendecomposition, where eigenvalues that are negative, or zero up to rounding, are left out: the pseudo-inverse.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._regularised import Regularised, diagonal, matmul

_STEP = 4.0  # from one jitter to the next


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("is_cholesky", "matrix", "values", "jitter"),
    meta_fields=("known",),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """A factorised matrix.

    Attributes:
      is_cholesky: whether it is `L Lᵀ`, and not `V diag(values) Vᵀ`.
      matrix: `L`, lower triangular, or `V`.
      values: eigenvalues, with 0 for those left out; for `L Lᵀ` not used.
      jitter: what was added to the diagonal.
      known: `is_cholesky` where it is known, so that only one of the two ways to solve is compiled; otherwise None.
    """

    is_cholesky: Any
    matrix: jax.Array
    values: Any
    jitter: Any
    known: bool | None = None

    def choose(self, by_cholesky: Callable[[], jax.Array], by_eigenvalues: Callable[[], jax.Array]) -> jax.Array:
        """What the one or the other returns."""
        if self.known is None:
            return lax.cond(self.is_cholesky, by_cholesky, by_eigenvalues)
        return by_cholesky() if self.known else by_eigenvalues()

    def solve(self, rhs: jax.Array) -> jax.Array:
        """`K⁻¹ rhs`."""
        return self.choose(
            lambda: jax.scipy.linalg.cho_solve((self.matrix, True), rhs),
            lambda: matmul(self.matrix, self._inverse()[:, None] * matmul(self.matrix.T, rhs)),
        )

    def half_solve(self, rhs: jax.Array) -> jax.Array:
        """`R` with `Rᵀ R = rhsᵀ K⁻¹ rhs`."""
        return self.choose(
            lambda: jax.scipy.linalg.solve_triangular(self.matrix, rhs, lower=True),
            lambda: jnp.sqrt(self._inverse())[:, None] * matmul(self.matrix.T, rhs),
        )

    def log_determinant(self) -> jax.Array:
        """`log det K`, of the eigenvalues that are not left out."""
        pivots = self.choose(lambda: jnp.square(jnp.diagonal(self.matrix)), lambda: self.values)
        return jnp.sum(jnp.log(jnp.where(pivots > 0, pivots, 1)))

    def left_out(self) -> jax.Array:
        """How many eigenvalues are left out."""
        return self.choose(lambda: jnp.zeros((), int), lambda: jnp.sum(self.values == 0))

    def _inverse(self) -> jax.Array:
        there = self.values > 0
        return jnp.where(there, 1 / jnp.where(there, self.values, 1), 0)


@contextmanager
def widened(in_float64: bool) -> Iterator[Any]:
    """A context in which arrays can have type float64, and a function that gives them this type; or nothing of it."""
    if not in_float64:
        yield lambda x: x
        return
    with jax.enable_x64(True):
        yield lambda x: x.astype("float64")


def factorise(matrix: Regularised, dtype: Any) -> Factors:
    """The factors of a matrix, computed in some type."""
    matrix = lax.stop_gradient(matrix)
    return _factorise_known(matrix, dtype) if is_concrete(matrix) else _factorise_traced(matrix, dtype)


def _factorise_known(matrix: Regularised, dtype: Any) -> Factors:
    """The ladder in Python, where nothing is held, and nothing compiled, for a rung that is not reached."""
    jitter, scale = 0.0, float(np.mean(np.abs(matrix.diagonal(dtype))))
    while True:
        lower = _cholesky(matrix, jitter, dtype)
        if np.all(np.square(diagonal(lower)) > _eps(dtype) * scale):  # false for a pivot that is not a number
            return Factors(np.array(True), lower, None, np.asarray(jitter, dtype), known=True)
        del lower  # before the next one takes as much memory
        if not _goes_on(jitter, scale, dtype):
            vectors, values = _by_eigenvalues(matrix, dtype)
            return Factors(np.array(False), vectors, values, np.zeros((), dtype), known=False)
        jitter = max(_STEP * jitter, _eps(dtype) * scale)


@functools.partial(jax.jit, static_argnums=1)
def _factorise_traced(matrix: Regularised, dtype: Any) -> Factors:
    """The same in one program."""
    scale = jnp.mean(jnp.abs(matrix.diagonal(dtype)))

    def attempt(jitter: jax.Array) -> Factors:
        lower = _cholesky(matrix, jitter, dtype)
        pivots = jnp.square(jnp.diagonal(lower))
        return Factors(jnp.all(pivots > _eps(dtype) * scale), lower, jnp.ones_like(pivots), jitter)

    factors = lax.while_loop(
        lambda factors: ~factors.is_cholesky & _goes_on(factors.jitter, scale, dtype),
        lambda factors: attempt(jnp.maximum(_STEP * factors.jitter, _eps(dtype) * scale)),
        attempt(jnp.zeros((), dtype)),
    )

    def by_eigenvalues() -> Factors:
        vectors, values = _by_eigenvalues(matrix, dtype)
        return Factors(jnp.zeros((), bool), vectors, values, jnp.zeros((), dtype))

    return lax.cond(factors.is_cholesky, lambda: factors, by_eigenvalues)


def _goes_on(jitter: Any, scale: Any, dtype: Any) -> Any:
    """Whether there is a larger jitter to try, for a mean diagonal entry `scale`."""
    return (_STEP * jitter <= _eps(dtype) ** 0.5 * scale) & (scale > 0)


def _eps(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)


@functools.partial(jax.jit, static_argnums=2)
def _cholesky(matrix: Regularised, jitter: Any, dtype: Any) -> jax.Array:
    """`L`, which is not finite if there is none."""
    return lax.linalg.cholesky(matrix.plus(jnp.asarray(jitter, dtype)).dense(dtype), symmetrize_input=False)


@functools.partial(jax.jit, static_argnums=1)
def _by_eigenvalues(matrix: Regularised, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """`V`, and the eigenvalues, with 0 for those left out."""
    vectors, values = lax.linalg.eigh(matrix.dense(dtype), symmetrize_input=False)
    kept = values > _eps(dtype) * len(values) * jnp.maximum(values[-1], 0)
    return vectors, jnp.where(kept, values, 0)


@functools.partial(jax.jit, static_argnums=1)
def eigenvalues(matrix: Regularised, dtype: Any) -> jax.Array:
    """The eigenvalues of a matrix in ascending order."""
    return jnp.linalg.eigvalsh(matrix.dense(dtype), symmetrize_input=False)
