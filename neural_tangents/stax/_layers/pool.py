"""`AvgPool` and `SumPool`: means and sums over windows."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes
from neural_tangents.stax._spatial import check_positions_masked, full_mask, spatial_axes
from neural_tangents.stax._spec import LayerSpec, Leaf, Pool
from neural_tangents.stax._window import Padding, Window, windows


@public_layer
def AvgPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | str = Padding.VALID,
    normalize_edges: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> LayerSpec:
    """Means over windows: `y[p] = 1 / |D| sum_d x[stride p + d]`, with `|D|` positions `d` in the window.

    Covariances are means over pairs: `nngp'[p, p'] = 1 / |D|^2 sum_{d, d'} nngp[stride p + d, stride p' + d']`, and
    likewise `ntk`.

    Args:
      window_shape: size of the window along each spatial axis, that is, each axis but those of batch and channels.
      strides: stride along each spatial axis; None for 1.
      padding: `'VALID'`, `'SAME'` or `'CIRCULAR'`; see `Padding`.
      normalize_edges: whether, with `'SAME'`, sums are divided by how many positions of the image the window covers,
        and not by its size.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters.

    Raises:
      TypeError: a window or strides that are not tuples of whole numbers.
      ValueError: unknown padding, sizes that are not positive; at a call, inputs with a wrong number of axes, a window
        larger than the image with padding 'VALID'.
      NotImplementedError: masks differ between channels.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    sliding = windows("AvgPool", window_shape, strides, padding, Window)

    def weight(window: Window, n: int, dtype: Any) -> Array:
        """One over the number of positions that each window covers, or that all of them do."""
        if normalize_edges and window.padding is Padding.SAME:
            return 1 / window.sums(jnp.ones(n, dtype), (0,))
        return jnp.full(1, 1 / window.size, dtype)

    return _pool("AvgPool", sliding, weight, batch_axis, channel_axis)


@public_layer
def SumPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | str = Padding.VALID,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> LayerSpec:
    """Sums over windows: `y[p] = sum_d x[stride p + d]`.

    Covariances are sums over pairs: `nngp'[p, p'] = sum_{d, d'} nngp[stride p + d, stride p' + d']`, and likewise
    `ntk`.

    Args:
      window_shape: size of the window along each spatial axis, that is, each axis but those of batch and channels.
      strides: stride along each spatial axis; None for 1.
      padding: `'VALID'`, `'SAME'` or `'CIRCULAR'`; see `Padding`.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters.

    Raises:
      TypeError: a window or strides that are not tuples of whole numbers.
      ValueError: unknown padding, sizes that are not positive; at a call, inputs with a wrong number of axes, a window
        larger than the image with padding 'VALID'.
      NotImplementedError: masks differ between channels.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    sliding = windows("SumPool", window_shape, strides, padding, Window)
    return _pool("SumPool", sliding, None, batch_axis, channel_axis)


def _pool(name: str, sliding: tuple[Window, ...], weight: Any, batch_axis: int, channel_axis: int) -> LayerSpec:
    """Sums over windows, times `weight(window, n, dtype)` along each axis."""
    check_axes(name, batch_axis=batch_axis, channel_axis=channel_axis)

    def axes_of(shape: Shape) -> tuple[int, ...]:
        axes = spatial_axes(name, shape, batch_axis, channel_axis)
        if len(axes) != len(sliding):
            raise ValueError(
                f"{name} with a window of {len(sliding)} spatial axes needs inputs with {len(sliding) + 2} axes, got "
                f"shape {shape}. A window has one size for each axis but those of batch and channels, which are not "
                "pooled."
            )
        return axes

    def out_shape(shape: Shape) -> Shape:
        counts = {axis: w.count(shape[axis]) for axis, w in zip(axes_of(shape), sliding, strict=True)}
        return tuple(counts.get(axis, size) for axis, size in enumerate(shape))

    def apply(params: Any, x: Array, mask: Array | None) -> Array:
        check_positions_masked(name, mask, channel_axis)
        out_shape(x.shape)
        for axis, window in zip(axes_of(x.shape), sliding, strict=True):
            x = _pooled(x, axis, window, weight)
        return x

    def mask_of(mask: Array, shape: Shape) -> Array:
        check_positions_masked(name, mask, channel_axis)
        axes = axes_of(shape)
        mask = full_mask(mask, shape, axes)
        for axis, window in zip(axes, sliding, strict=True):
            mask = window.mask(mask, axis)
        return mask

    def weighted(before: Kernel, k: Kernel) -> Kernel:
        """Sums over windows, times their weights."""
        sizes = [before.shape1[axis] for axis in axes_of(before.shape1)]

        def times(cov: Array, n_batch_axes: int) -> Array:
            for i, (window, n) in enumerate(zip(sliding, sizes, strict=True)):
                for axis in k.layout.copies(i, n_batch_axes):
                    cov = _times(cov, axis, weight(window, n, cov.dtype))
            return cov

        return k if weight is None else k.map_covariances(times)

    return Leaf(
        name,
        apply=apply,
        kernel=lambda k: k.map_covariances(lambda cov, n: pooled_covariance(cov, n, k.layout, sliding, weight)),
        out_shape=out_shape,
        mask=mask_of,
        remask=True,
        requirements=Requirements(
            batch_axis=batch_axis, channel_axis=channel_axis, diagonal_spatial=Diagonal(Bool.MAYBE, Bool.NO)
        ),
        keywords=("mask",),
        pool=Pool(windows=lambda sizes: sliding, finish=weighted),
        linear=True,
    ).spec()


def pooled_covariance(
    cov: Array, n_batch_axes: int, layout: Layout, sliding: Sequence[Window], weight: Any = None
) -> Array:
    """Covariance of sums over windows: `sum_{d, d'} cov[stride p + d, stride p' + d']`, times weights of `p` and `p'`.

    With pairs of equal positions only, all others are taken to be zero: `sum_d cov[stride p + d, stride p + d]`.

    Args:
      cov: a covariance.
      n_batch_axes: number of its batch axes.
      layout: its layout.
      sliding: the window along each spatial axis.
      weight: `(window, n, dtype) -> weights` of the windows along an axis of size `n`; None for 1.
    """
    for i, window in enumerate(sliding):
        axes = layout.copies(i, n_batch_axes)
        for axis in axes:
            cov = _pooled(cov, axis, window, weight, power=2 // len(axes))
    return cov


def _pooled(x: Array, axis: int, window: Window, weight: Any, power: int = 1) -> Array:
    """Sums over the windows along an axis, times a power of their weights, and of how often each position counts."""
    n = x.shape[axis]
    sums = window.sums(x, (axis,))
    wraps = window.size // n if window.padding is Padding.CIRCULAR else 0
    if (
        wraps and power == 2
    ):  # a window counts each position `wraps` times, or once more, and `sums` are weighted by that
        sums = (2 * wraps + 1) * sums - wraps * (wraps + 1) * jnp.sum(x, axis, keepdims=True)
    x = sums
    if weight is None:
        return x
    weights = weight(window, n, jnp.result_type(x, float)) ** power  # of a floating type, even if `x` has integers
    return _times(x, axis, weights)


def _times(x: Array, axis: int, weights: Array) -> Array:
    """An array times weights along an axis."""
    return x * jnp.expand_dims(weights, tuple(i for i in range(x.ndim) if i != axis))
