"""The error function, and with it a close approximation of the sigmoid."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant, latitude, python_scalar
from neural_tangents.stax._nonlinearities.dual import Dual


def erf(a: float, b: float, c: float) -> Dual:
    """`f(x) = a erf(b x) + c`.

    With `b = 1` (else `k`, `q1`, `q2` are multiplied by `b^2`) and `E = (1 + 2 q1)(1 + 2 q2) - 4 k^2`,

        E[f(u) f(v)] = (2 a^2 / pi) atan2(2 k, sqrt(E)) + c^2,      E[f'(u) f'(v)] = (4 a^2 b^2 / pi) / sqrt(E).

    Source: Williams, "Computing with infinite networks" (1996), eq. (11).
    """
    a, b, c = python_scalar(a), python_scalar(b), python_scalar(c)
    return Dual(
        fn=lambda x: a * jax.scipy.special.erf(b * x) + c,
        pair_moments=lambda k, q1, q2: _moments(k, q1, q2, a, b, c),
        variance=lambda q: _moments(q, q, q, a, b, c)[0],
    )


@jax.jit
def _moments(k: Array, q1: Array, q2: Array, a: float, b: float, c: float) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    b2 = b * b
    # Not the product of its definition: two large numbers that are nearly equal for similar inputs.
    root = jnp.sqrt(1 + 2 * b2 * (q1 + q2) + 4 * b2 * b2 * determinant(k, q1, q2))
    scale1, scale2 = 1 / jnp.sqrt(1 + 2 * b2 * q1), 1 / jnp.sqrt(1 + 2 * b2 * q2)
    phi = latitude(2 * b2 * k * scale1 * scale2, root * scale1 * scale2)
    return 2 * a * a / math.pi * phi + c * c, 4 * a * a * b2 / math.pi / root
