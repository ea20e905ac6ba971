"""Evaluates a run of local layers, and the pooling behind it, offset by offset.

A layer is *local* if it maps covariances of pairs of positions with one offset to those with one offset: convolutions,
everything that acts on each pair by itself, and networks of these. Of a run of such layers only a slab at a time
exists: the pairs of some rows (see `neural_tangents._core.offsets`) of some inputs. What the pooling layer behind the
run keeps of each finished slab is added up. So memory does not grow with the square of the number of positions, and
slabs stay in the cache.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.offsets import OffsetKernel, Track, taken
from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._inputs import InputKernel
from neural_tangents.stax._loop import in_sequence
from neural_tangents.stax._reach import NotLocal, Reach, locally
from neural_tangents.stax._spatial import spatial_axes
from neural_tangents.stax._spec import LayerSpec

# Entries of a slab, in one array. From 2^16 to 2^20, run time changes little.
_SLAB = 2**19
# With fewer inputs of the first batch in a slab, much time goes into the variances of the second one.
_FEWEST_INPUTS = 8


def find_run(specs: Sequence[LayerSpec], k: Any) -> tuple[int, bool]:
    """How many layers, from the first on, to evaluate next, and whether they are a run and the layer that folds it."""
    if not isinstance(k, Kernel) or isinstance(k, OffsetKernel) or k.diagonal_spatial or not _sizes(k):
        return len(specs), False
    reach = Reach.of(_sizes(k))
    for n, spec in enumerate(specs):
        if spec.fold is not None:
            return n + 1, n > 0
        try:
            reach = locally(spec, reach)
        except NotLocal:
            return n + 1, False
    return len(specs), False


def streamed(specs: Sequence[LayerSpec], k: Kernel) -> Kernel:
    """The kernel behind a run of local layers and the layer that folds it, the last one of `specs`."""
    *run, last = specs
    fold: Any = last.fold
    end = functools.reduce(lambda reach, spec: locally(spec, reach), run, Reach.of(_sizes(k)))

    def through(kernel: Any) -> Any:
        return in_sequence(run, kernel, {})

    equal = _equal_positions(k)
    behind = through(equal)  # for its shapes, masks and flags
    has_ntk = behind.ntk is not None and behind.ntk.ndim > 0  # else there are no weights up to here
    like = equal if has_ntk else equal.replace(ntk=None)
    job = _Job(through, end.tracks(_sizes(k)), fold.weights(behind))
    pairs, own1, own2 = _pairs(k)
    nngp, ntk = job.cross(pairs if has_ntk else pairs._replace(ntk=None), like, _Side.of(equal, 1), _Side.of(equal, 2))
    ntk = ntk if has_ntk else behind.ntk

    def own(pairs: Any, which: int) -> Array:
        if equal.cov2 is None:
            return Layout(diagonal_batch=False).per_input(nngp) if k.diagonal_batch else nngp
        side, alone = _Side.of(equal, which), equal.replace(ntk=None, x1_is_x2=True, cov2=None)
        return job.own(pairs, alone, side) if k.diagonal_batch else job.cross(pairs, alone, side, side)[0]

    cov1, cov2 = own(own1, 1), None if equal.cov2 is None else own(own2, 2)
    layout = dict(diagonal_spatial=False, diagonal_batch=k.diagonal_batch)
    return fold.finish(behind, behind.replace(nngp=nngp, ntk=ntk, cov1=cov1, cov2=cov2, **layout))


class _Side(NamedTuple):
    """One of the two batches: numbers of its inputs, their variances `(N, *sizes)`, and masks, the batch axis first."""

    numbers: Array
    variance: Array
    mask: Array | None

    @classmethod
    def of(cls, k: Kernel, which: int) -> "_Side":
        variance = k.cov1 if which == 1 or k.cov2 is None else k.cov2
        mask = k.mask1 if which == 1 else k.mask2
        if mask is not None:
            mask = jnp.moveaxis(mask, k.batch_axis, 0)
            mask = jnp.broadcast_to(mask, (len(variance), *mask.shape[1:]))
        return cls(jnp.arange(len(variance)), variance, mask)


class _Pairs(NamedTuple):
    """What rows are taken from: two batches of inputs, `(N, C, *sizes)`, or covariances of all pairs of positions."""

    inputs: tuple[Array, Array] | None = None
    nngp: Array | None = None
    ntk: Array | None = None

    def rows(self, slab: OffsetKernel) -> tuple[Array, Any]:
        """NNGP and NTK of the rows of a slab, `(N1, N2, rows, length, ...)`."""
        firsts, seconds = [p.first for p in slab.places], [p.second for p in slab.places]
        if self.inputs is not None:
            one, two = taken(self.inputs[0], firsts, 2), taken(self.inputs[1], seconds, 2)
            nngp = jnp.einsum("ac...,bc...->ab...", one, two, precision=matmul_precision()) / max(one.shape[1], 1)
            return nngp * slab.weight, self.ntk
        pairs = [p * track.size + q for p, q, track in zip(firsts, seconds, slab.tracks, strict=True)]

        def at(cov: Any) -> Any:
            if cov is None or cov.ndim == 0:
                return cov
            cov = cov.reshape(*cov.shape[:2], *(track.size**2 for track in slab.tracks))
            return taken(cov, pairs, 2) * slab.weight

        return at(self.nngp), at(self.ntk)


@dataclasses.dataclass(frozen=True)
class _Job:
    """How slabs are evaluated.

    Attributes:
      through: the run, from kernel to kernel.
      tracks: the spatial axes at its start.
      weights: `(positions of the pool, positions)` along each axis; None for the sum over all positions.
    """

    through: Callable[[Any], Any]
    tracks: tuple[Track, ...]
    weights: tuple[Array, ...] | None

    def cross(self, pairs: _Pairs, like: Kernel, first: _Side, second: _Side) -> tuple[Array, Any]:
        """Folded NNGP and NTK of all pairs of inputs."""
        n1, n2 = len(first.numbers), len(second.numbers)
        block, sizes = self.blocks(n1, n2)
        n_blocks = -(-n1 // block)

        def in_blocks(x: Any) -> Any:
            if x.ndim == 0:
                return jnp.broadcast_to(x, n_blocks)
            x = jnp.pad(x, [(0, n_blocks * block - n1)] + [(0, 0)] * (x.ndim - 1), mode="edge")
            return x.reshape(n_blocks, block, *x.shape[1:])

        inputs1, inputs2 = pairs.inputs or (None, None)

        def of_block(data: Any) -> Any:
            inputs1, nngp, ntk, side = data
            inputs: Any = None if inputs1 is None else (inputs1, inputs2)
            return self.folded(_Pairs(inputs, nngp, ntk), like, side, second, sizes)

        out = lax.map(of_block, jax.tree.map(in_blocks, (inputs1, pairs.nngp, pairs.ntk, first)))
        return jax.tree.map(lambda x: x.reshape(n_blocks * block, *x.shape[2:])[:n1], out)

    def own(self, pairs: _Pairs, like: Kernel, side: _Side) -> Array:
        """Folded NNGP of each input with itself; all arrays of `pairs` have one batch axis."""
        block, sizes = self.blocks(len(side.numbers), 1)

        def of_one(data: Any) -> Array:
            pairs, side = jax.tree.map(lambda x: x[None], data)
            pairs = pairs if pairs.nngp is None else pairs._replace(nngp=pairs.nngp[None])
            return self.folded(pairs, like, side, side, sizes)[0][0, 0]

        return lax.map(of_one, (pairs, side), batch_size=block)

    def blocks(self, n1: int, n2: int) -> tuple[int, tuple[int, ...]]:
        """How many inputs of the first batch, and rows along each axis, make a slab."""
        entries = n2 * math.prod(track.length for track in self.tracks)
        block = max(1, min(n1, _FEWEST_INPUTS, _SLAB // max(entries, 1)))
        sizes: list[int] = []
        for track in reversed(self.tracks):
            room = max(1, _SLAB // (entries * block * math.prod(sizes)))
            sizes.append(max(d for d in range(1, track.period + 1) if track.period % d == 0 and d <= room))
        room = max(1, _SLAB // (entries * math.prod(sizes)))
        n_blocks = -(-n1 // max(block, min(n1, room)))
        return -(-n1 // n_blocks), tuple(reversed(sizes))

    def folded(
        self, pairs: _Pairs, like: Kernel, first: _Side, second: _Side, sizes: tuple[int, ...]
    ) -> tuple[Array, Any]:
        """Folded NNGP and NTK of some inputs, added up over all rows."""

        @jax.checkpoint
        def slab(rows: tuple[Array, ...]) -> tuple[Array, Any]:
            k = self.through(self.start(pairs, like, first, second, rows))
            return self.fold(k.nngp, k), None if k.ntk is None else self.fold(k.ntk, k)

        axes = [jnp.arange(t.period).reshape(-1, size) for t, size in zip(self.tracks, sizes, strict=True)]
        counts = [len(axis) for axis in axes]

        def step(total: Any, number: Array) -> tuple[Any, None]:
            rows = tuple(a[i] for a, i in zip(axes, jnp.unravel_index(number, counts), strict=True))
            return jax.tree.map(jnp.add, total, slab(rows)), None

        zero = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(slab, tuple(axis[0] for axis in axes))
        )
        return lax.scan(step, zero, jnp.arange(math.prod(counts)))[0]

    def start(self, pairs: _Pairs, like: Kernel, first: _Side, second: _Side, rows: tuple[Array, ...]) -> OffsetKernel:
        """The slab that enters the run."""
        axis = like.batch_axis % len(like.shape1)

        def shape(side: _Side) -> tuple[int, ...]:
            return (*like.shape1[:axis], len(side.numbers), *like.shape1[axis + 1 :])

        def mask(side: _Side) -> Any:
            return None if side.mask is None else jnp.moveaxis(side.mask, 0, axis)

        empty = OffsetKernel(
            **{
                **like.asdict(),
                "cov1": first.variance,
                "cov2": second.variance,
                "shape1": shape(first),
                "shape2": shape(second),
                "mask1": mask(first),
                "mask2": mask(second),
            },
            rows=rows,
            numbers=(first.numbers, second.numbers),
            one_batch=like.cov2 is None,
        ).on(self.tracks)
        nngp, ntk = pairs.rows(empty)
        return empty.replace(nngp=nngp, ntk=None if like.ntk is None else ntk)

    def fold(self, cov: Array, k: OffsetKernel) -> Array:
        """What the pooling layer keeps of some rows: `(N1, N2, S, S, T, T, ...)` with its own positions."""
        if self.weights is None:  # As a product, which rounds less than a sum does.
            axes = tuple(range(2, cov.ndim))
            numbers = ((axes, tuple(axis - 2 for axis in axes)), ((), ()))
            total = lax.dot_general(cov, k.weight[0, 0], numbers, precision=matmul_precision())
            return total.reshape(*total.shape, *(1,) * (2 * len(self.tracks)))
        cov = cov * k.weight
        operands: list[Any] = [cov, list(range(cov.ndim))]
        out = [0, 1]
        for i, (places, weight) in enumerate(zip(k.places, self.weights, strict=True)):
            first, second = (jnp.moveaxis(weight[:, p], 0, -1) for p in places[:2])
            pair = first[..., :, None] * second[..., None, :]
            labels = [cov.ndim + 2 * i, cov.ndim + 2 * i + 1]
            operands += [pair, [2 + 2 * i, 3 + 2 * i, *labels]]
            out += labels
        return jnp.einsum(*operands, out, precision=matmul_precision(), optimize="optimal")


def _sizes(k: Kernel) -> tuple[int, ...]:
    """Spatial sizes of the activations of a kernel."""
    return tuple(k.shape1[axis] for axis in spatial_axes("Kernel", k.shape1, k.batch_axis, k.channel_axis))


def _equal_positions(k: Kernel) -> Kernel:
    """The kernel of pairs of equal positions only, with variances only for each batch."""
    if isinstance(k, InputKernel):
        return k.replace(diagonal_spatial=True, diagonal_batch=True).whole()
    layout = k.layout
    equal = k.map_covariances(layout.diagonal).replace(diagonal_spatial=True, diagonal_batch=True)
    cov2 = None if k.cov2 is None else layout.variance(k.cov2)
    return equal.replace(cov1=layout.variance(k.cov1), cov2=cov2)


def _pairs(k: Kernel) -> tuple[_Pairs, _Pairs, _Pairs]:
    """What rows are taken from: for both batches, and for each with itself (with one batch axis if possible)."""
    if isinstance(k, InputKernel):
        x1 = jnp.moveaxis(k.inputs1, -1, 1)
        x2 = x1 if k.inputs2 is None else jnp.moveaxis(k.inputs2, -1, 1)
        return _Pairs((x1, x2), ntk=k.ntk), _Pairs((x1, x1)), _Pairs((x2, x2))
    cov2 = k.cov1 if k.cov2 is None else k.cov2
    return _Pairs(nngp=k.nngp, ntk=k.ntk), _Pairs(nngp=k.cov1), _Pairs(nngp=cov2)
