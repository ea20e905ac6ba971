"""Linear layers, and what users' own are written with."""

import enum
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.layout import Layout
from neural_tangents.stax import (
    Aggregate,
    AggregateImplementation,
    AttentionMechanism,
    AvgPool,
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DotGeneral,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalSelfAttention,
    GlobalSumPool,
    Identity,
    ImageResize,
    Index,
    LayerNorm,
    Padding,
    PositionalEmbedding,
    Slice,
    SumPool,
)
from neural_tangents.stax._layers.affine import affine_covariance
from neural_tangents.stax._window import Window

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_linear as __getattr__  # noqa: F401

__all__ = [
    "Aggregate",
    "AggregateImplementation",
    "AttentionMechanism",
    "AvgPool",
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DotGeneral",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "GlobalSelfAttention",
    "GlobalSumPool",
    "Identity",
    "ImageResize",
    "Index",
    "LayerNorm",
    "Padding",
    "PositionalEmbedding",
    "Slice",
    "SumPool",
]


class _Pooling(enum.Enum):
    """What a pooling layer does with the entries of a window."""

    AVG = "AVG"
    SUM = "SUM"


def _affine(mat: Array | None, W_std: float, b_std: float | None) -> Array | None:
    """`W_std² mat + b_std²`, a covariance after random weights and biases; None stays None."""
    return None if mat is None else affine_covariance(mat, W_std, b_std)


def _conv_kernel_full_spatial_shared(
    lhs: Array | None, filter_shape: Sequence[int], strides: Sequence[int], padding: Padding | str, batch_ndim: int
) -> Array | None:
    """The covariance after a convolution with weights of variance 1 that all positions share.

    `y[..., i, i', ...] = 1 / |filter| sum_d lhs[..., stride i + d, stride i' + d, ...]`, with the pairs of axes of the
    result in *reversed* order.

    Args:
      lhs: covariance of all pairs of positions, `(*batch, S, S, T, T, ...)`; None and numbers stay as they are.
      filter_shape: size of the filter along each axis of images.
      strides: stride along each axis.
      padding: a `Padding` or its name.
      batch_ndim: number of batch axes.
    """
    if lhs is None or jnp.ndim(lhs) == 0:
        return lhs
    windows = [Window(size, stride, Padding(padding)) for size, stride in zip(filter_shape, strides, strict=True)]
    sums = Layout().window_sums(jnp.asarray(lhs), batch_ndim, windows)
    for window in windows:
        sums = sums / window.size
    pairs = [(axis, axis + 1) for axis in range(batch_ndim, sums.ndim, 2)]
    return jnp.transpose(sums, (*range(batch_ndim), *(axis for pair in pairs[::-1] for axis in pair)))


def _get_dimension_numbers(n: int, channels_first: bool) -> tuple[str, str, str]:
    """Dimension numbers of convolutions of images with `n` axes: of inputs, filters and outputs."""
    spatial = "".join(letter for letter in string.ascii_uppercase if letter not in "NCIO")[:n]
    if channels_first:
        return "NC" + spatial, "OI" + spatial, "NC" + spatial
    return "N" + spatial + "C", spatial + "IO", "N" + spatial + "C"
