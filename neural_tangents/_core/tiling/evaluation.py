"""Kernels of whole batches, from tiles: which tile is computed when and where, and where it is written."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.tiling.call_form import CallForm, read_call
from neural_tangents._core.tiling.grid import Blocks, TileSettings
from neural_tangents._core.tiling.results import Result
from neural_tangents._core.tiling.tile_function import TileFunction, WholeFunction
from neural_tangents._core.tiling.traits import traits_of
from neural_tangents._core.types import PyTree

# A tile of a symmetric kernel may differ from its mirror image by this much of its largest entry, due to rounding.
_ASYMMETRY = 1e-3


class TiledKernelFn:
    """A kernel function whose kernels are computed tile by tile. Programs are kept for as long as it is.

    Attributes:
      kernel_fn: the kernel function of whole batches.
      settings: how large tiles are, and where they are computed and kept.
    """

    def __init__(self, kernel_fn: Callable[..., PyTree], settings: TileSettings) -> None:
        self.kernel_fn, self.settings = kernel_fn, settings
        self._programs: dict[Any, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> PyTree:
        form = read_call(self.kernel_fn, args, kwargs)
        grid = self.settings.grid(form.n1, form.n2, form.symmetric)
        if len(grid.tiles) == 1 or not (form.n1 and form.n2):
            results = self._program(form, None, lambda: WholeFunction(form))(form)
            return results if self.settings.store_on_device else on_host(results)
        function = self._program(form, grid.sizes, lambda: TileFunction(form, grid))
        if is_concrete((form.arrays, form.same)):
            results = _tile_by_tile(function, form, self.settings)
            if results is not None:
                return results
        return _in_one_program(function, form)

    def __reduce__(self) -> tuple[Any, ...]:
        return TiledKernelFn, (self.kernel_fn, self.settings)

    def _program(self, form: CallForm, sizes: Any, make: Callable[[], Any]) -> Any:
        key = (form.key(), sizes)
        if key not in self._programs:
            self._programs[key] = make()
        return self._programs[key]


def on_host(results: PyTree) -> PyTree:
    """Results with their arrays in the memory of the host; while they are traced, as they are."""
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) and is_concrete(x) else x, results)


def _tile_by_tile(function: TileFunction, form: CallForm, settings: TileSettings) -> PyTree | None:
    """The kernel, from tiles that are computed on several devices side by side; None if results are being traced.

    Each device computes a whole tile in each step. While a step is computed, the results of the last one are written.
    """
    devices = settings.devices
    assembly = _Assembly(function, form, settings.store_on_device, devices[0] if len(devices) > 1 else None)
    waiting: list[Any] = []
    for step in steps(function, form, functools.partial(blocks, function, form), assembly.todo(), devices):
        if not is_concrete(step):
            return None  # the kernel function refers to values that are traced
        waiting.append(step)
        if len(waiting) > 1:
            assembly.write(waiting.pop(0))
    assembly.write(waiting.pop())
    return function.joined(assembly.arrays)


Step = list[tuple[tuple[int, int], list[Any]]]  # tiles, each with its arrays


def steps(
    function: TileFunction,
    form: CallForm,
    blocks_of: Callable[[int, int], list[Any]],
    todo: Iterator[tuple[int, int]],
    devices: Sequence[Any],
) -> Iterator[Step]:
    """Tiles that are computed one after the other, on several devices as many at a time.

    Args:
      function: the kernel of one tile.
      form: how arrays are cut, and whether both batches are the same.
      blocks_of: the arrays of a tile.
      todo: which tiles to compute.
      devices: where.
    """
    if len(devices) > 1:
        return _steps_on_devices(function, form, blocks_of, todo, devices)
    return ([((i, j), function(blocks_of(i, j), form.same if i == j else False))] for i, j in todo)


def _steps_on_devices(
    function: TileFunction,
    form: CallForm,
    blocks_of: Callable[[int, int], list[Any]],
    todo: Iterator[tuple[int, int]],
    devices: Sequence[Any],
) -> Iterator[Step]:
    """Tiles that are computed side by side; in the last step, devices that have none left repeat the last one."""
    step = function.on_devices(devices)
    while tiles := list(itertools.islice(todo, len(devices))):
        filled = tiles + tiles[-1:] * (len(devices) - len(tiles))
        same = np.asarray([i == j for i, j in filled]) & np.asarray(form.same)
        results = step(_stacked(form, [blocks_of(i, j) for i, j in filled]), same)
        if not is_concrete(results):
            yield [(tiles[0], results)]
            return
        shards = [_by_device(result) for result in results]
        yield [(tile, [parts[d] for parts in shards]) for d, tile in enumerate(tiles)]


def blocks(function: TileFunction, form: CallForm, i: int, j: int) -> list[Any]:
    """The arrays of tile `(i, j)`."""
    grid = function.grid
    rows, columns = grid.rows.filled(i), grid.columns.filled(j)
    return [_taken(cut, array, rows, columns) for array, cut in zip(form.arrays, form.cuts, strict=True)]


def _stacked(form: CallForm, tiles: list[list[Any]]) -> list[Any]:
    """The arrays of several tiles, stacked along a first axis; those that are not cut as they are."""
    return [tiles[0][k] if cut.is_whole else _stack([arrays[k] for arrays in tiles]) for k, cut in enumerate(form.cuts)]


def _stack(parts: Sequence[Any]) -> Any:
    return (np if all(isinstance(part, np.ndarray) for part in parts) else jnp).stack(parts)


def _taken(cut: Any, array: Any, rows: Any, columns: Any) -> Any:
    return cut.taken(array, rows, columns) if isinstance(array, np.ndarray) else _taken_on_device(array, rows, columns, cut)


@functools.partial(jax.jit, static_argnums=3)
def _taken_on_device(array: jax.Array, rows: Any, columns: Any, cut: Any) -> jax.Array:
    return cut.taken(array, rows, columns)


def _by_device(result: jax.Array) -> list[Any]:
    """The parts of an array that is spread over devices along its first axis. Indexing it would gather it each time."""
    shards = sorted(result.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return [shard.data for shard in shards]


class _Assembly:
    """Arrays of whole batches, to which tiles are written as they come."""

    def __init__(self, function: TileFunction, form: CallForm, on_device: bool, device: Any) -> None:
        self._function, self._on_device, self._device = function, on_device, device
        self._mirrors = function.grid.symmetric
        # A kernel function of unknown origin might not be symmetric. Its first tile tells.
        self._in_doubt = self._mirrors and traits_of(form.kernel_fn).output_pairs is None
        self._seen: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
        self.arrays: list[Any] = [None] * len(function.results)

    def todo(self) -> Iterator[tuple[int, int]]:
        """The tiles to compute."""
        yield from self._function.grid.tiles
        if self._function.grid.symmetric and not self._mirrors:
            yield from ((j, i) for i, j in self._function.grid.tiles if i != j)

    def write(self, step: Step) -> None:
        """Writes tiles, and their mirror images."""
        for (i, j), arrays in step:
            for k, (result, array) in enumerate(zip(self._function.results, arrays, strict=True)):
                if array.ndim > len(result.shape):
                    array = array.reshape(array.shape[1:])
                if self._in_doubt and result.is_matrix and i == j == 0:
                    self._mirrors &= is_symmetric(np.asarray(array), result)
                if result.must_agree and not result.is_matrix and not result.cut.is_whole:
                    self._check_agreement(k, i if result.cut.rows else j, result, array)
                if result.belongs_to(i, j, self._function.grid.symmetric):
                    self._write(k, result, array, i, j)

    def _write(self, k: int, result: Result, array: Any, i: int, j: int) -> None:
        grid = self._function.grid
        rows, columns = grid.rows.span(i), grid.columns.span(j)
        places = [(rows, columns, None)]
        if self._mirrors and i != j and result.is_matrix:
            places.append((columns, rows, result.mirror))
        if self._on_device:
            array = array if self._device is None else jax.device_put(array, self._device)
            if self.arrays[k] is None:
                self.arrays[k] = jnp.zeros_like(array, shape=result.shape)
            lengths = tuple(result.per_axis(_length(rows), _length(columns), None))
            for at_rows, at_columns, order in places:
                starts = result.per_axis(at_rows.start, at_columns.start)
                self.arrays[k] = _written(self.arrays[k], array, starts, lengths, order)
        else:
            if self.arrays[k] is None:
                self.arrays[k] = np.empty(result.shape, result.dtype)
            part = np.asarray(array)[tuple(slice(n) for n in result.per_axis(_length(rows), _length(columns), None))]
            for at_rows, at_columns, order in places:
                at = tuple(result.per_axis(at_rows, at_columns, slice(None)))
                self.arrays[k][at] = part if order is None else part.transpose(order)

    def _check_agreement(self, k: int, block: int, result: Result, array: Any) -> None:
        """Raises `ValueError` if an array of one batch depends on the other batch."""
        known = self._seen.setdefault((k, block), np.asarray(array))
        if not np.allclose(known, array, rtol=1e-3, atol=1e-3 * np.max(np.abs(known), initial=0), equal_nan=True):
            raise ValueError(
                f"Expected the kernel function to return kernels, got an array of shape {result.shape} which has no "
                f"axis for the inputs of {'x2' if result.cut.rows else 'x1'}, but depends on them. Sums over a batch, "
                "such as products with vectors, cannot be joined from tiles: return the kernel instead."
            )


def _length(span: slice) -> int:
    return int(span.stop - span.start)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=(3, 4))
def _written(whole: jax.Array, tile: jax.Array, starts: Any, lengths: Any, order: Any) -> jax.Array:
    """`whole` with the part of a tile that is not filled up, or its mirror image, written to it."""
    part = tile[tuple(slice(length) for length in lengths)]
    return lax.dynamic_update_slice(whole, part if order is None else part.transpose(order), starts)


def is_symmetric(tile: np.ndarray[Any, Any], result: Result) -> bool:
    """Whether a tile of a batch with itself is its own mirror image, up to rounding."""
    atol = _ASYMMETRY * float(np.max(np.abs(tile), initial=0, where=np.isfinite(tile)))
    return np.allclose(tile, tile.transpose(result.mirror), rtol=_ASYMMETRY, atol=atol, equal_nan=True)


def _in_one_program(function: TileFunction, form: CallForm) -> PyTree:
    """The kernel, from tiles that a loop inside one traced program computes; it can be differentiated and mapped."""
    grid, results = function.grid, function.results
    arrays = [a if cut.is_whole else jnp.asarray(a) for a, cut in zip(form.arrays, form.cuts, strict=True)]

    @jax.checkpoint  # derivatives compute a tile again, so that they take the memory of one tile
    def tile(i: Any, j: Any) -> list[Any]:
        rows, columns = (_filled(b, index) for b, index in ((grid.rows, i), (grid.columns, j)))
        parts = [cut.taken(a, rows, columns) if not cut.is_whole else a for a, cut in zip(arrays, form.cuts, strict=True)]
        return function.traced(parts, jnp.logical_and(form.same, i == j))

    def step(whole: list[Any], at: Any) -> tuple[list[Any], None]:
        i, j = at
        found = []
        for result, old, new in zip(results, whole, tile(i, j), strict=True):
            if result.cut.is_whole:
                found.append(jnp.where((i == 0) & (j == 0), new, old))
                continue
            row, column = i * grid.rows.size, j * grid.columns.size
            written = lax.dynamic_update_slice(old, new, result.per_axis(row, column, jnp.zeros_like(i)))
            if grid.symmetric and result.is_matrix:
                place = result.per_axis(column, row, jnp.zeros_like(i))
                written = lax.dynamic_update_slice(written, new.transpose(result.mirror), place)
            found.append(written)
        return found, None

    n1, n2 = (b.size * b.count for b in (grid.rows, grid.columns))
    start = [jnp.zeros(result.cut.resized(result.shape, n1, n2), result.dtype) for result in results]
    todo = np.asarray(grid.tiles, np.int32).T
    filled, _ = lax.scan(step, start, (todo[0], todo[1]))
    spans = (slice(form.n1), slice(form.n2))
    return function.joined([x[tuple(r.per_axis(*spans, slice(None)))] for r, x in zip(results, filled, strict=True)])


def _filled(b: Blocks, block: Any) -> Any:
    """The numbers of the inputs of a block, whose number may be traced."""
    return jnp.minimum(block * b.size + jnp.arange(b.size), b.n - 1)
