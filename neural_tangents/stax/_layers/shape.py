"""Layers that do nothing or change only the shape: `Identity`, `Flatten`."""

import math

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes
from neural_tangents.stax._layers.global_pool import all_positions, visible_positions
from neural_tangents.stax._spatial import spatial_axes
from neural_tangents.stax._spec import LayerSpec, Leaf, Pool


@public_layer
def Identity() -> LayerSpec:
    """Returns its input: `f(x) = x`.

    Returns:
      A layer without parameters.
    """
    leaf = Leaf("Identity", apply=lambda params, x: x, kernel=lambda k: k, trees=True, positions="each", linear=True)
    return leaf.spec()


@public_layer
def Flatten(batch_axis: int = 0, batch_axis_out: int = 0) -> LayerSpec:
    """Flattens all axes but the batch axis into one: `(N, H, W, C) -> (N, H W C)`.

    The covariance of flattened activations is the mean over positions: `nngp' = mean_p nngp[p, p]`, likewise `ntk`.

    Args:
      batch_axis: batch axis of the inputs.
      batch_axis_out: batch axis of the outputs: 0 (equally -2) or 1 (equally -1).

    Returns:
      A layer without parameters, with outputs of two axes.

    Raises:
      TypeError: an axis that is not a whole number.
      ValueError: `batch_axis_out` is not an axis of the outputs.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    check_axes("Flatten", batch_axis=batch_axis, batch_axis_out=batch_axis_out)
    if batch_axis_out not in (0, 1, -1, -2):
        raise ValueError(
            f"Flatten needs `batch_axis_out` of 0 or 1 (or -2 or -1), as outputs have two axes; got {batch_axis_out}."
        )
    batch_out = batch_axis_out % 2

    def out_shape(shape: Shape) -> Shape:
        batch = batch_axis % len(shape)
        rest = [size for axis, size in enumerate(shape) if axis != batch]
        features = -1 if any(size < 0 for size in rest) else math.prod(rest)
        return (features, shape[batch]) if batch_out else (shape[batch], features)

    def flatten(x: Array) -> Array:
        x = jnp.moveaxis(x, batch_axis, 0)
        x = x.reshape((x.shape[0], -1)) if x.size else x.reshape((x.shape[0], math.prod(x.shape[1:])))
        return x.T if batch_out else x

    def mask(mask: Array, shape: Shape) -> Array:
        return flatten(jnp.broadcast_to(mask, shape))

    def flattened(k: Kernel) -> Kernel:
        return k.replace(is_gaussian=False, diagonal_spatial=False, batch_axis=batch_out, channel_axis=1 - batch_out)

    def pooled(before: Kernel, k: Kernel) -> Kernel:
        """The means, from the sums over positions."""
        axes = spatial_axes("Flatten", before.shape1, before.batch_axis, before.channel_axis)
        n = visible_positions(None, before.shape1, axes)
        return flattened(k.map_covariances(lambda cov, n_batch: cov.reshape(cov.shape[:n_batch]) / n))

    return Leaf(
        "Flatten",
        apply=lambda params, x: flatten(x),
        kernel=lambda k: flattened(k.map_covariances(k.layout.position_mean)),
        out_shape=out_shape,
        mask=mask,
        requirements=Requirements(
            batch_axis=batch_axis, channel_axis=None, diagonal_spatial=Diagonal(Bool.YES, Bool.YES)
        ),
        pool=Pool(windows=all_positions, finish=pooled, same_positions=True),
        linear=True,
    ).spec()
