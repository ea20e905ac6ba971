"""Indexing of activations, `y = x[idx]`, as algebra on axes: what it does to shapes, masks and covariances.

An index holds integers, which remove an axis, slices, and at most one ellipsis, as in basic indexing of NumPy.
"""

import numbers
from collections.abc import Sequence
from operator import index as as_int
from types import EllipsisType
from typing import Any, TypeAlias

from jax import Array

from neural_tangents._core.types import Shape

FullIndex: TypeAlias = tuple[int | slice, ...]


def canonical_index(idx: Any, ndim: int) -> FullIndex:
    """An index as one integer or slice for each of `ndim` axes, without an ellipsis.

    Raises:
      IndexError: more indices than axes, or more than one ellipsis.
      TypeError: something that is neither an integer, a slice, nor an ellipsis.
    """
    parts = idx if isinstance(idx, tuple) else (idx,)
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, numbers.Integral | slice | EllipsisType):
            raise TypeError(f"An index consists of integers, slices and `...`, got {part!r} in {idx!r}.")
    ellipses = [i for i, part in enumerate(parts) if part is Ellipsis]
    missing = ndim - len(parts) + len(ellipses)
    if len(ellipses) > 1 or missing < 0:
        raise IndexError(f"Expected at most {ndim} indices and one `...`, for {ndim} axes; got {idx!r}.")
    start = ellipses[0] if ellipses else len(parts)
    full = (*parts[:start], *[slice(None)] * missing, *parts[start + 1 :])
    return tuple(part if isinstance(part, slice) else as_int(part) for part in full)


def is_whole(part: int | slice) -> bool:
    """Whether an index keeps a whole axis, whatever its size."""
    return isinstance(part, slice) and part.start in (None, 0) and part.stop is None and part.step in (None, 1)


def check_index(index: FullIndex, batch_axis: int, channel_axis: int) -> None:
    """Raises a `NotImplementedError` if the kernel of the indexed activations does not exist."""
    if not is_whole(index[channel_axis]):
        raise NotImplementedError(
            f"Expected `:` for the channel axis {channel_axis}, got {index[channel_axis]}: kernels describe "
            "infinitely many channels. Index batch and spatial axes only."
        )
    if isinstance(index[batch_axis], int):
        raise NotImplementedError(
            f"Expected a slice for the batch axis {batch_axis}, got the integer {index[batch_axis]}, which removes the "
            f"axis. Keep it with a slice, such as `{index[batch_axis]}:{index[batch_axis] + 1}`."  # type: ignore[operator]
        )


def indexed_shape(index: FullIndex, shape: Shape) -> Shape:
    """The shape of `x[index]`, where `-1` stands for an unknown size.

    Raises:
      IndexError: an integer out of range.
      ValueError: an axis of unknown size is indexed.
    """
    out = []
    for axis, (part, size) in enumerate(zip(index, shape, strict=True)):
        if size < 0 and not is_whole(part):
            raise ValueError(f"Expected a known size of axis {axis}, which is indexed with {part}; got shape {shape}.")
        if isinstance(part, int):
            if not -size <= part < size:
                raise IndexError(f"Index {part} is out of range for axis {axis} of shape {shape}.")
        else:
            out.append(size if size < 0 else len(range(size)[part]))
    return tuple(out)


def indexed_mask(mask: Array | None, index: FullIndex) -> Array | None:
    """The mask of `x[index]`. The mask of `x` may have axes of size 1, to broadcast."""
    if mask is None:
        return None
    return mask[tuple(_along_one(part) if size == 1 else part for part, size in zip(index, mask.shape, strict=True))]


def _along_one(part: int | slice) -> int | slice:
    return 0 if isinstance(part, int) else slice(None)


def axis_after_index(index: FullIndex, axis: int) -> int:
    """Where an axis of `x`, counted from the front, is in `x[index]`."""
    return axis - sum(isinstance(part, int) for part in index[:axis])


def covariance_index(index: FullIndex, axes: Sequence[int], n_batch_axes: int, width: int) -> FullIndex:
    """The index of covariances that corresponds to an index of activations.

    Args:
      index: index of activations.
      axes: their batch axis, then their spatial axes in the order in which they appear in covariances.
      n_batch_axes: number of batch axes of the covariance.
      width: how many times each spatial axis appears in it.
    """
    batch, *spatial = (index[axis] for axis in axes)
    return (*[batch] * n_batch_axes, *(part for part in spatial for _ in range(width)))
