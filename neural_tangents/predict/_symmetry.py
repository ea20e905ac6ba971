"""Kernels of a set with itself that are far from symmetric."""

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.axes import zip_flat
from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._finite import parts, view

# A kernel may differ from its transpose by this much of its largest entry: more than rounding in any type does.
_ASYMMETRY = 1e-2


def check_symmetric(kernel: jax.Array) -> None:
    """Raises `ValueError` if an interleaved train-train kernel is seen to be far from symmetric."""
    if not kernel.ndim or not kernel.size or not is_concrete(kernel):
        return
    with jax.core.eval_context():  # also while a caller is being traced
        values = view(kernel)
        found = _asymmetry(kernel) if values is None else _asymmetry_on_host(values)
        largest, difference = map(float, found)
    if difference > _ASYMMETRY * largest:
        raise ValueError(
            "Expected a symmetric train-train kernel, got one that differs from its transpose by up to "
            f"{difference:.3g}, with entries up to {largest:.3g}. Pass the kernel of the training set with itself, in "
            "the same order."
        )


@jax.jit
def _asymmetry(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest entries of a kernel, and of its difference from its transpose."""
    return jnp.max(jnp.abs(kernel)), jnp.max(jnp.abs(kernel - kernel.transpose(_swapped(kernel.ndim))))


def _asymmetry_on_host(kernel: np.ndarray) -> tuple[float, float]:
    """The same without compilation, some rows at a time."""
    swapped, largest, difference = kernel.transpose(_swapped(kernel.ndim)), 0.0, 0.0
    for part in parts(kernel.shape):
        rows = kernel[part].astype("float32", copy=False)
        largest = max(largest, float(np.max(np.abs(rows))))
        difference = max(difference, float(np.max(np.abs(rows - swapped[part].astype("float32", copy=False)))))
    return largest, difference


def _swapped(ndim: int) -> tuple[int, ...]:
    return zip_flat(range(1, ndim, 2), range(0, ndim, 2))
