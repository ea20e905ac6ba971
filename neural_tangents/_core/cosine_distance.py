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
from neural_tangents._core.numerics import safe_reciprocal, safe_sqrt, zero_where

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


def of_sum(terms: Sequence[Term], k: Array) -> CosineDistance:
    """The distances of sums of independent activations, that is, of vectors with orthogonal parts.

    With the lengths `a_i` and `b_i` of the parts, `sum_i a_i^2 = sum_i b_i^2 = 1`, and their correlations `rho_i`,

        1 - sum_i a_i b_i rho_i = sum_i ((a_i - b_i)^2 / 2 + a_i b_i (1 - rho_i)),

    where no term is negative; and likewise `1 + sum_i ...`.

    Args:
      terms: distances and covariances of the parts, and their lengths `a_i` and `b_i`.
      k: covariances of the sums.
    """
    acute = all(distance.acute for distance, *_ in terms)
    total = CosineDistance(jnp.zeros((), k.dtype), acute)
    for part, k_part, a, b in terms:
        less, more = part.value, 2 - part.value
        here = total.choose(k, part.choose(k_part, less, more), part.choose(k_part, more, less))
        total = dataclasses.replace(total, value=total.value + ((a - b) ** 2 / 2 + a * b * here))
    return total


def lengths_of_parts(squares: Sequence[Array]) -> list[Array]:
    """The lengths of orthogonal vectors in units of the length of their sum, from their squares."""
    total = functools.reduce(operator.add, squares)
    share = safe_reciprocal(total)
    first = jnp.where(total > 0, squares[0] * share, 1)
    return [safe_sqrt(square) for square in (first, *(square * share for square in squares[1:]))]


def of_covariance(k: Array, r1: Array, r2: Array) -> CosineDistance:
    """Distances from covariances and lengths: no small angles, and 0 for what may be a rounding error."""
    value = 1 - jnp.abs(_correlation(k, r1, r2))
    return CosineDistance(zero_where(value < 4 * jnp.finfo(k.dtype).eps, value), acute=False)


def _correlation(k: Array, r1: Array, r2: Array) -> Array:
    product = r1 * r2
    none = product <= 0
    return zero_where(none, k / jnp.where(none, 1, product))


def of_inputs(x1: Array, x2: Array, k: Array, r1: Array, r2: Array, one_batch: Any) -> tuple[Array, CosineDistance]:
    """The covariances of inputs, and their distances with small angles.

    Args:
      x1: inputs `(N1, C)`.
      x2: inputs `(N2, C)`.
      k: their covariances, `(N1, N2)`.
      r1: lengths of `x1`, `(N1, 1)`.
      r2: lengths of `x2`, `(1, N2)`.
      one_batch: whether both batches are the same.
    """
    found, value = _of_known_inputs(*lax.stop_gradient((x1, x2, k, r1, r2)), one_batch=one_batch)
    # The second terms are 0, and have the derivatives of `k` and of `1 - size`.
    size = jnp.abs(_correlation(k, r1, r2))
    value = lax.stop_gradient(value) + (lax.stop_gradient(size) - size)
    return k + lax.stop_gradient(found - k), CosineDistance(value, acute=False)


def _of_known_inputs(x1: Array, x2: Array, k: Array, r1: Array, r2: Array, *, one_batch: Any) -> tuple[Array, Array]:
    """As `of_inputs`, without derivatives."""
    rho = _correlation(k, r1, r2)
    if len(x1) * x2.size <= _BLOCK:  # few compile fast without conditions
        rho = _mark(rho, _unit(x1), _unit(x2), 0, one_batch)
    else:
        some = jnp.any(_close(rho, 0, one_batch))
        rho = mesh_axes.cond(some, lambda rho: _marked(rho, x1, x2, one_batch), lambda rho: rho, rho)
    size = jnp.abs(rho)
    marked, rough = size > 2, 1 - size
    value = jnp.where(marked, 1 / size, zero_where(rough < 4 * jnp.finfo(k.dtype).eps, rough))
    refined = CosineDistance(value, acute=False).correlation(rho)
    return jnp.where(marked, refined, rho) * (r1 * r2), value


def _marked(rho: Array, x1: Array, x2: Array, one_batch: Any) -> Array:
    """Correlations of inputs, with the reciprocal of the distance in their place where it is small.

    Signs stay. One array thus holds all that is known.
    """
    x1, x2 = _unit(x1), _unit(x2)
    rows = max(1, _BLOCK // max(1, x2.size))
    columns = max(64, _BLOCK // max(1, rows * x1.shape[1]))

    def mark(part: Array, row: Array, column: Array) -> Array:
        u1 = lax.dynamic_slice_in_dim(x1, row, part.shape[0])
        u2 = lax.dynamic_slice_in_dim(x2, column, part.shape[1])
        return _mark(part, u1, u2, row - column, one_batch)

    def in_blocks(part: Array, axis: int, size: int, fn: Callable[..., Array], *start: Array) -> Array:
        """`fn` of the blocks along an axis in which some inputs are close."""
        n, size = part.shape[axis], min(size, part.shape[axis])

        def step(part: Array, here: Array) -> tuple[Array, None]:
            block = lax.dynamic_slice_in_dim(part, here, size, axis)
            position = (*start, here)
            some = jnp.any(_close(block, position[0] - sum(position[1:]), one_batch))
            block = mesh_axes.cond(some, lambda block: fn(block, *position), lambda block: block, block)
            return lax.dynamic_update_slice_in_dim(part, block, here, axis), None

        # The last two blocks may overlap.
        return mesh_axes.scan(step, part, jnp.asarray(np.minimum(np.arange(0, n, size), n - size)))[0]

    return in_blocks(rho, 0, rows, lambda part, row: in_blocks(part, 1, columns, mark, row))


def _mark(rho: Array, u1: Array, u2: Array, offset: Any, one_batch: Any) -> Array:
    """As `_marked`, of vectors of length 1; see `_close` for `offset`."""
    reciprocal = 1 / jnp.maximum(_from_difference(u1, u2), jnp.finfo(rho.dtype).eps ** 2)
    return jnp.where(_close(rho, offset, one_batch), jnp.where(rho < 0, -reciprocal, reciprocal), rho)


def _close(rho: Array, offset: Any, one_batch: Any) -> Array:
    """Where different inputs have a distance that is small and not marked; row 0 has the number of column `-offset`."""
    size = jnp.abs(rho)
    return (size > 1 - _CLOSE) & (size < 2) & _different(rho.shape, offset, one_batch)


def _different(shape: tuple[int, ...], offset: Any, one_batch: Any) -> Array:
    """Where an input is not paired with itself; see `_close`."""
    row, column = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    return (row + offset != column) | ~jnp.asarray(one_batch)


def _unit(x: Array) -> Array:
    """Vectors of length 1 in the direction of some, without overflow."""
    x = x * safe_reciprocal(jnp.max(jnp.abs(x), axis=1, keepdims=True, initial=0))
    return x * safe_reciprocal(safe_sqrt(jnp.sum(x * x, axis=1, keepdims=True)))


def _from_difference(u1: Array, u2: Array) -> Array:
    u1, u2 = u1[:, None], u2[None]
    return jnp.minimum(jnp.sum((u1 - u2) ** 2, axis=-1), jnp.sum((u1 + u2) ** 2, axis=-1)) / 2
