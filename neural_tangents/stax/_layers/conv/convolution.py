"""`Conv` and `ConvTranspose`: filters with weights that all positions share."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import integer
from neural_tangents.stax._layers.affine import Affine, weights_and_bias
from neural_tangents.stax._layers.conv.conv_geometry import DimensionNumbers, Geometry
from neural_tangents.stax._spec import LayerSpec, Leaf, Mixing, WindowMean
from neural_tangents.stax._streaming.run_geometry import MixesOffsets, RunGeometry
from neural_tangents.stax._window import Padding, TransposedWindow


@public_layer
def Conv(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | str = Padding.VALID,
    W_std: float = 1.0,
    b_std: float | None = None,
    dimension_numbers: DimensionNumbers | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> LayerSpec:
    """Convolution, with any number of spatial axes.

    With a filter of `|D|` positions `d`, and weights and biases from `N(0, 1)`,

        'ntk':  y[p] = W_std / sqrt(C |D|) sum_d x[stride p + d] W[d] + b_std b,
                nngp'[p, p'] = W_std^2 / |D| sum_d nngp[stride p + d, stride p' + d] + b_std^2,
                ntk' = nngp' + W_std^2 / |D| sum_d ntk[stride p + d, stride p' + d].

    'standard' is as in `Dense`, with `N = C |D| / s_in`.

    Args:
      out_chan: number of output channels.
      filter_shape: size of the filter along each spatial axis, in the order of `dimension_numbers[1]`; `()` is a
        `Dense` layer.
      strides: stride along each spatial axis; None for 1.
      padding: `'VALID'`, `'SAME'` or `'CIRCULAR'`; see `Padding`.
      W_std: standard deviation of the weights.
      b_std: standard deviation of the biases; None for no bias.
      dimension_numbers: order of the axes of inputs, filters and outputs, as in `jax.lax.conv_general_dilated`, such as
        `('NCHW', 'OIHW', 'NCHW')`; None for batch, spatial axes, channels, and filters `(*filter_shape, C, out_chan)`.
      parameterization: `'ntk'` or `'standard'`.
      s: width multipliers of inputs and outputs for `'standard'`; see `Dense`.

    Returns:
      A layer with parameters `(W, b)`, `b` of size 1 in all axes but the channels, or None.

    Raises:
      ValueError: unknown padding or parameterization, sizes that are not positive, axes that do not match; at a call,
        a filter larger than the image with padding 'VALID'.
      TypeError: arguments of the wrong type, such as a single number as `filter_shape`; at a call, inputs with a wrong
        number of axes, or parameters of another layer.

    Example:
      >>> images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
      >>> init_fn, _, kernel_fn = stax.serial(
      ...     stax.Conv(64, (3, 3), padding="SAME"), stax.Relu(), stax.Conv(64, (3, 3), strides=(2, 2)), stax.Flatten()
      ... )
      >>> init_fn(jax.random.key(1), images.shape)[0]
      (2, 576)
      >>> kernel_fn(images, None, "ntk").shape
      (2, 2)

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148, eq. (7); Arora et al., "On Exact Computation with an Infinitely Wide Neural Net",
    2019, https://arxiv.org/abs/1904.11955.
    """
    geometry = Geometry.of("Conv", filter_shape, strides, padding, dimension_numbers)

    def product(x: Array, w: Array) -> Array:
        x, pads = padded(x, geometry)
        return lax.conv_general_dilated(x, w, geometry.strides, pads, dimension_numbers=specs(geometry))

    return _shared(geometry, Affine.of(W_std, b_std, parameterization, s, geometry.name), out_chan, product)


@public_layer
def ConvTranspose(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding | str = Padding.VALID,
    W_std: float = 1.0,
    b_std: float | None = None,
    dimension_numbers: DimensionNumbers | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> LayerSpec:
    """Transposed convolution: each input is spread over the positions that a filter covers.

    With `|D|` positions `d` in the filter, and `lo` positions of padding before an image of the size of the outputs,

        'ntk':  y[stride p - lo + d] = W_std / sqrt(C |D|) sum_{p, d} x[p] W[d] + b_std b,
                nngp'[stride p - lo + d, stride p' - lo + d] = W_std^2 / |D| sum_{p, p', d} nngp[p, p'] + b_std^2,

    and `ntk` as in `Conv`. With padding `'SAME'` and `'CIRCULAR'`, outputs are `stride` times larger than inputs, and
    the layer without bias is, up to its scale, the adjoint of the convolution with the filter turned around; weights
    are in the order of `jax.lax.conv_transpose`.

    Args:
      out_chan: number of output channels.
      filter_shape: size of the filter along each spatial axis.
      strides: stride along each spatial axis; None for 1.
      padding: `'VALID'`, `'SAME'` or `'CIRCULAR'`; see `Padding`.
      W_std: standard deviation of the weights.
      b_std: standard deviation of the biases; None for no bias.
      dimension_numbers: see `Conv`.
      parameterization: `'ntk'` or `'standard'`.
      s: width multipliers of inputs and outputs for `'standard'`; see `Dense`.

    Returns:
      A layer with parameters `(W, b)`, `b` of size 1 in all axes but the channels, or None.

    Raises:
      ValueError: unknown padding or parameterization, sizes that are not positive, axes that do not match.
      TypeError: arguments of the wrong type, such as a single number as `filter_shape`; at a call, inputs with a wrong
        number of axes, or parameters of another layer.

    Source: Dumoulin & Visin, "A Guide to Convolution Arithmetic for Deep Learning", 2016,
    https://arxiv.org/abs/1603.07285, chapter 4.
    """
    geometry = Geometry.of("ConvTranspose", filter_shape, strides, padding, dimension_numbers, TransposedWindow)

    def product(x: Array, w: Array) -> Array:
        for window, axis in zip(geometry.windows, geometry.input_axes, strict=True):
            x = window.padded(x, (axis,))
        return lax.conv_general_dilated(x, w, (1,) * len(geometry.sizes), "VALID", dimension_numbers=specs(geometry))

    return _shared(geometry, Affine.of(W_std, b_std, parameterization, s, geometry.name), out_chan, product)


def _shared(geometry: Geometry, affine: Affine, out_chan: int, product: Any) -> LayerSpec:
    """A layer whose outputs are `product(x, w)` of inputs and a filter, scaled, plus a bias."""
    width = integer(geometry.name, "out_chan", out_chan) * affine.s_out

    def weight_shape(shape: Shape, width: int | None) -> tuple:
        sizes = dict(zip(geometry.spatial, geometry.sizes, strict=True))
        return tuple({**sizes, "O": width, "I": shape[geometry.inputs.index("C")]}[c] for c in geometry.filters)

    def init(rng: Array, shape: Shape) -> tuple[Array, Array | None]:
        biases = tuple(width if c == "C" else 1 for c in geometry.outputs)
        return affine.draw(rng, weight_shape(shape, width), biases, geometry.fan_in(shape))

    def apply(params: tuple[Any, Any], x: Array) -> Array:
        geometry.positions(x.shape)
        w, b = weights_and_bias(geometry.name, params, weight_shape(x.shape, None), x.shape, affine.takes_bias)
        dtype = jnp.result_type(x, w)
        return affine.outputs(product(jnp.asarray(x, dtype), jnp.asarray(w, dtype)), b, geometry.fan_in(x.shape))

    def kernel(k: Kernel) -> Kernel:
        fan_in = geometry.fan_in(k.shape1)
        moved = affine.kernel(k, lambda cov, n: geometry.mean(cov, n, k.layout), fan_in)
        return geometry.moved(k.layout.after(moved, geometry.sliding))

    def positions(run: RunGeometry) -> RunGeometry:
        if not geometry.keeps_order:
            raise MixesOffsets("permutes the axes of images")
        if any(isinstance(window, TransposedWindow) for window in geometry.windows):
            raise MixesOffsets("is transposed, and so maps one offset to several")
        return run.after(geometry.sliding)

    spec = conv_leaf(geometry, width, init, apply, kernel, Diagonal(Bool.YES, Bool.NO), positions)
    if affine.standard or not geometry.keeps_order:
        return spec
    return dataclasses.replace(spec, formula=WindowMean(geometry.sliding, affine.W_std, affine.b_std))


def conv_leaf(
    geometry: Geometry,
    width: int,
    init: Any,
    apply: Any,
    kernel: Any,
    diagonal: Diagonal,
    positions: Mixing = "mixes",
) -> LayerSpec:
    """The parts that all convolutions have in common: shapes, masks and axes."""
    # Counted from the end where channels come last, as in other layers, and so that it is an axis of any inputs.
    channel_axis = -1 if geometry.inputs[-1] == "C" else geometry.inputs.index("C")
    return Leaf(
        geometry.name,
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=lambda shape: geometry.out_shape(shape, width),
        mask=geometry.mask,
        remask=True,
        requirements=Requirements(
            batch_axis=geometry.inputs.index("N"), channel_axis=channel_axis, diagonal_spatial=diagonal
        ),
        random_weights=True,
        positions=positions,
        linear=True,
    ).spec()


def padded(x: Array, geometry: Geometry) -> tuple[Array, list[tuple[int, int]]]:
    """Inputs with their periodic copies around them, if padding is periodic, and how many zeros to add."""
    pairs = list(zip(geometry.windows, geometry.input_axes, strict=True))
    if not geometry.wraps:
        return x, [window.pads(x.shape[axis]) for window, axis in pairs]
    for window, axis in pairs:
        x = window.padded(x, (axis,))
    return x, [(0, 0)] * len(pairs)


def specs(geometry: Geometry) -> DimensionNumbers:
    """The dimension numbers that `jax.lax` takes."""
    return geometry.inputs, geometry.filters, geometry.outputs
