"""The functions that all activations made of half-lines share."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import angle, safe_reciprocal, safe_sqrt, unless


@jax.custom_jvp
def arc_cosine(k: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """The arc-cosine functions of orders 0 and 1, for vectors of squared lengths `q1`, `q2` and inner product `k`.

    With the angle `theta = acos(k / sqrt(q1 q2))` between the vectors, returns

        j0 = pi - theta,      h = sqrt(q1 q2 - k^2),      j1 = h + k j0.

    The angle comes from the correlation, so lengths can neither overflow nor underflow; it is `pi / 2` where a length
    is 0. Where vectors are parallel up to rounding, `theta` is exactly 0 or `pi`, and derivatives that are infinite
    there are 0 by convention.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009), eqs. (4)-(7).
    """
    root1, root2 = safe_sqrt(q1), safe_sqrt(q2)
    rho = k * safe_reciprocal(root1) * safe_reciprocal(root2)
    gap = 1 - jnp.abs(rho)
    parallel = gap < 4 * jnp.finfo(gap.dtype).eps
    gap = jnp.where(parallel, 1, gap)
    s = unless(parallel, jnp.sqrt(gap * (2 - gap)))
    j0 = angle(-rho, s)
    h = root1 * root2 * s
    return j0, h + k * j0, h


@arc_cosine.defjvp
def _arc_cosine_jvp(primals: tuple, tangents: tuple) -> tuple:
    # Differentiating the terms of `j1` one by one would subtract infinities: d j1 / d k is just `j0`.
    k, q1, q2 = primals
    dk, dq1, dq2 = tangents
    j0, j1, h = arc_cosine(k, q1, q2)
    dlog_m = (safe_reciprocal(q1) * dq1 + safe_reciprocal(q2) * dq2) / 2
    dj0 = safe_reciprocal(h) * (dk - k * dlog_m)
    return (j0, j1, h), (dj0, j0 * dk + h * dlog_m, h * dlog_m - k * dj0)
