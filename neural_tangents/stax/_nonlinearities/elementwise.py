"""Activations whose moments are given by the user."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats
from neural_tangents.stax._nonlinearities.dual import Dual

Moment = Callable[[Array, Array, Array], Array]


def custom(fn: Callable[[Array], Array] | None, nngp_fn: Moment | None, d_nngp_fn: Moment | None) -> Dual:
    """An activation `fn` with `E[f(u) f(v)] = nngp_fn(k, q1, q2)` for numbers `k`, `q1`, `q2`.

    Args:
      fn: the activation, applied entrywise; None where only the kernel is known.
      nngp_fn: a function of three numbers; None where only the finite network is known.
      d_nngp_fn: its derivative in `k`, which is `E[f'(u) f'(v)]`; None takes it from `jax`.
    """
    if nngp_fn is None:
        return Dual(fn=fn, pair_moments=_unknown, variance=_unknown)
    slope_fn = jax.grad(nngp_fn) if d_nngp_fn is None else d_nngp_fn

    @jax.jit
    def moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        # Broadcast beforehand: what is left to `vectorize` is mapping, on arrays of any rank.
        arrays = jnp.broadcast_arrays(*as_floats(k, q1, q2))
        return _map(nngp_fn, arrays), _map(slope_fn, arrays)

    return Dual(fn=fn, pair_moments=moments, variance=lambda q: moments(q, q, q)[0])


def _map(fn: Moment, arrays: Sequence[Array]) -> Array:
    dtype = arrays[0].dtype
    return jnp.vectorize(lambda k, q1, q2: jnp.asarray(fn(k, q1, q2), dtype))(*arrays)


def _unknown(*_: Array) -> Any:
    raise NotImplementedError(
        "The kernel of this `Elementwise` layer is unknown, only its function is. Give `nngp_fn`, "
        "or use `ElementwiseNumerical`."
    )
