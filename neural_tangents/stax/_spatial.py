"""Spatial axes of activations: all but those of the batch and of the channels."""

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.axes import canonical_axis
from neural_tangents._core.types import Shape


def spatial_axes(name: str, shape: Shape, batch_axis: int, channel_axis: int) -> tuple[int, ...]:
    """The spatial axes of activations of some shape, in their order.

    Raises:
      ValueError: batch and channel axis are the same, or not axes of the activations.
    """
    batch, channel = (canonical_axis(axis, len(shape)) for axis in (batch_axis, channel_axis))
    if batch == channel:
        raise ValueError(f"{name}: batch and channel axis are both {batch} for inputs of shape {shape}.")
    return tuple(axis for axis in range(len(shape)) if axis not in (batch, channel))


def full_mask(mask: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """A mask broadcast to full size along some axes of activations, where it may have size 1."""
    return jnp.broadcast_to(mask, [shape[i] if i in axes else size for i, size in enumerate(mask.shape)])


def check_positions_masked(name: str, mask: Array | None, channel_axis: int) -> None:
    """Raises a `NotImplementedError` if a mask differs between channels."""
    if mask is not None and mask.shape[channel_axis] != 1:
        raise NotImplementedError(
            f"{name} needs masks of whole positions, got a mask of shape {mask.shape} with channel axis "
            f"{channel_axis}. Put a layer that mixes channels (`Dense`, `Conv`) before it."
        )
