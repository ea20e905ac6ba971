"""Exponentials of a square."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant, python_scalar
from neural_tangents.stax._hyperparameters import check_numbers
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Gaussian(a: float = 1.0, b: float = -1.0) -> LayerSpec:
    """Exponential of a square, `f(x) = a exp(b x^2)`.

    With `d = sqrt((1 - 2 b q1) (1 - 2 b q2) - 4 b^2 k^2)`,

        K = a^2 / d,    K' = 4 a^2 b^2 k / d^3.

    For `b > 0` and large variances the expectation diverges, and the kernel is infinite.

    Args:
      a: factor of the output, by default 1.
      b: factor in the exponent, by default -1.

    Source: Williams, "Computing with Infinite Networks", 1996, eq. (13).
    """
    check_numbers("Gaussian", a=a, b=b)
    return nonlinearity("Gaussian", gaussian(a, b))


def gaussian(a: float, b: float) -> Dual:
    """The record of `Gaussian`.

    Where the first moment is infinite, the second is returned as infinite too, with the sign of `k`.
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
