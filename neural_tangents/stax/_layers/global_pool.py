"""`GlobalAvgPool` and `GlobalSumPool`: means and sums over all positions."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes
from neural_tangents.stax._spatial import check_positions_masked, full_mask, spatial_axes
from neural_tangents.stax._spec import LayerSpec, Leaf, Pool
from neural_tangents.stax._window import Padding, Window


@public_layer
def GlobalAvgPool(batch_axis: int = 0, channel_axis: int = -1) -> LayerSpec:
    """Mean over all positions: `y = 1 / P sum_p x[p]`.

    Covariances are means over pairs of positions: `nngp' = 1 / P^2 sum_{p, p'} nngp[p, p']`, and likewise `ntk`. Masked
    positions are left out, and not counted.

    Args:
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters, whose outputs have a batch and a channel axis, in the order they had before.

    Raises:
      TypeError: an axis that is not a whole number.
      ValueError: at a call, batch and channel axis are the same, or not axes of the inputs.
      NotImplementedError: masks differ between channels.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    return _global_pool("GlobalAvgPool", True, batch_axis, channel_axis)


@public_layer
def GlobalSumPool(batch_axis: int = 0, channel_axis: int = -1) -> LayerSpec:
    """Sum over all positions: `y = sum_p x[p]`.

    Covariances are sums over pairs of positions: `nngp' = sum_{p, p'} nngp[p, p']`, and likewise `ntk`. Masked
    positions are left out.

    Args:
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters, whose outputs have a batch and a channel axis, in the order they had before.

    Raises:
      TypeError: an axis that is not a whole number.
      ValueError: at a call, batch and channel axis are the same, or not axes of the inputs.
      NotImplementedError: masks differ between channels.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    return _global_pool("GlobalSumPool", False, batch_axis, channel_axis)


def _global_pool(name: str, mean: bool, batch_axis: int, channel_axis: int) -> LayerSpec:
    check_axes(name, batch_axis=batch_axis, channel_axis=channel_axis)

    def axes_of(shape: Shape) -> tuple[int, ...]:
        return spatial_axes(name, shape, batch_axis, channel_axis)

    def out_shape(shape: Shape) -> Shape:
        axes = axes_of(shape)
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)

    def apply(params: Any, x: Array, mask: Array | None) -> Array:
        check_positions_masked(name, mask, channel_axis)
        axes = axes_of(x.shape)
        total = jnp.sum(x, axes)
        return total / visible_positions(mask, x.shape, axes) if mean else total

    def mask_of(mask: Array, shape: Shape) -> Array:
        check_positions_masked(name, mask, channel_axis)
        return jnp.all(mask, axes_of(shape))

    def kernel(k: Kernel) -> Kernel:
        ndim = len(k.shape1)
        batch_out = int(k.batch_axis % ndim > k.channel_axis % ndim)

        def scale(mask: Array | None, shape: Shape, dtype: Any) -> Array:
            check_positions_masked(name, mask, channel_axis)
            return 1 / jnp.asarray(visible_positions(mask, shape, axes_of(shape)), dtype).reshape(-1)

        k = k.map_covariances(position_sum).replace(
            diagonal_spatial=False, batch_axis=batch_out, channel_axis=1 - batch_out
        )
        dtype = k.nngp.dtype
        return k.scaled(scale(k.mask1, k.shape1, dtype), scale(k.mask2, k.shape2, dtype)) if mean else k

    return Leaf(
        name,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        mask=mask_of,
        requirements=Requirements(
            batch_axis=batch_axis, channel_axis=channel_axis, diagonal_spatial=Diagonal(Bool.MAYBE, Bool.YES)
        ),
        keywords=("mask",),
        pool=Pool(windows=all_positions, finish=lambda before, k: kernel(k)),
        linear=True,
    ).spec()


def all_positions(sizes: tuple[int, ...]) -> tuple[Window, ...]:
    """Windows that cover all positions."""
    return tuple(Window(size, size, Padding.VALID) for size in sizes)


def position_sum(cov: Array, n_batch_axes: int) -> Array:
    """The sum of a covariance over all pairs of positions that it holds; those that it leaves out are zero."""
    return jnp.sum(cov, tuple(range(n_batch_axes, cov.ndim)))


def visible_positions(mask: Array | None, shape: Shape, axes: tuple[int, ...]) -> Any:
    """How many positions, along some axes of activations, are not masked; at least 1.

    Without a mask a number, else an array of the shape of the mask without those axes.
    """
    if mask is None:
        return max(math.prod(shape[axis] for axis in axes), 1)
    return jnp.maximum(jnp.sum(~full_mask(mask, shape, axes), axes), 1)
