"""Exponentials of a square."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant, python_scalar
from neural_tangents.stax._nonlinearities.dual import Dual


def gaussian(a: float, b: float) -> Dual:
    """`f(x) = a exp(b x^2)`.

    With `d = sqrt((1 - 2 b q1)(1 - 2 b q2) - 4 b^2 k^2)`,

        E[f(u) f(v)] = a^2 / d,      E[f'(u) f'(v)] = 4 a^2 b^2 k / d^3.

    For `b > 0` and large variances the first expectation is infinite; the second is then returned as infinite, with
    the sign of `k`.

    Source: Williams, "Computing with infinite networks" (1996), eq. (13).
    """
    a, b = python_scalar(a), python_scalar(b)
    return Dual(
        fn=lambda x: a * jnp.exp(b * x * x),
        pair_moments=lambda k, q1, q2: _moments(k, q1, q2, a, b),
        variance=lambda q: _moments(q, q, q, a, b)[0],
    )


@jax.jit
def _moments(k: Array, q1: Array, q2: Array, a: float, b: float) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    d_squared = 1 - 2 * b * (q1 + q2) + 4 * b * b * determinant(k, q1, q2)
    # The quadratic form in the exponent is negative definite just if its determinant and one diagonal entry agree.
    converges = (d_squared > 0) & (2 * b * q1 < 1)
    d_squared = jnp.where(converges, d_squared, 1)
    nngp = a * a / jnp.sqrt(d_squared)
    slope = 4 * b * b * k * nngp / d_squared
    infinity = jnp.where(k < 0, -jnp.inf, jnp.inf)
    return jnp.where(converges, nngp, jnp.inf), jnp.where(converges, slope, infinity)
