"""Powers on the positive half-line."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant
from neural_tangents.stax._hyperparameters import degree_of
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine, root
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def RectifiedMonomial(degree: int) -> LayerSpec:
    """Power on the positive half-line, `f(x) = x^degree` if `x >= 0` else 0.

    The kernel is the arc-cosine kernel of order `d = degree`: with `h = sqrt(p - k^2)`,

        K = j_d / (2 pi),    K' = d^2 j_(d-1) / (2 pi),
        j_0 = pi - theta,    j_1 = h + k j_0,    j_(d+1) = (2 d + 1) k j_d + d^2 h^2 j_(d-1).

    For `d = 0`, a step whose derivative is 0 almost everywhere, `K' = 0`, which is not the derivative of `K`.

    Args:
      degree: the exponent, 0 or more.

    Raises:
      NotImplementedError: `degree` is not a whole number, or negative.

    Source: Cho & Saul, "Kernel Methods for Deep Learning", 2009, eqs. (1)-(8).
    """
    return nonlinearity("RectifiedMonomial", rectified_monomial(degree_of("RectifiedMonomial", degree)))


def rectified_monomial(degree: int) -> Dual:
    """The record of `RectifiedMonomial`.

    The terms `j_d` obey the recurrence of Legendre polynomials; unless `k < 0`, no term of it is negative.
    """

    def fn(x: Array) -> Array:
        return jnp.where(x >= 0, x**degree, 0)

    def variance(q: Array) -> Array:
        (q,) = as_floats(q)
        return math.prod(range(1, 2 * degree, 2)) / 2 * q**degree

    return Dual(fn=fn, pair_moments=functools.partial(_moments, degree), variance=variance)


@functools.partial(jax.jit, static_argnums=0)
def _moments(degree: int, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    previous, current, _ = arc_cosine(k, root(q1), root(q2))
    if degree == 0:
        return previous / (2 * math.pi), jnp.zeros_like(k)

    h_squared = determinant(k, q1, q2)
    for d in range(1, degree):
        previous, current = current, (2 * d + 1) * k * current + d * d * h_squared * previous
    return current / (2 * math.pi), degree**2 / (2 * math.pi) * previous
