"""The record of any nonlinearity, by series whose terms are found when they are first needed."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.concrete import is_concrete
from neural_tangents.stax._nonlinearities.angle_series import expectations, square
from neural_tangents.stax._nonlinearities.angle_tables import LARGEST
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._nonlinearities.function_tables import FunctionTables, function_tables
from neural_tangents.stax._nonlinearities.polar import Pairs, Spread, polar
from neural_tangents.stax._nonlinearities.sectors import Function

# The accuracy that float32 allows.
_SINGLE = 1e-6


def series(label: str, fn: Function, derivative: Function | None, tolerance: float, vanishes: bool) -> Dual:
    """The record of a nonlinearity.

    Args:
      label: what users call the layer.
      fn: the nonlinearity, applied entrywise.
      derivative: its derivative; None takes it from `jax`.
      tolerance: of errors relative to `sqrt(K(x, x) K(y, y))`.
      vanishes: whether `fn(0) = 0`.
    """

    def tables(dtype: Any) -> FunctionTables:
        least = max(tolerance, _SINGLE) if dtype == jnp.float32 else tolerance
        found = function_tables(fn, derivative, least, dtype)
        if not found.error <= least:
            warnings.warn(
                f"The kernel of `{label}` has relative errors of about {found.error:.0e}, more than the tolerance of "
                f"{least:.0e}: its function is not smooth, or varies too fast. Pass `kinks`, or a larger `tolerance`.",
                stacklevel=2,
            )
        return found

    def moments(pairs: Pairs, spread: Spread, shortest: bool) -> tuple[Array, ...]:
        found = tables(pairs.k.dtype)
        _check_size(label, pairs)
        return expectations(found, pairs, spread, shortest)

    return polar(fn, moments, lambda r: square(tables(r.dtype).stack, r), vanishes)


def _check_size(label: str, pairs: Pairs) -> None:
    if is_concrete((pairs.r1, pairs.r2)):
        most = max(np.max(r, initial=0) for r in (pairs.r1, pairs.r2))
        if most > LARGEST:
            warnings.warn(
                f"The kernel of `{label}` is accurate for variances up to {LARGEST**2:.0f}, got {most**2:.0f}. Beyond, "
                "it has the shape that it has there. Scale down the inputs, or `W_std` before it.",
                stacklevel=2,
            )
