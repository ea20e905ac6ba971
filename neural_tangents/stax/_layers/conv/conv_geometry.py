"""Where the axes of a convolution are, and what windows move along them."""

import dataclasses
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.masking import all_over
from neural_tangents._core.types import Shape
from neural_tangents.stax._spatial import full_mask
from neural_tangents.stax._window import Padding, Sliding, Window, windows

DimensionNumbers = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The axes and windows of a convolution.

    Attributes:
      name: name of the layer, for errors.
      inputs: one letter for each axis of the inputs: `N` for the batch, `C` for channels, others for spatial axes.
      filters: the same for filters, with `O` for output and `I` for input channels.
      outputs: the same for the outputs.
      windows: the window along each spatial axis, in the order of `filters`.
    """

    name: str
    inputs: str
    filters: str
    outputs: str
    windows: tuple[Sliding, ...]

    @classmethod
    def of(
        cls,
        name: str,
        filter_shape: Sequence[int],
        strides: Sequence[int] | None,
        padding: Padding | str,
        dimension_numbers: DimensionNumbers | None,
        kind: Callable[..., Any] = Window,
    ) -> "Geometry":
        """The geometry that a user's arguments describe.

        Raises:
          TypeError, ValueError: an argument is not of the form that layers document.
        """
        sliding = windows(name, filter_shape, strides, padding, kind, "filter_shape")
        spatial = string.ascii_lowercase[: len(sliding)]
        default = f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
        if dimension_numbers is None:
            dimension_numbers = default
        if isinstance(dimension_numbers, str) or any(not isinstance(axes, str) for axes in dimension_numbers):
            raise TypeError(
                f"{name} needs three strings as `dimension_numbers`, such as {default}, got {dimension_numbers!r}."
            )
        letters = [frozenset(axes) - frozenset(names) for axes, names in zip(dimension_numbers, _NAMES, strict=False)]
        if (
            len(dimension_numbers) != len(_NAMES)
            or any(len(axes) != len(sliding) + 2 or len(set(axes)) != len(axes) for axes in dimension_numbers)
            or any(len(letter) != len(sliding) for letter in letters)
            or len(set(letters)) > 1
        ):
            raise ValueError(
                f"{name} with filters of {len(sliding)} spatial axes needs `dimension_numbers` such as "
                f"{default}, of different letters, got {dimension_numbers}."
            )
        return cls(name, *dimension_numbers, windows=sliding)

    @property
    def spatial(self) -> str:
        """Letters of the spatial axes in the order of `windows`."""
        return "".join(c for c in self.filters if c not in "OI")

    @property
    def input_axes(self) -> tuple[int, ...]:
        """The axes of the inputs that the windows move along."""
        return tuple(map(self.inputs.index, self.spatial))

    @property
    def sizes(self) -> Shape:
        """Sizes of the filter."""
        return tuple(window.size for window in self.windows)

    @property
    def strides(self) -> Shape:
        """Strides of the filter."""
        return tuple(window.stride for window in self.windows)

    @property
    def wraps(self) -> bool:
        """Whether images are padded with their periodic copies."""
        return any(window.padding is Padding.CIRCULAR for window in self.windows)

    def check(self, shape: Shape) -> None:
        """Raises a `TypeError` if inputs of some shape have the wrong number of axes."""
        if len(shape) != len(self.inputs):
            raise TypeError(
                f"{self.name} with a filter of shape {self.sizes} needs inputs with {len(self.inputs)} axes "
                f"({self.inputs}: batch, channels and {len(self.sizes)} spatial ones), got shape {shape}."
            )

    def fan_in(self, shape: Shape) -> int:
        """How many inputs each output is a sum of."""
        return shape[self.inputs.index("C")] * math.prod(self.sizes)

    def positions(self, shape: Shape) -> Shape:
        """Spatial sizes of the outputs for inputs of a given shape, in the order of `windows`."""
        self.check(shape)
        return tuple(window.count(shape[axis]) for window, axis in zip(self.windows, self.input_axes, strict=True))

    def out_shape(self, shape: Shape, channels: int) -> Shape:
        """Shape of the outputs for inputs of a given shape."""
        sizes = dict(zip(self.spatial, self.positions(shape), strict=True))
        sizes.update(N=shape[self.inputs.index("N")], C=channels)
        return tuple(sizes[c] for c in self.outputs)

    def mask(self, mask: Array, shape: Shape) -> Array:
        """The mask of the outputs: that of the position a window says, which is masked if all its channels are."""
        mask = full_mask(jnp.asarray(all_over(mask, self.inputs.index("C"))), shape, self.input_axes)
        for window, axis in zip(self.windows, self.input_axes, strict=True):
            mask = window.mask(mask, axis)
        return jnp.transpose(mask, [self.inputs.index(c) for c in self.outputs])

    def mean(self, cov: Array, n_batch_axes: int, layout: Layout) -> Array:
        """The mean of a covariance over pairs of positions at the same place of a window; see `window_mean`."""
        return window_mean(cov, n_batch_axes, layout, self.sliding)

    @property
    def sliding(self) -> list[Sliding]:
        """The windows in the order of the axes of the inputs."""
        sliding = dict(zip(self.spatial, self.windows, strict=True))
        return [sliding[c] for c in self.inputs if c in sliding]

    @property
    def order(self) -> tuple[int, ...]:
        """Which spatial axis of the inputs each one of the outputs is."""
        spatial_in, spatial_out = ([c for c in axes if c not in "NC"] for axes in (self.inputs, self.outputs))
        return tuple(map(spatial_in.index, spatial_out))

    @property
    def keeps_order(self) -> bool:
        """Whether spatial axes of the outputs have the order of those of the inputs."""
        return self.order == tuple(range(len(self.windows)))

    def moved(self, k: Kernel) -> Kernel:
        """A kernel of outputs that has the axes of the inputs, with axes in the order of the outputs."""
        if not self.keeps_order:
            k = k.transpose(self.order)
        return k.replace(batch_axis=self.outputs.index("N"), channel_axis=self.outputs.index("C"))


_NAMES = ("NC", "OI", "NC")


def window_mean(cov: Array, n_batch_axes: int, layout: Layout, sliding: Sequence[Sliding]) -> Array:
    """The covariance after a filter with independent weights that all positions share.

        cov'[p, p'] = 1 / |D| sum_{d in D} cov[stride p - lo + d, stride p' - lo + d],

    with `D` the positions in the filter, and each axis by itself, as a box is a product of intervals.

    Args:
      cov: covariance with spatial axes `[p, p']` as the layout says.
      n_batch_axes: number of its batch axes.
      layout: its layout.
      sliding: the window along each spatial axis, in the order of the axes of the covariance.
    """
    return layout.window_sums(cov, n_batch_axes, sliding) / math.prod(window.size for window in sliding)
