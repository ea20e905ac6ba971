"""What nodes that are linear do to arrays of covariances, on one side of a pair."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents.tracing._graph import LETTERS, MAPS, Along, Times, View, Weighted

HIGHEST = lax.Precision.HIGHEST


def mapped(node: MAPS, array: Array, start: int, batch: int, hosts: Any) -> Array:
    """A map applied along the axes of its child in an array.

    Args:
      node: the map.
      array: has the finite axes of the child from `start` on.
      start: first of these axes.
      batch: the axis of the batch that the child belongs to.
      hosts: gives the numbers `[N, *positions]` of a `Host`.
    """
    if isinstance(node, Times):
        return array * jnp.asarray(node.factor, array.dtype)
    if isinstance(node, Along):
        return _along(node, array, start + node.axis)
    n, last = len(node.child.fin), array.ndim
    if isinstance(node, View):
        array = array.reshape(*array.shape[:start], *node.split, *array.shape[start + n :])
        axes = range(start, start + len(node.split))
        array = jnp.moveaxis(array, axes, range(-len(node.split), 0))
        base = array.ndim - len(node.split)
        kept = [base + axis for axis in node.order if axis is not None]
        array = array.transpose(*range(base), *kept)
        array = jnp.expand_dims(array, [base + i for i, axis in enumerate(node.order) if axis is None])
        array = jnp.broadcast_to(array, (*array.shape[:base], *node.fin))
        return jnp.moveaxis(array, range(base, array.ndim), range(start, start + len(node.fin)))
    assert isinstance(node, Weighted)
    used = set("".join(node.spec))
    free = [letter for letter in LETTERS if letter not in used]
    letters = free[: last - n]
    before, after = "".join(letters[:start]), "".join(letters[start:])
    host, child, out = node.spec
    h = hosts(node.host).astype(array.dtype)
    spec = f"{before}{child}{after},{before[batch]}{host}->{before}{out}{after}"
    return jnp.einsum(spec, array, h, precision=HIGHEST)


def _along(node: Along, array: Array, axis: int) -> Array:
    if node.selects:
        return jnp.take(array, np.argmax(node.matrix, 1), axis=axis)
    matrix = jnp.asarray(node.matrix, array.dtype)
    return jnp.moveaxis(jnp.tensordot(array, matrix, ((axis,), (1,)), precision=HIGHEST), -1, axis)


def contracted(axes: Sequence[Any], others: Sequence[Any], array: Array, lead: int) -> Array:
    """Covariances of products with the same weights, from those of what is multiplied.

    Args:
      axes: what the product of the first input does to the finite axes of its child.
      others: likewise for the second input.
      array: `[*lead, *finite axes of the first child, *those of the second]`.
      lead: number of batch axes.
    """
    removed = 0
    for i, j in _changed(axes, others):
        first, second = lead + i - removed, lead + len(axes) - removed + j - removed
        kind = axes[i]
        if isinstance(kind, np.ndarray):
            array = _windows(array, first, kind, second, others[j])
        elif kind == "own":
            array = masked(array, first, second)
        else:
            array = jnp.trace(array, axis1=first, axis2=second)
            removed += 1
    return array


def contracted_product(axes: Sequence[Any], others: Sequence[Any], x: Array, y: Array, own: bool) -> Array:
    """The same, where the covariance is a product: features are then summed without all pairs of them.

    Args:
      axes: what the product of the first input does to the finite axes of its child.
      others: likewise for the second input.
      x: `[N1, *finite axes of the first child]`.
      y: `[N2, *those of the second]`.
      own: whether pairs are those of one input with itself.
    """
    first = ["Z", *LETTERS[: len(axes)]]
    second = ["Z" if own else "Y", *LETTERS[len(axes) : len(axes) + len(others)]]
    for i, j in _changed(axes, others):
        if _sums(axes[i]):
            second[1 + j] = first[1 + i]
    left = [letter for letter, kind in zip(first[1:], axes, strict=True) if not _sums(kind)]
    right = [letter for letter, kind in zip(second[1:], others, strict=True) if not _sums(kind)]
    batches = "Z" if own else "ZY"
    spec = f"{''.join(first)},{''.join(second)}->{batches}{''.join([*left, *right])}"
    array = jnp.einsum(spec, x, y, precision=HIGHEST)
    rest, other_rest = ([kind for kind in kinds if not _sums(kind)] for kinds in (axes, others))
    return contracted(rest, other_rest, array, len(batches))


def _changed(axes: Sequence[Any], others: Sequence[Any]) -> list[tuple[int, int]]:
    """Pairs of axes that weights act on."""
    both = ([i for i, kind in enumerate(kinds) if not _keeps(kind)] for kinds in (axes, others))
    return list(zip(*both, strict=True))


def _sums(kind: Any) -> bool:
    return isinstance(kind, str) and kind == "sum"


def _keeps(kind: Any) -> bool:
    return isinstance(kind, str) and kind == "keep"


def _windows(array: Array, first: int, at_a: np.ndarray, second: int, at_b: np.ndarray) -> Array:
    sizes = array.shape[first], array.shape[second]
    at_a, at_b = np.where(at_a < 0, sizes[0], at_a), np.where(at_b < 0, sizes[1], at_b)
    total: Any = 0
    for k in range(at_a.shape[1]):
        rows = jnp.take(array, at_a[:, k], axis=first, mode="fill", fill_value=0)
        total = total + jnp.take(rows, at_b[:, k], axis=second, mode="fill", fill_value=0)
    return total


def masked(array: Array, first: int, second: int) -> Array:
    """An array with zeros wherever indices along two axes differ."""
    shape = [1] * array.ndim
    shape[first], shape[second] = array.shape[first], array.shape[second]
    return array * jnp.eye(shape[first], shape[second], dtype=array.dtype).reshape(shape)


def same_positions(
    own: Sequence[bool], other: Sequence[bool], fin: Sequence[int], fin_b: Sequence[int], lead: int, dtype: Any
) -> Array:
    """Ones where two positions share the parameter, of shape `[1, ..., *fin, *fin_b]`."""
    array = jnp.ones((1,) * lead + tuple(fin) + tuple(fin_b), dtype)
    of_a = [i for i, own_axis in enumerate(own) if own_axis]
    of_b = [i for i, own_axis in enumerate(other) if own_axis]
    for i, j in zip(of_a, of_b, strict=True):
        array = masked(array, lead + i, lead + len(fin) + j)
    return array
