"""`batch`: kernels of batches too large for one call, in tiles, on one or several devices."""

import functools
from collections.abc import Callable
from typing import Any, Literal

from jax.sharding import Mesh

from neural_tangents._core.programs import Programs
from neural_tangents._core.tiling.call_form import read_call
from neural_tangents._core.tiling.evaluation import TiledKernelFn
from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents._core.tiling.traits import bound_arguments, traits_of
from neural_tangents._core.types import PyTree
from neural_tangents.batching._estimate import RunEstimate, estimate
from neural_tangents.batching._mesh import MeshFunction, check_mesh
from neural_tangents.batching._store.creation import create_store
from neural_tangents.batching._store.kernel_store import KernelStore


class BatchedKernelFn:
    """A kernel function that computes kernels in tiles, and is called as the one that it was made from.

    Made by `batch`. It can be called under `jax.jit`, `jax.grad` and `jax.vmap`, and cloudpickled.
    """

    def __init__(self, kernel_fn: Callable[..., PyTree], settings: TileSettings, mesh: Mesh | None = None) -> None:
        functools.update_wrapper(self, kernel_fn)
        self._kernel_fn, self._settings, self._mesh = kernel_fn, settings, mesh
        function, args, kwargs = bound_arguments(kernel_fn)
        with_tiles = traits_of(function).with_tiles
        self._tiled: Callable[..., PyTree] = (
            TiledKernelFn(kernel_fn, settings)
            if with_tiles is None
            else functools.partial(with_tiles(settings), *args, **kwargs)
        )
        self._over_mesh = Programs()

    def __call__(self, *args: Any, **kwargs: Any) -> PyTree:
        """The kernels of two batches, joined from tiles.

        Args:
          *args: the arguments of the kernel function, of which the first two are `x1` and `x2`.
          **kwargs: its keyword arguments. Pairs of arrays of which the first has an entry for each input of `x1`, and
            the second for each of `x2`, are cut as these are; all else goes to each tile as it is.

        Returns:
          What the kernel function returns.

        Raises:
          TypeError: a batch is not made of arrays, or the kernel function returns something else.
          ValueError: arrays of a batch differ in length, or a result has no axes of both batches.
          NotImplementedError: a result has several axes of one batch.
        """
        if self._mesh is None:
            return self._tiled(*args, **kwargs)
        form, mesh = read_call(self._kernel_fn, args, kwargs), self._mesh
        return self._over_mesh.kept(form.key(), lambda: MeshFunction(form, self._settings, mesh))(form)

    def estimate(self, *args: Any, **kwargs: Any) -> RunEstimate:
        """What a call would take, from one tile, which is computed twice.

        Args:
          *args: the arguments of the call.
          **kwargs: its keyword arguments.

        Returns:
          A `RunEstimate`: numbers of tiles and devices, memory of a tile and of the results, and time. It prints well.

        Raises:
          TypeError: kernels are averaged over random networks, or spread over a mesh.
        """
        if self._mesh is not None or not isinstance(self._tiled, TiledKernelFn):
            raise TypeError(
                "Expected a kernel function without a mesh, and not one of `monte_carlo_kernel_fn`, to estimate the "
                "cost of a call. Estimate that of the function without a mesh, or of `empirical_kernel_fn`."
            )
        return estimate(self._tiled, read_call(self._kernel_fn, args, kwargs))

    def store(self, target: Any, *args: Any, **kwargs: Any) -> KernelStore:
        """A store for the kernels of a call, for runs that outlast a process.

        If there is one at the target that the same call has made, it is opened, and a tile that was finished is
        computed again to see whether the kernel function is the same. Several processes may do so at the same time.
        Inputs are kept in the store, so that workers read no more of them than a tile needs.

        Args:
          target: a folder; a URL, such as of S3, that fsspec understands; or a store object of zarr.
          *args: the arguments of the call: `x1`, `x2`, and whatever the kernel function takes.
          **kwargs: its keyword arguments.

        Returns:
          A `KernelStore`. Its method `fill` computes the tiles, and predictors take it in place of kernels.

        Raises:
          ValueError: the target holds something else, or kernels of another call; or results have no axes of both
            batches.
          TypeError: the target is none, or kernels are spread over a mesh.
          OSError: the store cannot be written.
          ImportError: zarr is not installed.

        Example:
          >>> import tempfile
          >>> import numpy as np
          >>> import neural_tangents as nt
          >>> from neural_tangents import stax
          >>> _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1))
          >>> folder = tempfile.mkdtemp() + "/kernel"
          >>> store = nt.batch(kernel_fn, batch_size=2).store(folder, np.eye(5), None, "ntk")
          >>> store.fill()
          >>> np.asarray(store.ntk).shape
          (5, 5)
        """
        if self._mesh is not None:
            raise TypeError("Expected a batched kernel function without a mesh, to fill a store by independent tasks.")
        return create_store(self._kernel_fn, self._settings, target, args, kwargs)

    def __repr__(self) -> str:
        name = getattr(self._kernel_fn, "__name__", None) or repr(self._kernel_fn)
        s = self._settings
        return f"batch({name}, batch_size={s.batch_size!r}, device_count={s.device_count})"

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchedKernelFn, (self._kernel_fn, self._settings, self._mesh)


def batch(
    kernel_fn: Callable[..., PyTree],
    batch_size: int | Literal["auto"] = 0,
    device_count: int = -1,
    store_on_device: bool = True,
    *,
    memory_budget: int | None = None,
    mesh: Mesh | None = None,
) -> BatchedKernelFn:
    """Makes a kernel function compute kernels in tiles, so that memory is bounded and all devices are used.

    With `x1` and `x2` cut into blocks `x1_i` and `x2_j` of at most `batch_size` inputs, `K(x1, x2)` is joined from the
    tiles `K(x1_i, x2_j)`; with `x2=None`, those with `i > j` are the mirror images of `K(x_j, x_i)` and are not
    computed. All tiles have the same size (the last inputs are repeated, and left out of the result), and are computed
    by one compiled program; any number of inputs will do. Under `jax.jit`, `jax.grad` and `jax.vmap` tiles are computed
    by a loop inside the traced program.

    Args:
      kernel_fn: a kernel function of infinite networks, or one made by `empirical_ntk_fn`, `empirical_nngp_fn`,
        `empirical_kernel_fn` or `monte_carlo_kernel_fn`; a `functools.partial` of these; products with vectors, by
        `empirical_ntk_operator_fn(f)` or a partial of `empirical_ntk_vp_fn`, for which both batches go through the
        network block by block, on one device; or any function
        `(x1, x2, ...)` of arrays, or trees of arrays, with inputs along their first axes, whose results have an axis
        for each batch, and which JAX can trace. Networks have to treat inputs independently of each other: those that
        normalise over a batch would do so within each block.
      batch_size: the largest number of inputs of either batch in a tile; 0 for one tile, or for as few as there are
        devices; "auto" for the largest one that fits into `memory_budget`.
      device_count: number of local devices, each of which computes a tile at a time; -1 for all, 0 for one.
      store_on_device: whether results are JAX arrays on the first device; otherwise they are NumPy arrays in the memory
        of the host, to which tiles go as soon as they are computed.
      memory_budget: about how many bytes a tile may take on a device, if `batch_size` is "auto"; None for half of the
        free memory of a device if it tells, otherwise 1 GiB.
      mesh: a mesh of devices, also of several hosts (`jax.distributed`), whose first axis rows of kernels are spread
        over; a second one is for columns. Each device computes its part in tiles of `batch_size` inputs. Results are
        sharded arrays; the numbers of inputs have to be multiples of the sizes of the axes.

    Returns:
      A function that is called as `kernel_fn`, with equal results up to rounding. Random keys are the exception: a key
      `rng` of finite networks gives each block of inputs a key of its own, the same in all of its tiles. Its method
      `estimate` says what a call would take, and `store` keeps kernels outside of memory.

    Raises:
      TypeError: `kernel_fn` is not a function, or a number is not an integer.
      ValueError: a number is out of range, or a mesh has more than two axes.

    Example:
      >>> import numpy as np
      >>> import neural_tangents as nt
      >>> from neural_tangents import stax
      >>> _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1))
      >>> kernel_fn = nt.batch(kernel_fn, batch_size=2, store_on_device=False)
      >>> x = np.eye(5)
      >>> kernel_fn(x, None, "ntk").shape
      (5, 5)
    """
    if not callable(kernel_fn):
        raise TypeError(
            f"Expected `kernel_fn` to be a function of two batches, got {type(kernel_fn).__name__}. Of a network, pass "
            "the third element, `_, _, kernel_fn = stax.serial(...)`."
        )
    settings = TileSettings(batch_size, device_count, store_on_device, memory_budget)
    if mesh is not None:
        check_mesh(mesh)
    return BatchedKernelFn(kernel_fn, settings, mesh)
