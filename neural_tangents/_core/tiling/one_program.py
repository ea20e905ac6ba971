"""Kernels from tiles inside one traced program: under `jax.jit`, `jax.grad`, `jax.vmap` and `jax.shard_map`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents._core.mesh_axes import scan
from neural_tangents._core.tiling.call_form import CallForm
from neural_tangents._core.tiling.tile_function import TileFunction
from neural_tangents._core.tiling.tile_results import NotInTiles, sums_over_a_batch
from neural_tangents._core.types import PyTree


def in_one_program(function: TileFunction, form: CallForm) -> PyTree:
    """The kernel, from tiles that a loop computes one after the other; it can be differentiated and mapped.

    Raises:
      NotInTiles: an array with an axis of one batch only may depend on the other one.
    """
    for k, result in enumerate(function.results):
        if result.must_agree and not result.is_matrix and function.mixes_batches(k):
            raise NotInTiles(sums_over_a_batch(result))
    rows, columns = function.grid.rows, function.grid.columns
    return function.joined(tile_loop(function, form.arrays, form.same, rows.count, columns.count))


def tile_loop(
    function: TileFunction,
    arrays: Sequence[Any],
    same: Any,
    n_rows: int,
    n_columns: int,
    first_row: Any = 0,
    first_column: Any = 0,
) -> list[jax.Array]:
    """The arrays of the kernel of some blocks, by a loop over their tiles.

    Args:
      function: the kernel of one tile.
      arrays: its arrays, of the inputs of these blocks only where they are cut.
      same: whether both batches are the same inputs.
      n_rows: number of blocks of the first batch.
      n_columns: number of blocks of the second batch.
      first_row: number of the first block among all of the first batch.
      first_column: number of the first block among all of the second batch.
    """
    grid, cuts = function.grid, function.cuts
    mirrors = grid.symmetric and not function.may_be_asymmetric  # values that would tell are not known
    arrays = [a if cut.is_whole else jnp.asarray(a) for a, cut in zip(arrays, cuts, strict=True)]

    @jax.checkpoint  # derivatives compute a tile again, so that they take the memory of one tile
    def tile(arrays: list[Any], i: Any, j: Any) -> list[Any]:
        rows, columns = grid.rows.filled(i), grid.columns.filled(j)
        parts = [a if cut.is_whole else cut.taken(a, rows, columns) for a, cut in zip(arrays, cuts, strict=True)]
        return function.traced(parts, jnp.logical_and(same, first_row + i == first_column + j))

    def step(whole: list[Any], at: Any) -> tuple[list[Any], None]:
        i, j = at
        # Blocks come in order, so that what one was filled up with is overwritten by the next.
        starts, zero = (grid.rows.start(i), grid.columns.start(j)), jnp.zeros_like(i)
        found = []
        for result, old, new in zip(function.results, whole, tile(arrays, i, j), strict=True):
            if result.cut.is_whole:
                found.append(jnp.where((i == 0) & (j == 0), new, old))
                continue
            written = lax.dynamic_update_slice(old, new, result.per_axis(*starts, zero))
            if mirrors and result.is_matrix:
                place = result.per_axis(*starts[::-1], zero)
                written = lax.dynamic_update_slice(written, new.transpose(result.mirror), place)
            found.append(written)
        return found, None

    blocks = [(i, j) for i in range(n_rows) for j in range(i if mirrors else 0, n_columns)]
    ends = grid.rows.span(n_rows - 1).stop, grid.columns.span(n_columns - 1).stop
    filled_up = grid.rows.start(n_rows - 1) + grid.rows.size, grid.columns.start(n_columns - 1) + grid.columns.size
    start = [jnp.zeros(r.cut.resized(r.shape, *filled_up), r.dtype) for r in function.results]
    todo = np.asarray(blocks, np.int32).T
    whole, _ = scan(step, start, (todo[0], todo[1]))
    rows, columns = (slice(end) for end in ends)
    return [x[tuple(r.per_axis(rows, columns, slice(None)))] for r, x in zip(function.results, whole, strict=True)]
