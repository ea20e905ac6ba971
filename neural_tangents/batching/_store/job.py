"""What a worker needs besides the store: the kernel function, and its arguments without arrays."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.tiling.call_form import CallForm, Cut
from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents._core.tiling.tile_function import TileFunction
from neural_tangents._core.tiling.tile_results import Result
from neural_tangents._core.tiling.traits import traits_of
from neural_tangents.batching._store.store_plan import StorePlan, as_data, is_key, result_names
from neural_tangents.batching._store.target import new_array, old_array


@dataclasses.dataclass(frozen=True)
class Job:
    """A call of a kernel function whose arrays are in a store.

    Attributes:
      kernel_fn: the kernel function.
      settings: where tiles are computed, if not by workers.
      arguments: its arguments, with a `Slot` in place of each array.
      cuts: for each array, how it is cut.
      names: for each array, its name in the store; an array that is passed twice is there once.
      same: whether both batches are the same inputs.
      alone: the arguments for one batch with itself, as in `CallForm`.
    """

    kernel_fn: Any
    settings: TileSettings
    arguments: Any
    cuts: tuple[Cut, ...]
    names: tuple[str, ...]
    same: bool
    alone: Any

    @classmethod
    def of(cls, form: CallForm, settings: TileSettings, plan: StorePlan) -> "Job":
        """The job of a call."""
        keys = [(id(array), _chunks(array, cut, plan)) for array, cut in zip(form.arrays, form.cuts, strict=True)]
        # Two jobs that are about to make one remote store at the same time must not mix their inputs.
        names = tuple(f"inputs-{plan.digest[:16]}/{keys.index(key)}" for key in keys)
        return cls(
            form.kernel_fn, settings, form.arguments, tuple(form.cuts), names, bool(np.asarray(form.same)), form.alone
        )


def _chunks(array: Any, cut: Cut, plan: StorePlan) -> tuple[int, ...]:
    """The size of the parts in which an array is stored: one for each block."""
    return cut.resized(array.shape, *plan.tile)


def write_inputs(group: Any, job: Job, form: CallForm, plan: StorePlan) -> None:
    """Writes the arrays of a call to a store."""
    written = set()
    for name, array, cut in zip(job.names, form.arrays, form.cuts, strict=True):
        if name not in written:
            written.add(name)
            data = as_data(array)
            chunks = (*_chunks(array, cut, plan), *data.shape[array.ndim :])  # random keys have data along more axes
            kind = {"key": str(jax.random.key_impl(array))} if is_key(array) else {}
            stored = new_array(group, name, data.shape, chunks, data.dtype, **kind)
            stored[...] = data.view(stored.dtype)


class StoredCall:
    """A job together with the store that its arrays are in: computes tiles, reading no more than these need."""

    def __init__(self, job: Job, group: Any, plan: StorePlan, label: str) -> None:
        self.job, self.plan, self._label = job, plan, label
        self._arrays = {name: old_array(group, name) for name in dict.fromkeys(job.names)}
        missing = [name for name, array in self._arrays.items() if array.nchunks_initialized < array.nchunks]
        if missing:  # they would be read as NaN
            raise ValueError(f"Parts of the inputs in {label} are missing. Remove the store and make it again.")

    @functools.cached_property
    def form(self) -> CallForm:
        """The call; in place of arrays that are cut, their shapes and types."""
        job = self.job
        arrays = [
            jnp.asarray(self._read(name, ...)) if cut.is_whole else self._shape(name)
            for name, cut in zip(job.names, job.cuts, strict=True)
        ]
        n1, n2 = self.plan.inputs
        traits, symmetric = traits_of(job.kernel_fn), self.plan.symmetric
        return CallForm(
            job.kernel_fn,
            traits,
            None,
            job.arguments,
            arrays,
            list(job.cuts),
            n1,
            n2,
            symmetric,
            job.same,
            job.alone,
        )

    @functools.cached_property
    def function(self) -> TileFunction:
        """The kernel of one tile.

        Raises:
          ValueError: its results are not those that the store is for.
        """
        function = TileFunction(self.form, self.plan.grid)
        named = result_names(self.form, function.results)
        found = {name: np.dtype(result.dtype).name for name, result in named.items()}
        if found != self.plan.results:
            raise ValueError(
                f"Expected results {self.plan.results} for {self._label}, but in this process the kernel function "
                f"returns {found}. Let all processes have the same settings of jax, such as `jax_enable_x64`."
            )
        return function

    def kernels(self, tile: list[Any]) -> Iterator[tuple[str, Result, Any]]:
        """The kernels among the results of a tile, by name."""
        names = {result.path: name for name, result in result_names(self.form, self.function.results).items()}
        for result, values in zip(self.function.results, tile, strict=True):
            if result.path in names:
                yield names[result.path], result, values

    def blocks(self, i: int, j: int) -> list[Any]:
        """The arrays of a tile; blocks are filled up by repeating their last input."""
        grid = self.plan.grid
        rows, columns = grid.rows.span(i), grid.columns.span(j)
        fill_rows, fill_columns = (
            np.minimum(np.arange(size), span.stop - span.start - 1)
            for size, span in zip(grid.sizes, (rows, columns), strict=True)
        )
        found = []
        for name, cut, array in zip(self.job.names, self.job.cuts, self.form.arrays, strict=True):
            if not cut.is_whole:
                places = {**dict.fromkeys(cut.rows, rows), **dict.fromkeys(cut.columns, columns)}
                part = self._read(name, tuple(places.get(axis, slice(None)) for axis in range(array.ndim)))
                array = cut.taken(part, fill_rows, fill_columns)
            found.append(array)
        return found

    def _read(self, name: str, place: Any) -> Any:
        """Some of an array of the call, with its own type."""
        stored = self._arrays[name]
        try:
            data = np.asarray(stored[place])
        except ValueError as error:
            raise ValueError(
                f"The inputs in {self._label} are damaged: {error} Remove the store and make it again."
            ) from error
        if "key" in stored.attrs:
            return jax.random.wrap_key_data(jnp.asarray(data), impl=stored.attrs["key"])
        return data.view(jnp.dtype(stored.attrs["dtype"]))

    def _shape(self, name: str) -> jax.ShapeDtypeStruct:
        """The shape and type of an array of the call."""
        stored = self._arrays[name]
        shape = jax.ShapeDtypeStruct(stored.shape, jnp.dtype(stored.attrs["dtype"]))
        if "key" in stored.attrs:
            return jax.eval_shape(functools.partial(jax.random.wrap_key_data, impl=stored.attrs["key"]), shape)
        return shape
