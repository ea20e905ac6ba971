"""Kernels whose rows (and columns) are spread over the devices of a mesh, also of several hosts."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from neural_tangents._core.tiling.call_form import CallForm, Cut
from neural_tangents._core.tiling.grid import Blocks, Grid, TileSettings
from neural_tangents._core.tiling.one_program import tile_loop
from neural_tangents._core.tiling.tile_function import TileFunction


def check_mesh(mesh: Any) -> None:
    """Raises an error if an argument is not a mesh of one or two axes."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"Expected `mesh` to be a `jax.sharding.Mesh`, got {type(mesh).__name__}. Make one with `jax.make_mesh`."
        )
    if len(mesh.axis_names) not in (1, 2):
        raise ValueError(
            f"Expected a mesh with an axis for rows, and perhaps one for columns, got axes {mesh.axis_names}. Make one "
            "with `jax.make_mesh((jax.device_count(),), ('rows',))`."
        )


class MeshFunction:
    """The kernel of whole batches over a mesh: each device computes its own part, tile by tile, without communication.

    Attributes:
      tiles: the kernel of one tile.
    """

    def __init__(self, form: CallForm, settings: TileSettings, mesh: Mesh) -> None:
        size = settings.batch_size
        if size == "auto":
            raise ValueError('Expected `batch_size` to be a number where there is a mesh, got "auto".')
        mesh = Mesh(mesh.devices, mesh.axis_names)  # axes of type Auto: arrays of any sharding can be spread over them
        self._axes = (*mesh.axis_names, None)[:2]
        counts = [1 if name is None else mesh.shape[name] for name in self._axes]
        for n, count, axis, batch in zip((form.n1, form.n2), counts, ("first", "second"), ("x1", "x2"), strict=True):
            if n % count or not n:
                raise ValueError(
                    f"Expected the number of inputs in {batch} to be a multiple of {count}, the size of the {axis} "
                    f"axis of the mesh, since arrays are spread evenly; got {n}. Pass a mesh of fewer devices, or "
                    "leave inputs for another call."
                )
        row_part, column_part = form.n1 // counts[0], form.n2 // counts[1]
        if form.n1 == form.n2:
            column_part = row_part = min(row_part, column_part)  # equal inputs are in blocks of one grid
        rows = Blocks.at_most(form.n1, size or row_part, row_part)
        columns = Blocks.at_most(form.n2, size or column_part, column_part)
        # All tiles are computed: those below the diagonal are on other devices than their mirror images.
        self.tiles = TileFunction(form, Grid(rows, columns, symmetric=False))
        n_rows, n_columns = rows.count // counts[0], columns.count // counts[1]

        def part(arrays: list[Any], same: Any) -> list[jax.Array]:
            at = [0 if name is None else jax.lax.axis_index(name) for name in self._axes]
            return tile_loop(self.tiles, arrays, same, n_rows, n_columns, at[0] * n_rows, at[1] * n_columns)

        cuts, results = form.cuts, self.tiles.results
        of_arrays = [self._spec(cut, jnp.ndim(array)) for cut, array in zip(cuts, form.arrays, strict=True)]
        out_specs = [self._spec(result.cut, len(result.shape)) for result in results]
        # The bodies of loops mix values that differ between devices with constants, which the check does not allow.
        in_specs = (of_arrays, PartitionSpec())
        spread = jax.shard_map(part, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
        self._compiled = jax.jit(spread)

    def __call__(self, form: CallForm) -> Any:
        return self.tiles.joined(self._compiled(form.arrays, jnp.asarray(form.same)))

    def _spec(self, cut: Cut, ndim: int) -> PartitionSpec:
        rows, columns = self._axes
        return PartitionSpec(*(rows if a in cut.rows else columns if a in cut.columns else None for a in range(ndim)))
