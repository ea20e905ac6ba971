"""What a run of layers does to an image, found out before it is evaluated."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents.stax._streaming.offsets import OffsetAxis
from neural_tangents.stax._window import Padding, Window


class MixesOffsets(Exception):
    """A layer mixes covariances of pairs of positions with different offsets, or this is not known."""


def after_layer(spec: Any, reach: Any) -> Any:
    """What a layer does to the images of its inputs.

    Raises:
      MixesOffsets: it is not local.
    """
    if spec.local is None:
        raise MixesOffsets
    return spec.local(reach)


@dataclasses.dataclass(frozen=True)
class RunGeometry:
    """An image somewhere in a run of layers.

    Attributes:
      sizes: numbers of positions along its axes.
      strides: products of the strides since the start of the run.
      extents: least lengths of rows at the start of the run in which each image of the run has room.
      spans: the same, with a gap behind each image.
      wraps: whether images are periodic; None while no window has been met.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    extents: tuple[int, ...]
    spans: tuple[int, ...]
    wraps: bool | None = None

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "RunGeometry":
        """Images at the start of a run."""
        return cls(tuple(sizes), (1,) * len(sizes), tuple(sizes), tuple(sizes))

    def after(self, windows: Sequence[Any]) -> "RunGeometry":
        """The image behind a layer that moves a window along each axis.

        Raises:
          MixesOffsets: images are periodic for some layers only, or not a multiple of the stride of a periodic layer.
        """
        if len(windows) != len(self.sizes):
            raise MixesOffsets
        if all(window.size == window.stride == 1 for window in windows):
            return self
        wraps = windows[0].padding is Padding.CIRCULAR
        if self.wraps not in (None, wraps):
            raise MixesOffsets
        if wraps and any(size % window.stride for size, window in zip(self.sizes, windows, strict=True)):
            raise MixesOffsets
        spans = [
            max(span, stride * (size + (0 if wraps else max(window.pads(size)))))
            for span, stride, size, window in zip(self.spans, self.strides, self.sizes, windows, strict=True)
        ]
        sizes = tuple(window.count(size) for size, window in zip(self.sizes, windows, strict=True))
        strides = tuple(stride * window.stride for stride, window in zip(self.strides, windows, strict=True))

        def with_room(lengths: Sequence[int]) -> tuple[int, ...]:
            return tuple(max(n, stride * size) for n, stride, size in zip(lengths, strides, sizes, strict=True))

        return RunGeometry(sizes, strides, with_room(self.extents), with_room(spans), wraps)

    def beside(self, other: "RunGeometry") -> "RunGeometry":
        """The image that two branches make together.

        Raises:
          MixesOffsets: they differ in sizes or strides, or images are periodic in one of them only.
        """
        kinds = {self.wraps, other.wraps} - {None}
        if self.sizes != other.sizes or self.strides != other.strides or len(kinds) > 1:
            raise MixesOffsets
        extents, spans = tuple(map(max, self.extents, other.extents)), tuple(map(max, self.spans, other.spans))
        return RunGeometry(self.sizes, self.strides, extents, spans, kinds.pop() if kinds else None)

    def offset_axes(self, windows: Sequence[Window]) -> tuple[OffsetAxis, ...]:
        """The axes of the image, as the end of a run that a pool with some windows follows.

        Raises:
          MixesOffsets: the pool takes images for periodic and the run does not, or the other way round; or the size of
            periodic images is not a multiple of the pool's stride.
        """
        return tuple(map(self._offset_axis, self.sizes, self.strides, self.spans, windows))

    def _offset_axis(self, size: int, stride: int, span: int, window: Window) -> OffsetAxis:
        span, step, count = -(-span // stride), window.stride, window.count(size)
        before, after = window.pads(size)
        if count == 1:
            return OffsetAxis(size, span, 1, size, bool(self.wraps))
        crosses = window.padding is Padding.CIRCULAR
        if (before or after) and crosses != bool(self.wraps) or self.wraps and size % step:
            raise MixesOffsets
        if self.wraps:
            return OffsetAxis(size, size, 1, size, True)
        # Wide enough that no window reads from both runs of a row, and no two pairs of windows share a place.
        span = max(span, size + before + window.size - 1, step * count + window.size - 1 - before)
        return OffsetAxis(size, -(-span // step) * step, 1, -(-size // step) * step, False)

    def diagonal(self) -> tuple[OffsetAxis, ...]:
        """The axes of the image, as the end of a run of which only pairs of equal positions are needed."""
        lengths = [-(-extent // stride) for extent, stride in zip(self.extents, self.strides, strict=True)]
        wraps = bool(self.wraps)
        return tuple(
            OffsetAxis(size, length, 1, length, wraps) for size, length in zip(self.sizes, lengths, strict=True)
        )

    def start(self, sizes: Sequence[int], end: Sequence[OffsetAxis]) -> tuple[OffsetAxis, ...]:
        """The axes at the start of the run, where images have some sizes."""
        return tuple(
            dataclasses.replace(offset_axis, size=size, span=stride * offset_axis.span, step=stride)
            for size, stride, offset_axis in zip(sizes, self.strides, end, strict=True)
        )
