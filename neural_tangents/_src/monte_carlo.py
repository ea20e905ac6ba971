"""Kernels of random finite networks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from neural_tangents._core.trees import tree_map
from neural_tangents._core.types import Get, PyTree
from neural_tangents.batching import batch
from neural_tangents.empirical import monte_carlo_kernel_fn

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_monte_carlo as __getattr__  # noqa: F401

__all__ = ["monte_carlo_kernel_fn"]


def _sample_once_kernel_fn(
    kernel_fn: Callable[..., PyTree],
    init_fn: Callable[..., PyTree],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
) -> Callable[..., PyTree]:
    """The kernels of one draw of parameters.

    Args:
      kernel_fn: kernels of the network, `(x1, x2, get, params, rng=key, **kwargs) -> kernels`.
      init_fn: draws parameters.
      batch_size: largest number of inputs of a tile; 0 for one tile.
      device_count: number of devices that compute tiles; -1 for all, 0 for one.
      store_on_device: whether kernels stay on the device.

    Returns:
      `(x1, x2, key, get, **kwargs) -> kernels`.
    """
    batched = batch(kernel_fn, batch_size, device_count, store_on_device)

    def of_draw(x1: PyTree, x2: PyTree, key: jax.Array, get: Get, **kwargs: Any) -> PyTree:
        init_key, apply_key = jax.random.split(key)
        _, params = init_fn(init_key, tree_map(lambda x: x.shape, x1))
        return batched(x1, x2, get, params, rng=apply_key, **kwargs)

    return of_draw
