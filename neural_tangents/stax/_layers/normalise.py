"""`LayerNorm` and `Dropout`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, random

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.masking import drop_channel
from neural_tangents._core.numerics import python_scalar
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.types import Axes, Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes, integers, number
from neural_tangents.stax._spec import LayerSpec, Leaf
from neural_tangents.stax._streaming.run_geometry import MixesOffsets, RunGeometry


@public_layer
def LayerNorm(axis: Axes = -1, eps: float = 1e-12, batch_axis: int = 0, channel_axis: int = -1) -> LayerSpec:
    """Normalises activations to zero mean and unit variance over some axes: `(x - mean) / sqrt(eps + variance)`.

    With `m1`, `m2` the variances of both inputs, averaged over those of the axes that are not the channel axis,

        nngp' = nngp / sqrt((eps + m1) (eps + m2)),

    and likewise `ntk`. There are no trainable scale and shift. Masked entries are left out of all means.

    Args:
      axis: axis or axes to normalise over; among them must be the channel axis. An axis may be named twice, as are
        `(1, -1)` for inputs with 2 axes.
      eps: added to variances.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters.

    Raises:
      ValueError: `axis` is no axis of the inputs, or lacks the channel axis.
      NotImplementedError: inputs are not Gaussian, or masks differ between channels.

    Source: Ba et al., "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450; for the kernel, Yang, "Wide
    Feedforward or Recurrent Neural Networks of Any Architecture are Gaussian Processes", 2019,
    https://arxiv.org/abs/1910.12478.
    """

    given = integers("LayerNorm", "axis", [axis] if isinstance(axis, int) else axis, least=None, where="axis to act on")
    check_axes("LayerNorm", batch_axis=batch_axis, channel_axis=channel_axis)
    number("LayerNorm", "eps", eps)
    mixes_inputs = {"independent_inputs": False} if batch_axis in given else {}

    def axes_of(ndim: int) -> tuple[int, ...]:
        axes = tuple(sorted({a % ndim for a in given}))
        if any(not -ndim <= a < ndim for a in given):
            raise ValueError(f"LayerNorm: `axis={axis}` does not name axes of inputs with {ndim} axes.")
        if channel_axis % ndim not in axes:
            raise ValueError(f"LayerNorm needs the channel axis {channel_axis} among its axes, got `axis={axis}`.")
        return axes

    def out_shape(shape: Shape) -> Shape:
        axes_of(len(shape))
        return shape

    def apply(params: Any, x: Array, mask: Array | None) -> Array:
        axes = axes_of(x.ndim)
        mean = _masked_mean(x, mask, axes)
        variance = _masked_mean((x - mean) ** 2, mask, axes)
        return (x - mean) / jnp.sqrt(eps + variance)

    def kernel(k: Kernel) -> Kernel:
        if not k.is_gaussian:
            raise NotImplementedError(
                "LayerNorm needs a Gaussian input, got the inputs of the network or the output of a nonlinearity, "
                "whose mean is not zero. Put a `Dense` layer before it."
            )
        ndim, layout = len(k.shape1), k.layout
        batch, channel = k.batch_axis % ndim, k.channel_axis % ndim
        order = [batch] + [a for a in range(ndim) if a not in (batch, channel)]
        axes = tuple(order.index(a) for a in axes_of(ndim) if a != channel)

        def scale(cov: Array, mask: Array | None) -> Array:
            q = layout.variance(cov)
            mean = _masked_mean(q, drop_channel(mask, batch, channel), axes)
            return jnp.broadcast_to(1 / jnp.sqrt(eps + mean), q.shape)

        scale1 = scale(k.cov1, k.mask1)
        scale2 = scale1 if k.cov2 is None else scale(k.cov2, k.mask2)
        ntk = None if k.ntk is None else jnp.broadcast_to(k.ntk, k.nngp.shape)
        return k.replace(ntk=ntk).scaled(scale1, scale2).replace(distance=k.distance)

    def positions(geometry: RunGeometry) -> RunGeometry:
        if len(axes_of(len(geometry.sizes) + 2)) > 1:
            raise MixesOffsets("takes means over positions")
        return geometry

    return Leaf(
        "LayerNorm",
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        requirements=Requirements.of(batch_axis=batch_axis, channel_axis=channel_axis, **mixes_inputs),
        keywords=("mask",),
        positions=positions,
    ).spec()


def _masked_mean(x: Array, mask: Array | None, axes: Sequence[int]) -> Array:
    """The mean over axes, which stay with size 1, of the entries that are not masked (zero if there are none)."""
    axes = tuple(axes)
    if mask is None:
        return jnp.mean(x, axes, keepdims=True)
    present = jnp.broadcast_to(~mask, x.shape)
    count = jnp.maximum(jnp.sum(present, axes, keepdims=True), 1)
    return jnp.sum(x, axes, keepdims=True, where=present) / count.astype(x.dtype)


@public_layer
def Dropout(rate: float, mode: str = "train") -> LayerSpec:
    """Keeps each activation with probability `rate` and divides it by `rate`, or else sets it to zero.

    `rate` is the probability to KEEP an activation. The kernel of an input and position with itself is divided by it,

        nngp' = nngp / rate,    ntk' = ntk / rate;

    all other entries stay. That concerns `cov1` and `cov2`, and `nngp` and `ntk` if the two batches are the same.

    Args:
      rate: probability of keeping an activation, `0 < rate <= 1`.
      mode: `'train'` drops activations, and `apply_fn` needs the keyword argument `rng`; `'test'` does nothing.

    Returns:
      A layer without parameters.

    Raises:
      ValueError: another `rate` or `mode`; at a call: no `rng`, or dropout on the inputs of the network,
        whose kernel does not exist, as they have a finite number of channels.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014; for the
    kernel, Schoenholz et al., "Deep Information Propagation", 2017, https://arxiv.org/abs/1611.01232.
    """
    rate = python_scalar(number("Dropout", "rate", rate))
    if is_concrete(rate) and not 0 < rate <= 1:
        raise ValueError(f"Dropout needs a `rate`, the probability to KEEP an activation, in (0, 1], got {rate}.")
    if mode not in ("train", "test"):
        raise ValueError(f"Dropout needs `mode` 'train' or 'test', got {mode!r}.")
    train = mode == "train"

    def apply(params: Any, x: Array, rng: Array | None = None) -> Array:
        if not train:
            return x
        if rng is None:
            raise ValueError(
                "Dropout in mode 'train' needs a random key: `apply_fn(params, x, rng=key)`, or for a kernel of the "
                "finite network `ntk_fn(x1, x2, params, rng=key)`. In mode 'test' it needs none."
            )
        return jnp.where(random.bernoulli(rng, 1.0 * rate, x.shape), x / rate, 0)

    def kernel(k: Kernel, rng: Any = None) -> Kernel:
        if not train:
            return k
        if k.is_input:
            raise ValueError(
                "Dropout of a network's inputs has no kernel, as they have a finite number of channels. "
                "Put a `Dense` layer before it."
            )
        layout = k.layout

        def own(cov: Any) -> Any:
            return cov if cov is None else jnp.where(layout.is_same_own(cov), cov / rate, cov)

        def cross(cov: Any) -> Any:
            if cov is None or cov.ndim == 0:
                return cov
            return jnp.where(layout.is_same(cov) & jnp.asarray(k.x1_is_x2), cov / rate, cov)

        distance = k.distance
        if distance is not None:
            same = layout.is_same(k.nngp) & jnp.asarray(k.x1_is_x2)
            value = jnp.where(same, distance.value, (1 - rate) + rate * distance.value)
            distance = dataclasses.replace(distance, value=value)
        return k.replace(
            nngp=cross(k.nngp),
            ntk=cross(k.ntk),
            cov1=own(k.cov1),
            cov2=own(k.cov2),
            is_gaussian=False,
            distance=distance,
        )

    return Leaf(
        "Dropout",
        apply=apply,
        kernel=kernel,
        requirements=Requirements(use_dropout=True) if train else None,
        keywords=("rng",),
        positions="each",
    ).spec()
