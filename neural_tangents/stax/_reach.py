"""What a run of layers does to an image, found out before it is evaluated."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents._core.offsets import Track
from neural_tangents.stax._window import Padding


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
      spans: least `span` that a `Track` needs at the start of the run.
      wraps: whether images are periodic; None while no window has been met.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    spans: tuple[int, ...]
    wraps: bool | None = None

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "Reach":
        """Images at the start of a run."""
        return cls(tuple(sizes), (1,) * len(sizes), tuple(sizes))

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
        spans = [max(span, stride * size) for span, stride, size in zip(spans, strides, sizes, strict=True)]
        return Reach(sizes, strides, tuple(spans), wraps)

    def beside(self, other: "Reach") -> "Reach":
        """The image that two branches make together.

        Raises:
          NotLocal: they differ in sizes or strides, or images are periodic in one of them only.
        """
        kinds = {self.wraps, other.wraps} - {None}
        if self.sizes != other.sizes or self.strides != other.strides or len(kinds) > 1:
            raise NotLocal
        spans = tuple(map(max, self.spans, other.spans))
        return Reach(self.sizes, self.strides, spans, kinds.pop() if kinds else None)

    def tracks(self, sizes: Sequence[int]) -> tuple[Track, ...]:
        """The axes at the start of the run, where images have some sizes, of which this is the end."""
        return tuple(
            Track(size, -(-span // stride) * stride, stride, period, bool(self.wraps))
            for size, span, stride, period in zip(sizes, self.spans, self.strides, self.sizes, strict=True)
        )
