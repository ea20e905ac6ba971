"""`ConvLocal`: filters with weights of their own at each position."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import embed_diagonal
from neural_tangents._core.requirements import Bool, Diagonal
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import integer
from neural_tangents.stax._layers.affine import Affine, weights_and_bias
from neural_tangents.stax._layers.conv.conv_geometry import DimensionNumbers, Geometry
from neural_tangents.stax._layers.conv.convolution import conv_leaf, padded, specs
from neural_tangents.stax._spec import LayerSpec
from neural_tangents.stax._window import Padding


@public_layer
def ConvLocal(
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
    """Convolution without weight sharing (a locally connected layer): weights and biases of their own at each position.

    At equal positions, kernels are those of `Conv`. At different positions they are zero, as weights are independent.

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
      A layer with parameters `(W, b)`. `W` has the axes of a filter, with the spatial sizes of the outputs and
      `C prod(filter_shape)` input channels, as in `jax.lax.conv_general_dilated_local`; `b` has the shape of the
      outputs for one input, or is None.

    Raises:
      ValueError: unknown padding or parameterization, sizes that are not positive, axes that do not match; at a call,
        a filter larger than the image with padding 'VALID', or unknown spatial sizes in `init_fn`.
      TypeError: arguments of the wrong type, such as a single number as `filter_shape`; at a call, inputs with a wrong
        number of axes, or parameters of another layer.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    geometry = Geometry.of("ConvLocal", filter_shape, strides, padding, dimension_numbers)
    affine = Affine.of(W_std, b_std, parameterization, s, "ConvLocal")
    width = integer("ConvLocal", "out_chan", out_chan) * affine.s_out

    def weight_shape(shape: Shape, width: int | None) -> tuple:
        sizes = dict(zip(geometry.spatial, geometry.positions(shape), strict=True))
        return tuple({**sizes, "O": width, "I": geometry.fan_in(shape)}[c] for c in geometry.filters)

    def init(rng: Array, shape: Shape) -> tuple[Array, Array | None]:
        if min(geometry.positions(shape), default=0) < 0:
            raise ValueError(
                f"ConvLocal has weights at each position, so it needs all spatial sizes, got shape {shape}."
            )
        outputs = zip(geometry.outputs, geometry.out_shape(shape, width), strict=True)
        biases = tuple(1 if c == "N" else size for c, size in outputs)
        return affine.draw(rng, weight_shape(shape, width), biases, geometry.fan_in(shape))

    def apply(params: tuple[Any, Any], x: Array) -> Array:
        w, b = weights_and_bias("ConvLocal", params, weight_shape(x.shape, None), x.shape, affine.takes_bias)
        dtype = jnp.result_type(x, w)
        fan_in = geometry.fan_in(x.shape)
        x, pads = padded(jnp.asarray(x, dtype), geometry)
        product = lax.conv_general_dilated_local(
            x, jnp.asarray(w, dtype), geometry.strides, pads, geometry.sizes, dimension_numbers=specs(geometry)
        )
        return affine.outputs(product, b, fan_in)

    def kernel(k: Kernel) -> Kernel:
        fan_in = geometry.fan_in(k.shape1)
        diagonal = k.map_covariances(k.layout.diagonal).replace(diagonal_spatial=True)
        local = affine.kernel(diagonal, lambda cov, n: geometry.mean(cov, n, diagonal.layout), fan_in)
        if not k.diagonal_spatial:
            local = local.map_covariances(embed_diagonal).replace(diagonal_spatial=False)
        return geometry.moved(local)

    return conv_leaf(geometry, width, init, apply, kernel, Diagonal(Bool.YES, Bool.MAYBE))
