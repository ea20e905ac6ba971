"""Windows that slide over spatial axes: where they are, and sums over them.

Convolutions and pooling share them. A window belongs to one axis; a filter over several axes is one window for each.
"""

import dataclasses
import enum
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents.stax._hyperparameters import integers, member

W = TypeVar("W")


class Padding(enum.Enum):
    """What surrounds an image, for windows that reach over its edge. Layers also take the names as strings.

    Attributes:
      CIRCULAR: periodic copies of the image. An image of `n` positions has `ceil(n / stride)` windows.
      SAME: zeros, as many before the image as after it, or one more after it. There are `ceil(n / stride)` windows too.
      VALID: nothing: windows stay inside, and there are `floor((n - size) / stride) + 1` of them.
    """

    CIRCULAR = "CIRCULAR"
    SAME = "SAME"
    VALID = "VALID"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"`padding` must be 'CIRCULAR', 'SAME' or 'VALID', in capitals, got {value!r}.")


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over one axis: window `i` covers positions `stride * i - lo, ..., stride * i - lo + size - 1`.

    Attributes:
      size: number of positions that it covers.
      stride: how far it moves between two outputs.
      padding: what surrounds the image; this also says where the first window starts, `lo`.
    """

    size: int
    stride: int
    padding: Padding

    def count(self, n: int) -> int:
        """How many windows an image of `n` positions has; -1, which stands for an unknown number, if `n` is -1.

        Raises:
          ValueError: the image is smaller than the window, and there is no padding.
        """
        if n < 0:
            return -1
        if self.padding is not Padding.VALID:
            return -(-n // self.stride)
        if n < self.size:
            raise ValueError(
                f"A window of size {self.size} does not fit into an image of size {n} with padding 'VALID'. "
                "Use a smaller window, larger images, or padding 'SAME' or 'CIRCULAR'."
            )
        return (n - self.size) // self.stride + 1

    def pads(self, n: int) -> tuple[int, int]:
        """How many positions are added before and after an image of `n` positions."""
        if self.padding is Padding.VALID:
            return 0, 0
        total = max((self.count(n) - 1) * self.stride + self.size - n, 0)
        return total // 2, total - total // 2

    def sums(self, x: Array, axes: Sequence[int]) -> Array:
        """Sums over windows: `y[.., i, .., j, ..] = sum_d x[.., stride i - lo + d, .., stride j - lo + d, ..]`.

        Args:
          x: an array.
          axes: axes that the window moves along all at once. Along both copies of an axis of a covariance, this is what
            a filter with independent weights, shared by all positions, does to it.
        """
        n = x.shape[axes[0]]
        return window_sums(self.padded(x, axes), axes, self.size, self.stride, self.count(n))

    def padded(self, x: Array, axes: Sequence[int]) -> Array:
        """An array padded along some axes, so that the first window starts at position 0."""
        pads = {axis: self.pads(x.shape[axis]) for axis in axes}
        return pad(x, pads, wrap=self.padding is Padding.CIRCULAR)

    def mask(self, mask: Array, axis: int) -> Array:
        """An output is masked if the entry at the centre of its window is; of two centres, the first."""
        n = mask.shape[axis]
        start = (self.size - 1) // 2 - self.pads(n)[0]
        return lax.slice_in_dim(mask, start, start + (self.count(n) - 1) * self.stride + 1, self.stride, axis)


@dataclasses.dataclass(frozen=True)
class TransposedWindow:
    """The transpose of a `Window`: adds the entry of each position to all positions that the window there covers.

    With `SAME` and `CIRCULAR`, an image of `n` positions becomes one of `stride n`; the `Window` of the same size,
    stride and padding leads back to `n`.
    """

    size: int
    stride: int
    padding: Padding

    def count(self, n: int) -> int:
        """Number of positions of the result; -1, which stands for an unknown number, if `n` is -1."""
        return -1 if n < 0 else n * self.stride + sum(self.pads(n)) - self.size + 1

    def pads(self, n: int) -> tuple[int, int]:
        """How many positions are added before and after an image in which `stride - 1` zeros follow each position.

        Windows of stride 1 then cover the positions whose entries they receive.
        """
        overlap = max(self.size - self.stride, 0)
        cut = 0 if self.padding is Padding.VALID else overlap // 2
        return self.size - 1 - cut, overlap if self.padding is Padding.VALID else cut

    def sums(self, x: Array, axes: Sequence[int]) -> Array:
        """`y[.., stride i - lo + d, .., stride j - lo + d, ..] = sum_d x[.., i, .., j, ..]`, see `Window.sums`."""
        n = x.shape[axes[0]]
        return window_sums(self.padded(x, axes), axes, self.size, 1, self.count(n))

    def padded(self, x: Array, axes: Sequence[int]) -> Array:
        """An array with `stride - 1` zeros after each position along some axes, padded there."""
        pads = {axis: self.pads(x.shape[axis]) for axis in axes}
        inside = [(0, self.stride - 1, self.stride - 1) if axis in axes else (0, 0, 0) for axis in range(x.ndim)]
        return pad(lax.pad(x, jnp.zeros((), x.dtype), inside), pads, wrap=self.padding is Padding.CIRCULAR)

    def mask(self, mask: Array, axis: int) -> Array:
        """A position is masked if it receives an entry of one that is."""
        return self.sums(mask.astype(jnp.int32), (axis,)) > 0


Sliding: TypeAlias = Window | TransposedWindow


def windows(
    name: str,
    shape: Sequence[int],
    strides: Sequence[int] | None,
    padding: Any,
    kind: Callable[..., W],
    argument: str = "window_shape",
) -> tuple[W, ...]:
    """One window for each spatial axis.

    Args:
      name: name of the layer, for errors.
      shape: size of the window along each axis.
      strides: None for 1 along each axis.
      padding: a `Padding` or its name.
      kind: `Window` or `TransposedWindow`.
      argument: what the layer calls `shape`, for errors.

    Raises:
      TypeError: sizes or strides are not tuples of whole numbers.
      ValueError: sizes and strides differ in number or are not positive; an unknown padding.
    """
    shape, padding = integers(name, argument, shape), member(name, Padding, padding)
    strides = (1,) * len(shape) if strides is None else integers(name, "strides", strides)
    if len(strides) != len(shape):
        raise ValueError(f"{name} needs one stride for each axis of its `{argument}` {shape}, got `strides` {strides}.")
    return tuple(kind(size, stride, padding) for size, stride in zip(shape, strides, strict=True))


def window_sums(x: Array, axes: Sequence[int], size: int, stride: int, count: int) -> Array:
    """Sums over `count` windows, the first of which starts at position 0, along one axis or two adjacent ones at once.

    On CPUs, each form takes a fraction of the time of a convolution of a single channel. XLA does not fuse
    `reduce_window` into what follows. Sums of shifted arrays it would compute again for each of their uses, and with
    them the sums of the layers before.
    """
    if len(axes) == 1:
        return _reduce(x, axes[0], size, stride)
    if stride == 1 and size > 1:
        return _diagonal_sums(x, axes[0], size)

    def shifted(start: int) -> Array:
        starts, stops, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis in axes:
            starts[axis], strides[axis] = start, stride
            stops[axis] = start + (count - 1) * stride + 1
        return lax.slice(x, starts, stops, strides)

    return functools.reduce(operator.add, map(shifted, range(size)))


def _diagonal_sums(x: Array, axis: int, size: int) -> Array:
    """`y[.., i, j, ..] = sum_d x[.., i + d, j + d, ..]`: with both axes merged into one, a dilated window along it."""
    shape, (n, m) = x.shape, x.shape[axis : axis + 2]
    x = x.reshape(*shape[:axis], n * m, *shape[axis + 2 :])
    x = _reduce(x, axis, size, dilation=m + 1, after=(size - 1) * (m + 1))
    x = x.reshape(shape)
    return lax.slice_in_dim(lax.slice_in_dim(x, 0, n - size + 1, axis=axis), 0, m - size + 1, axis=axis + 1)


def _reduce(x: Array, axis: int, size: int, stride: int = 1, dilation: int = 1, after: int = 0) -> Array:
    sizes, strides, dilations = ([k if i == axis else 1 for i in range(x.ndim)] for k in (size, stride, dilation))
    pads = [(0, after) if i == axis else (0, 0) for i in range(x.ndim)]
    zero = np.zeros((), x.dtype)
    return lax.reduce_window(x, zero, lax.add, sizes, strides, pads, window_dilation=dilations)


def pad(x: Array, pads: dict[int, tuple[int, int]], wrap: bool) -> Array:
    """An array with zeros, or with its own periodic copies, before and after it along some axes."""
    if not any(map(any, pads.values())):
        return x
    widths = [pads.get(axis, (0, 0)) for axis in range(x.ndim)]
    return jnp.pad(x, widths, mode="wrap") if wrap else jnp.pad(x, widths)
