"""Exponentials."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, python_scalar, safe_reciprocal, safe_sqrt, straight_through
from neural_tangents.stax._nonlinearities.dual import Dual


def exp(a: float, b: float) -> Dual:
    """`f(x) = a exp(b x)`, with `E[f(u) f(v)] = a^2 exp(b^2 (q1 + q2 + 2 k) / 2)` and `E[f'(u) f'(v)]` `b^2` times it.

    Source: the moments of the log-normal distribution.
    """
    a, b = python_scalar(a), python_scalar(b)
    return Dual(
        fn=lambda x: a * jnp.exp(b * x),
        pair_moments=lambda k, q1, q2: _exp_moments(k, q1, q2, a, b),
        variance=lambda q: _exp_moments(q, q, q, a, b)[0],
    )


def exp_normalized(gamma: float, shift: float, do_clip: bool) -> Dual:
    """The kernel `sqrt(q1 q2) exp(gamma (rho + shift))` with the correlation `rho = k / sqrt(q1 q2)`; no function `f`.

    The second moment is its derivative in `k`, `gamma exp(gamma (rho + shift))`. With `do_clip`, `rho` is clipped to
    [-1, 1]. That is meant to remove rounding errors, and derivatives ignore it.

    Source: Mairal et al., "Convolutional kernel networks" (2014); Shankar et al., "Neural kernels without tangents"
    (2020), section 2.3.
    """
    gamma, shift = python_scalar(gamma), python_scalar(shift)

    def moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        return _exp_normalized_moments(k, q1, q2, gamma, shift, do_clip)

    return Dual(fn=None, pair_moments=moments, variance=lambda q: moments(q, q, q)[0])


@jax.jit
def _exp_moments(k: Array, q1: Array, q2: Array, a: float, b: float) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    nngp = a * a * jnp.exp(b * b * ((k + q1) + (k + q2)) / 2)
    return nngp, b * b * nngp


@jax.jit
def _exp_normalized_moments(
    k: Array, q1: Array, q2: Array, gamma: float, shift: float, do_clip: bool
) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    rho = k * safe_reciprocal(safe_sqrt(q1)) * safe_reciprocal(safe_sqrt(q2))
    rho = straight_through(rho, do_clip & (jnp.abs(rho) > 1), jnp.sign(rho))
    factor = jnp.exp(gamma * (rho + shift))
    return safe_sqrt(q1) * safe_sqrt(q2) * factor, gamma * factor
