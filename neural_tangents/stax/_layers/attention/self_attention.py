"""`GlobalSelfAttention`: its arguments, and how its parts make a layer."""

from collections.abc import Callable
from functools import partial

from jax import Array

from neural_tangents._core.masking import all_over
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes, check_function, check_numbers, integer, member
from neural_tangents.stax._layers.attention.attention_config import Attention
from neural_tangents.stax._layers.attention.attention_kernel import attention_kernel
from neural_tangents.stax._layers.attention.attention_network import apply_attention, init_attention
from neural_tangents.stax._layers.attention.mechanism import AttentionMechanism, PositionalEmbedding
from neural_tangents.stax._layers.attention.positional import Embedding
from neural_tangents.stax._spec import LayerSpec, Leaf


@public_layer
def GlobalSelfAttention(
    n_chan_out: int,
    n_chan_key: int,
    n_chan_val: int,
    n_heads: int,
    linear_scaling: bool = True,
    W_key_std: float = 1.0,
    W_value_std: float = 1.0,
    W_query_std: float = 1.0,
    W_out_std: float = 1.0,
    b_std: float | None = None,
    attention_mechanism: str | AttentionMechanism = "SOFTMAX",
    pos_emb_type: str | PositionalEmbedding = "NONE",
    pos_emb_p_norm: float = 2,
    pos_emb_decay_fn: Callable[[Array], Array] | None = None,
    n_chan_pos_emb: int | None = None,
    W_pos_emb_std: float = 1.0,
    val_pos_emb: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> LayerSpec:
    """Scaled dot-product self-attention with several heads, over all spatial positions of an input.

    Let `x`, of shape `(positions, C)`, be an input, `x~`, of shape `(positions, C~)`, the same input joined with
    embeddings of the positions, and `v`, with `D` channels, one of the two. With parameters drawn from `N(0, 1)`:

        G_h = zeta(W_query_std W_key_std / (C~ n_chan_key^a) (x~ Q_h) (x~ K_h)^T),
        x -> W_out_std W_value_std / sqrt(D n_chan_val n_heads) [G_1 v V_1, G_2 v V_2, ...] O + b_std b,

    where `a = 1` and `Q_h = K_h` for linear scaling, and `a = 1/2` otherwise.

    The kernel is the limit of infinitely many heads and channels of keys, values, and inputs (unless these are those of
    the network, without embeddings), with an error of the order of one over these numbers. Let `cov` and `ntk` be those
    of the inputs, `R` the covariance of positions, `K~ = w_in cov + w_pos R` that of `x~`, and `B` that of `v`, and let
    `T~ = w_in ntk + w_pos R` and `T_B` be their tangent kernels. Then, for linear scaling,

        G = zeta(W_query_std W_key_std K~(x, x)),    W = W_out_std W_value_std,
        nngp' = W^2 G1 B G2^T + b_std^2,    ntk' = W^2 G1 (2 B + T_B) G2^T + b_std^2,

    and otherwise, for `IDENTITY`, with `<A, B>` the sum of `A B` over all pairs of positions,

        c = (W_query_std W_key_std W_out_std W_value_std)^2,
        nngp' = c <K~, B> K~ + b_std^2,
        ntk' = c ((<T~, B> + <K~, T_B>) K~ + <K~, B> (T~ + 4 K~)) + b_std^2.

    Summed embeddings have `w_in = 1` and `w_pos = W_pos_emb_std^2`. If they are concatenated, each of the two is
    multiplied by its share of the `C~` channels. Masked positions are never attended to.

    Args:
      n_chan_out: number of outputs.
      n_chan_key: number of channels of keys and queries in a head.
      n_chan_val: number of channels of values in a head.
      n_heads: number of heads.
      linear_scaling: whether products of queries and keys are divided by the number of their channels, and not by its
        root. Queries are keys then: if they were independent, all products would go to zero.
      W_key_std: standard deviation of the weights of keys.
      W_value_std: standard deviation of the weights of values.
      W_query_std: standard deviation of the weights of queries.
      W_out_std: standard deviation of the weights of outputs.
      b_std: standard deviation of the bias; None for no bias.
      attention_mechanism: `zeta`, an `AttentionMechanism` or its name.
      pos_emb_type: how positions are embedded, a `PositionalEmbedding` or its name.
      pos_emb_p_norm: `p` of the distance `sum |i - j|^p`, over the spatial axes, of two positions.
      pos_emb_decay_fn: function of arrays of distances that gives `R`; None for embeddings that are independent.
      n_chan_pos_emb: number of channels of embeddings; None for as many as the inputs have.
      W_pos_emb_std: standard deviation of embeddings.
      val_pos_emb: whether `v` is `x~` (else `x`).
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer with parameters `(Q, K, V, O, b, embeddings)` of shapes `(n_heads, C~, n_chan_key)` twice,
      `(n_heads, D, n_chan_val)` and `(n_heads * n_chan_val, n_chan_out)`; `b` and embeddings have the axes of inputs,
      with a batch of 1 (and for `b`, one position). `Q` is None for linear scaling, `b` without bias, and embeddings if
      `pos_emb_type` is `'NONE'`. Row `n_heads * c + h` of `O` belongs to channel `c` of head `h`.

    Raises:
      TypeError: arguments of the wrong type.
      ValueError: numbers of channels or heads that are not positive; unknown mechanism or embedding; embeddings to be
        summed do not have the channels of the inputs; in `init_fn`: `R` is not positive semi-definite; in `apply_fn`:
        inputs that do not fit the parameters.
      NotImplementedError: kernel with square-root scaling of another mechanism than IDENTITY.

    Source: Hron et al., "Infinite Attention: NNGP and NTK for Deep Attention Networks", 2020,
    https://arxiv.org/abs/2006.10540.
    """
    name = "GlobalSelfAttention"
    check_axes(name, batch_axis=batch_axis, channel_axis=channel_axis)
    check_numbers(name, W_key_std=W_key_std, W_value_std=W_value_std, W_query_std=W_query_std, W_out_std=W_out_std)
    check_numbers(name, W_pos_emb_std=W_pos_emb_std, pos_emb_p_norm=pos_emb_p_norm)
    check_numbers(name, b_std=0.0 if b_std is None else b_std)
    check_function(name, "pos_emb_decay_fn", pos_emb_decay_fn, optional=True)
    attention = Attention(
        n_out=integer(name, "n_chan_out", n_chan_out),
        n_heads=integer(name, "n_heads", n_heads),
        n_key=integer(name, "n_chan_key", n_chan_key),
        n_value=integer(name, "n_chan_val", n_chan_val),
        tied=linear_scaling,
        query_key_std=W_query_std * W_key_std,
        out_value_std=W_out_std * W_value_std,
        b_std=b_std,
        mechanism=member(name, AttentionMechanism, attention_mechanism),
        embedding=Embedding(
            kind=member(name, PositionalEmbedding, pos_emb_type),
            std=W_pos_emb_std,
            p_norm=pos_emb_p_norm,
            decay_fn=pos_emb_decay_fn,
            channels=None if n_chan_pos_emb is None else integer(name, "n_chan_pos_emb", n_chan_pos_emb),
            in_values=val_pos_emb,
        ),
        batch_axis=batch_axis,
        channel_axis=channel_axis,
    )
    return Leaf(
        name,
        init=partial(init_attention, attention),
        apply=partial(apply_attention, attention),
        kernel=partial(attention_kernel, attention),
        out_shape=attention.out_shape,
        mask=lambda mask, shape: all_over(mask, channel_axis),
        remask=True,
        requirements=Requirements(
            batch_axis=batch_axis, channel_axis=channel_axis, diagonal_spatial=Diagonal(Bool.NO, Bool.NO)
        ),
        keywords=("mask",),
        random_weights=True,
    ).spec()
