"""The cosine distance of pairs of activations, `1 - |rho|` with their correlation `rho = k / sqrt(q1 q2)`.

The angle of two vectors that are almost parallel, or almost opposite, is lost in the rounding error of their
covariance: cosines of angles below the square root of eps round to 1. The distance keeps it to full relative precision,
if it is computed from the vectors and carried from layer to layer without differences of large numbers. With the
lengths `r1 = sqrt(q1)`, `r2 = sqrt(q2)`, it may also stand in for the covariance, `k = sign(k) (1 - distance) r1 r2`.
Where a length is 0, the correlation counts as 0 and the distance as 1.

Distances carry derivatives, which are those of `1 - |k| / (r1 r2)`; where vectors are parallel they do not matter, as
layers take the derivative of such an angle to be 0.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core import mesh_axes
from neural_tangents._core.numerics import length, safe_reciprocal, zero_where

# Where the distance of inputs is smaller, it is computed from their difference. Above, the rounding error of a
# covariance changes the angle by less than a few eps.
_CLOSE = 2.0**-8
# About how many entries of differences are computed at a time.
_BLOCK = 2**17


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CosineDistance:
    """The cosine distances that belong to the entries of a covariance.

    Attributes:
      value: the distances; None where something else stands in for them.
      acute: whether it is known that no covariance is negative.
    """

    value: Any = dataclasses.field(metadata={"pytree_node": True})
    acute: bool = dataclasses.field(metadata={"pytree_node": False, "static": True})

    def choose(self, k: Array, negative: Array, other: Array) -> Array:
        """Values of two arrays, by the signs of covariances `k`."""
        return other if self.acute else jnp.where(k < 0, negative, other)

    def correlation(self, k: Array) -> Array:
        """The correlations, with the signs of covariances `k`."""
        return self.choose(k, self.value - 1, 1 - self.value)


# The distances and covariances of a part of some vectors, and the lengths of this part in both batches.
Term = tuple[CosineDistance, Array, Array, Array]


@jax.custom_jvp
def of_sum(terms: Sequence[Term], k: Array, r1: Array, r2: Array) -> CosineDistance:
    """The distances of sums of independent activations, that is, of vectors with orthogonal parts.

    With the lengths `a_i` and `b_i` of the parts, `sum_i a_i^2 = sum_i b_i^2 = 1`, and their correlations `rho_i`,

        1 - sum_i a_i b_i rho_i = sum_i ((a_i - b_i)^2 / 2 + a_i b_i (1 - rho_i)),

    where no term is negative; and likewise `1 + sum_i ...`.

    Args:
      terms: distances and covariances of the parts, and their lengths `a_i` and `b_i`.
      k: covariances of the sums.
      r1: lengths of the first sums.
      r2: lengths of the second sums.
    """
    acute = all(distance.acute for distance, *_ in terms)
    total = CosineDistance(jnp.zeros((), k.dtype), acute)
    for part, k_part, a, b in terms:
        less, more = part.value, 2 - part.value
        here = total.choose(k, part.choose(k_part, less, more), part.choose(k_part, more, less))
        total = dataclasses.replace(total, value=total.value + ((a - b) ** 2 / 2 + a * b * here))
    return total


@of_sum.defjvp
def _of_sum_jvp(primals: Any, tangents: Any) -> Any:
    """The derivative of what the distances stand for, `1 - |k| / (r1 r2)`, without those of the parts."""
    total = of_sum(*primals)
    (_, k, r1, r2), (_, dk, dr1, dr2) = primals, tangents
    u1, u2 = safe_reciprocal(r1), safe_reciprocal(r2)
    d_rho = (dk - k * (u1 * dr1 + u2 * dr2)) * (u1 * u2)
    return total, CosineDistance(-jnp.sign(k) * d_rho, total.acute)


def lengths_of_parts(squares: Sequence[Array]) -> list[Array]:
    """The lengths of orthogonal vectors in units of the length of their sum, from their squares."""
    total = functools.reduce(operator.add, squares)
    share = safe_reciprocal(total)
    first = jnp.where(total > 0, squares[0] * share, 1)
    return [length(square) for square in (first, *(square * share for square in squares[1:]))]


def of_covariance(k: Array, r1: Array, r2: Array) -> CosineDistance:
    """Distances from covariances and lengths: no small angles, and 0 for what may be a rounding error."""
    distance = _from_covariance(False, k, r1, r2)
    noise = distance.value < 4 * jnp.finfo(k.dtype).eps
    return dataclasses.replace(distance, value=zero_where(noise, distance.value))


def _from_covariance(acute: bool, k: Array, r1: Array, r2: Array) -> CosineDistance:
    return CosineDistance(1 - jnp.abs(_correlation(k, r1, r2)), acute)


def with_derivatives(distance: CosineDistance, k: Array, r1: Array, r2: Array) -> CosineDistance:
    """The same distances, with the derivatives of `1 - |k| / (r1 r2)` in place of their own."""
    rho = _correlation(k, r1, r2)
    less = distance.choose(k, rho, -rho)
    return dataclasses.replace(distance, value=lax.stop_gradient(distance.value) + (less - lax.stop_gradient(less)))


def _correlation(k: Array, r1: Array, r2: Array) -> Array:
    product = r1 * r2
    none = product <= 0
    return zero_where(none, k / jnp.where(none, 1, product))


@jax.custom_jvp
def of_inputs(
    x1: Array, x2: Array, k: Array, r1: Array, r2: Array, one_batch: Any, first: Any = 0
) -> tuple[Array, CosineDistance]:
    """The covariances of inputs, and their distances with small angles.

    Args:
      x1: inputs `(N1, C)`.
      x2: inputs `(N2, C)`.
      k: their covariances, `(N1, N2)`.
      r1: lengths of `x1`, `(N1, 1)`.
      r2: lengths of `x2`, `(1, N2)`.
      one_batch: whether both batches are the same.
      first: number of the first of `x1` in its batch, of which they may be a part.
    """
    if len(x1) * x2.size <= _BLOCK:  # few compile fast without conditions
        marked = _mark(k, x1, x2, r1, r2, first, one_batch)
    else:
        marked = _marked(k, x1, x2, r1, r2, one_batch, first)
    rho = _correlation(marked, r1, r2)
    size = jnp.abs(rho)
    close, rough = size > 2, 1 - size
    # Equal inputs have none, and among other inputs this may be a rounding error.
    noise = jnp.where(different(k.shape, first, one_batch), 4, 64) * jnp.finfo(k.dtype).eps
    distance = CosineDistance(jnp.where(close, size / _mark_of_one(k), zero_where(rough < noise, rough)), acute=False)
    return jnp.where(close, distance.correlation(rho) * (r1 * r2), marked), distance


@of_inputs.defjvp
def _of_inputs_jvp(primals: Any, tangents: Any) -> Any:
    """Derivatives of what the distances and covariances stand for."""

    def plain(k: Array, r1: Array, r2: Array) -> tuple[Array, CosineDistance]:
        return k, _from_covariance(False, k, r1, r2)

    return of_inputs(*primals), jax.jvp(plain, primals[2:5], tangents[2:5])[1]


@jax.jit
def _marked(k: Array, x1: Array, x2: Array, r1: Array, r2: Array, one_batch: Any, first: Any = 0) -> Array:
    """Covariances of inputs, with marks where a distance is small: a multiple of it stands in for the correlation.

    This multiple exceeds all correlations, so that one array holds all that is known. It is changed in place, block by
    block, only where some inputs are close.
    """
    rows = max(1, _BLOCK // max(1, x2.size))
    columns = max(64, _BLOCK // max(1, rows * x1.shape[1]))

    def mark_rows(k: Array, row: Array, x1: Array, r1: Array) -> Array:
        def mark(k: Array, column: Array, x2: Array, r2: Array) -> Array:
            return _mark(k, x1, x2, r1, r2, first + row - column, one_batch)

        close = jnp.any(_close(k, r1, r2, first + row, one_batch), axis=0)
        return _in_blocks(mark, close, columns, 1, k, (x2, 0), (r2, 1))

    close = jnp.any(_close(k, r1, r2, first, one_batch), axis=1)
    return _in_blocks(mark_rows, close, rows, 0, k, (x1, 0), (r1, 0))


def _in_blocks(
    fn: Callable[..., Array], some: Array, size: int, axis: int, k: Array, *others: tuple[Array, int]
) -> Array:
    """`k` with `fn(block, start, *blocks of others)` in place of each block along an axis where `some` is true.

    Args:
      fn: a function of blocks.
      some: in which rows or columns there is something to do.
      size: of a block.
      axis: of `k`, along which it is cut.
      k: covariances.
      *others: arrays, and the axes along which they are cut.
    """
    size = min(size, len(some))
    starts = jnp.asarray(np.minimum(np.arange(0, len(some), size), len(some) - size))  # the last two may overlap
    left = jnp.any(some[starts[:, None] + jnp.arange(size)[None]], axis=1)

    def step(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        k, left = carry
        number = jnp.argmax(left)
        start = starts[number]
        block, *rest = (lax.dynamic_slice_in_dim(x, start, size, a) for x, a in ((k, axis), *others))
        k = lax.dynamic_update_slice_in_dim(k, fn(block, start, *rest), start, axis)
        return k, left & (jnp.arange(len(left)) != number)

    return mesh_axes.while_loop(lambda carry: jnp.any(carry[1]), step, (k, left))[0]


def _mark(k: Array, x1: Array, x2: Array, r1: Array, r2: Array, offset: Any, one_batch: Any) -> Array:
    """As `_marked`, of all pairs; see `_close` for `offset`."""
    sign = jnp.where(k < 0, -1, 1).astype(k.dtype)
    u1, u2 = x1 * safe_reciprocal(r1), x2 * safe_reciprocal(r2).T
    distance = jnp.sum((u1[:, None] - sign[:, :, None] * u2[None]) ** 2, axis=-1) / 2
    mark = r1 * r2 * (jnp.maximum(distance, jnp.finfo(k.dtype).eps ** 2) * _mark_of_one(k))
    return jnp.where(_close(k, r1, r2, offset, one_batch), sign * mark, k)


def _mark_of_one(k: Array) -> float:
    """The multiple of distances that stands in for correlations: a power of 2, at least 4 for each distance."""
    return float(4 / jnp.finfo(k.dtype).eps ** 2)


def _close(k: Array, r1: Array, r2: Array, offset: Any, one_batch: Any) -> Array:
    """Where different inputs have a distance that is small and not marked; row 0 has the number of column `offset`."""
    size, whole = jnp.abs(k), r1 * r2
    return (size > (1 - _CLOSE) * whole) & (size < 2 * whole) & different(k.shape, offset, one_batch)


def different(shape: tuple[int, ...], offset: Any, one_batch: Any) -> Array:
    """Where an input is not paired with itself: row 0 has the number of column `offset`, if there is one batch."""
    row, column = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    return (row + offset != column) | ~jnp.asarray(one_batch)
