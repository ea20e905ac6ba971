"""The functions that all nonlinearities made of half-lines share."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import angle, as_floats, safe_reciprocal, safe_sqrt, zero_where


def root(q: Array) -> Array:
    """The length of a vector, from its square."""
    return safe_sqrt(*as_floats(q))


@jax.custom_jvp
def arc_cosine(k: Array, r1: Array, r2: Array) -> tuple[Array, Array, Array]:
    """The arc-cosine functions of orders 0 and 1, for vectors of lengths `r1`, `r2` and inner product `k`.

    With the angle `theta = acos(k / (r1 r2))` between the vectors, returns

        j0 = pi - theta,      h = sqrt(r1^2 r2^2 - k^2),      j1 = h + k j0.

    Squares of lengths are not taken, so they can neither overflow nor underflow. The angle is `pi / 2` where a length
    is 0. Where vectors are parallel up to rounding, `theta` is exactly 0 or `pi`, and derivatives that are infinite
    there are 0 by convention.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009), eqs. (4)-(7).
    """
    product = r1 * r2
    none = product <= 0
    rho = zero_where(none, k / jnp.where(none, 1, product))
    gap = 1 - jnp.abs(rho)
    parallel = gap < 4 * jnp.finfo(gap.dtype).eps
    gap = jnp.where(parallel, 1, gap)
    s = zero_where(parallel, jnp.sqrt(gap * (2 - gap)))
    j0 = angle(-rho, s)
    h = product * s
    return j0, h + k * j0, h


@arc_cosine.defjvp
def _arc_cosine_jvp(primals: tuple, tangents: tuple) -> tuple:
    # Differentiating the terms of `j1` one by one would subtract infinities: d j1 / d k is just `j0`.
    k, r1, r2 = primals
    dk, dr1, dr2 = tangents
    j0, j1, h = arc_cosine(k, r1, r2)
    dlog_m = safe_reciprocal(r1) * dr1 + safe_reciprocal(r2) * dr2
    dj0 = safe_reciprocal(h) * (dk - k * dlog_m)
    return (j0, j1, h), (dj0, j0 * dk + h * dlog_m, h * dlog_m - k * dj0)
