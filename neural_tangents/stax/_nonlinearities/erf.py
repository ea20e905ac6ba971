"""The error function, and with it a close approximation of the sigmoid."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant, latitude, python_scalar
from neural_tangents._core.numerics import erf as error_function
from neural_tangents.stax._hyperparameters import check_numbers
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Erf(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> LayerSpec:
    """Error function, `f(x) = a erf(b x) + c`.

    With `D = (1 + 2 b^2 q1) (1 + 2 b^2 q2) - 4 b^4 k^2`,

        K = (2 a^2 / pi) atan2(2 b^2 k, sqrt(D)) + c^2,    K' = (4 a^2 b^2 / pi) / sqrt(D).

    Args:
      a: factor of the output, by default 1.
      b: factor of the input, by default 1.
      c: shift of the output, by default 0.

    Source: Williams, "Computing with Infinite Networks", 1996, eq. (11).
    """
    check_numbers("Erf", a=a, b=b, c=c)
    return nonlinearity("Erf", erf(a, b, c))


@public_nonlinearity
def Sigmoid_like() -> LayerSpec:
    """Approximation of the sigmoid, `f(x) = (erf(b x) + 1) / 2` with `b = 1 / 2.4020563531719796`.

    It is `Erf(1/2, b, 1/2)`: with `D = (1 + 2 b^2 q1) (1 + 2 b^2 q2) - 4 b^4 k^2`,

        K = atan2(2 b^2 k, sqrt(D)) / (2 pi) + 1 / 4,    K' = (b^2 / pi) / sqrt(D).

    Source: Williams, "Computing with Infinite Networks", 1996, eq. (11).
    """
    return nonlinearity("Erf", erf(0.5, 1 / 2.4020563531719796, 0.5), "Sigmoid_like")


def erf(a: float, b: float, c: float) -> Dual:
    """The record of `Erf`."""
    a, b, c = python_scalar(a), python_scalar(b), python_scalar(c)
    return Dual(
        fn=lambda x: a * error_function(*as_floats(b * x)) + c,
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
