"""`Dense`: a fully-connected layer."""

from typing import Any

import jax.numpy as jnp
from jax import Array, random

from neural_tangents._core.demands import Bool, Demand, Diagonal
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.masking import all_over
from neural_tangents._core.types import Shape
from neural_tangents.stax._layer import public_layer
from neural_tangents.stax._spec import LayerSpec, leaf


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
      out_dim: number of outputs.
      W_std: standard deviation of the weights.
      b_std: standard deviation of the bias; None for no bias.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.
      parameterization: `'ntk'` or `'standard'`.
      s: width multipliers of inputs and outputs for `'standard'`: the first layer has `s_in = 1`, the last `s_out = 1`,
        and each other `s_in` is the `s_out` of the layer before.

    Returns:
      A layer with parameters `(W, b)`, `b` of size 1 in all axes but the channels, or None.

    Raises:
      ValueError: unknown parameterization.

    Jacot et al., 2018 (arXiv:1806.07572); for 'standard', Sohl-Dickstein et al., 2020 (arXiv:2001.07301).
    """
    form = parameterization.lower()
    if form not in ("ntk", "standard"):
        raise ValueError(f"`parameterization` must be 'ntk' or 'standard', got {parameterization!r}.")
    standard = form == "standard"
    s_in, s_out = s if standard else (1, 1)

    def out_shape(shape: Shape) -> Shape:
        axis = channel_axis % len(shape)
        return (*shape[:axis], out_dim * s_out, *shape[axis + 1 :])

    def init(rng: Array, shape: Any) -> tuple[Array, Array | None]:
        key_w, key_b = random.split(rng)
        channels, axis = shape[channel_axis], channel_axis % len(shape)
        w = random.normal(key_w, (channels, out_dim * s_out))
        if standard:
            w = w * (W_std / (channels / s_in) ** 0.5)
        if b_std is None:
            return w, None
        b = random.normal(key_b, tuple(out_dim * s_out if i == axis else 1 for i in range(len(shape))))
        return w, b * b_std if standard else b

    def apply(params: tuple[Any, Any], x: Array) -> Array:
        w, b = params
        scale = s_in**-0.5 if standard else W_std / x.shape[channel_axis] ** 0.5
        product = jnp.moveaxis(jnp.tensordot(x, w, (channel_axis, 0)), -1, channel_axis)
        outputs = scale * product
        return outputs if b is None else outputs + (b if standard else b_std * b)

    def kernel(k: Kernel) -> Kernel:
        def covariance(cov: Any) -> Any:
            return cov if cov is None else affine_covariance(cov, W_std, b_std)

        nngp, ntk = covariance(k.nngp), k.ntk
        if ntk is not None:
            ntk = _scaled(ntk, W_std)
            if standard:
                direct = k.shape1[channel_axis] / s_in * k.nngp
                direct = direct if b_std is None else direct + 1.0
            else:
                direct = nngp
            ntk = direct if ntk.ndim == 0 else direct + ntk
        return k.replace(nngp=nngp, ntk=ntk, cov1=covariance(k.cov1), cov2=covariance(k.cov2), is_gaussian=True)

    return leaf(
        "Dense",
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        mask=lambda mask, shape: all_over(mask, channel_axis),
        remask=True,
        demand=Demand(batch_axis=batch_axis, channel_axis=channel_axis, diagonal_spatial=Diagonal(Bool.YES, Bool.NO)),
        random_weights=True,
    )


def affine_covariance(cov: Array, W_std: Any, b_std: Any) -> Array:
    """Covariance after random weights and bias: `W_std^2 cov + b_std^2`."""
    cov = _scaled(cov, W_std)
    return cov if b_std is None else cov + b_std**2


def _scaled(cov: Array, W_std: Any) -> Array:
    return W_std**2 * cov
