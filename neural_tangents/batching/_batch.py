"""`batch`: kernels of batches too large for one call, in tiles, on one or several devices."""

import functools
from collections.abc import Callable
from typing import Any

from neural_tangents._core.tiling.call_form import read_call
from neural_tangents._core.tiling.evaluation import TiledKernelFn
from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents._core.types import PyTree


class BatchedKernelFn:
    """A kernel function that computes kernels in tiles, and is called as the one that it was made from.

    Made by `batch`. It can be called under `jax.jit`, `jax.grad` and `jax.vmap`, and cloudpickled.
    """

    def __init__(self, kernel_fn: Callable[..., PyTree], settings: TileSettings) -> None:
        functools.update_wrapper(self, kernel_fn)
        self._kernel_fn, self._settings = kernel_fn, settings
        self._tiled = TiledKernelFn(kernel_fn, settings)

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
        return self._tiled(*args, **kwargs)

    def __repr__(self) -> str:
        name = getattr(self._kernel_fn, "__name__", None) or repr(self._kernel_fn)
        s = self._settings
        return f"batch({name}, {s.batch_size}, {s.device_count}, {s.store_on_device})"

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchedKernelFn, (self._kernel_fn, self._settings)
