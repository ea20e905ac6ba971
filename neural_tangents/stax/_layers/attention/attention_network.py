"""The finite network of attention: its parameters, and its outputs."""

import math
import warnings
from typing import Any

import jax.numpy as jnp
from jax import Array, random

from neural_tangents._core.masking import all_over, drop_channel
from neural_tangents._core.types import Shape
from neural_tangents.stax._layers.attention.attention_config import Attention
from neural_tangents.stax._layers.attention.mechanism import AttentionMechanism, PositionalEmbedding, attention_weights


def init_attention(attention: Attention, rng: Array, shape: Shape) -> tuple[Any, ...]:
    """Parameters `(Q, K, V, O, b, embeddings)`, standard normal, some of them None; see `GlobalSelfAttention`."""
    if attention.tied:
        warnings.warn(
            "GlobalSelfAttention with `linear_scaling=True` has the same weights for queries and keys: there is no `Q` "
            "among its parameters.",
            UserWarning,
            stacklevel=4,
        )
    a, embedding = attention, attention.embedding
    channels = shape[a.channel_axis]
    joint, in_values = embedding.joint_width(channels), embedding.value_width(channels)
    embeddings = None
    keys = random.split(rng, 6)
    if embedding.kind is not PositionalEmbedding.NONE:
        embedding.check_covariance(a.spatial(shape))
        embeddings = random.normal(
            keys[5], a.with_sizes(shape, {a.batch_axis: 1, a.channel_axis: embedding.width(channels)})
        )
    return (
        None if a.tied else random.normal(keys[0], (a.n_heads, joint, a.n_key)),
        random.normal(keys[1], (a.n_heads, joint, a.n_key)),
        random.normal(keys[2], (a.n_heads, in_values, a.n_value)),
        random.normal(keys[3], (a.n_heads * a.n_value, a.n_out)),
        None if a.b_std is None else random.normal(keys[4], a.with_sizes((1,) * len(shape), {a.channel_axis: a.n_out})),
        embeddings,
    )


def apply_attention(attention: Attention, params: tuple[Any, ...], x: Array, mask: Array | None) -> Array:
    """Outputs for an input and its mask, which is that of positions with no channel left."""
    a, embedding = attention, attention.embedding
    joint_width = embedding.joint_width(x.shape[a.channel_axis])
    shapes = [getattr(p, "shape", None) for p in params]
    if len(shapes) != 6 or shapes[1] != (a.n_heads, joint_width, a.n_key):
        raise ValueError(
            "GlobalSelfAttention needs parameters `(Q, K, V, O, b, embeddings)` with keys `K` of shape "
            f"{(a.n_heads, joint_width, a.n_key)} for inputs of shape {x.shape}, got shapes {shapes}. Use parameters "
            f"that `init_fn(rng, {x.shape})` of this layer returns."
        )
    Q, K, V, W_out, b, embeddings = params
    axes, standard = (a.batch_axis, a.channel_axis), (0, -1)
    values = jnp.moveaxis(x, axes, standard)
    spatial = values.shape[1:-1]
    joint = values
    if embedding.kind is not PositionalEmbedding.NONE:
        noise = jnp.moveaxis(embeddings, axes, standard)[0]
        joint = embedding.join(values, embedding.correlate(noise))
        values = joint if embedding.in_values else values
    mask = drop_channel(all_over(mask, a.channel_axis), *axes)
    masked = None if mask is None else jnp.broadcast_to(mask, (len(values), *spatial)).reshape((len(values), -1))
    scale = a.query_key_std / (joint.shape[-1] * (a.n_key if a.tied else a.n_key**0.5))
    x, v = (z.reshape((len(z), -1, z.shape[-1])) for z in (joint, values))
    heads = attention_heads(x, v, (Q, K, V), a.mechanism, scale, masked)
    scale = a.out_value_std / math.sqrt(values.shape[-1] * a.n_heads * a.n_value)
    outputs = scale * jnp.matmul(heads, W_out).reshape((len(values), *spatial, W_out.shape[-1]))
    outputs = jnp.moveaxis(outputs, standard, axes)
    return outputs if b is None else outputs + a.b_std * b


def attention_heads(
    x: Array, values: Array, params: tuple[Any, Array, Array], mechanism: AttentionMechanism, scale: Any, masked: Any
) -> Array:
    """Outputs of all heads, `zeta(scale (x Q) (x K)^T) (values V)`.

    Args:
      x: what queries and keys are made of, `(N, P, C)`.
      values: what values are made of, `(N, P, D)`.
      params: `Q`, `(heads, C, key)`, or None if queries are keys; `K`, of the same shape; `V`, `(heads, D, val)`.
      mechanism: what `zeta` is.
      scale: factor of the products.
      masked: which keys are masked, `(N, P)`, or None.

    Returns:
      `(N, P, val * heads)`: the first channels of all heads, then the second ones, and so on.
    """
    Q, K, V = params
    keys = jnp.einsum("npc,hck->nhpk", x, K)
    queries = keys if Q is None else jnp.einsum("npc,hck->nhpk", x, Q)
    products = scale * jnp.einsum("nhik,nhjk->nhij", queries, keys)
    weights = attention_weights(products, mechanism, None if masked is None else masked[:, None, None])
    heads = jnp.einsum("nhij,nhjv->nivh", weights, jnp.einsum("njd,hdv->nhjv", values, V))
    return heads.reshape((*heads.shape[:2], -1))
