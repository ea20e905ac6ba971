"""What a run of layers does to an image, found out before it is evaluated."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents._core.offsets import Track
from neural_tangents.stax._window import Padding, Window


class NotLocal(Exception):
    """A layer mixes covariances of pairs of positions with different offsets, or this is not known."""


def locally(spec: Any, reach: Any) -> Any:
    """What a layer does to the images of its inputs.

    Raises:
      NotLocal: it is not local.
    """
    if spec.local is None:
        raise NotLocal
    return spec.local(reach)


@dataclasses.dataclass(frozen=True)
class Reach:
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
    def of(cls, sizes: Sequence[int]) -> "Reach":
        """Images at the start of a run."""
        return cls(tuple(sizes), (1,) * len(sizes), tuple(sizes), tuple(sizes))

    def behind(self, windows: Sequence[Any]) -> "Reach":
        """The image behind a layer that moves a window along each axis.

        Raises:
          NotLocal: images are periodic for some layers only, or do not consist of whole strides of a periodic layer.
        """
        if len(windows) != len(self.sizes):
            raise NotLocal
        if all(window.size == window.stride == 1 for window in windows):
            return self
        wraps = windows[0].padding is Padding.CIRCULAR
        if self.wraps not in (None, wraps):
            raise NotLocal
        if wraps and any(size % window.stride for size, window in zip(self.sizes, windows, strict=True)):
            raise NotLocal
        spans = [
            max(span, stride * (size + (0 if wraps else max(window.pads(size)))))
            for span, stride, size, window in zip(self.spans, self.strides, self.sizes, windows, strict=True)
        ]
        sizes = tuple(window.count(size) for size, window in zip(self.sizes, windows, strict=True))
        strides = tuple(stride * window.stride for stride, window in zip(self.strides, windows, strict=True))

        def with_room(lengths: Sequence[int]) -> tuple[int, ...]:
            return tuple(max(n, stride * size) for n, stride, size in zip(lengths, strides, sizes, strict=True))

        return Reach(sizes, strides, with_room(self.extents), with_room(spans), wraps)

    def beside(self, other: "Reach") -> "Reach":
        """The image that two branches make together.

        Raises:
          NotLocal: they differ in sizes or strides, or images are periodic in one of them only.
        """
        kinds = {self.wraps, other.wraps} - {None}
        if self.sizes != other.sizes or self.strides != other.strides or len(kinds) > 1:
            raise NotLocal
        extents, spans = tuple(map(max, self.extents, other.extents)), tuple(map(max, self.spans, other.spans))
        return Reach(self.sizes, self.strides, extents, spans, kinds.pop() if kinds else None)

    def tracks(self, windows: Sequence[Window]) -> tuple[Track, ...]:
        """The axes of the image, as the end of a run that a pool with some windows follows.

        Raises:
          NotLocal: the pool takes images for periodic and the run does not, or the other way round; or periodic images
            do not consist of whole strides of the pool.
        """
        return tuple(map(self._track, self.sizes, self.strides, self.spans, windows))

    def _track(self, size: int, stride: int, span: int, window: Window) -> Track:
        span, step, count = -(-span // stride), window.stride, window.count(size)
        before, after = window.pads(size)
        if count == 1:
            return Track(size, span, 1, size, bool(self.wraps))
        crosses = window.padding is Padding.CIRCULAR
        if (before or after) and crosses != bool(self.wraps) or self.wraps and size % step:
            raise NotLocal
        if self.wraps:
            return Track(size, size, 1, size, True)
        # Wide enough that no window reads from both runs of a row, and no two pairs of windows share a place.
        span = max(span, size + before + window.size - 1, step * count + window.size - 1 - before)
        return Track(size, -(-span // step) * step, 1, -(-size // step) * step, False)

    def diagonal(self) -> tuple[Track, ...]:
        """The axes of the image, as the end of a run of which only pairs of equal positions are needed."""
        lengths = [-(-extent // stride) for extent, stride in zip(self.extents, self.strides, strict=True)]
        wraps = bool(self.wraps)
        return tuple(Track(size, length, 1, length, wraps) for size, length in zip(self.sizes, lengths, strict=True))

    def start(self, sizes: Sequence[int], end: Sequence[Track]) -> tuple[Track, ...]:
        """The axes at the start of the run, where images have some sizes."""
        return tuple(
            dataclasses.replace(track, size=size, span=stride * track.span, step=stride)
            for size, stride, track in zip(sizes, self.strides, end, strict=True)
        )
