"""A kernel matrix of low rank from some of its columns, which are chosen at random."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._regularised import matmul

# Pivots that are proposed at a time: products of wide matrices are far faster than those of narrow ones.
BLOCK = 128


class PartialCholesky(NamedTuple):
    """An approximation `K ≈ F Fᵀ` that is exact in some rows and columns, those of the pivots.

    Attributes:
      rows: `Fᵀ`, `[R, M]`. Those after the first `rank` are 0.
      pivots: their numbers, in the order in which they were chosen, `[R]`. Columns `pivots` of `Fᵀ` are an upper
        triangular matrix.
      rest: the diagonal of `K - F Fᵀ`, numbers >= 0, `[M]`.
      rank: how many pivots there are; fewer than were asked for if nothing but rounding is left of the kernel.
    """

    rows: jax.Array
    pivots: jax.Array
    rest: jax.Array
    rank: jax.Array


def partial_cholesky(
    rows_of: Callable[[jax.Array], jax.Array],
    diagonal: jax.Array,
    rank: int,
    key: jax.Array,
    eps: float,
    block: int = BLOCK,
) -> PartialCholesky:
    """The randomly pivoted partial Cholesky factorisation of a positive semi-definite matrix `K`.

    Each pivot `s` is drawn with a probability proportional to the diagonal of what is left, `R = K - F Fᵀ`, and adds
    the column `R_:s / sqrt(R_ss)` to `F`. Pivots are proposed a block at a time, from the diagonal as it was before the
    block, and each is accepted with the probability `now / before` of its diagonal entry, so that the law is that of
    one pivot at a time.

    Args:
      rows_of: rows of `K` by their numbers, `[block] -> [block, M]`, in the type of `diagonal`. It may compute on the
        host; then it is called outside of any program.
      diagonal: that of `K`, `[M]`. If it is traced, so may be `rows_of`, which is then part of a compiled loop.
      rank: the number of columns of `F`, from 1 to M.
      key: a random key.
      eps: the relative precision of `K`.
      block: how many pivots are proposed at a time.

    Source: Chen, Epperly, Tropp, Webber, "Randomly Pivoted Cholesky", 2022, https://arxiv.org/abs/2207.06503; in
    blocks: Epperly, Tropp, Webber, "Embrace Rejection: Kernel Matrix Approximation by Accelerated Randomly Pivoted
    Cholesky", 2024, https://arxiv.org/abs/2410.03969.
    """
    block, least = min(block, rank), 16 * eps * diagonal
    room = rank + block  # the last block may be longer than what is left
    found = PartialCholesky(
        jnp.zeros((room, len(diagonal)), diagonal.dtype),
        jnp.zeros(room, int),
        _above(least, diagonal),
        jnp.zeros((), int),
    )

    def goes_on(state: tuple[PartialCholesky, jax.Array]) -> jax.Array:
        left = jnp.sum(state[0].rest)
        return (state[0].rank < rank) & (left > 0) & (left < jnp.inf)

    def step(state: tuple[PartialCholesky, jax.Array]) -> tuple[PartialCholesky, jax.Array]:
        found, key = state
        key, proposals, levels = _propose(found.rest, key, block)
        return _extend(found, proposals, levels, rows_of(proposals), least, rank), key

    state = found, key
    if is_concrete(state):
        while goes_on(state):
            state = step(state)
    else:
        state = lax.while_loop(goes_on, step, state)
    found, _ = state
    return found._replace(rows=found.rows[:rank], pivots=found.pivots[:rank])


def _above(least: jax.Array, rest: jax.Array) -> jax.Array:
    """What is left of a diagonal, and 0 in place of what may be rounding."""
    return jnp.where((rest > least) | jnp.isnan(rest), rest, 0)


@functools.partial(jax.jit, static_argnums=2)
def _propose(rest: jax.Array, key: jax.Array, block: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Another key, pivots drawn by `rest`, and a random number from 0 to 1 for each, below which it is accepted."""
    key, first, second = jax.random.split(key, 3)
    sums = jnp.cumsum(rest)
    drawn = jnp.searchsorted(sums, jax.random.uniform(first, (block,), rest.dtype) * sums[-1], side="right")
    return key, jnp.minimum(drawn, len(rest) - 1), jax.random.uniform(second, (block,), rest.dtype)


@functools.partial(jax.jit, static_argnums=5, donate_argnums=0)
def _extend(
    found: PartialCholesky, proposals: jax.Array, levels: jax.Array, rows: jax.Array, least: jax.Array, rank: int
) -> PartialCholesky:
    """With those proposals that are accepted, whose rows of `K` are given."""
    block = len(proposals)

    def subtract(i: jax.Array, left: jax.Array) -> jax.Array:
        known = lax.dynamic_slice_in_dim(found.rows, i * block, block)
        return left - matmul(known[:, proposals].T, known)

    # A loop, as it ends with the last of the rows that there are.
    left = lax.fori_loop(0, -(-found.rank // block), subtract, rows.astype(least.dtype))
    corner = left[:, proposals]
    before = _above(least[proposals], jnp.diagonal(corner))
    accepted, lower = _accept(corner, levels, before)
    accepted &= jnp.cumsum(accepted) <= rank - found.rank
    order = jnp.argsort(~accepted)  # those accepted first, in their order
    keep = accepted[order]
    lower = jnp.where(keep[:, None] & keep[None, :], lower[order][:, order], jnp.eye(block, dtype=lower.dtype))
    left = jnp.where(keep[:, None], left[order], 0)
    new = jax.scipy.linalg.solve_triangular(lower, left, lower=True)
    rest = found.rest - jnp.sum(jnp.square(new), axis=0)
    # Nothing is left of a pivot, nor of a proposal of which `left` says so, whatever rounding says in `rest`.
    rest = rest.at[proposals].multiply(jnp.where(accepted | (before == 0), 0, 1))
    return PartialCholesky(
        lax.dynamic_update_slice_in_dim(found.rows, new, found.rank, 0),
        lax.dynamic_update_slice_in_dim(found.pivots, proposals[order].astype(int), found.rank, 0),
        _above(least, rest),
        found.rank + jnp.sum(accepted),
    )


def _accept(corner: jax.Array, levels: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which proposals are accepted, and the Cholesky factor of their part of `corner`, with 0 for the others."""
    block = len(levels)

    def step(i: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, accepted, lower = state
        pivot = left[i, i]
        accept = (pivot > levels[i] * before[i]) & (before[i] > 0)
        column = jnp.where(accept & (jnp.arange(block) >= i), left[:, i] / jnp.sqrt(jnp.where(accept, pivot, 1)), 0)
        return left - column[:, None] * column[None, :], accepted.at[i].set(accept), lower.at[:, i].set(column)

    start = corner, jnp.zeros(block, bool), jnp.zeros_like(corner)
    _, accepted, lower = lax.fori_loop(0, block, step, start)
    return accepted, lower
