"""Evaluates a run of local layers, and what follows it, offset by offset.

A layer is *local* if it maps covariances of pairs of positions with one offset to those with one offset: convolutions,
everything that acts on each pair by itself, and networks of these. Of a run of such layers only a slab at a time
exists: some rows (see `offsets.py`) of the pairs of some inputs. What the pooling layer behind the
run keeps of each finished slab is added up. So memory does not grow with the square of the number of positions, and
slabs stay in the cache.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._inputs import InputKernel
from neural_tangents.stax._loop import compiled_separately, in_sequence
from neural_tangents.stax._spatial import spatial_axes
from neural_tangents.stax._spec import LayerSpec, Pool
from neural_tangents.stax._streaming.offsets import OffsetAxis, OffsetKernel, taken
from neural_tangents.stax._streaming.pool_sums import PoolSum, add_up
from neural_tangents.stax._streaming.run_geometry import MixesOffsets, RunGeometry, after_layer
from neural_tangents.stax._window import Padding, Window

# Bytes. From a quarter of this on, run time changes little.
DEFAULT_BUDGET = 2**25
# How many arrays of the size of a slab exist at a time, at most.
_COPIES = 8
# With so many inputs of each batch in a slab, or half of it, rows speed it up more than further inputs do.
_FEW_INPUTS = 7
# All pairs of positions of all inputs, from which on a run without a pool behind it is evaluated offset by offset.
_MANY_ENTRIES = 2**18
# Products of inputs with fewer channels are added up in one pass, faster than many small matrix products.
_FEW_CHANNELS = 8

_NO_POOL = Pool(windows=lambda sizes: tuple(Window(1, 1, Padding.VALID) for _ in sizes), finish=lambda before, k: k)


def find_run(specs: Sequence[LayerSpec], k: Any) -> tuple[int, bool]:
    """How many layers, from the first on, to evaluate next, and whether they are a run and the pool behind it."""
    if not isinstance(k, Kernel) or isinstance(k, OffsetKernel) or not _sizes(k) or 0 in k.shape1 + k.shape2:
        return len(specs), False
    reach, stop = RunGeometry.of(_sizes(k)), len(specs)
    run = 0, reach  # the longest one that ends with a single image
    for n, spec in enumerate(specs):
        try:
            if spec.pool is not None and isinstance(reach, RunGeometry):
                _ends(reach, spec.pool, k.diagonal_spatial)
                return n + 1, n > 0
            reach = after_layer(spec, reach)
        except MixesOffsets:
            stop = n + 1
            break
        run = (n + 1, reach) if isinstance(reach, RunGeometry) else run
    # Where all pairs of positions are needed behind it, a run without windows, and a small one, is faster at once.
    entries = k.shape1[k.batch_axis] * k.shape2[k.batch_axis] * math.prod(_sizes(k)) ** 2
    pays = not k.diagonal_spatial and run[1].wraps is not None and entries >= _MANY_ENTRIES
    return (run[0], True) if pays else (stop, False)


def streamed(specs: Sequence[LayerSpec], budget: int, k: Kernel) -> Kernel:
    """The kernel behind a run of local layers, and behind the pool that may follow it.

    Args:
      specs: the layers; only the last one may be a pool.
      budget: how many bytes slabs may take.
      k: the kernel before them.
    """
    pool, run = (_NO_POOL, specs) if specs[-1].pool is None else (specs[-1].pool, specs[:-1])
    reach = functools.reduce(lambda reach, spec: after_layer(spec, reach), run, RunGeometry.of(_sizes(k)))
    ends = _ends(reach, pool, k.diagonal_spatial)

    def through(kernel: Any) -> Any:
        return in_sequence(run, kernel, {})

    equal = _equal_positions(k)
    behind = through(equal)  # for its shapes, masks and flags
    pool.check(behind)
    has_ntk = behind.ntk is not None and behind.ntk.ndim > 0  # else there are no weights up to here
    like = equal if has_ntk else equal.replace(ntk=None)
    job = _Job(through, reach.start(_sizes(k), ends), ends, pool.windows(reach.sizes), pool.equal, budget)
    inputs = (k.inputs1, k.inputs2) if isinstance(k, InputKernel) else (None, None)
    side1, side2 = _Side.of(equal, 1, inputs), _Side.of(equal, 2, inputs)
    # An NTK that is a number, zero, is that of `like`.
    covariances = (k.nngp, k.ntk if has_ntk and k.ntk is not None and k.ntk.ndim > 0 else None)
    nngp, ntk = job.cross(covariances, like, side1, side2)
    ntk = ntk if has_ntk else behind.ntk

    def own(cov: Any, side: _Side) -> Array:
        if equal.cov2 is None:
            return Layout(diagonal_batch=False).per_input(nngp) if k.diagonal_batch else nngp
        alone = equal.replace(ntk=None, x1_is_x2=True, cov2=None)
        return job.own(cov, alone, side) if k.diagonal_batch else job.cross((cov, None), alone, side, side)[0]

    cov1, cov2 = own(k.cov1, side1), None if equal.cov2 is None else own(k.cov2, side2)
    layout = dict(diagonal_spatial=False, diagonal_batch=k.diagonal_batch)
    return pool.finish(behind, behind.replace(nngp=nngp, ntk=ntk, cov1=cov1, cov2=cov2, **layout))


class _Side(NamedTuple):
    """One of the two batches.

    Attributes:
      numbers: of its inputs, `(N,)`.
      variance: of its inputs, `(N, *sizes)`.
      mask: of its inputs, or None; the batch axis first.
      inputs: `(N, C, *sizes)`, if they are those of the network.
    """

    numbers: Array
    variance: Array
    mask: Array | None
    inputs: Array | None

    @classmethod
    def of(cls, k: Kernel, which: int, inputs: tuple[Any, Any]) -> "_Side":
        variance = k.cov1 if which == 1 or k.cov2 is None else k.cov2
        mask = k.mask1 if which == 1 else k.mask2
        if mask is not None:
            mask = jnp.moveaxis(mask, k.batch_axis, 0)
            mask = jnp.broadcast_to(mask, (len(variance), *mask.shape[1:]))
        x = inputs[0] if which == 1 or inputs[1] is None else inputs[1]
        return cls(jnp.arange(len(variance)), variance, mask, None if x is None else jnp.moveaxis(x, -1, 1))


@dataclasses.dataclass(frozen=True)
class _Job:
    """How slabs are evaluated.

    Attributes:
      through: the run, from kernel to kernel.
      starts: the spatial axes at its start.
      ends: the spatial axes at its end.
      windows: of the pool, along each of them.
      equal: whether only pairs of equal positions are needed.
      budget: how many bytes a slab may take.
    """

    through: Callable[[Any], Any]
    starts: tuple[OffsetAxis, ...]
    ends: tuple[OffsetAxis, ...]
    windows: tuple[Any, ...]
    equal: bool
    budget: int

    def cross(self, covariances: tuple[Any, Any], like: Kernel, first: _Side, second: _Side) -> tuple[Array, Any]:
        """Pooled NNGP and NTK of all pairs of inputs, from those at the start of the run (None for inputs)."""
        n1, n2, symmetric = len(first.numbers), len(second.numbers), like.cov2 is None and not self.equal
        size1, size2, rows = self.blocks(n1, n2, first.variance.dtype, symmetric)

        def of_first(data: Any) -> Any:
            side1, covariances = data

            def of_second(data: Any) -> Any:
                side2, covariances = data
                return self.pooled(covariances, like, side1, side2, rows, symmetric)

            return lax.map(of_second, (blocks2, covariances))

        blocks1, blocks2 = (
            jax.tree.map(lambda x, size=size: _in_blocks(x, (size,)), side)
            for side, size in ((first, size1), (second, size2))
        )
        covariances = jax.tree.map(lambda x: _in_blocks(x, (size1, size2)), covariances)
        out = lax.map(of_first, (blocks1, covariances))
        out = jax.tree.map(lambda x: _joined(x)[:n1, :n2], out)
        return jax.tree.map(lambda x: x + _transposed(x, 2), out) if symmetric else out

    def own(self, cov: Any, like: Kernel, side: _Side) -> Array:
        """Pooled NNGP of each input with itself, `(N, ...)`; `cov` at the start of the run, `(N, ...)` too."""
        symmetric = not self.equal
        block, _, rows = self.blocks(len(side.numbers), 1, side.variance.dtype, symmetric)

        def of_one(data: Any) -> Array:
            cov, side = jax.tree.map(lambda x: x[None], data)
            cov = cov if cov is None else cov[None]
            return self.pooled((cov, None), like, side, side, rows, symmetric)[0][0, 0]

        out = lax.map(of_one, (cov, side), batch_size=block)
        return out + _transposed(out, 1) if symmetric else out

    def counts(self, symmetric: bool) -> list[int]:
        """How many rows are needed along each axis.

        If both batches are one, offsets `d` and `-d` are transposes of each other, and so are rows `e` and `-e`: half
        of the rows along the first axis will do.
        """
        counts = [1 if self.equal else offset_axis.period for offset_axis in self.ends]
        return [counts[0] // 2 + 1, *counts[1:]] if symmetric else counts

    def blocks(self, n1: int, n2: int, dtype: Any, symmetric: bool) -> tuple[int, int, list[int]]:
        """How many inputs of both batches, and rows along each axis, make a slab."""
        length = math.prod(offset_axis.length for offset_axis in self.starts)
        room = max(1, self.budget // (_COPIES * jnp.dtype(dtype).itemsize * length))
        size1 = _even(n1, min(_FEW_INPUTS, math.isqrt(room)))
        size2 = _even(n2, min(_FEW_INPUTS, room // size1))
        left = room // (size1 * size2)
        rows: list[int] = []
        for count, pool_sum in reversed(list(zip(self.counts(symmetric), self.pool_sums(), strict=True))):
            groups = _even(-(-count // pool_sum.group), max(1, left // pool_sum.group))
            rows.insert(0, groups * pool_sum.group)
            left = max(1, left // rows[0])
        size2 = _even(n2, max(size2, room // (size1 * math.prod(rows))))
        size1 = _even(n1, max(size1, room // (size2 * math.prod(rows))))
        return size1, size2, rows

    def pool_sums(self) -> list[PoolSum]:
        """What the pool does along each axis."""
        return [PoolSum(offset_axis, window) for offset_axis, window in zip(self.ends, self.windows, strict=True)]

    def pooled(
        self,
        covariances: tuple[Any, Any],
        like: Kernel,
        first: _Side,
        second: _Side,
        sizes: Sequence[int],
        symmetric: bool,
    ) -> tuple[Array, Any]:
        """Pooled NNGP and NTK of some inputs, added up over rows; the transposes of these are yet to be added."""
        counts, pool_sums = self.counts(symmetric), self.pool_sums()
        n_blocks = [-(-count // size) for count, size in zip(counts, sizes, strict=True)]

        def weights(axis: int, rows: Array) -> Array:
            """Rows that do not exist count nothing, and half those that are their own transposes."""
            there = (rows < counts[axis]).astype(like.cov1.dtype)
            if not symmetric or axis > 0:
                return there
            return jnp.where(2 * rows % self.ends[0].period == 0, there / 2, there)

        @jax.checkpoint
        def slab(rows: tuple[Array, ...]) -> tuple[Array, Any]:
            k = self.through(self.start(covariances, like, first, second, rows))
            w = [weights(axis, r) for axis, r in enumerate(rows)]

            def sums(covariances: Any) -> Any:
                return jax.tree.map(lambda cov: add_up(cov, pool_sums, k.positions, w), covariances)

            return compiled_separately(sums, (k.nngp, k.ntk), rows[0][0] >= 0)

        def step(total: Any, block: tuple[Array, ...]) -> tuple[Any, None]:
            rows = tuple(i * size + jnp.arange(size) for i, size in zip(block, sizes, strict=True))
            starts: list[Any] = [0, 0]
            for i, size, pool_sum in zip(block, sizes, pool_sums, strict=True):
                starts += [] if pool_sum.whole else [i * (size // pool_sum.group), 0]

            def add(total: Array, part: Array) -> Array:
                here = lax.dynamic_slice(total, starts, part.shape)
                return lax.dynamic_update_slice(total, here + part, starts)

            return jax.tree.map(add, total, slab(rows)), None

        shape = [len(first.numbers), len(second.numbers)]
        for n, size, pool_sum in zip(n_blocks, sizes, pool_sums, strict=True):
            shape += pool_sum.sums(n * size)
        zero = jnp.zeros(shape, like.cov1.dtype)
        total = (zero, None if like.ntk is None else zero)
        blocks = np.unravel_index(np.arange(math.prod(n_blocks)), n_blocks)
        total = lax.scan(step, total, tuple(jnp.asarray(i) for i in blocks))[0]
        for axis, pool_sum in enumerate(pool_sums):
            total = jax.tree.map(functools.partial(pool_sum.ordered, axis=2 + 2 * axis), total)
        return total

    def start(
        self, covariances: tuple[Any, Any], like: Kernel, first: _Side, second: _Side, rows: tuple[Array, ...]
    ) -> OffsetKernel:
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
        ).on(self.starts)

        nngp, ntk = (self.rows(cov, empty) for cov in covariances)
        nngp = self.products(first, second, empty) if nngp is None else nngp
        return empty.replace(nngp=nngp, ntk=like.ntk if ntk is None else ntk)

    def products(self, first: _Side, second: _Side, slab: OffsetKernel) -> Array:
        """Covariances of inputs in some rows, `(N1, N2, rows, length, ...)`."""
        one = taken(first.inputs, [p.first for p in slab.positions], 2)  # type: ignore[arg-type]
        two = taken(second.inputs, [p.second for p in slab.positions], 2)  # type: ignore[arg-type]
        if one.shape[1] > _FEW_CHANNELS:
            nngp = jnp.einsum("ac...,bc...->ab...", one, two, precision=matmul_precision())
        else:
            nngp = functools.reduce(operator.add, (one[:, None, c] * two[None, :, c] for c in range(one.shape[1])))
        return nngp / max(one.shape[1], 1) * slab.weight

    def rows(self, cov: Any, slab: OffsetKernel) -> Any:
        """Some rows of covariances of all pairs of positions, or of equal ones only: `(N1, N2, rows, length, ...)`."""
        if cov is None:
            return None
        firsts, seconds = [p.first for p in slab.positions], [p.second for p in slab.positions]
        if cov.ndim == 2 + len(firsts):
            return taken(cov, firsts, 2) * slab.weight
        pairs = [p * offset_axis.size + q for p, q, offset_axis in zip(firsts, seconds, slab.offset_axes, strict=True)]
        cov = cov.reshape(*cov.shape[:2], *(offset_axis.size**2 for offset_axis in slab.offset_axes))
        return taken(cov, pairs, 2) * slab.weight


def _ends(reach: RunGeometry, pool: Pool, diagonal_spatial: bool) -> tuple[OffsetAxis, ...]:
    """The spatial axes at the end of a run, before a pool.

    Raises:
      MixesOffsets: the run and the pool do not fit.
    """
    if pool.equal:
        return reach.diagonal()
    windows = pool.windows(reach.sizes)
    if diagonal_spatial or len(windows) != len(reach.sizes):
        raise MixesOffsets
    return reach.offset_axes(windows)


def _even(n: int, most: int) -> int:
    """The size of equal blocks, at most `most` and at least half of it, that leave the last one fullest."""
    most = min(n, most)
    return min(range(most, most // 2, -1), key=lambda size: -n % size)


def _in_blocks(x: Array, sizes: Sequence[int]) -> Array:
    """`(N1, N2, ...)` as `(blocks1, blocks2, size1, size2, ...)`; the last blocks are filled with copies."""
    n = len(sizes)
    pads = [(0, -length % size) for length, size in zip(x.shape, sizes, strict=False)]
    x = jnp.pad(x, pads + [(0, 0)] * (x.ndim - n), mode="edge")
    shape = [part for length, size in zip(x.shape, sizes, strict=False) for part in (length // size, size)]
    x = x.reshape(*shape, *x.shape[n:])
    return jnp.transpose(x, (*range(0, 2 * n, 2), *range(1, 2 * n, 2), *range(2 * n, x.ndim)))


def _joined(x: Array) -> Array:
    """`(blocks1, blocks2, size1, size2, ...)` as `(N1, N2, ...)`."""
    x = jnp.swapaxes(x, 1, 2)
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3], *x.shape[4:])


def _transposed(cov: Array, n_batch_axes: int) -> Array:
    """A covariance with both batches, and both copies of each spatial axis, swapped."""
    for axis in range(0 if n_batch_axes == 2 else 1, cov.ndim, 2):
        cov = jnp.swapaxes(cov, axis, axis + 1)
    return cov


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
