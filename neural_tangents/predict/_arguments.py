"""Arguments that several predictors share: kernels given as arrays, times, and the type to compute in."""

from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._outputs import Outputs


def time_per_entry(t: Any, learning_rate: Any, outputs: Outputs, dtype: Any) -> jax.Array | None:
    """`learning_rate · t / n`, or None for `t = None`; raises `ValueError` if a time is seen to be negative or NaN."""
    if t is None:
        return None
    if is_concrete(t) and not np.all(np.asarray(t) >= 0):
        raise ValueError(f"Expected times `t` >= 0, got {np.asarray(t).min()}. Pass None or jnp.inf for infinity.")
    t = jnp.asarray(t, dtype)
    is_finite = jnp.isfinite(t)  # no learning rate changes infinity: a product with it would have NaN derivatives
    return jnp.where(is_finite, jnp.where(is_finite, t, 0) * jnp.asarray(learning_rate, dtype) / outputs.size, t)


def as_kernel(kernel: Any, name: str) -> jax.Array:
    """Converts a kernel to an array, or raises `ValueError` if it holds several."""
    if hasattr(kernel, "ntk") or hasattr(kernel, "nngp"):
        raise ValueError(
            f"Expected `{name}` to be one array, got {type(kernel).__name__}, which may hold several kernels. "
            f"Pass one of them, for example its `.ntk`."
        )
    return jnp.asarray(kernel)


def common_dtype(*arrays: Any) -> Any:
    """The floating type that predictions from these arrays are computed in."""
    return jnp.result_type(*arrays, float)
