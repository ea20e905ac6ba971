"""Receptive-field arithmetic: how a run of layers changes the sizes and padding of images.

A row of covariances (`offsets.py`) must have room for the image at every layer of the run, and for a gap after it, as
wide as what any window reads beyond a border. A layer of stride `s` divides both by `s`. So widths are added up from
the start of the run on, in positions of its inputs, and divided by the strides in the end.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents.stax._spec import LayerSpec
from neural_tangents.stax._streaming.offsets import OffsetAxis
from neural_tangents.stax._window import Padding, Window


class MixesOffsets(Exception):
    """A layer mixes pairs of positions of different offsets, or may do so."""

    layer: LayerSpec | None = None

    def of(self, layer: LayerSpec) -> "MixesOffsets":
        """The same error, of this layer, unless it is known to come from another one within."""
        self.layer = self.layer or layer
        return self

    def __str__(self) -> str:
        return f"{self.layer or 'a layer'} {super().__str__()}"


def after_layer(spec: LayerSpec, geometry: Any) -> Any:
    """The geometry of images after a layer, from that before it (or a network tree of them).

    Raises:
      MixesOffsets: it mixes offsets.
    """
    if spec.positions == "each":
        return geometry
    if spec.positions == "mixes":
        raise MixesOffsets("mixes pairs of positions").of(spec)
    try:
        return spec.positions(geometry)
    except MixesOffsets as error:
        raise error.of(spec) from None


@dataclasses.dataclass(frozen=True)
class RunGeometry:
    """An image somewhere in a run of layers.

    Attributes:
      sizes: numbers of positions along its axes.
      strides: products of the strides since the start of the run.
      extents: least lengths of rows, at the start of the run, that have room for each image of the run.
      spans: the same, with room for the gap after each image.
      wraps: whether images are periodic; None before the first window.
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
        """The image after a layer that moves a window along each axis.

        Raises:
          MixesOffsets: images are periodic for some layers only; the stride of a periodic layer does not divide their
            size; or windows are along other axes.
        """
        if len(windows) != len(self.sizes):
            raise MixesOffsets("has windows along other axes than those of the images")
        if all(window.size == window.stride == 1 for window in windows):
            return self
        wraps = windows[0].padding is Padding.CIRCULAR
        if self.wraps not in (None, wraps):
            raise MixesOffsets("pads images in another way than the layers before it, circularly or not")
        if wraps and any(size % window.stride for size, window in zip(self.sizes, windows, strict=True)):
            raise MixesOffsets("has circular padding, and a stride that does not divide the size of images")
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
        """The image after two branches are joined.

        Raises:
          MixesOffsets: they differ in sizes or strides, or images are periodic in one of them only.
        """
        kinds = {self.wraps, other.wraps} - {None}
        if self.sizes != other.sizes or self.strides != other.strides or len(kinds) > 1:
            raise MixesOffsets("joins branches of different strides or kinds of padding")
        extents, spans = tuple(map(max, self.extents, other.extents)), tuple(map(max, self.spans, other.spans))
        return RunGeometry(self.sizes, self.strides, extents, spans, kinds.pop() if kinds else None)

    def offset_axes(self, windows: Sequence[Window]) -> tuple[OffsetAxis, ...]:
        """The spatial axes at the end of a run that a pool with these windows follows.

        Raises:
          MixesOffsets: images are periodic for only one of the run and the pool; or the size of periodic images is not
            a multiple of the pool's stride.
        """
        return tuple(map(self._offset_axis, self.sizes, self.strides, self.spans, windows))

    def _offset_axis(self, size: int, stride: int, span: int, window: Window) -> OffsetAxis:
        span, step, count = -(-span // stride), window.stride, window.count(size)
        before, after = window.pads(size)
        if count == 1:
            return OffsetAxis(size, span, 1, size, bool(self.wraps))
        crosses = window.padding is Padding.CIRCULAR
        if (before or after) and crosses != bool(self.wraps) or self.wraps and size % step:
            raise MixesOffsets("does not fit the padding, or the size, of the images before it")
        if self.wraps:
            return OffsetAxis(size, size, 1, size, True)
        # Wide enough that no window reads from both runs of a row, and no two pairs of windows share a place.
        span = max(span, size + before + window.size - 1, step * count + window.size - 1 - before)
        return OffsetAxis(size, -(-span // step) * step, 1, -(-size // step) * step, False)

    def diagonal(self) -> tuple[OffsetAxis, ...]:
        """The spatial axes at the end of a run after which only pairs of equal positions are needed."""
        lengths = [-(-extent // stride) for extent, stride in zip(self.extents, self.strides, strict=True)]
        wraps = bool(self.wraps)
        return tuple(
            OffsetAxis(size, length, 1, length, wraps) for size, length in zip(self.sizes, lengths, strict=True)
        )

    def start(self, sizes: Sequence[int], end: Sequence[OffsetAxis]) -> tuple[OffsetAxis, ...]:
        """The spatial axes at the start of the run, where images have the given sizes."""
        return tuple(
            dataclasses.replace(offset_axis, size=size, span=stride * offset_axis.span, step=stride)
            for size, stride, offset_axis in zip(sizes, self.strides, end, strict=True)
        )
