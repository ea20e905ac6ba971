"""The one place where a symmetric matrix is factorised: a ladder from the cheapest way to the one that never fails.

1. Cholesky. It counts as failed if a pivot is not above the level of rounding.
2. Cholesky after adding the smallest jitter to the diagonal for which it succeeds, from rounding level up to its root.
3. Eigendecomposition, where eigenvalues that are negative, or zero up to rounding, are left out: the pseudo-inverse.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._regularised import Regularised, matmul

_STEP = 4.0  # from one jitter to the next
_COLUMNS = 256  # of an inverse, at a time


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


def factorise(matrix: Regularised, dtype: Any) -> Factors:
    """The factors of a matrix, computed in some type."""
    matrix = lax.stop_gradient(matrix)
    return _factorise_known(matrix, dtype) if is_concrete(matrix) else _factorise_traced(matrix, dtype)


def _factorise_known(matrix: Regularised, dtype: Any) -> Factors:
    """The ladder in Python, where nothing is held, and nothing compiled, for a rung that is not reached."""
    jitter, ladder = jnp.zeros((), dtype), _Ladder.of(matrix, dtype)
    while True:
        lower, ok = _attempt(matrix, jitter, dtype)
        if ok:
            return _by_cholesky(lower, jitter)
        if not ladder.goes_on(jitter):
            return _by_eigenvalues(matrix, dtype)
        del lower  # before the next one takes as much memory
        jitter = ladder.next(jitter)


@functools.partial(jax.jit, static_argnums=1)
def _factorise_traced(matrix: Regularised, dtype: Any) -> Factors:
    """The same in one program."""
    ladder, zero = _Ladder.of(matrix, dtype), jnp.zeros((), dtype)

    def climb(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        jitter = ladder.next(state[0])
        return jitter, *_attempt(matrix, jitter, dtype)

    jitter, lower, ok = lax.while_loop(
        lambda state: ~state[2] & ladder.goes_on(state[0]), climb, (zero, *_attempt(matrix, zero, dtype))
    )
    return lax.cond(ok, lambda: _by_cholesky(lower, jitter), lambda: _by_eigenvalues(matrix, dtype))


class _Ladder(NamedTuple):
    """The jitters to try after 0, from the level of rounding for a mean diagonal entry `scale`."""

    scale: jax.Array
    eps: float

    @classmethod
    def of(cls, matrix: Regularised, dtype: Any) -> "_Ladder":
        return cls(jnp.mean(jnp.abs(matrix.diagonal(dtype))), float(jnp.finfo(dtype).eps))

    def goes_on(self, jitter: jax.Array) -> jax.Array:
        return (_STEP * jitter <= self.eps**0.5 * self.scale) & (self.scale > 0)

    def next(self, jitter: jax.Array) -> jax.Array:
        return jnp.maximum(_STEP * jitter, self.eps * self.scale)


@functools.partial(jax.jit, static_argnums=2)
def _attempt(matrix: Regularised, jitter: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """`L`, and whether it is one."""
    raised = matrix.plus(jitter).dense(dtype)
    lower = lax.linalg.cholesky(raised, symmetrize_input=False)
    pivots, least = jnp.square(jnp.diagonal(lower)), _Ladder.of(matrix, dtype)
    return lower, jnp.all(pivots > least.eps * least.scale)  # false for a pivot that is not a number


def _by_cholesky(lower: jax.Array, jitter: jax.Array) -> Factors:
    return Factors(jnp.array(True), lower, jnp.ones_like(lower[0]), jitter)


@functools.partial(jax.jit, static_argnums=1)
def _by_eigenvalues(matrix: Regularised, dtype: Any) -> Factors:
    vectors, values = lax.linalg.eigh(matrix.dense(dtype), symmetrize_input=False)
    kept = values > jnp.finfo(dtype).eps * len(values) * jnp.maximum(values[-1], 0)
    return Factors(jnp.array(False), vectors, jnp.where(kept, values, 0), jnp.zeros((), dtype))


@functools.partial(jax.jit, static_argnums=3)
def solve(matrix: Regularised, factors: Factors, rhs: jax.Array, in_float64: bool) -> jax.Array:
    """`matrix⁻¹ rhs`, `[M, R]`, by the factors of the matrix, with derivatives of any order in both arguments."""
    jittered = matrix.plus(factors.jitter.astype(rhs.dtype))

    def by_factors(_: Any, b: jax.Array) -> jax.Array:
        with widened(in_float64) as wide:
            return _solve(factors, wide(b)).astype(b.dtype)

    return lax.custom_linear_solve(jittered.times, rhs, by_factors, symmetric=True)


@jax.jit
def _solve(factors: Factors, rhs: jax.Array) -> jax.Array:
    def by_cholesky() -> jax.Array:
        return jax.scipy.linalg.cho_solve((factors.matrix, True), rhs)

    def by_eigenvalues() -> jax.Array:
        there = factors.values > 0
        inverse = jnp.where(there, 1 / jnp.where(there, factors.values, 1), 0)
        return matmul(factors.matrix, inverse[:, None] * matmul(factors.matrix.T, rhs))

    return lax.cond(factors.is_cholesky, by_cholesky, by_eigenvalues)


@functools.partial(jax.jit, static_argnums=2)
def log_determinant(matrix: Regularised, factors: Factors, in_float64: bool) -> jax.Array:
    """`log det matrix`, of the eigenvalues that are not left out, with derivatives of any order."""

    @jax.custom_jvp
    def value(matrix: Regularised, factors: Factors) -> jax.Array:
        with widened(in_float64):
            diagonal = jnp.where(factors.is_cholesky, jnp.square(jnp.diagonal(factors.matrix)), factors.values)
            return jnp.sum(jnp.log(jnp.where(diagonal > 0, diagonal, 1))).astype(matrix.added.dtype)

    @value.defjvp
    def value_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[jax.Array, jax.Array]:
        matrix, factors = primals
        change = solve(matrix, factors, tangents[0].dense(matrix.added.dtype), in_float64)
        return value(*primals), jnp.trace(change)

    return value(matrix, factors)


@functools.partial(jax.jit, static_argnums=1)
def eigenvalues(matrix: Regularised, dtype: Any) -> jax.Array:
    """The eigenvalues of a matrix in ascending order."""
    return jnp.linalg.eigvalsh(matrix.dense(dtype), symmetrize_input=False)


@functools.partial(jax.jit, static_argnums=(2, 3))
def inverse_blocks(matrix: Regularised, factors: Factors, size: int, in_float64: bool) -> jax.Array:
    """The diagonal blocks of the inverse, `[M / size, size, size]`, from some of its columns at a time."""

    total = len(matrix.added)
    points = max(1, min(total, _COLUMNS) // max(1, size))  # at a time
    columns = points * size

    def some(start: jax.Array) -> jax.Array:
        unit = jnp.zeros((total, columns), matrix.added.dtype)
        unit = lax.dynamic_update_slice_in_dim(unit, jnp.eye(columns, dtype=unit.dtype), start, 0)
        corner = lax.dynamic_slice_in_dim(solve(matrix, factors, unit, in_float64), start, columns)
        return jnp.moveaxis(jnp.diagonal(corner.reshape(points, size, points, size), axis1=0, axis2=2), -1, 0)

    if not total:
        return jnp.zeros((0, size, size), matrix.added.dtype)
    starts = jnp.arange(0, total, columns)
    found = lax.map(some, jnp.minimum(starts, total - columns))  # the last columns overlap with those before
    last = (total - columns * (len(starts) - 1)) // size
    return jnp.concatenate([found[:-1].reshape(-1, size, size), found[-1, points - last :]])
