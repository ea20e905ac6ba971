"""Kernels of whole batches, from tiles: which tile is computed when and where, and where it is written."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.programs import Programs
from neural_tangents._core.tiling.automatic import default_budget, largest_tile
from neural_tangents._core.tiling.call_form import CallForm, read_call
from neural_tangents._core.tiling.grid import Grid, TileSettings
from neural_tangents._core.tiling.one_program import in_one_program
from neural_tangents._core.tiling.tile_function import TileFunction, WholeFunction
from neural_tangents._core.tiling.tile_results import NotInTiles, Result, sums_over_a_batch
from neural_tangents._core.types import PyTree

# A tile of a symmetric kernel may differ from its mirror image by this many times the precision of its type, due to
# rounding, but never by more than the second number, of its largest entry.
_ASYMMETRY = 100.0, 1e-2


class TiledKernelFn:
    """A kernel function whose kernels are computed tile by tile. Programs are kept for as long as it is.

    Attributes:
      kernel_fn: the kernel function of whole batches.
      settings: how large tiles are, and where they are computed and kept.
    """

    def __init__(self, kernel_fn: Callable[..., PyTree], settings: TileSettings) -> None:
        self.kernel_fn, self.settings = kernel_fn, settings
        self._programs = Programs()

    def __call__(self, *args: Any, **kwargs: Any) -> PyTree:
        form = read_call(self.kernel_fn, args, kwargs)
        try:
            results = self._in_tiles(form)
        except Exception:
            if self.settings.batch_size:
                raise
            results = None  # tiles were only meant to use all devices, and some functions take whole batches only
        if results is not None:
            return results
        results = self._programs.kept((form.key(), None), lambda: WholeFunction(form))(form)
        return results if self.settings.store_on_device else on_host(results)

    def _in_tiles(self, form: CallForm) -> PyTree | None:
        """The kernel, from tiles; None if there is a single one."""
        function, settings = self.tile_function(form)
        if function is None:
            return None
        if is_concrete((form.arrays, form.same)):
            results = _tile_by_tile(function, form, settings)
            if results is not None:
                return results
        return in_one_program(function, form)

    def tile_function(self, form: CallForm, even_single: bool = False) -> tuple[TileFunction | None, TileSettings]:
        """The kernel of one tile, None if there is a single one; and settings with the size of tiles that was found."""
        n1, n2, settings, key = form.n1, form.n2, self.settings, form.key()

        def of_grid(grid: Grid) -> TileFunction:
            return self._programs.kept((key, grid.sizes), lambda: TileFunction(form, grid))

        if not (n1 and n2):
            return None, settings
        if settings.batch_size == "auto":

            def of_size(size: int) -> TileFunction:
                return of_grid(dataclasses.replace(settings, batch_size=size).grid(n1, n2, form.symmetric))

            budget = settings.memory_budget or default_budget()
            size = self._programs.kept((key, budget), lambda: largest_tile(of_size, budget, max(n1, n2)))
            settings = dataclasses.replace(settings, batch_size=size)
        grid = settings.grid(n1, n2, form.symmetric)
        return (of_grid(grid) if even_single or len(grid.tiles) > 1 else None), settings

    def __reduce__(self) -> tuple[Any, ...]:
        return TiledKernelFn, (self.kernel_fn, self.settings)


def on_host(results: PyTree) -> PyTree:
    """Results with their arrays in the memory of the host; while they are traced, as they are."""
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) and is_concrete(x) else x, results)


def _tile_by_tile(function: TileFunction, form: CallForm, settings: TileSettings) -> PyTree | None:
    """The kernel, from tiles that are computed on several devices side by side; None if results are being traced.

    Each device computes a whole tile in each step. While a step is computed, the results of the last one are written.
    """
    devices = settings.devices
    assembly = _Assembly(function, settings.store_on_device, devices)
    for tiles in assembly.rounds():
        waiting: list[Any] = []
        for step in steps(function, form, iter(tiles), devices):
            if not is_concrete(step):
                return None  # the kernel function refers to values that are traced
            waiting.append(step)
            if len(waiting) > 1:
                assembly.write(waiting.pop(0))
        if waiting:
            assembly.write(waiting.pop())
    return function.joined(assembly.finished())


Step = list[tuple[tuple[int, int], list[Any]]]  # tiles, each with its arrays


def first_step(function: TileFunction, form: CallForm, settings: TileSettings) -> Step:
    """As many tiles as are computed side by side."""
    return next(steps(function, form, iter(function.grid.tiles), settings.devices))


def steps(
    function: TileFunction,
    form: CallForm,
    todo: Iterator[tuple[int, int]],
    devices: Sequence[Any],
    blocks_of: Callable[[int, int], list[Any]] | None = None,
) -> Iterator[Step]:
    """Tiles, as many at a time as there are devices; in the last step, the devices left over repeat the last one.

    `blocks_of` gives the arrays of a tile; by default they are taken from those of the call.
    """
    blocks_of = blocks_of or functools.partial(_blocks, function, form)
    if len(devices) == 1:
        for i, j in todo:
            yield [((i, j), function(blocks_of(i, j), form.same if i == j else False))]
        return
    step = function.on_devices(devices)
    while tiles := list(itertools.islice(todo, len(devices))):
        filled = tiles + tiles[-1:] * (len(devices) - len(tiles))
        same = np.asarray([i == j for i, j in filled]) & np.asarray(form.same)
        results = step(_stacked_blocks(form, [blocks_of(i, j) for i, j in filled]), same)
        if not is_concrete(results):
            yield [(tiles[0], results)]
            return
        shards = [_by_device(result) for result in results]
        yield [(tile, [parts[d] for parts in shards]) for d, tile in enumerate(tiles)]


def _blocks(function: TileFunction, form: CallForm, i: int, j: int) -> list[Any]:
    """The arrays of tile `(i, j)`."""
    grid = function.grid
    rows, columns = grid.rows.filled(i), grid.columns.filled(j)
    return [_taken(cut, array, rows, columns) for array, cut in zip(form.arrays, form.cuts, strict=True)]


def _stacked_blocks(form: CallForm, tiles: list[list[Any]]) -> list[Any]:
    """The arrays of several tiles, stacked along a first axis; those that are not cut as they are."""
    return [tiles[0][k] if cut.is_whole else _stack([tile[k] for tile in tiles]) for k, cut in enumerate(form.cuts)]


def _stack(parts: Sequence[Any]) -> Any:
    return (np if all(isinstance(part, np.ndarray) for part in parts) else jnp).stack(parts)


def _taken(cut: Any, array: Any, rows: Any, columns: Any) -> Any:
    return (
        cut.taken(array, rows, columns)
        if isinstance(array, np.ndarray)
        else _taken_on_device(array, rows, columns, cut)
    )


@functools.partial(jax.jit, static_argnums=3)
def _taken_on_device(array: jax.Array, rows: Any, columns: Any, cut: Any) -> jax.Array:
    return cut.taken(array, rows, columns)


def _by_device(result: jax.Array) -> list[Any]:
    """The parts of an array that is spread over devices along its first axis. Indexing it would gather it each time."""
    shards = sorted(result.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return [shard.data.reshape(shard.data.shape[1:]) for shard in shards]


class _Assembly:
    """Arrays of whole batches, to which tiles are written as they come."""

    def __init__(self, function: TileFunction, store_on_device: bool, devices: Sequence[Any]) -> None:
        self._function, self._store_on_device = function, store_on_device
        # The memory of a CPU is that of the host, where tiles are written faster, and arrays need not be filled before.
        self._on_device = store_on_device and devices[0].platform != "cpu"
        self._device = devices[0] if len(devices) > 1 else None
        self._mirrors = function.grid.symmetric
        self._in_doubt = self._mirrors and function.may_be_asymmetric
        self._symmetric = True  # as far as has been seen
        self._seen: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
        self._arrays: list[Any] = [None] * len(function.results)

    def rounds(self) -> Iterator[list[tuple[int, int]]]:
        """The tiles to compute. Those of a round have to be written before the next one is asked for.

        Whether a kernel is symmetric, if that is in doubt, is seen from the tiles on the diagonal. Those of single
        inputs tell nothing: then one tile is compared with the one that should be its mirror image.
        """
        grid = self._function.grid
        yield grid.tiles
        if not self._in_doubt:
            return
        self._mirrors = False
        last = grid.rows.count - 1
        corner = [(last, 0)] if grid.rows.size == 1 else []
        yield corner
        if not (self._symmetric and all(self._agree((0, last), tile) for tile in corner)):
            yield [(j, i) for i, j in grid.tiles if i != j and (j, i) not in corner]

    def write(self, step: Step) -> None:
        """Writes tiles, and their mirror images."""
        for (i, j), arrays in step:
            for k, (result, array) in enumerate(zip(self._function.results, arrays, strict=True)):
                if self._in_doubt and result.is_matrix and i == j:
                    self._symmetric &= are_mirror_images(array, array, result)
                if result.must_agree and not result.is_matrix and not result.cut.is_whole:
                    self._check_agreement(k, i if result.cut.rows else j, result, array)
                if result.belongs_to(i, j, self._function.grid.symmetric):
                    self._write(k, result, array, i, j)

    def finished(self) -> list[Any]:
        """The arrays, once all tiles are written."""
        if self._store_on_device and not self._on_device:
            return [jax.device_put(array, self._device) for array in self._arrays]  # copies nothing
        return self._arrays

    def _write(self, k: int, result: Result, array: Any, i: int, j: int) -> None:
        grid = self._function.grid
        rows, columns = grid.rows.span(i), grid.columns.span(j)
        places: list[tuple[slice, slice, Any]] = [(rows, columns, None)]
        if self._mirrors and i != j and result.is_matrix:
            places.append((columns, rows, result.mirror))
        if self._on_device:
            array = array if self._device is None else jax.device_put(array, self._device)
            if self._arrays[k] is None:
                self._arrays[k] = jnp.zeros_like(array, shape=result.shape)
            lengths = tuple(result.per_axis(_length(rows), _length(columns), None))
            for at_rows, at_columns, order in places:
                starts = result.per_axis(at_rows.start, at_columns.start)
                self._arrays[k] = _written(self._arrays[k], array, starts, lengths, order)
        else:
            if self._arrays[k] is None:
                self._arrays[k] = _aligned(result.shape, result.dtype)
            part = np.asarray(array)[tuple(slice(n) for n in result.per_axis(_length(rows), _length(columns), None))]
            for at_rows, at_columns, order in places:
                at = tuple(result.per_axis(at_rows, at_columns, slice(None)))
                self._arrays[k][at] = part if order is None else part.transpose(order)

    def _agree(self, tile: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether two tiles that were written are mirror images of each other."""
        grid = self._function.grid

        def written(k: int, result: Result, i: int, j: int) -> Any:
            return self._arrays[k][tuple(result.per_axis(grid.rows.span(i), grid.columns.span(j), slice(None)))]

        return all(
            are_mirror_images(written(k, result, *tile), written(k, result, *other), result)
            for k, result in enumerate(self._function.results)
            if result.is_matrix
        )

    def _check_agreement(self, k: int, block: int, result: Result, array: Any) -> None:
        """Raises `NotInTiles` if an array of one batch depends on the other batch."""
        known = self._seen.setdefault((k, block), np.asarray(array))
        if not np.allclose(known, array, rtol=1e-3, atol=1e-3 * np.max(np.abs(known), initial=0), equal_nan=True):
            raise NotInTiles(sums_over_a_batch(result))


def _aligned(shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """An array of NumPy which jax can use as it is: it starts at a multiple of 64 bytes."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


def _length(span: slice) -> int:
    return int(span.stop - span.start)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=(3, 4))
def _written(whole: jax.Array, tile: jax.Array, starts: Any, lengths: Any, order: Any) -> jax.Array:
    """`whole` with the part of a tile that is not filled up, or its mirror image, written to it."""
    part = tile[tuple(slice(length) for length in lengths)]
    return lax.dynamic_update_slice(whole, part if order is None else part.transpose(order), starts)


def are_mirror_images(tile: Any, other: Any, result: Result) -> bool:
    """Whether two tiles of a batch with itself are mirror images of each other, up to rounding."""
    tile, other = np.asarray(tile), np.asarray(other).transpose(result.mirror)
    precision = jnp.finfo(tile.dtype).eps if jnp.issubdtype(tile.dtype, jnp.inexact) else 0.0
    if not precision:
        return np.array_equal(tile, other)
    factor, most = _ASYMMETRY
    largest = np.max(np.abs(tile), initial=0, where=np.isfinite(tile))
    rtol = min(factor * float(precision), most)
    return np.allclose(tile, other, rtol=rtol, atol=rtol * float(largest), equal_nan=True)
