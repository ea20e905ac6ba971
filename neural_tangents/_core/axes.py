"""Algebra on axes: canonical forms, and interleaving the axes of two equally shaped batches."""

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, TypeVar

import jax
import numpy as np
from jax import numpy as jnp

T = TypeVar("T")


def canonical_axis(axis: int, ndim: int) -> int:
    """Returns `axis` counted from the front, `0 <= axis < ndim`; raises `ValueError` if it is out of range."""
    if not -ndim <= index(axis) < ndim:
        raise ValueError(
            f"Expected an axis of an array with {ndim} axes, got axis {axis}. "
            + (f"Pass an integer from {-ndim} to {ndim - 1}." if ndim else "An array of shape () has no axes.")
        )
    return index(axis) % ndim


def canonical_axes(axes: int | Iterable[int], ndim: int) -> tuple[int, ...]:
    """Returns the set of axes, each counted from the front, sorted and without repetitions.

    An axis named twice, even once as `1` and once as `-1`, counts once, since the result is a set.
    Raises `ValueError` for an axis out of range.
    """
    axes = (axes,) if isinstance(axes, (int, np.integer)) else axes
    return tuple(sorted({canonical_axis(axis, ndim) for axis in axes}))


def zip_flat(x: Sequence[T], y: Sequence[T]) -> tuple[T, ...]:
    """Interleaves two sequences of equal length, `(a, b), (c, d) -> (a, c, b, d)`; raises `ValueError` otherwise."""
    if len(x) != len(y):
        raise ValueError(f"Expected two sequences of equal length to interleave, got lengths {len(x)} and {len(y)}.")
    return tuple(item for pair in zip(x, y, strict=True) for item in pair)


def zip_axes(x: Any, start_axis: int = 0, end_axis: int | None = None) -> jax.Array:
    """Interleaves the two halves of the axes: `(X, Y, .., X', Y', ..) -> (X, X', Y, Y', ..)`.

    Only the axes `start_axis:end_axis` (as in a slice) take part. An odd number of them raises `ValueError`.
    """
    before, first, second, after = _halves(np.ndim(x), start_axis, end_axis)
    return jnp.transpose(x, (*before, *zip_flat(first, second), *after))


def unzip_axes(x: Any, start_axis: int = 0, end_axis: int | None = None) -> jax.Array:
    """Separates interleaved axes, the inverse of `zip_axes`: `(X, X', Y, Y', ..) -> (X, Y, .., X', Y', ..)`.

    Only the axes `start_axis:end_axis` (as in a slice) take part. An odd number of them raises `ValueError`.
    """
    before, first, second, after = _halves(np.ndim(x), start_axis, end_axis)
    paired = (*first, *second)
    return jnp.transpose(x, (*before, *paired[::2], *paired[1::2], *after))


def _halves(ndim: int, start_axis: int, end_axis: int | None) -> tuple[range, range, range, range]:
    """Splits `range(ndim)` in four: the axes before the slice, its first half, its second half, and those after it."""
    start, stop, _ = slice(start_axis, end_axis).indices(ndim)
    stop = max(start, stop)
    if (stop - start) % 2:
        raise ValueError(
            f"Expected an even number of axes, which come in pairs, got {stop - start} of an array with {ndim} axes "
            f"(from axis {start} to axis {stop}, exclusive)."
        )
    middle = (start + stop) // 2
    return range(start), range(start, middle), range(middle, stop), range(stop, ndim)
