"""A layer of attention as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from neural_tangents._core.types import Shape
from neural_tangents.stax._layers.attention.mechanism import AttentionMechanism
from neural_tangents.stax._layers.attention.positional import Embedding
from neural_tangents.stax._spatial import spatial_axes


@dataclasses.dataclass(frozen=True)
class Attention:
    """The arguments of `GlobalSelfAttention`, checked and in one form each.

    Attributes:
      n_out: number of outputs.
      n_heads: number of heads.
      n_key: number of channels of keys and queries in a head.
      n_value: number of channels of values in a head.
      tied: whether queries are keys, and their products divided by the number of their channels.
      query_key_std: product of the standard deviations of the weights of queries and of keys.
      out_value_std: product of those of outputs and of values.
      b_std: standard deviation of the bias, or None.
      mechanism: what makes weights of products.
      embedding: embeddings of positions.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.
    """

    n_out: int
    n_heads: int
    n_key: int
    n_value: int
    tied: bool
    query_key_std: Any
    out_value_std: Any
    b_std: Any
    mechanism: AttentionMechanism
    embedding: Embedding
    batch_axis: int
    channel_axis: int

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of the outputs; a `ValueError` if such inputs cannot have the embeddings."""
        self.embedding.width(shape[self.channel_axis])
        return self.with_sizes(shape, {self.channel_axis: self.n_out})

    @property
    def out_std(self) -> Any:
        """Factor of the outputs: all standard deviations that are not inside the mechanism."""
        return self.out_value_std if self.tied else self.out_value_std * self.query_key_std

    def spatial(self, shape: Shape) -> Shape:
        """Sizes of the spatial axes."""
        axes = spatial_axes("GlobalSelfAttention", shape, self.batch_axis, self.channel_axis)
        return tuple(shape[axis] for axis in axes)

    @staticmethod
    def with_sizes(shape: Shape, sizes: Mapping[int, int]) -> Shape:
        """A shape with other sizes in some axes."""
        new = {axis % len(shape): size for axis, size in sizes.items()}
        return tuple(new.get(axis, size) for axis, size in enumerate(shape))
