"""Nonlinearities whose moments are given by the user."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats
from neural_tangents.stax._hyperparameters import check_function
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec

Moment = Callable[[Array, Array, Array], Array]


@public_nonlinearity
def Elementwise(
    fn: Callable[[Array], Array] | None = None,
    nngp_fn: Callable[[Array, Array, Array], Array] | None = None,
    d_nngp_fn: Callable[[Array, Array, Array], Array] | None = None,
) -> LayerSpec:
    """Your own nonlinearity `f = fn`, with its kernel `K = nngp_fn` given.

    Args:
      fn: `f`, applied entrywise to an array; by default None, if there is only a kernel.
      nngp_fn: `K`, a function of three numbers `k`, `q1`, `q2`; by default None, if there is only a finite network.
      d_nngp_fn: `K'`, likewise; by default None, for the derivative of `nngp_fn` in `k` by automatic differentiation.

    Raises:
      ValueError: neither `fn` nor `nngp_fn` is given.
      NotImplementedError: in `apply_fn` without `fn`, and in `kernel_fn` without `nngp_fn`.

    Warns:
      UserWarning: `nngp_fn` is differentiated automatically.
    """
    if fn is None and nngp_fn is None:
        raise ValueError("`Elementwise` needs `fn`, for finite networks, or `nngp_fn`, for kernels, or both. Got none.")
    for argument, given in (("fn", fn), ("nngp_fn", nngp_fn), ("d_nngp_fn", d_nngp_fn)):
        check_function("Elementwise", argument, given, optional=True)
    if nngp_fn is not None and d_nngp_fn is None:
        warnings.warn(
            "`Elementwise` differentiates `nngp_fn` automatically: check that derivatives are finite where `k` is 0 or "
            "`k^2 = q1 q2`, or give `d_nngp_fn`.",
            stacklevel=3,
        )
    names = (getattr(f, "__name__", None) for f in (fn, nngp_fn))
    return nonlinearity("Elementwise", custom(fn, nngp_fn, d_nngp_fn), next(filter(None, names), None))


def custom(fn: Callable[[Array], Array] | None, nngp_fn: Moment | None, d_nngp_fn: Moment | None) -> Dual:
    """The record of `Elementwise`, from functions of numbers.

    Args:
      fn: the nonlinearity, applied entrywise; None where only the kernel is known.
      nngp_fn: `E[f(u) f(v)]`, a function of `k`, `q1`, `q2`; None where only the finite network is known.
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

    return Dual(fn=fn, pair_moments=moments, variance=lambda q: moments(q, q, q)[0], of_user=True)


def _map(fn: Moment, arrays: Sequence[Array]) -> Array:
    dtype = arrays[0].dtype
    return jnp.vectorize(lambda k, q1, q2: jnp.asarray(fn(k, q1, q2), dtype))(*arrays)


def _unknown(*_: Array) -> Any:
    raise NotImplementedError(
        "The kernel of this `Elementwise` layer is unknown, only its function is. Give `nngp_fn`, "
        "or use `ElementwiseNumerical`."
    )
