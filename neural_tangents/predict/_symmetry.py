"""Kernels of a set with itself that are far from symmetric."""

import functools

import jax
from jax import lax
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._outputs import Outputs

# A kernel may differ from its transpose by this much of its largest entry: more than rounding in any type does.
_ASYMMETRY = 1e-2

# Rows and columns are compared this many at a time: XLA would transpose a kernel as a whole.
_ROWS = 256


def check_symmetric(kernel: jax.Array, outputs: Outputs) -> None:
    """Raises `ValueError` if a train-train kernel is seen to be far from symmetric."""
    if not kernel.size or not is_concrete(kernel):
        return
    with jax.core.eval_context():  # also while a caller is being traced
        spread = len(kernel.sharding.device_set) > 1  # then no device is asked for rows that it does not have
        largest, difference = map(float, _asymmetry(kernel, outputs, None if spread else _ROWS))
    if difference > _ASYMMETRY * largest:
        raise ValueError(
            "Expected a symmetric train-train kernel, got one that differs from its transpose by up to "
            f"{difference:.3g}, with entries up to {largest:.3g}. Pass the kernel of the training set with itself, in "
            "the same order."
        )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _asymmetry(kernel: jax.Array, outputs: Outputs, at_once: int | None) -> tuple[jax.Array, jax.Array]:
    """The largest entries of the matrix, and of its difference from its transpose."""
    matrix = outputs.matrix(kernel)
    size = len(matrix)
    rows = size if at_once is None else min(size, at_once)

    def step(i: jax.Array, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        start = jnp.minimum(i * rows, size - rows)  # the last rows overlap with those before
        row, column = (lax.dynamic_slice_in_dim(matrix, start, rows, axis).astype("float32") for axis in range(2))
        return jnp.maximum(found[0], jnp.max(jnp.abs(row))), jnp.maximum(found[1], jnp.max(jnp.abs(row - column.T)))

    zero = jnp.zeros((), "float32")
    return lax.fori_loop(0, -(-size // rows), step, (zero, zero))
