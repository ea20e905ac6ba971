"""Which entries of a covariance are stored, and where. The only place that knows the axes of a covariance.

A covariance of two batches of activations has entries for each pair of inputs and each pair of spatial positions. With
`N1`, `N2` inputs and positions `S, T, ...` along the spatial axes, it is stored as

    PAIRED:    (N1, N2, S, S, T, T, ...)    all pairs of positions, the two copies of each axis adjacent
    DIAGONAL:  (N1, N2, S, T, ...)          pairs of equal positions only

The covariance of one batch with itself is stored in the same way, without the second batch axis if `diagonal_batch` is
set. Layers that act on each entry separately ask the layout for the variances that belong to it and never look at axes.
"""

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.numerics import straight_through


class Spatial(enum.Enum):
    """How pairs of spatial positions are stored."""

    DIAGONAL = "diagonal"
    PAIRED = "paired"
    OFFSET = "offset"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The storage of the covariances of a kernel.

    Attributes:
      spatial: how pairs of positions are stored.
      diagonal_batch: whether covariances of a batch with itself (`cov1`, `cov2`) hold pairs of equal inputs only.
    """

    spatial: Spatial = Spatial.PAIRED
    diagonal_batch: bool = True

    def variance(self, cov: Array) -> Array:
        """Variances `(N, *spatial)` from the covariance of one batch with itself."""
        return self.diagonal(self.per_input(cov), 1)

    def per_input(self, cov: Array) -> Array:
        """Covariances of each input with itself, `(N, ...)`, from those of one batch with itself."""
        return cov if self.diagonal_batch else jnp.moveaxis(jnp.diagonal(cov, axis1=0, axis2=1), -1, 0)

    def spread(self, v1: Array, v2: Array) -> tuple[Array, Array]:
        """Two arrays `(N1, *spatial)`, `(N2, *spatial)` as arrays that broadcast against the covariance of two batches.

        The first array varies along the first copy of each axis, the second along the second copy.
        """
        if self.spatial is Spatial.DIAGONAL:
            return jnp.expand_dims(v1, 1), jnp.expand_dims(v2, 0)
        first, second = (tuple(range(start, 2 * v1.ndim, 2)) for start in (0, 1))
        if v1.ndim == 1:
            return jnp.expand_dims(v1, second), jnp.expand_dims(v2, first)
        # Not axes of size 1, in whose derivatives XLA:CPU of jaxlib 0.10.1 reads from a null pointer.
        pairs = tuple(n for sizes in zip(v1.shape, v2.shape, strict=True) for n in sizes)
        return lax.broadcast_in_dim(v1, pairs, first), lax.broadcast_in_dim(v2, pairs, second)

    def spread_own(self, v: Array) -> tuple[Array, Array]:
        """As `spread`, against the covariance of one batch with itself."""
        if not self.diagonal_batch:
            return self.spread(v, v)
        if self.spatial is Spatial.DIAGONAL:
            return v, v
        if v.ndim == 1:
            return v, v
        first, second = ((0, *range(start, 2 * v.ndim - 1, 2)) for start in (1, 2))
        pairs = (len(v), *(n for n in v.shape[1:] for _ in range(2)))
        return lax.broadcast_in_dim(v, pairs, first), lax.broadcast_in_dim(v, pairs, second)

    def copies(self, i: int, n_batch_axes: int) -> tuple[int, ...]:
        """The axes of a covariance that belong to spatial axis `i` of activations: one, or one for each batch."""
        if self.spatial is Spatial.DIAGONAL:
            return (n_batch_axes + i,)
        return n_batch_axes + 2 * i, n_batch_axes + 2 * i + 1

    def diagonal(self, cov: Array, n_batch_axes: int) -> Array:
        """The pairs of equal positions of a covariance, `(..., S, T, ...)`."""
        if self.spatial is Spatial.PAIRED:
            for axis in range(n_batch_axes, (cov.ndim + n_batch_axes) // 2):
                cov = jnp.moveaxis(jnp.diagonal(cov, axis1=axis, axis2=axis + 1), -1, axis)
        return cov

    def window_sums(self, cov: Array, n_batch_axes: int, windows: Sequence[Any]) -> Array:
        """Sums over a window along each spatial axis that moves along both copies of the axis at once."""
        for i, window in enumerate(windows):
            cov = window.sums(cov, self.copies(i, n_batch_axes))
        return cov

    def after(self, kernel: Any, windows: Sequence[Any]) -> Any:
        """The kernel after a layer that moves windows: covariances are summed already, the layout is updated here."""
        return kernel

    def without_gap(self, cov: Array) -> Array:
        """A covariance of two batches with zeros where it has no entry: functions of what is there may be infinite."""
        return cov

    def is_same(self, cov: Array) -> Array:
        """Where a covariance of two equal batches pairs an input and position with itself; a mask of `cov`'s shape."""
        return self._equal_pairs(cov.shape, 0)

    def is_same_own(self, cov: Array) -> Array:
        """As `is_same`, for the covariance of one batch with itself."""
        return self._equal_pairs(cov.shape, 1 if self.diagonal_batch else 0)

    def _equal_pairs(self, shape: tuple[int, ...], start: int) -> Array:
        """Where the indices of both axes of every pair agree; `start` is 1 for a covariance with one batch axis."""
        pairs = [] if start else [(0, 1)]
        if self.spatial is Spatial.PAIRED:
            pairs += [(axis, axis + 1) for axis in range(2 - start, len(shape), 2)]
        same = jnp.ones((1,) * len(shape), bool)
        for i, j in pairs:
            small = tuple(size if axis in (i, j) else 1 for axis, size in enumerate(shape))
            same = same & (lax.broadcasted_iota(jnp.int32, small, i) == lax.broadcasted_iota(jnp.int32, small, j))
        return jnp.broadcast_to(same, shape)

    def tie(self, cov: Array, variance: Array, same: Array) -> Array:
        """The covariance of two equal batches, where that of an input with itself is set to its variance exactly.

        A correlation that is 1 only up to a rounding error would cause an error in the NTK as large as the square root
        of that. Entries that differ by more than rounding stay as they are, and derivatives are those of `cov`.

        Args:
          cov: covariance of two batches with equal numbers of inputs.
          variance: variances of the first batch, as given by `spread`.
          same: which pairs are of an input and position with itself; see `is_same`.
        """
        rounding = jnp.abs(cov - variance) <= 64 * jnp.finfo(cov.dtype).eps * variance
        return straight_through(cov, same & rounding, variance)

    def position_mean(self, cov: Array, n_batch_axes: int) -> Array:
        """The mean over pairs of equal positions: the covariance of flattened activations, per entry."""
        cov = self.diagonal(cov, n_batch_axes)
        return jnp.mean(cov, axis=tuple(range(n_batch_axes, cov.ndim)))


def embed_diagonal(cov: Array, n_batch_axes: int) -> Array:
    """The covariance of all pairs of positions, with the given entries for equal positions and zeros elsewhere."""
    for axis in range(n_batch_axes, 2 * cov.ndim - n_batch_axes, 2):
        cov = jnp.expand_dims(cov, axis + 1)
        size = cov.shape[axis]
        pair = [size if i in (axis, axis + 1) else 1 for i in range(cov.ndim)]
        same = jnp.eye(size, dtype=bool).reshape(pair)
        cov = jnp.where(same, cov, jnp.zeros((), cov.dtype))
    return cov
