"""How stores are made: by one process or several at the same time."""

import dataclasses
import importlib.metadata
import os
import shutil
import uuid
from collections.abc import Callable
from typing import Any

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.tiling.call_form import CallForm, read_call
from neural_tangents._core.tiling.evaluation import TiledKernelFn, are_mirror_images, steps
from neural_tangents._core.tiling.grid import Blocks, Grid, TileSettings
from neural_tangents._core.tiling.tile_function import TileFunction
from neural_tangents._core.tiling.tile_results import Result
from neural_tangents._core.types import PyTree
from neural_tangents.batching._store.job import Job, write_inputs
from neural_tangents.batching._store.kernel_store import KernelStore
from neural_tangents.batching._store.store_plan import StorePlan, found_store, result_names
from neural_tangents.batching._store.target import checked_target, explained_write, is_folder, new_array, opened

_ADVICE = "Make room, see to permissions, or use another target."


def create_store(
    kernel_fn: Callable[..., PyTree], settings: TileSettings, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> KernelStore:
    """Makes a store for the results of `kernel_fn(*args, **kwargs)`, or opens it if it was made by the same call.

    Raises:
      ValueError: the target holds something else, results are no kernels, or the call is being traced.
      OSError: the store cannot be written.
      TypeError: it is no target of a store.
      ImportError: zarr is not installed.
    """
    target = checked_target(target)
    if not settings.batch_size:
        raise ValueError(
            'Expected a `batch_size` for a store, which is filled tile by tile: a number, or "auto"; got 0.'
        )
    form = read_call(kernel_fn, args, kwargs)
    if not is_concrete((form.arrays, form.same)) or not (form.n1 and form.n2):
        raise ValueError(
            "Expected at least one input in each batch, and values of inputs that are known: a store cannot be made by "
            "functions that jax transforms, such as by `jax.jit`."
        )
    found = found_store(target)
    function = _tile_function(kernel_fn, settings, form, found[0] if found else None)
    results = result_names(form, function.results)
    plan = StorePlan.of(form, function.grid, results, _version())
    job = Job.of(form, settings, plan)
    if found is None:
        plan = _without_mirrors(plan, form, function, settings)
        # Remote file systems cannot rename a folder: another process may begin with the same store while this one ends.
        while found is None:
            with explained_write(f"the store {target}", _ADVICE):
                _create(target, plan, job, form, results)
            found = found_store(target)
    there, group = found
    plan.check_equal(there, str(target))
    store = KernelStore(target, there, group, job)
    store.check_kernel_fn()
    return store


def _tile_function(
    kernel_fn: Callable[..., PyTree], settings: TileSettings, form: CallForm, there: StorePlan | None
) -> TileFunction:
    """The kernel of one tile. If its size is left to the machine, it is that of a store which another one has made."""
    if there is not None and settings.batch_size == "auto":
        rows, columns = (Blocks.at_most(n, size) for n, size in zip((form.n1, form.n2), there.tile, strict=True))
        return TileFunction(form, Grid(rows, columns, form.symmetric))
    function, _ = TiledKernelFn(kernel_fn, settings).tile_function(form, even_single=True)
    assert function is not None
    return function


def _create(target: Any, plan: StorePlan, job: Job, form: CallForm, results: dict[str, Result]) -> None:
    """Makes a store. Several processes may do so at the same time: all write the same, and the plan last."""
    if not is_folder(target):
        group = opened(target, create=True)
        _write_arrays(group, plan, job, form, results)
        if found_store(target) is None:
            plan.write(group)
        return
    temporary = f"{target}.{uuid.uuid4().hex[:8]}.partial"
    try:
        group = opened(temporary, create=True)
        _write_arrays(group, plan, job, form, results)
        plan.write(group)
        try:
            os.rename(temporary, target)
        except OSError:
            if found_store(target) is None:  # no other process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_arrays(group: Any, plan: StorePlan, job: Job, form: CallForm, results: dict[str, Result]) -> None:
    write_inputs(group, job, form, plan)
    for name, result in results.items():
        chunks = (*plan.tile, *result.shape[2:])
        new_array(group, name, tuple(result.shape), chunks, result.dtype)


def _without_mirrors(plan: StorePlan, form: CallForm, function: TileFunction, settings: TileSettings) -> StorePlan:
    """The plan, but of all tiles if a kernel function of unknown origin is not symmetric. Two tiles tell."""
    if not plan.symmetric or not function.may_be_asymmetric:
        return plan
    last = function.grid.rows.count - 1
    (corner,), (other,) = steps(function, form, iter([(0, last), (last, 0)]), settings.devices[:1])
    matrices = [parts for parts in zip(corner[1], other[1], function.results, strict=True) if parts[2].is_matrix]
    if all(are_mirror_images(*parts) for parts in matrices):
        return plan
    return dataclasses.replace(plan, symmetric=False)


def _version() -> str:
    try:
        return importlib.metadata.version("neural-tangents-jax")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
