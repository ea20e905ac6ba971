"""What queries and keys are compared with: the functions that turn their products into attention weights."""

import enum
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


class _Choice(enum.Enum):
    """An enumeration that is also given by the exact names of its members."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        names = ", ".join(repr(member.name) for member in cls)
        raise ValueError(f"{cls.__name__} must be one of {names}, got {value!r}. Names are in upper case.")


class AttentionMechanism(_Choice):
    """Function `zeta` of the products of queries and keys that gives the weights of values.

    Attributes:
      SOFTMAX: softmax over the keys.
      IDENTITY: the products themselves.
      ABS: their absolute values.
      RELU: their positive parts.
    """

    SOFTMAX = "SOFTMAX"
    IDENTITY = "IDENTITY"
    ABS = "ABS"
    RELU = "RELU"

    def fn(self) -> Callable[[Array], Array]:
        """The function, of arrays whose last axis is that of the keys."""
        return _FUNCTIONS[self]


class PositionalEmbedding(_Choice):
    """How embeddings of positions enter the inputs of attention.

    Attributes:
      NONE: they do not.
      SUM: added to the inputs.
      CONCAT: as further channels of the inputs.
    """

    NONE = "NONE"
    SUM = "SUM"
    CONCAT = "CONCAT"


_FUNCTIONS: dict[AttentionMechanism, Callable[[Array], Array]] = {
    AttentionMechanism.SOFTMAX: jax.nn.softmax,
    AttentionMechanism.IDENTITY: lambda x: x,
    AttentionMechanism.ABS: jnp.abs,
    AttentionMechanism.RELU: jax.nn.relu,
}


def attention_weights(products: Array, mechanism: AttentionMechanism, masked: Array | None) -> Array:
    """Weights of values, `zeta(products)`, zero for masked keys.

    Where all keys are masked, those of softmax are finite instead, and equal.

    Args:
      products: of queries and keys, the last axis that of the keys.
      mechanism: what `zeta` is.
      masked: which keys are masked, broadcasts against `products`; None for no mask.
    """
    if masked is not None:
        # Not minus infinity, for which softmax gives NaN where all keys are masked.
        lowest = max(-1e20, float(jnp.finfo(products.dtype).min))
        value = lowest if mechanism is AttentionMechanism.SOFTMAX else 0.0
        products = jnp.where(masked, jnp.asarray(value, products.dtype), products)
    return mechanism.fn()(products)
