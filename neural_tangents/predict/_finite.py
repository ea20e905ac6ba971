"""Entries that are NaN or infinite, sought where the arrays are."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete

_AT_ONCE = 2**20  # entries


def not_finite(x: Any, missing: bool = False) -> int:
    """How many entries are infinite or (unless it stands for `missing` values) NaN; 0 if they are not known."""
    if not isinstance(x, jax.Array | np.ndarray | np.generic | float | complex) or not is_concrete(x):
        return 0
    if not jnp.issubdtype(getattr(x, "dtype", type(x)), np.inexact):
        return 0
    with jax.core.eval_context():  # also while a caller is being traced
        values = view(x)
        if values is None:
            return int(np.sum(np.asarray(_wrong_in_rows(x, missing), np.int64)))
    values = np.atleast_1d(values)
    wrong = np.isinf if missing else lambda a: ~np.isfinite(a)
    return sum(int(np.count_nonzero(wrong(values[part]))) for part in parts(values.shape))


def check_finite(x: Any, name: str, missing: bool = False) -> None:
    """Raises `ValueError` if an array is seen to have such entries."""
    wrong = not_finite(x, missing)
    if wrong:
        raise ValueError(
            f"Expected finite numbers in `{name}`, got {wrong} of {np.size(x)} entries that are NaN or infinite. Look "
            "for missing values in the data, and for overflow in deep networks with large weights; float64 has a "
            "larger range."
        )


def view(x: Any) -> np.ndarray | None:
    """The values of an array if the host has them, which copies nothing and compiles nothing; otherwise None."""
    if isinstance(x, jax.Array):
        if len(x.sharding.device_set) > 1 or x.device.platform != "cpu":  # type: ignore[union-attr]
            return None
    return np.asarray(x)


def parts(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis that have a bounded number of entries, or one row."""
    rows = max(1, _AT_ONCE // max(1, math.prod(shape[1:])))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


@functools.partial(jax.jit, static_argnums=1)
def _wrong_in_rows(x: jax.Array, missing: bool) -> jax.Array:
    return jnp.sum(jnp.isinf(x) if missing else ~jnp.isfinite(x), axis=-1 if jnp.ndim(x) else None)
