"""Images as parts of a torus: what runs of convolutions, half-lines and a pool look like there.

Padding with zeros is a convolution on a torus: an image of `n` positions, and as many zeros after it as a filter
reaches over its edge, is periodic with the period `n + half`. Covariances of one offset, `K[p, p + d]`, are then an
image of the same kind for each `d`, with zeros where `p` or `p + d` is none of the `n` positions. Its rows, one after
the other, are one long row: what a filter reads beyond the end of a row are the zeros after it. Positions that padding
`VALID` drops become zeros too.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from neural_tangents.stax._inputs import InputBatches
from neural_tangents.stax._spec import HalfLines, WindowMean
from neural_tangents.stax._streaming.runs import Run
from neural_tangents.stax._window import Padding, Window


class Torus(NamedTuple):
    """Images, with zeros after each row of each axis, and what layers do to them.

    Attributes:
      sizes: numbers of positions along both axes.
      halves: numbers of zeros.
      windows: sizes of the filter of each convolution.
      regions: `(top, bottom, left, right)`, which positions there are after it.
      pools: sizes of the windows of the pool, which do not overlap.
      same_positions: whether only pairs of equal positions are wanted.
    """

    sizes: tuple[int, ...]
    halves: tuple[int, ...]
    windows: tuple[tuple[int, ...], ...]
    regions: tuple[tuple[int, ...], ...]
    pools: tuple[int, ...]
    same_positions: bool

    @classmethod
    def of(cls, run: Run, k: Any, formulas: Sequence[Any]) -> "Torus | None":
        """The torus of a run; None if not all of it is of this kind."""
        means, lines = formulas[0::2], formulas[1::2]
        pools = run.pool.windows(run.geometry.sizes)
        if (
            not isinstance(k, InputBatches)
            or k.mask1 is not None
            or k.mask2 is not None
            or len(run.sizes) != 2
            or not 0 < len(means) == len(lines)
            or not all(isinstance(formula, WindowMean) and len(formula.windows) == 2 for formula in means)
            or not all(isinstance(formula, HalfLines) for formula in lines)
            or any(step.spec.form is None for step in run.steps)  # their numbers are to be found there
            or not all(map(_is_plain, itertools.chain.from_iterable(mean.windows for mean in means)))
            or not all(map(_splits, pools, run.geometry.sizes))
            or all(pool.size == 1 < size for pool, size in zip(pools, run.geometry.sizes, strict=True))  # no pool
        ):
            return None
        region, regions = (0, run.sizes[0], 0, run.sizes[1]), []
        for mean in means:
            cuts = [w.size // 2 if w.padding is Padding.VALID else 0 for w in mean.windows for _ in range(2)]
            region = tuple(x + cut * (-1) ** i for i, (x, cut) in enumerate(zip(region, cuts, strict=True)))
            regions.append(region)
        windows = tuple(tuple(window.size for window in mean.windows) for mean in means)
        halves = [max(sizes) // 2 for sizes in zip(*windows, strict=True)]
        sizes = tuple(pool.size for pool in pools)
        same_positions = run.pool.same_positions
        return cls(tuple(run.sizes), tuple(halves), windows, tuple(regions), sizes, same_positions)

    @property
    def row(self) -> int:
        """Length of a row, with the zeros after it."""
        return self.sizes[1] + self.halves[1]

    @property
    def geometry(self) -> tuple[int, ...]:
        """See `numba_functions.py`."""
        return *self.sizes, self.row, self.halves[0]

    @property
    def offsets(self) -> tuple[int, int]:
        """How many offsets are wanted along each axis."""
        return (1, 1) if self.same_positions else (self.sizes[0] + self.halves[0], self.row)

    @property
    def work(self) -> int:
        """How many covariances each pair of inputs has, of all offsets and layers."""
        return math.prod(self.offsets) * self.sizes[0] * self.row * len(self.windows)

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of windows of the pool along both axes."""
        top, bottom, left, right = self.regions[-1]
        return (bottom - top) // self.pools[0], (right - left) // self.pools[1]

    @property
    def pooled(self) -> tuple[int, int, int, int]:
        """The shape of the covariances of windows of one pair of inputs."""
        height, width = self.counts
        return height, height, width, width

    @property
    def one_window(self) -> bool:
        """Whether there is only one window, so that all offsets have one sum."""
        return self.counts == (1, 1)

    def there(self, dtype: Any) -> np.ndarray:
        """1 for each position that there is after each convolution, else 0, `(layers, places)`."""
        out = np.zeros((len(self.windows), self.sizes[0], self.row), dtype)
        for layer, (top, bottom, left, right) in zip(out, self.regions, strict=True):
            layer[top:bottom, left:right] = 1
        return out.reshape(len(out), -1)

    def numbers_of_windows(self) -> list[np.ndarray]:
        """Which window of the pool each place along each axis is in, -1 for none."""
        out = []
        for axis, (size, half, pool, count) in enumerate(
            zip(self.sizes, self.halves, self.pools, self.counts, strict=True)
        ):
            start = self.regions[-1][2 * axis]
            window = (np.arange(size + half) - start) // pool
            out.append(np.where((window >= 0) & (window < count), window, -1))
        return out


def _is_plain(window: Any) -> bool:
    """Whether a filter is centred, and moves by one position, over an image that is padded with zeros if at all."""
    known = isinstance(window, Window) and window.padding is not Padding.CIRCULAR
    return known and window.stride == 1 and window.size % 2 == 1


def _splits(window: Window, size: int) -> bool:
    """Whether windows of a pool are parts of the image that do not overlap."""
    known = window.padding is not Padding.CIRCULAR and window.pads(size) == (0, 0)
    return known and (window.stride == window.size or window.size == size)
