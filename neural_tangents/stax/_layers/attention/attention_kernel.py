"""The kernel of attention: which covariances of a `Kernel` go into which formula."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.masking import all_over, drop_channel
from neural_tangents.stax._layers.affine import affine_covariance
from neural_tangents.stax._layers.attention.attention_config import Attention
from neural_tangents.stax._layers.attention.attention_covariance import (
    as_matrices,
    attend,
    attend_own,
    from_matrices,
    random_weights_nngp,
    random_weights_ntk,
)
from neural_tangents.stax._layers.attention.mechanism import AttentionMechanism, PositionalEmbedding, attention_weights


class _Covariances(NamedTuple):
    """Covariances of the outputs; `cov1` and `cov2` are None if `nngp` holds them already."""

    nngp: Array
    ntk: Array | None
    cov1: Array | None
    cov2: Array | None


def attention_kernel(attention: Attention, k: Kernel) -> Kernel:
    """The kernel of the outputs.

    Raises:
      NotImplementedError: square-root scaling of a nonlinear mechanism, whose outputs are not Gaussian.
      ValueError: the kernel lacks covariances of different positions.
    """
    a = attention
    if not a.tied and a.mechanism is not AttentionMechanism.IDENTITY:
        raise NotImplementedError(
            "The kernel of GlobalSelfAttention with `linear_scaling=False` is known for "
            f"`attention_mechanism='IDENTITY'` only, got {a.mechanism.name!r}. Use that, or `linear_scaling=True`."
        )
    if k.diagonal_spatial and a.spatial(k.shape1):
        raise ValueError(
            "GlobalSelfAttention needs the covariances of different positions, got a kernel of equal positions only. "
            "Compute it with `diagonal_spatial=False`."
        )
    k = k.replace(mask1=all_over(k.mask1, a.channel_axis), mask2=all_over(k.mask2, a.channel_axis))
    if k.ntk is not None:
        k = k.replace(ntk=jnp.broadcast_to(k.ntk, k.nngp.shape))
    joint = _joined(a, k)
    values = joint if a.embedding.in_values else k
    mixed = _linear(a, joint, values) if a.tied else _square_root(a, joint, values)
    nngp, ntk, cov1, cov2 = (None if c is None else affine_covariance(c, a.out_std, a.b_std) for c in mixed)
    k = k.replace(nngp=nngp, ntk=ntk, is_gaussian=True)
    return _one_batch(k) if cov1 is None else _two_batches(k, cov1, cov2)


def _joined(a: Attention, k: Kernel) -> Kernel:
    """The kernel of inputs joined with embeddings of their positions."""
    if a.embedding.kind is PositionalEmbedding.NONE:
        return k
    share, embeddings_share = a.embedding.shares(k.shape1[a.channel_axis])
    cov_positions = embeddings_share * a.embedding.covariance(a.spatial(k.shape1), k.nngp.dtype)

    def join(cov: Array, n_batch: int) -> Array:
        return share * cov + jnp.expand_dims(cov_positions, tuple(range(n_batch)))

    return k.map_covariances(join).mask(k.mask1, k.mask2)


def _linear(a: Attention, joint: Kernel, values: Kernel) -> _Covariances:
    """Weights are functions of the covariances of each input."""
    spatial = a.spatial(values.shape1)

    def weights(cov: Array, mask: Array | None) -> Array:
        products = a.query_key_std * as_matrices(joint.layout.per_input(cov), 1)
        mask = drop_channel(mask, a.batch_axis, a.channel_axis)
        if mask is not None:
            mask = jnp.broadcast_to(mask, (len(products), *spatial)).reshape((len(products), 1, -1))
        return attention_weights(products, a.mechanism, mask)

    def cross(cov: Array) -> Array:
        return from_matrices(attend(weights1, as_matrices(cov, 2), weights2), 2, spatial)

    def own(cov: Array, weights: Array) -> Array:
        if values.diagonal_batch:
            return from_matrices(attend_own(weights, as_matrices(cov, 1)), 1, spatial)
        return from_matrices(attend(weights, as_matrices(cov, 2), weights), 2, spatial)

    weights1 = weights(joint.cov1, joint.mask1)
    weights2 = weights1 if joint.cov2 is None else weights(joint.cov2, joint.mask2)
    return _Covariances(
        cross(values.nngp),
        None if values.ntk is None else cross(2 * values.nngp + values.ntk),
        None if values.cov2 is None else own(values.cov1, weights1),
        None if values.cov2 is None else own(values.cov2, weights2),
    )


def _square_root(a: Attention, joint: Kernel, values: Kernel) -> _Covariances:
    """Weights are Gaussian, and all formulas bilinear in covariances."""
    n_batch = 1 if values.diagonal_batch else 2
    ntk = cov1 = cov2 = None
    if joint.ntk is not None and values.ntk is not None:
        ntk = random_weights_ntk(joint.nngp, values.nngp, joint.ntk, values.ntk, 2)
    if joint.cov2 is not None and values.cov2 is not None:
        cov1 = random_weights_nngp(joint.cov1, values.cov1, n_batch)
        cov2 = random_weights_nngp(joint.cov2, values.cov2, n_batch)
    return _Covariances(random_weights_nngp(joint.nngp, values.nngp, 2), ntk, cov1, cov2)


def _one_batch(k: Kernel) -> Kernel:
    """Takes covariances of the batch with itself from `nngp`, so that they are equal to the last bit."""
    return k.replace(cov1=Layout(diagonal_batch=False).per_input(k.nngp) if k.diagonal_batch else k.nngp)


def _two_batches(k: Kernel, cov1: Array, cov2: Array | None) -> Kernel:
    """Sets covariances, and makes that of an input with itself equal to its variance if both batches are the same."""
    nngp, layout = k.nngp, k.layout
    if nngp.shape[0] == nngp.shape[1]:
        variance = layout.variance(cov1)
        nngp = layout.tie(nngp, layout.spread(variance, variance)[0], layout.is_same(nngp) & k.x1_is_x2)
    return k.replace(nngp=nngp, cov1=cov1, cov2=cov2)
