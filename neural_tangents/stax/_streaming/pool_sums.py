"""How finished rows add up to the covariances of pooled activations, one spatial axis at a time.

A pool with windows of `w` positions and stride `s` maps pairs of positions to pairs of windows,

    K'[P, P'] = sum_{u, u'} K[s P - lo + u, s P' - lo + u'],      u, u' = 0, ..., w - 1.

For windows of offset `D = P' - P`, these are pairs of positions of the offsets `d = s D + u' - u`. So a *group* of rows
(see `offsets.py`), `e = s G, ..., s G + s - 1`, adds to a few pooled rows `G + g` only, and place `Q` of these belongs
to the windows that start at place `s Q - lo` of a row.

The order of steps, and why:

1. The last axis comes first (`add_up`): its entries are neighbours in memory, and what is left is smaller by then.
2. Along an axis, all groups are multiplied with the same constant matrix (`PoolSum.matrix`), which says what rows of a
   group, and places in them, add to pooled rows `g` and places `Q`: one matrix product.
3. Pooled rows of neighbouring groups overlap, and are added where they do (`_overlapped`). Slabs are added to the total
   in this form (`SlabLoop.pooled`), in which they go to neighbouring places.
4. Pairs of windows are looked up last (`PoolSum.ordered`), once for all slabs: their places are scattered, and a pair
   may have parts in both runs of a row, or at several turns of a periodic image.

Along an axis with one window only, a weighted sum over all entries takes the place of steps 2 to 4.
"""

import dataclasses
import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._streaming.offsets import OffsetAxis, Positions, along
from neural_tangents.stax._window import Padding, Window


@dataclasses.dataclass(frozen=True)
class PoolSum:
    """One spatial axis of a pool.

    Attributes:
      offset_axis: the axis, before the pool.
      window: the window of the pool.
    """

    offset_axis: OffsetAxis
    window: Window

    @property
    def count(self) -> int:
        """Number of windows."""
        return self.window.count(self.offset_axis.size)

    @property
    def one_window(self) -> bool:
        """Whether there is only one window, so that all rows have one sum."""
        return self.count == 1

    @property
    def group(self) -> int:
        """How many neighbouring rows are added up together."""
        return 1 if self.one_window else self.window.stride

    @functools.cached_property
    def matrix(self) -> np.ndarray | None:
        """`(row of a group, place, g, Q)`: what each place adds to pooled rows; None if rows are pooled already."""
        s, w = self.window.stride, self.window.size
        if s == w == 1:
            return None
        matrix = np.zeros((s, self.offset_axis.length, len(self._lags), self._length))
        u, v, place = np.ix_(range(w), range(w), range(self._length))
        r = (v - u) % s
        i = s * place - self.window.pads(self.offset_axis.size)[0] + u
        i = i % self.offset_axis.size if self.offset_axis.wraps else i
        r, i, lag, place = np.broadcast_arrays(r, i, (r + u - v) // s - self._lags[0], place)
        there = (i >= 0) & (i < self.offset_axis.length)
        np.add.at(matrix, (r[there], i[there], lag[there], place[there]), 1)
        return matrix

    def total(self, positions: Positions, weights: Array) -> Array:
        """The weights with which entries of rows add to the only window."""
        size, window = self.offset_axis.size, self.window
        reads = np.arange(window.size) - window.pads(size)[0]
        reads = reads % size if window.padding is Padding.CIRCULAR else reads[(reads >= 0) & (reads < size)]
        counts = jnp.asarray(np.bincount(reads, minlength=size), weights.dtype)
        return counts[positions.first] * counts[positions.second] * positions.present * weights[:, None]

    def add_up(self, cov: Array, axis: int, positions: Positions, weights: Array) -> Array:
        """Sums over some rows, along `axis` and the next one; see the function `add_up`."""
        rows, length = positions.present.shape
        if self.one_window:
            cov = jnp.moveaxis(cov, (axis, axis + 1), (-2, -1))
            return jnp.tensordot(cov, self.total(positions, weights), 2, precision=matmul_precision())
        cov = cov * along(positions.present * weights[:, None], axis, cov.ndim)
        if self.matrix is None:
            return cov
        cov = cov.reshape(*cov.shape[:axis], rows // self.group, self.group, length, *cov.shape[axis + 2 :])
        cov = jnp.moveaxis(cov, (axis + 1, axis + 2), (-2, -1))
        sums = jnp.tensordot(cov, jnp.asarray(self.matrix, cov.dtype), 2, precision=matmul_precision())
        sums = jnp.moveaxis(sums, (-2, -1), (axis + 1, axis + 2))
        return _overlapped(sums, axis)

    def sums(self, rows: int) -> tuple[int, ...]:
        """Shape of the sums of a number of rows."""
        return () if self.one_window else (rows // self.group + len(self._lags) - 1, self._length)

    def ordered(self, x: Array, axis: int) -> Array:
        """Sums, `(..., pooled rows, positions, ...)`, as covariances `(..., P, P', ...)`."""
        if self.one_window:
            return jnp.expand_dims(x, (axis, axis + 1))
        n_rows, length = x.shape[axis : axis + 2]
        period = self.offset_axis.period // self.window.stride
        first = np.arange(self.count)[:, None]
        offset = np.arange(self.count) - first
        x = x.reshape(*x.shape[:axis], n_rows * length, *x.shape[axis + 2 :])
        parts = []
        shift = 0 if self.offset_axis.wraps else length - period  # of the second run
        turns = len(self._lags) // period + 2
        for turn in range(-turns, turns + 1) if self.offset_axis.wraps else (0, 1):
            row, place = offset + turn * period - self._lags[0], first + turn * shift
            there = (row >= 0) & (row < n_rows)
            index = np.where(there, row * length + place, 0)
            part = jnp.take(x, index.reshape(-1), axis=axis)
            part = part.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
            parts.append(part * along(jnp.asarray(there, part.dtype), axis, part.ndim))
        return functools.reduce(operator.add, parts)

    @functools.cached_property
    def _lags(self) -> range:
        s, w = self.window.stride, self.window.size
        return range(-((w - 1) // s), (s + w - 2) // s + 1)

    @property
    def _length(self) -> int:
        return self.offset_axis.length // self.window.stride


def add_up(cov: Array, pool_sums: Sequence[PoolSum], positions: Sequence[Positions], weights: Sequence[Array]) -> Array:
    """Sums over the entries of rows that belong to the same pair of windows.

    Args:
      cov: covariances of some rows, `(N1, N2, rows, length, ...)`.
      pool_sums: the spatial axes.
      positions: the positions in the rows along each of them.
      weights: a number for each of the rows along each axis.

    Returns:
      An array `(N1, N2, *sums)`, see `PoolSum.sums`.
    """
    data = list(enumerate(zip(pool_sums, positions, weights, strict=True)))
    if all(pool_sum.one_window for pool_sum in pool_sums):  # one product, which rounds less than several
        totals = [along(pool_sum.total(p, w), 2 * axis, cov.ndim - 2) for axis, (pool_sum, p, w) in data]
        return jnp.tensordot(cov, functools.reduce(operator.mul, totals), cov.ndim - 2, precision=matmul_precision())
    for axis, (pool_sum, p, w) in reversed(data):  # the last axis first: its entries lie next to each other
        cov = pool_sum.add_up(cov, 2 + 2 * axis, p, w)
    return cov


def _overlapped(x: Array, axis: int) -> Array:
    """`y[G] = sum_g x[G - g, g]` along an axis and the next one."""
    n = x.shape[axis + 1]
    widths = [[(g, n - 1 - g) if i == axis else (0, 0) for i in range(x.ndim - 1)] for g in range(n)]
    parts = [jnp.pad(lax.index_in_dim(x, g, axis + 1, keepdims=False), widths[g]) for g in range(n)]
    return functools.reduce(operator.add, parts)
