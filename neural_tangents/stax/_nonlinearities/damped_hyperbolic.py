"""Hyperbolic functions times a decaying exponential: the moments of whatever is made of sines and cosines."""

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_jvp
def damped_hyperbolic(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """`2 exp(-(q1 + q2) / 2) cosh(k)` and `2 exp(-(q1 + q2) / 2) sinh(k)`, for `|k| <= (q1 + q2) / 2`.

    They are the sum and the difference of `E+- = exp(-(q1 + q2 -+ 2 k) / 2)`, and 2 `E[cos(u) cos(v)]` and
    2 `E[sin(u) sin(v)]` for Gaussian `u`, `v` of variances `q1`, `q2` and covariance `k`. The difference of two
    exponentials that are nearly equal would have a large relative error for small `k`, and so would its derivative:
    here both are precise there. Nothing overflows for large variances, as `cosh(k)` by itself would.
    """
    even = jnp.exp(((k - q1) + (k - q2)) / 2) + jnp.exp(-((k + q1) + (k + q2)) / 2)
    return even, even * jnp.tanh(k)


@damped_hyperbolic.defjvp
def _damped_hyperbolic_jvp(primals: tuple, tangents: tuple) -> tuple:
    # The derivative of the sum would be a difference that loses its precision near 0.
    dk, dq1, dq2 = tangents
    even, odd = damped_hyperbolic(*primals)
    dq = (dq1 + dq2) / 2
    return (even, odd), (odd * dk - even * dq, even * dk - odd * dq)
