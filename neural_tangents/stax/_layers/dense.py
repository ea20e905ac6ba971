"""`Dense`: a fully-connected layer."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.masking import all_over
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes, integer
from neural_tangents.stax._layers.affine import Affine, weights_and_bias
from neural_tangents.stax._spec import LayerSpec, Leaf, WindowMean


@public_layer
def Dense(
    out_dim: int,
    W_std: float = 1.0,
    b_std: float | None = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> LayerSpec:
    """Fully-connected layer, a matrix product over the channels at each input and position.

    With weights `W` of shape `(C, out_dim)` and bias `b`, entries drawn from `N(0, 1)`:

        'ntk':       x -> W_std / sqrt(C) x W + b_std b,
                     nngp' = W_std^2 nngp + b_std^2,    ntk' = nngp' + W_std^2 ntk.

    With `s = (s_in, s_out)` multiplying the widths of inputs and outputs, `N = C / s_in`, and entries of `W`, of shape
    `(C, s_out out_dim)`, drawn from `N(0, W_std^2 / N)` and those of `b` from `N(0, b_std^2)`:

        'standard':  x -> x W / sqrt(s_in) + b,
                     nngp' as above,    ntk' = N nngp + W_std^2 ntk (+ 1 if there is a bias).

    Args:
      out_dim: number of outputs, at least 1; it has no effect on the kernel.
      W_std: standard deviation of the weights, by default 1.
      b_std: standard deviation of the bias; None, the default, for no bias.
      batch_axis: batch axis of the inputs, by default the first.
      channel_axis: channel axis of the inputs, by default the last.
      parameterization: `'ntk'`, the default, or `'standard'`.
      s: width multipliers of inputs and outputs for `'standard'`: the first layer has `s_in = 1`, the last `s_out = 1`,
        and each other `s_in` is the `s_out` of the layer before.

    Returns:
      A layer with parameters `(W, b)`, `b` of size 1 in all axes but the channels, or None.

    Raises:
      TypeError: sizes that are not whole, standard deviations that are not numbers; in `apply_fn`, parameters of
        another layer.
      ValueError: sizes that are not positive, an unknown parameterization; in `apply_fn`, inputs whose channels are not
        as many as those that the parameters were drawn for.

    Example:
      >>> init_fn, apply_fn, kernel_fn = stax.Dense(512, W_std=2.0, b_std=1.0)
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> print(kernel_fn(x, None, "nngp"))  # W_std^2 x x^T / 2 + b_std^2
      [[3. 1.]
       [1. 3.]]
      >>> output_shape, params = init_fn(jax.random.key(0), x.shape)
      >>> output_shape, apply_fn(params, x).shape
      ((2, 512), (2, 512))

    Source: Jacot et al., "Neural Tangent Kernel: Convergence and Generalization in Neural Networks", 2018,
    https://arxiv.org/abs/1806.07572; for `'standard'`, Sohl-Dickstein et al., "On the Infinite Width Limit of Neural
    Networks with a Standard Parameterization", 2020, https://arxiv.org/abs/2001.07301.
    """
    affine = Affine.of(W_std, b_std, parameterization, s, "Dense")
    width = integer("Dense", "out_dim", out_dim) * affine.s_out
    check_axes("Dense", batch_axis=batch_axis, channel_axis=channel_axis)

    def out_shape(shape: Shape) -> Shape:
        axis = channel_axis % len(shape)
        return (*shape[:axis], width, *shape[axis + 1 :])

    def init(rng: Array, shape: Any) -> tuple[Array, Array | None]:
        channels, axis = shape[channel_axis], channel_axis % len(shape)
        biases = tuple(width if i == axis else 1 for i in range(len(shape)))
        return affine.draw(rng, (channels, width), biases, fan_in=channels)

    def apply(params: tuple[Any, Any], x: Array) -> Array:
        w, b = weights_and_bias("Dense", params, (x.shape[channel_axis], None), x.shape, affine.takes_bias)
        product = jnp.moveaxis(jnp.tensordot(x, w, (channel_axis, 0)), -1, channel_axis)
        return affine.outputs(product, b, fan_in=x.shape[channel_axis])

    def kernel(k: Kernel) -> Kernel:
        return affine.kernel(k, None, fan_in=k.shape1[channel_axis])

    leaf = Leaf(
        "Dense",
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        mask=lambda mask, shape: all_over(mask, channel_axis),
        remask=True,
        requirements=Requirements(
            batch_axis=batch_axis, channel_axis=channel_axis, diagonal_spatial=Diagonal(Bool.YES, Bool.NO)
        ),
        random_weights=True,
        positions="each",
        linear=True,
    )
    return dataclasses.replace(leaf.spec(), formula=None if affine.standard else WindowMean((), W_std, b_std))
