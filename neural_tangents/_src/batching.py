"""Kernels in tiles."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import pmap

from neural_tangents._core.compiled import compiled
from neural_tangents._core.types import PyTree
from neural_tangents.batching import batch

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_batching as __getattr__  # noqa: F401

__all__ = ["batch", "pmap"]


def _serial(kernel_fn: Callable[..., PyTree], batch_size: int, store_on_device: bool = True) -> Callable[..., PyTree]:
    """Computes kernels tile by tile on one device."""
    return batch(kernel_fn, batch_size, 0, store_on_device)


def _parallel(
    kernel_fn: Callable[..., PyTree],
    use_serial: bool = True,
    dropout_in_analytic_kernel: bool = False,
    device_count: int = -1,
) -> Callable[..., PyTree]:
    """Computes tiles of kernels on several devices side by side; `use_serial` and the like have no effect."""
    del use_serial, dropout_in_analytic_kernel
    batched: Any = batch(kernel_fn, 0, device_count)
    batched.device_count = jax.local_device_count() if device_count == -1 else device_count
    return batched


def _jit_or_pmap_broadcast(f: Callable[..., PyTree], device_count: int = -1) -> Callable[..., PyTree]:
    """Compiles a function for one device (`device_count=0`), or maps it over several.

    Mapped, the first argument has an axis of devices first, other arrays are copied to each, and all else is fixed.
    """
    if device_count == 0:
        return compiled(f)
    n = jax.local_device_count() if device_count == -1 else device_count

    def call(x: PyTree, *args: Any, **kwargs: Any) -> PyTree:
        leaves, structure = jax.tree.flatten((args, kwargs))
        arrays = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)}

        def one(x: PyTree, copies: dict[int, Any]) -> PyTree:
            own_args, own_kwargs = jax.tree.unflatten(structure, [copies.get(i, leaf) for i, leaf in enumerate(leaves)])
            return f(x, *own_args, **own_kwargs)

        copies = {i: jnp.broadcast_to(a[None], (n, *a.shape)) for i, a in arrays.items()}
        return pmap(one)(x, copies)

    return call
