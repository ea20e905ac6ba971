"""Covariances of images stored by offset, a few offsets at a time.

The covariance `K[p, q]` of positions along one axis is re-indexed by the offset `d = q - p`. A *row* `e` holds the
covariances of two offsets, one after the other, so that all rows are about equally full. For 5 positions, a `span` of 6
and a `period` of 5, row 2 is

    place     0        1        2       3      4        5
            K[0, 2]  K[1, 3]  K[2, 4]  gap   K[3, 0]  K[4, 1]
            first run: d = 2                 second run: d = 2 - 5

and in general

    first run    K[p, p + d],    d = step e,               p = 0, ..., n - d - 1,
    gap          anything,
    second run   K[p, p + d],    d = step (e - period),    p = -d, ..., n - 1.

A filter whose weights are shared by all positions never mixes offsets. In a row it is a sum over a window along `p`, of
covariances that are set to zero in the gap. As long as the gap is at least as wide as what a window reads beyond a
border, no window reads from both runs: images are padded with zeros. A layer of stride `s` maps offset `s d` to offset
`d`. Let `step` be the product of the strides that are still to come, and `period` the number of positions after all of
them. Then a row stays a row through any number of layers, and only every `step`-th offset is ever computed. Each pair
of positions of the last layer is in one of `period` rows.

Where images are periodic, both offsets of a row are the same, `K[p, (p + d) mod n]`, and there is no gap.
"""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout, Spatial
from neural_tangents._core.masking import drop_channel
from neural_tangents.stax._loop import kept


class Positions(NamedTuple):
    """For each place of some rows, the two positions `p` and `q` of its entry, and whether there is one.

    All are of shape `(rows, length)`. In the gap, where there is no entry, positions are arbitrary ones that exist.
    """

    first: Any
    second: Any
    present: Any


@dataclasses.dataclass(frozen=True)
class OffsetAxis:
    """One spatial axis, somewhere in a run of layers.

    Attributes:
      size: number of positions.
      span: number of positions plus the width of the gap; a layer of stride `s` divides it by `s`.
      step: product of the strides of the layers to come.
      period: number of positions after the last layer.
      wraps: whether images are periodic.
    """

    size: int
    span: int
    step: int
    period: int
    wraps: bool

    @property
    def length(self) -> int:
        """Length of a row."""
        return self.span + max(0, self.size - self.step * self.period)

    def positions(self, rows: Array) -> "Positions":
        """The positions in some rows, which must be consecutive."""
        # From tables, as XLA would repeat this arithmetic for each entry of a slab, at each use.
        tables = self.all_positions(self.period + len(rows))
        return jax.tree.map(lambda table: lax.dynamic_slice_in_dim(jnp.asarray(table), rows[0], len(rows)), tables)

    def all_positions(self, n: int) -> "Positions":
        """The positions in the first `n` rows."""
        i, offset = np.broadcast_arrays(np.arange(self.length), self.step * np.arange(n)[:, None])
        if self.wraps:
            return Positions(i, (i + offset) % self.size, np.ones(i.shape, bool))
        shift = self.span - self.step * self.period  # from a position in the second run to its place in the row
        second = i >= self.span - offset
        first_copy = np.where(second, i - shift, i)
        second_copy = first_copy + np.where(second, offset - self.step * self.period, offset)
        copies = (first_copy, second_copy)
        present = [(p >= 0) & (p < self.size) for p in copies]
        one, other = (np.clip(p, 0, self.size - 1) for p in copies)
        return Positions(one, other, present[0] & present[1])

    def after(self, window: Any) -> "OffsetAxis":
        """The axis after a layer that moves a window along it."""
        return dataclasses.replace(
            self, size=window.count(self.size), span=self.span // window.stride, step=self.step // window.stride
        )

    def sums(self, x: Array, axis: int, window: Any) -> Array:
        """Sums over a window that moves along both copies at once; `axis` is that of the entries of a row."""
        length, before = self.after(window).length, window.pads(self.size)[0]
        after = window.stride * (length - 1) + window.size - before - self.length
        pads = [(0, 0)] * x.ndim
        if self.wraps:
            x = jnp.pad(x, [(before, max(after, 0)) if i == axis else (0, 0) for i in range(x.ndim)], mode="wrap")
        else:
            pads[axis] = (before, max(after, 0))
        sizes, strides = ([k if i == axis else 1 for i in range(x.ndim)] for k in (window.size, window.stride))
        x = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, sizes, strides, pads)
        return lax.slice_in_dim(x, 0, length, axis=axis)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class OffsetLayout(Layout):
    """Some rows along each spatial axis: covariances of two batches are `(N1, N2, rows, S, rows, T, ...)`.

    Those of a batch with itself are of equal positions only, `(N, S, T, ...)`, in their natural order. Where `cov2` is
    None, `cov1` may hold those of both batches, `(N1 + N2, S, T, ...)`, so that layers have less to do.

    Attributes:
      offset_axes: the spatial axes.
      positions: the positions in the rows along each of them.
      weight: 1 for each entry that exists, 0 in the gap; broadcasts against a covariance of two batches.
      numbers: numbers of the inputs of both batches, to tell where they are the same.
      paired: whether each input of a batch meets only the one with the same number of the other batch: then there is
        a single input along the second batch axis.
    """

    spatial: Spatial = dataclasses.field(default=Spatial.OFFSET, metadata={"static": True})
    diagonal_batch: bool = dataclasses.field(default=True, metadata={"static": True})
    offset_axes: tuple[OffsetAxis, ...] = dataclasses.field(default=(), metadata={"static": True})
    positions: tuple[Positions, ...] = ()
    weight: Any = None
    numbers: tuple[Array, ...] = ()
    paired: bool = dataclasses.field(default=False, metadata={"static": True})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OffsetLayout) and self._form == other._form

    @property
    def _form(self) -> tuple[Any, ...]:
        return self.offset_axes, self.paired

    __hash__ = None  # type: ignore[assignment]

    def variance(self, cov: Array) -> Array:
        return cov

    def spread(self, v1: Array, v2: Array) -> tuple[Array, Array]:
        n1, n2 = map(len, self.numbers)
        spread1 = taken(v1[:n1], [positions.first for positions in self.positions], 1)
        spread2 = taken(v2[-n2:], [positions.second for positions in self.positions], 1)
        spread1, spread2 = self.of_pairs(spread1, spread2)
        # With zero variances in the gap, nonlinearities that vanish at zero leave zeros there.
        return spread1 * self.weight.astype(spread1.dtype), spread2

    def of_pairs(self, x1: Array, x2: Array) -> tuple[Array, Array]:
        """Arrays `(N1, ...)`, `(N2, ...)` that belong to entries, as ones that broadcast against `(N1, N2, ...)`."""
        return x1[:, None], x2[:, None] if self.paired else x2[None]

    def spread_own(self, v: Array) -> tuple[Array, Array]:
        return v, v

    def window_sums(self, cov: Array, n_batch_axes: int, windows: Any) -> Array:
        cov = cov if n_batch_axes == 1 else cov * self.weight
        for i, (axis, window) in enumerate(zip(self.offset_axes, windows, strict=True)):
            cov = window.sums(cov, (1 + i,)) if n_batch_axes == 1 else axis.sums(cov, 3 + 2 * i, window)
        return kept(cov)

    def after(self, kernel: Any, windows: Any) -> "OffsetKernel":
        axes = (axis.after(window) for axis, window in zip(self.offset_axes, windows, strict=True))
        return kernel.on(tuple(axes))

    def without_gap(self, cov: Array) -> Array:
        return cov * self.weight

    def is_same(self, cov: Array) -> Array:
        inputs = operator.eq(*self.of_pairs(*self.numbers))
        same = inputs.reshape(inputs.shape + (1,) * (cov.ndim - 2))
        for axis, positions in enumerate(self.positions):
            same = same & along((positions.first == positions.second) & positions.present, 2 + 2 * axis, cov.ndim)
        return jnp.broadcast_to(same, cov.shape)

    def is_same_own(self, cov: Array) -> Array:
        return jnp.ones(cov.shape, bool)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class OffsetKernel(Kernel):
    """A kernel of some rows; see `OffsetLayout`.

    Attributes:
      rows: numbers of the rows along each spatial axis, which follow each other.
      positions: see `OffsetLayout`; kept, like `weight`, so that loops over equal layers need not compute it again.
      weight: see `OffsetLayout`.
      numbers: see `OffsetLayout`.
      offset_axes: see `OffsetLayout`.
      one_batch: whether both batches are the same, or parts of the same.
      paired: see `OffsetLayout`.
      inside: how many layers or formulas of users, one inside of the other, it is in; `spread` of its layout then gives
        variances of some position, and not zeros, in the gap.
    """

    rows: Any = dataclasses.field(default=(), metadata={"pytree_node": True})
    positions: Any = dataclasses.field(default=(), metadata={"pytree_node": True})
    weight: Any = dataclasses.field(default=None, metadata={"pytree_node": True})
    numbers: Any = dataclasses.field(default=(), metadata={"pytree_node": True})
    offset_axes: Any = dataclasses.field(default=(), metadata={"pytree_node": False, "static": True})
    one_batch: bool = dataclasses.field(default=False, metadata={"pytree_node": False, "static": True})
    paired: bool = dataclasses.field(default=False, metadata={"pytree_node": False, "static": True})
    inside: int = dataclasses.field(default=0, metadata={"pytree_node": False, "static": True})

    @property
    def layout(self) -> OffsetLayout:
        return OffsetLayout(
            offset_axes=self.offset_axes,
            positions=self.positions,
            weight=jnp.ones((), self.weight.dtype) if self.inside else self.weight,
            numbers=self.numbers,
            paired=self.paired,
        )

    @property
    def variances(self) -> tuple[Array, Array]:
        n1, n2 = map(len, self.numbers)
        return self.cov1[:n1], self.cov1[-n2:] if self.cov2 is None else self.cov2

    def for_users(self) -> "OffsetKernel":
        """Variances of both batches are two arrays, and in the gap are a covariance and variances of some vectors."""
        cov1, cov2 = self.variances
        return self.replace(cov1=cov1, cov2=cov2, inside=self.inside + 1)._with_gap_filled()

    def from_users(self) -> "OffsetKernel":
        """What is in the gap is dropped, and variances are one array again."""
        k = self.replace(inside=self.inside - 1)
        if k.inside:
            return k._with_gap_filled()
        k = k.map_pairs(lambda cov: jnp.where(self.weight > 0, cov, 0))
        cov1, cov2 = joined_variances(k.cov1, k.cov2, k.paired, (k.mask1, k.mask2))
        return k.replace(cov1=cov1, cov2=cov2)

    def _with_gap_filled(self) -> "OffsetKernel":
        some = lax.stop_gradient(0.5 * jnp.sqrt(operator.mul(*self.layout.spread(*self.variances))))
        return self.map_pairs(lambda cov: jnp.where(self.weight > 0, cov, some.astype(cov.dtype)))

    def on(self, offset_axes: tuple[OffsetAxis, ...]) -> "OffsetKernel":
        """The kernel with other spatial axes, with positions and weight computed for them."""
        if offset_axes == self.offset_axes:
            return self
        positions = tuple(offset_axis.positions(rows) for offset_axis, rows in zip(offset_axes, self.rows, strict=True))
        weight = jnp.ones((), self.cov1.dtype)
        for axis, p in enumerate(positions):
            weight = weight * along(p.present, 2 + 2 * axis, 2 + 2 * len(offset_axes)).astype(weight.dtype)
        return self.replace(offset_axes=offset_axes, positions=positions, weight=weight)

    def mask(self, mask1: Array | None, mask2: Array | None) -> "Kernel":
        sizes = tuple(offset_axis.size for offset_axis in self.offset_axes)
        m1, m2 = (drop_channel(m, self.batch_axis, self.channel_axis) for m in (mask1, mask2))

        def own(cov: Any, m: Array | None) -> Any:
            return cov if cov is None or m is None else jnp.where(m, jnp.zeros((), cov.dtype), cov)

        if m1 is None and m2 is None:
            return self.replace(mask1=None, mask2=None)
        full = [jnp.broadcast_to(False if m is None else m, (1 if m is None else len(m), *sizes)) for m in (m1, m2)]
        visible1, visible2 = self.layout.spread(*(~m for m in full))
        weight = (visible1 & visible2).astype(self.nngp.dtype)
        return self.map_pairs(lambda cov: cov * weight).replace(
            cov1=own(self.cov1, m1),
            cov2=own(self.cov2, m2),
            mask1=mask1,
            mask2=mask2,
        )


def joined_variances(cov1: Array, cov2: Any, paired: bool, masks: tuple[Any, Any]) -> tuple[Array, Any]:
    """`cov1` and `cov2` of a slab: those of both batches joined, but where layers want the mask of each batch."""
    if cov2 is None or any(mask is not None for mask in masks):
        return cov1, cov2
    return (cov1 if paired else jnp.concatenate([cov1, cov2])), None


def taken(v: Array, positions: Sequence[Array], n_before: int) -> Array:
    """`v[..., p, q, ...]` for positions `p`, `(rows, length)`, along each axis after the first `n_before` ones."""
    for axis in reversed(
        range(len(positions))
    ):  # the last axis first, so that pieces of memory that are moved grow longer
        p = positions[axis]
        v = jnp.take(v, p.reshape(-1), axis=n_before + axis, mode="clip")
        v = v.reshape(*v.shape[: n_before + axis], *p.shape, *v.shape[n_before + axis + 1 :])
    return v


def along(x: Array, axis: int, ndim: int) -> Array:
    """An array of two axes, with axes of size 1 so that it broadcasts along `axis` and the next one of `ndim` axes."""
    return jnp.expand_dims(x, tuple(i for i in range(ndim) if i not in (axis, axis + 1)))
