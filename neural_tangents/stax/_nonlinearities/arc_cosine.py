"""The functions that all nonlinearities made of half-lines share."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance, of_covariance
from neural_tangents._core.numerics import acute_angle, as_floats, length, safe_reciprocal, zero_where


def root(q: Array) -> Array:
    """The length of a vector, from its square."""
    return length(*as_floats(q))


class ArcCosine(NamedTuple):
    """What nonlinearities made of half-lines need of two vectors, with the angle `theta` between them.

    Attributes:
      j0: the arc-cosine function of order 0, `pi - theta`.
      j1: that of order 1, `sqrt(r1^2 r2^2 - k^2) + k j0`.
      distance: cosine distance `1 - |cos(theta)|`.
      acute: the acute angle `phi` between the lines along the vectors, `theta` or `pi - theta`.
      excess: `sin(phi) - phi cos(phi)`.
    """

    j0: Array
    j1: Array
    distance: CosineDistance
    acute: Array
    excess: Array


def arc_cosine(k: Array, r1: Array, r2: Array, distance: CosineDistance | None = None) -> ArcCosine:
    """The arc-cosine functions of orders 0 and 1, for vectors of lengths `r1`, `r2` and inner product `k`.

    Squares of lengths are not taken, so they can neither overflow nor underflow. The angle is `pi / 2` where a length
    is 0. Where vectors are parallel up to rounding, `theta` is exactly 0 or `pi`, and derivatives that are infinite
    there are 0 by convention.

    Args:
      k: inner product.
      r1: length of the first vector.
      r2: length of the second vector.
      distance: their cosine distance; None to find it from the rest, which loses small angles.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009), eqs. (4)-(7).
    """
    if distance is not None:
        distance = dataclasses.replace(distance, value=jnp.where(r1 * r2 <= 0, 1, distance.value))
    return ArcCosine(*_half_lines(k, r1, r2, distance))


@jax.custom_jvp
def _half_lines(k: Array, r1: Array, r2: Array, distance: CosineDistance | None) -> tuple:
    distance = of_covariance(k, r1, r2) if distance is None else distance
    acute = acute_angle(distance.value, _root(distance.value))
    j0 = distance.choose(k, acute.angle, math.pi - acute.angle)
    return j0, r1 * r2 * acute.sine + k * j0, distance, acute.angle, acute.excess


@_half_lines.defjvp
def _half_lines_jvp(primals: tuple, tangents: tuple) -> tuple:
    k, r1, r2, given = primals
    dk, dr1, dr2, d_given = tangents
    j0, j1, distance, phi, excess = _half_lines(*primals)
    s = acute_angle(distance.value, _root(distance.value)).sine
    h = r1 * r2 * s
    dlog_m = safe_reciprocal(r1) * dr1 + safe_reciprocal(r2) * dr2
    if given is None:
        dj0 = safe_reciprocal(h) * (dk - k * dlog_m)
        d_phi = distance.choose(k, dj0, -dj0)
        d_distance = dataclasses.replace(distance, value=s * d_phi)
    else:  # what it stands for has the same derivative, and needs no sums over all pairs with an input
        d_distance = d_given
        d_phi = safe_reciprocal(s) * d_given.value
        dj0 = distance.choose(k, d_phi, -d_phi)
    # Differentiating the terms of `j1` one by one would subtract infinities: d j1 / d k is just `j0`.
    d_excess = phi * d_distance.value
    return (j0, j1, distance, phi, excess), (dj0, j0 * dk + h * dlog_m, d_distance, d_phi, d_excess)


def _root(distance: Array) -> Array:
    # A vector differs from itself by rounding errors, so that distances of their square are noise.
    parallel = distance < 32 * jnp.finfo(distance.dtype).eps ** 2
    return zero_where(parallel, jnp.sqrt(jnp.where(parallel, 1, distance)))
