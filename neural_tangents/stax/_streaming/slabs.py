"""Evaluation of a `Run` slab by slab: cutting inputs and rows, the loops over them, and what becomes of the results.

The order of steps, and why:

1. All layers are evaluated once for pairs of equal positions only (`_equal_positions`). This is cheap, gives the
   shapes, masks and flags after the run, raises the errors of layers before any loop is compiled, and tells whether
   there is an NTK yet.
2. The outer loops are over blocks of inputs of both batches, the innermost one over rows of offsets (`SlabLoop.cross`).
   So a block of inputs is read once for all offsets, and its sums over offsets are complete when the loop moves on:
   only one block of results is added to at a time.
3. Sums are put in the order of the pool's windows (`PoolSum.ordered`) only after the innermost loop: while slabs are
   added, neighbouring rows go to neighbouring places.
4. Variances (`cov1`, `cov2`) after a pool are sums over pairs of positions too. Where `nngp` has them on its diagonal
   they are taken from there, so that both agree to the last bit; otherwise they take a loop of their own, if they are
   needed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.host_calls import on_cpu
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.mesh_axes import scan
from neural_tangents.stax._blocks import in_sequence
from neural_tangents.stax._inputs import InputBatches, with_diagonals
from neural_tangents.stax._loop import compiled_separately
from neural_tangents.stax._spec import arguments_of, with_numbers
from neural_tangents.stax._streaming.numba_loop import NumbaLoop
from neural_tangents.stax._streaming.offsets import OffsetAxis
from neural_tangents.stax._streaming.pool_sums import PoolSum, add_up
from neural_tangents.stax._streaming.runs import Run
from neural_tangents.stax._streaming.slab_start import Batch, slab_at

# The numbers below were chosen with the cases `cnn_gap_*` of `benchmarks/cases.py`, on two cores of a CPU.

# Bytes. From a quarter of this on, run time changes little.
DEFAULT_BUDGET = 2**25
# How many arrays of the size of a slab exist at a time, at most.
_COPIES = 8
# From this many inputs of each batch in a slab on, or half as many, more rows speed it up more than more inputs do.
_FEW_INPUTS = 7


def streamed(
    run: Run,
    budget: int,
    k: Kernel | InputBatches,
    kwargs: Mapping[str, Any] = MappingProxyType({}),
    only_values: bool = False,
) -> Kernel:
    """The kernel after a run of layers and its pool.

    Args:
      run: the layers.
      budget: how many bytes slabs may take.
      k: the kernel before them.
      kwargs: keyword arguments of the network.
      only_values: whether it is not differentiated; Numba may then take part.
    """
    if not only_values or any(value is not None for value in kwargs.values()) or NumbaLoop.of(run, k, budget) is None:
        return _streamed(run, budget, k, kwargs)

    def of_numbers(numbers: Any, k: Any, numba: bool = False) -> Kernel:
        again = run.of(with_numbers(run.steps, numbers))
        return _streamed(again, budget, k, kwargs, NumbaLoop.of(again, k, budget) if numba else None)

    return on_cpu(functools.partial(of_numbers, numba=True), of_numbers, arguments_of(run.steps), k)


def _streamed(
    run: Run, budget: int, k: Kernel | InputBatches, kwargs: Mapping[str, Any], numba_loop: NumbaLoop | None = None
) -> Kernel:
    """See `streamed`; `numba_loop` evaluates slabs if there is one."""
    pool = run.pool

    def layers(kernel: Any) -> Any:
        return in_sequence(run.steps, kernel, kwargs)

    equal = _equal_positions(k)
    after = layers(equal)  # for its shapes, masks and flags
    pool.check(after)
    has_ntk = after.ntk is not None and after.ntk.ndim > 0  # else there are no weights up to here
    like = equal if has_ntk else equal.replace(ntk=None)
    inputs: tuple[Any, Any] = (None, None)
    given: dict[str, Array | None] = dict(nngp=None, ntk=None, cov1=None, cov2=None)
    if isinstance(k, InputBatches):
        inputs = (k.inputs1, k.inputs2)
    else:
        given = dict(nngp=k.nngp, ntk=k.ntk, cov1=k.cov1, cov2=k.cov2)
        if not has_ntk or k.ntk is None or k.ntk.ndim == 0:  # a scalar NTK, which is zero, is that of `like`
            given["ntk"] = None
    loop = numba_loop or SlabLoop.of(run, layers, equal.cov2 is None, budget)
    batch1, batch2 = Batch.of(equal, 1, inputs), Batch.of(equal, 2, inputs)
    nngp, ntk = loop.cross((given["nngp"], given["ntk"]), like, batch1, batch2)
    ntk = ntk if has_ntk else after.ntk

    cov1, cov2 = None, None
    if equal.cov2 is None:
        cov1 = Layout(diagonal_batch=False).per_input(nngp) if k.diagonal_batch else nngp
    elif not run.variances:
        batch_axes = 1 if k.diagonal_batch else 2
        cov1, cov2 = (jnp.zeros((n,) * batch_axes + nngp.shape[2:], nngp.dtype) for n in nngp.shape[:2])
    else:
        alone = equal.replace(ntk=None, x1_is_x2=True, cov2=None)
        of_one = numba_loop or SlabLoop.of(run, layers, True, budget)
        if k.diagonal_batch:  # both batches at once, so that there is one loop
            both = jax.tree.map(lambda *x: jnp.concatenate(x), given["cov1"], given["cov2"])
            cov1, cov2 = jnp.split(of_one.own(both, alone, batch1.joined(batch2)), [len(batch1.numbers)])
        else:
            cov1 = of_one.cross((given["cov1"], None), alone, batch1, batch1)[0]
            cov2 = of_one.cross((given["cov2"], None), alone, batch2, batch2)[0]
    layout = dict(diagonal_spatial=False, diagonal_batch=k.diagonal_batch)
    return pool.finish(after, after.replace(nngp=nngp, ntk=ntk, cov1=cov1, cov2=cov2, **layout))


def slab_bytes(run: Run, budget: int, k: Kernel | InputBatches) -> int:
    """About how many bytes the slabs of a run take."""
    one_batch = k.inputs2 is None if isinstance(k, InputBatches) else k.cov2 is None
    dtype = k.inputs1.dtype if isinstance(k, InputBatches) else k.nngp.dtype
    loop = SlabLoop.of(run, lambda kernel: kernel, one_batch, budget)
    size1, size2, rows = loop.blocks(k.shape1[k.batch_axis], k.shape2[k.batch_axis], dtype)
    length = math.prod(axis.length for axis in loop.starts)
    return _COPIES * dtype.itemsize * size1 * size2 * math.prod(rows) * length


@dataclasses.dataclass(frozen=True)
class SlabLoop:
    """How slabs are evaluated, and what they are added up to.

    Attributes:
      layers: the run, from kernel to kernel.
      starts: the spatial axes at its start.
      pool_sums: what the pool adds up along each axis at its end.
      same_positions: whether only pairs of equal positions are needed.
      symmetric: whether both batches are the same. Offsets `d` and `-d` are then transposes of each other, and so are
        rows `e` and `-e`: half of the rows along the first axis are enough, and transposes are added in the end.
      budget: how many bytes a slab may take.
      paired: whether each input of a batch meets only the one with the same number of the other batch; there is a
        single input along the second batch axis then.
    """

    layers: Callable[[Any], Any]
    starts: tuple[OffsetAxis, ...]
    pool_sums: tuple[PoolSum, ...]
    same_positions: bool
    symmetric: bool
    budget: int
    paired: bool = False

    @classmethod
    def of(cls, run: Run, layers: Callable[[Any], Any], one_batch: bool, budget: int) -> "SlabLoop":
        """The loop that evaluates a run; `one_batch` says whether both batches are the same."""
        windows = run.pool.windows(run.geometry.sizes)
        pool_sums = tuple(PoolSum(axis, window) for axis, window in zip(run.ends, windows, strict=True))
        same_positions = run.pool.same_positions
        return cls(layers, run.starts, pool_sums, same_positions, one_batch and not same_positions, budget)

    @functools.cached_property
    def counts(self) -> list[int]:
        """How many rows are needed along each axis."""
        counts = [1 if self.same_positions else pool_sum.offset_axis.period for pool_sum in self.pool_sums]
        return [counts[0] // 2 + 1, *counts[1:]] if self.symmetric else counts

    def cross(self, covariances: tuple[Any, Any], like: Kernel, first: Batch, second: Batch) -> tuple[Array, Any]:
        """Pooled NNGP and NTK of all pairs of inputs, from those at the start of the run (None for inputs)."""
        n1, n2 = len(first.numbers), len(second.numbers)
        size1, size2, rows = self.blocks(n1, n2, first.variance.dtype)

        def of_first(data: Any) -> Any:
            batch1, covariances = data

            def of_second(data: Any) -> Any:
                batch2, covariances = data
                return self.pooled(covariances, like, batch1, batch2, rows)

            return lax.map(of_second, (blocks2, covariances))

        blocks1, blocks2 = (
            jax.tree.map(lambda x, size=size: _in_blocks(x, (size,)), batch)
            for batch, size in ((first, size1), (second, size2))
        )
        covariances = jax.tree.map(lambda x: _in_blocks(x, (size1, size2)), covariances)
        out = lax.map(of_first, (blocks1, covariances))
        out = jax.tree.map(lambda x: _joined(x)[:n1, :n2], out)
        return jax.tree.map(lambda x: x + _transposed(x, 2), out) if self.symmetric else out

    def own(self, cov: Any, like: Kernel, batch: Batch) -> Array:
        """Pooled NNGP of each input with itself, `(N, ...)`; `cov` at the start of the run, `(N, ...)` too."""
        size, _, rows = self.blocks(len(batch.numbers), 1, batch.variance.dtype)

        def of_block(data: Any) -> Array:
            cov, block = data
            cov = None if cov is None else cov[:, None]
            return dataclasses.replace(self, paired=True).pooled((cov, None), like, block, block, rows)[0][:, 0]

        n = len(batch.numbers)
        blocks = jax.tree.map(lambda x: _in_blocks(x, (size,)), (cov, batch))
        out = lax.map(of_block, blocks)
        out = out.reshape(-1, *out.shape[2:])[:n]
        return out + _transposed(out, 1) if self.symmetric else out

    def blocks(self, n1: int, n2: int, dtype: Any) -> tuple[int, int, list[int]]:
        """How many inputs of both batches, and rows along each axis, make a slab."""
        length = math.prod(axis.length for axis in self.starts)
        room = max(1, self.budget // (_COPIES * jnp.dtype(dtype).itemsize * length))
        size1 = _even(n1, min(_FEW_INPUTS, math.isqrt(room)))
        size2 = _even(n2, min(_FEW_INPUTS, room // size1))
        left = room // (size1 * size2)
        rows: list[int] = []
        # Rows along the last axis first, as they are neighbours in memory. Room that is left goes to more inputs.
        for count, pool_sum in reversed(list(zip(self.counts, self.pool_sums, strict=True))):
            groups = _even(-(-count // pool_sum.group), max(1, left // pool_sum.group))
            rows.insert(0, groups * pool_sum.group)
            left = max(1, left // rows[0])
        size2 = _even(n2, max(size2, room // (size1 * math.prod(rows))))
        size1 = _even(n1, max(size1, room // (size2 * math.prod(rows))))
        return size1, size2, rows

    def pooled(
        self, covariances: tuple[Any, Any], like: Kernel, first: Batch, second: Batch, sizes: Sequence[int]
    ) -> tuple[Array, Any]:
        """Pooled NNGP and NTK of some inputs, added up over rows, `sizes` at a time along each axis.

        If both batches are the same, transposes are yet to be added.
        """
        n_blocks = [-(-count // size) for count, size in zip(self.counts, sizes, strict=True)]

        @jax.checkpoint  # derivatives evaluate slabs again, as otherwise all of them would be kept
        def slab(rows: tuple[Array, ...]) -> tuple[Array, Any]:
            k = self.layers(slab_at(rows, self.starts, covariances, like, (first, second), self.paired))
            weights = [self.row_weights(axis, r, like.cov1.dtype) for axis, r in enumerate(rows)]

            def sums(covariances: Any) -> Any:
                return jax.tree.map(lambda cov: add_up(cov, self.pool_sums, k.positions, weights), covariances)

            ntk = None if like.ntk is None else k.ntk  # layers of users may make one that is not needed
            return compiled_separately(sums, (k.nngp, ntk), rows[0][0] >= 0)

        def step(total: Any, block: tuple[Array, ...]) -> tuple[Any, None]:
            rows = tuple(i * size + jnp.arange(size) for i, size in zip(block, sizes, strict=True))
            starts: list[Any] = [0, 0]
            for i, size, pool_sum in zip(block, sizes, self.pool_sums, strict=True):
                starts += [] if pool_sum.one_window else [i * (size // pool_sum.group), 0]

            def add(total: Array, part: Array) -> Array:
                here = lax.dynamic_slice(total, starts, part.shape)
                return lax.dynamic_update_slice(total, here + part, starts)

            return jax.tree.map(add, total, slab(rows)), None

        shape = [len(first.numbers), 1 if self.paired else len(second.numbers)]
        for n, size, pool_sum in zip(n_blocks, sizes, self.pool_sums, strict=True):
            shape += pool_sum.sums(n * size)
        zero = jnp.zeros(shape, like.cov1.dtype)
        total = (zero, None if like.ntk is None else zero)
        blocks = np.unravel_index(np.arange(math.prod(n_blocks)), n_blocks)
        total = scan(step, total, tuple(jnp.asarray(i) for i in blocks))[0]
        for axis, pool_sum in enumerate(self.pool_sums):
            total = jax.tree.map(functools.partial(pool_sum.ordered, axis=2 + 2 * axis), total)
        return total

    def row_weights(self, axis: int, rows: Array, dtype: Any) -> Array:
        """The weights of rows: 0 for rows that do not exist, 1/2 for those that are their own transposes, else 1."""
        there = (rows < self.counts[axis]).astype(dtype)
        if not self.symmetric or axis > 0:
            return there
        return jnp.where(2 * rows % self.pool_sums[0].offset_axis.period == 0, there / 2, there)


def _even(n: int, most: int) -> int:
    """The size of blocks, at most `most` and more than half of it, for which the last block is fullest."""
    most = min(n, most)
    return min(range(most, most // 2, -1), key=lambda size: -n % size)


def _in_blocks(x: Array, sizes: Sequence[int]) -> Array:
    """`(N1, N2, ...)` as `(blocks1, blocks2, size1, size2, ...)`; copies of the last input fill up the last block."""
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


def _equal_positions(k: Kernel | InputBatches) -> Kernel:
    """The kernel of pairs of equal positions only, and of the variances of each batch."""
    if isinstance(k, InputBatches):
        return k.kernel(diagonal_batch=True, diagonal_spatial=True)
    return with_diagonals(k, batch=True, spatial=True)
