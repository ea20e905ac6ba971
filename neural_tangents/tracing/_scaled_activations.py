"""Activations times a number, as layers."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents.tracing._activations import Activation, activation


def scaled_layer(phi: Activation, factor: float) -> Any:
    """The layer that applies a function and multiplies by a number."""

    def fn(x: Array) -> Array:
        return phi.fn(x) * jnp.asarray(factor, x.dtype)

    return activation(fn).layer
