"""`ImageResize`: resizing of images by interpolation."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.image import ResizeMethod

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Spatial
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes, integers
from neural_tangents.stax._layers.dot_general_layer import mixing_requirements
from neural_tangents.stax._spec import LayerSpec, Leaf

# Interpolation with weights that are not negative.
_KERNEL_METHODS = (ResizeMethod.LINEAR, ResizeMethod.NEAREST)


@public_layer
def ImageResize(
    shape: Sequence[int],
    method: str | ResizeMethod,
    antialias: bool = True,
    precision: Any = jax.lax.Precision.HIGHEST,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> LayerSpec:
    """Resizes its inputs by interpolation, as `jax.image.resize`.

    Each axis is multiplied by a matrix of weights: `y = w x`, `nngp' = w nngp w^T`, and likewise `ntk`.

    Args:
      shape: shape of the outputs, of as many axes as the inputs, batch and channels among them; -1 keeps a size.
      method: `'linear'` (also `'bilinear'`, `'trilinear'`, `'triangle'`), `'nearest'`, or another one of
        `jax.image.ResizeMethod`, for which there is no kernel; by name or as a member.
      antialias: whether to smooth when an axis becomes shorter; see `jax.image.resize`.
      precision: precision of the products; see `jax.image.resize`.
      batch_axis: batch axis of the inputs. If it is resized, outputs mix the inputs of a batch.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters. An output is masked if every input that it depends on is masked.

    Raises:
      ValueError: an unknown method; `shape` does not fit the inputs; the kernel of resized channels.
      NotImplementedError: the kernel of another method than linear or nearest interpolation.
    """
    sizes = integers("ImageResize", "shape", shape, least=None, where="axis of the inputs")
    if any(size < -1 for size in sizes):
        raise ValueError(f"ImageResize needs sizes of axes, or -1 to keep one, got `shape={sizes}`.")
    check_axes("ImageResize", batch_axis=batch_axis, channel_axis=channel_axis)
    resize_method = _method(method)
    batch, channel = (axis % max(len(sizes), 1) for axis in (batch_axis, channel_axis))
    resized = {axis for axis, size in enumerate(sizes) if size != -1}
    options = dict(method=resize_method, antialias=antialias, precision=precision)

    def out_shape(shape: Shape) -> Shape:
        if len(shape) != len(sizes):
            raise ValueError(f"ImageResize to {sizes} needs inputs of {len(sizes)} axes, got shape {shape}.")
        return tuple(old if new == -1 else new for old, new in zip(shape, sizes, strict=True))

    def apply(params: Any, x: Array) -> Array:
        return jax.image.resize(x, out_shape(x.shape), **options)

    def kernel(k: Kernel) -> Kernel:
        if resize_method not in _KERNEL_METHODS:
            raise NotImplementedError(
                f"ImageResize has a kernel for the methods 'linear' and 'nearest', got {resize_method.name.lower()!r}."
            )
        target = out_shape(k.shape1)
        if target[channel] != k.shape1[channel]:
            raise ValueError(
                f"Expected -1 for the channel axis {channel}, got `shape={sizes}` for inputs of shape {k.shape1}: "
                "kernels describe infinitely many channels. Resize batch and spatial axes only."
            )
        spatial = [size for axis, size in enumerate(sizes) if axis not in (batch, channel)]
        width = 2 if k.layout.spatial is Spatial.PAIRED else 1
        return k.map_covariances(lambda cov, n: resize_covariance(cov, n, sizes[batch], spatial, width, options))

    def mask(mask: Array, shape: Shape) -> Array:
        for axis, (old, new) in enumerate(zip(shape, out_shape(shape), strict=True)):
            if mask.shape[axis] > 1 and old != new:
                contributes = contributions(old, new, options)
                visible = jnp.tensordot(contributes.astype(float), (~mask).astype(float), ((1,), (axis,)))
                mask = jnp.moveaxis(visible, 0, axis) == 0
        return mask

    return Leaf(
        "ImageResize",
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        mask=mask,
        remask=True,  # Rounding makes weights that should be zero tiny.
        requirements=mixing_requirements(batch in resized, not resized <= {batch, channel}, batch_axis, channel_axis),
    ).spec()


def _method(method: str | ResizeMethod) -> ResizeMethod:
    try:
        return ResizeMethod.from_string(method) if isinstance(method, str) else ResizeMethod(method)
    except ValueError:
        raise ValueError(
            f"ImageResize: unknown resize method {method!r}. Use 'linear' or 'nearest', or another one of "
            "`jax.image.ResizeMethod` for a finite network."
        ) from None


def resize_covariance(
    cov: Array, n_batch_axes: int, batch: int, spatial: Sequence[int], width: int, options: Any
) -> Array:
    """A covariance in which both copies of each axis are resized; sizes of -1 stay.

    Args:
      cov: covariance with `n_batch_axes` batch axes, then the spatial axes, each `width` times.
      n_batch_axes: number of batch axes.
      batch: new size of the batch.
      spatial: new sizes of the spatial axes.
      width: how many axes of `cov` each spatial axis has: 1 or 2.
      options: keyword arguments of `jax.image.resize`.
    """
    sizes = (*[batch] * n_batch_axes, *(size for size in spatial for _ in range(width)))
    shape = tuple(old if new == -1 else new for old, new in zip(cov.shape, sizes, strict=True))
    return cov if shape == cov.shape else jax.image.resize(cov, shape, **options)


def contributions(old: int, new: int, options: Any) -> Array:
    """Which of `old` entries along an axis contribute to each of `new` ones, `(new, old)`.

    In linear interpolation, weights that are not zero are at least `1 / (2 max(old, new))` times the largest one, as
    positions are multiples of this; what is smaller is a rounding error.
    """
    weights = jax.image.resize(jnp.eye(old), (new, old), **options)
    least = 1 / (4 * max(old, new)) if options["method"] in _KERNEL_METHODS else 0.0
    return jnp.abs(weights) > least * jnp.max(jnp.abs(weights), axis=1, keepdims=True)
