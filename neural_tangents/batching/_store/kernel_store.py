"""`KernelStore`: kernels that are kept outside of memory, and computed tile by tile by any number of processes."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from neural_tangents._core.tiling.evaluation import Step, steps
from neural_tangents.batching._store.drivers import progress_bar, run_tasks, share_of
from neural_tangents.batching._store.job import Job, StoredCall
from neural_tangents.batching._store.store_plan import StorePlan, found_store
from neural_tangents.batching._store.stored_array import StoredArray
from neural_tangents.batching._store.target import checked_target, import_extra, import_zarr


class KernelStore:
    """Kernels in a store that outlasts processes: arrays of zarr with one chunk for each tile.

    Made by `BatchedKernelFn.store`, and opened for reading by `open_store`. Each result is an attribute (`store.ntk`)
    and an item (`store["ntk"]`): a matrix that is read in parts, or loaded by `np.asarray`. A store can be pickled and
    sent to other processes, which compute its tiles by `fill_tile`.
    """

    def __init__(self, target: Any, plan: StorePlan, group: Any, job: Job | None) -> None:
        self._target, self._label, self._plan = target, str(target), plan
        self._arrays = {name: StoredArray(group, name, self._label) for name in plan.results}
        self._call = None if job is None else StoredCall(job, group, plan, self._label)

    def __getattr__(self, name: str) -> StoredArray:
        if name.startswith("_") or name not in self._arrays:
            raise AttributeError(f"A store of {', '.join(self.__dict__.get('_arrays', ()))} has no attribute {name!r}.")
        return self._arrays[name]

    def __getitem__(self, name: str) -> StoredArray:
        """A kernel, by name."""
        if name not in self._arrays:
            raise KeyError(f"{self._label} has kernels {', '.join(self._arrays)}, but no {name!r}.")
        return self._arrays[name]

    def __dir__(self) -> list[str]:
        return sorted([*super().__dir__(), *self._arrays])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its kernels."""
        return tuple(self._arrays)

    def missing(self) -> list[tuple[int, int]]:
        """The tiles to be computed. One is done when it is there in all kernels, and its mirror image too."""
        done = set.intersection(*(array.tiles() for array in self._arrays.values()))
        mirrors = self._plan.symmetric
        return [(i, j) for i, j in self._plan.grid.tiles if (i, j) not in done or (mirrors and (j, i) not in done)]

    def fill(self, *, share: tuple[int, int] | None = None, executor: Any = None, progress: bool | None = None) -> None:
        """Computes the tiles that are missing: in this process, on the devices of `batch`, unless told otherwise.

        It may be interrupted at any time, and called again. Several processes may call it at the same time.

        Args:
          share: `(k, n)` for the share `k = 0, ..., n - 1` of `n` processes that fill the store at the same time. Each
            tile belongs to one of them.
          executor: an engine that runs `fill_tile` in other processes, whatever has `submit` as the executors of
            `concurrent.futures` do; of dask, a `Client`. The first failure cancels what waits, and is raised.
          progress: whether to show a bar; by default if tqdm is installed and errors are printed to a terminal.

        Raises:
          ValueError: there is no such share, or the store was opened without a kernel function.
          OSError: a tile cannot be written. All tiles written before are kept.
          ImportError: the store is to be sent to other processes, and cloudpickle is not installed.
        """
        call = self._computing()
        tiles = share_of(self._plan.grid.tiles, share)
        missing = set(self.missing())
        todo = [tile for tile in tiles if tile in missing]
        with progress_bar(progress, self._label, len(tiles), len(tiles) - len(todo)) as advance:
            if executor is not None:
                run_tasks(executor, fill_tile, ((self, i, j) for i, j in todo), advance)
                return
            waiting: Step = []
            # While tiles are computed, those of the last step are written.
            left = (tile for tile in todo if not self._is_done(*tile))
            for step in steps(call.function, call.form, left, call.job.settings.devices, call.blocks):
                self._write(waiting, advance)
                waiting = step
            self._write(waiting, advance)

    def remove_damaged(self) -> list[tuple[int, int]]:
        """Reads all tiles and removes damaged ones, so that `fill` computes them again.

        Returns:
          The numbers of the tiles that were damaged.

        Raises:
          OSError: a tile cannot be removed.
        """
        return sorted({tile for array in self._arrays.values() for tile in array.remove_damaged()})

    def __repr__(self) -> str:
        total = len(self._plan.grid.tiles)
        rows, columns = self._plan.tile
        done = f"{total - len(self.missing())} of {total} tiles of {rows} x {columns}"
        return f"KernelStore('{self._label}', {', '.join(self._arrays)}: {done})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._payload,)

    @functools.cached_property
    def _payload(self) -> bytes:
        """All that another process needs to compute tiles; equal each time."""
        if isinstance(self._target, import_zarr().storage.MemoryStore):
            raise TypeError("A store in the memory of this process cannot be sent to others. Use a folder, or a URL.")
        job = None if self._call is None else self._call.job
        cloudpickle = import_extra("cloudpickle", "sending stores to other processes")
        try:
            return cloudpickle.dumps((self._target, self._plan, job))
        except Exception as error:
            raise TypeError(
                f"Expected {self._label} and its kernel function to be something that cloudpickle can send to other "
                f"processes, but it fails: {error}"
            ) from error

    def _computing(self) -> StoredCall:
        if self._call is None:
            raise ValueError(
                f"{self._label} was opened without a kernel function, to read it. To compute tiles, call `store` of "
                "the batched kernel function with the same target and arguments."
            )
        return self._call

    def _is_done(self, i: int, j: int) -> bool:
        places = {(i, j), (j, i)} if self._plan.symmetric else {(i, j)}
        return all(array.has_tile(*place) for array in self._arrays.values() for place in places)

    def _write(self, step: Step, advance: Callable[[], Any] = lambda: None) -> None:
        """Writes tiles, and their mirror images."""
        for (i, j), tile in step:
            rows, columns = self._plan.grid.rows.span(i), self._plan.grid.columns.span(j)
            for name, part, mirror in self._parts(tile, rows, columns):
                self._arrays[name].write(rows, columns, part)
                if self._plan.symmetric and i != j:
                    self._arrays[name].write(columns, rows, part.transpose(mirror))
            advance()

    def _parts(self, tile: list[Any], rows: slice, columns: slice) -> list[tuple[str, np.ndarray[Any, Any], Any]]:
        """The results of a tile, as name, values, and the order of axes of the mirror image; not filled up."""
        found = []
        for name, result, values in self._computing().kernels(tile):
            found.append(
                (name, np.asarray(values)[: rows.stop - rows.start, : columns.stop - columns.start], result.mirror)
            )
        return found

    def _compute(self, i: int, j: int) -> list[Any]:
        call = self._computing()
        return call.function(call.blocks(i, j), call.job.same if i == j else False)

    def check_kernel_fn(self) -> None:
        """Computes a tile that was finished before once more, to see whether the kernel function is the same."""
        missing = set(self.missing())
        done = next((tile for tile in self._plan.grid.tiles if tile not in missing), None)
        if done is None:
            return
        rows, columns = self._plan.grid.rows.span(done[0]), self._plan.grid.columns.span(done[1])
        for name, values, _ in self._parts(self._compute(*done), rows, columns):
            kept = self._arrays[name].read(rows, columns)
            tolerance = 4 * float(np.sqrt(np.finfo(kept.real.dtype).eps)) if kept.dtype.kind in "fc" else 0.0
            largest = float(np.max(np.abs(kept), initial=0, where=np.isfinite(kept)))
            if not np.allclose(values, kept, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
                difference = float(np.nanmax(np.abs(values - kept)))
                raise ValueError(
                    f"Expected the kernel function with which {self._label} was made, but tile {done} of '{name}' "
                    f"differs from what it returns by up to {difference:.3g}, where the largest entry is "
                    f"{largest:.3g}. Use another target for another kernel function."
                )


def fill_tile(store: KernelStore, i: int, j: int) -> None:
    """Computes one tile of a store, and writes it, unless it is there.

    It depends on nothing but its arguments, and may be repeated: workers of any engine may run it, wherever they reach
    the target of the store.

    Args:
      store: the store, made by `BatchedKernelFn.store`.
      i: the number of the block of inputs of `x1`.
      j: the number of the block of inputs of `x2`. Of a symmetric kernel, tiles `(i, j)` and `(j, i)` are one.

    Returns:
      Nothing, so that no engine keeps results.

    Raises:
      ValueError: there is no such tile, or the store was opened without a kernel function.
      OSError: the tile cannot be written.
    """
    grid = store._plan.grid
    if not (0 <= i < grid.rows.count and 0 <= j < grid.columns.count):
        raise ValueError(
            f"Expected a tile of the {grid.rows.count} x {grid.columns.count} tiles of {store._label}, got ({i}, {j})."
        )
    if grid.symmetric and i > j:
        i, j = j, i
    if not store._is_done(i, j):
        store._write([((i, j), store._compute(i, j))])


def open_store(target: Any) -> KernelStore:
    """Opens a store to read its kernels. It holds no kernel function, so that no tile can be computed.

    Args:
      target: a folder, a URL, or a store object of zarr.

    Returns:
      The store.

    Raises:
      FileNotFoundError: there is no store.
      ValueError: a later version of the library made it.
      TypeError: it is no target of a store.
      ImportError: zarr is not installed.
    """
    target = checked_target(target)
    found = found_store(target)
    if found is None:
        raise FileNotFoundError(
            f"Expected a store of kernels at {target}, which `BatchedKernelFn.store` makes; found none."
        )
    return KernelStore(target, *found, None)


@functools.lru_cache(maxsize=8)
def _restored(payload: bytes) -> KernelStore:
    """A store that was sent to this process. It is kept, so that many tasks compile its kernel function once."""
    target, plan, job = pickle.loads(payload)
    found = found_store(target)
    if found is None:
        raise FileNotFoundError(
            f"Expected the store {target} that this process is to compute tiles of, but found none. Use a target that "
            "all workers reach under the same name."
        )
    plan.check_equal(found[0], str(target))
    return KernelStore(target, *found, job)
