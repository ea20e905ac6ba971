"""Random embeddings of positions: their covariance, and how they are joined with the inputs of attention."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.axes import unzip_axes
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._layers.attention.mechanism import PositionalEmbedding


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Embeddings of positions, Gaussian and independent across channels.

    Attributes:
      kind: how they are joined with the inputs.
      std: standard deviation.
      p_norm: exponent of distances between positions.
      decay_fn: covariance as a function of the distance; None if different positions are independent.
      channels: number of channels; None for as many as the inputs have.
      in_values: whether values see them, and not only queries and keys.
    """

    kind: PositionalEmbedding
    std: Any
    p_norm: Any
    decay_fn: Callable[[Array], Array] | None
    channels: int | None
    in_values: bool

    def width(self, channels: int) -> int:
        """Number of channels of the embeddings, if inputs have `channels`.

        Raises:
          ValueError: they are to be summed, and differ in the number of channels.
        """
        if self.kind is PositionalEmbedding.NONE:
            return 0
        width = channels if self.channels is None else self.channels
        if self.kind is PositionalEmbedding.SUM and width != channels:
            raise ValueError(
                f"Positional embeddings of {width} channels (`n_chan_pos_emb`) cannot be added to inputs of {channels} "
                "channels. Leave `n_chan_pos_emb` out, or use `pos_emb_type='CONCAT'`."
            )
        return width

    def joint_width(self, channels: int) -> int:
        """Number of channels of inputs joined with their embeddings."""
        width = self.width(channels)
        return channels + width if self.kind is PositionalEmbedding.CONCAT else channels

    def value_width(self, channels: int) -> int:
        """Number of channels of what values are made of."""
        return self.joint_width(channels) if self.in_values else channels

    def shares(self, channels: int) -> tuple[float, Any]:
        """Factors `w_in`, `w_pos`: the covariance of joined inputs is `w_in cov + w_pos R`, `R` that of positions.

        The mean over channels of products of concatenated activations weighs both by their numbers of channels.
        """
        if self.kind is PositionalEmbedding.SUM:
            return 1.0, self.std**2
        joint = self.joint_width(channels)
        return channels / joint, self.std**2 * (self.width(channels) / joint)

    def covariance(self, sizes: Sequence[int], dtype: Any) -> Array:
        """`R`, the covariance of embeddings of unit standard deviation: `(S, S, T, T, ...)`."""
        if self.decay_fn is None:
            return jnp.asarray(distances(sizes, 1) == 0, dtype)
        return jnp.asarray(self.decay_fn(jnp.asarray(distances(sizes, self.p_norm), dtype)), dtype)

    def correlate(self, noise: Array) -> Array:
        """Embeddings `(*spatial, channels)` with covariance `R` from independent standard normal numbers."""
        if self.decay_fn is None:
            return noise
        root = jnp.linalg.cholesky(_positive_definite(self.covariance(noise.shape[:-1], noise.dtype)))
        flat = noise.reshape((-1, noise.shape[-1]))
        return jnp.matmul(root, flat, precision=matmul_precision()).reshape(noise.shape)

    def join(self, x: Array, embeddings: Array) -> Array:
        """Inputs `(N, *spatial, C)` joined with embeddings `(*spatial, channels)` of unit standard deviation."""
        embeddings = self.std * embeddings[None]
        if self.kind is PositionalEmbedding.SUM:
            return x + embeddings
        return jnp.concatenate([x, jnp.broadcast_to(embeddings, (*x.shape[:-1], embeddings.shape[-1]))], -1)

    def check_covariance(self, sizes: Sequence[int]) -> None:
        """Raises a `ValueError` if `R` is known and not positive semi-definite, so that no embeddings have it."""
        if self.decay_fn is None:
            return
        with jax.ensure_compile_time_eval():
            cov = _positive_definite(self.covariance(sizes, float))
        if not is_concrete(cov):
            return
        try:
            np.linalg.cholesky(np.asarray(cov))
        except np.linalg.LinAlgError:
            raise ValueError(
                f"`pos_emb_decay_fn` of the distances of {tuple(sizes)} positions is not positive semi-definite, so no "
                "embeddings have this covariance. Use one that is, such as `lambda d: jnp.exp(-d)`."
            ) from None


def distances(sizes: Sequence[int], p_norm: Any) -> np.ndarray:
    """Distances `sum |i - j|^p` over spatial axes, of all pairs of positions: `(S, S, T, T, ...)`."""
    total = np.zeros((1,) * (2 * len(sizes)))
    for axis, size in enumerate(sizes):
        steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float) ** p_norm
        total = total + steps.reshape([size if a // 2 == axis else 1 for a in range(total.ndim)])
    return total


def _positive_definite(cov: Array) -> Array:
    """The covariance of positions as a matrix, with its rounding error added to the diagonal.

    So a singular one, such as that of embeddings equal everywhere, has a Cholesky decomposition.
    """
    matrix = unzip_axes(cov)
    matrix = matrix.reshape((int(np.prod(matrix.shape[: matrix.ndim // 2])), -1))
    size = len(matrix)
    rounding = jnp.finfo(matrix.dtype)
    noise = 4 * size * rounding.eps * jnp.max(jnp.abs(jnp.diagonal(matrix))) + rounding.tiny
    return matrix + noise * jnp.eye(size, dtype=matrix.dtype)
