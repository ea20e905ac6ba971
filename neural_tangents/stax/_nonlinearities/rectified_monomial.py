"""Powers on the positive half-line."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents._core.numerics import as_floats, determinant
from neural_tangents.stax._hyperparameters import degree_of
from neural_tangents.stax._nonlinearities.arc_cosine import ArcCosine, arc_cosine, root
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

    return Dual(
        fn=fn,
        pair_moments=lambda k, q1, q2: _moments(degree, k, q1, q2)[:2],
        with_distance=functools.partial(_moments, degree),
        variance=variance,
        small_angles=degree < 2,
    )


@functools.partial(jax.jit, static_argnums=0)
def _moments(
    degree: int, k: Array, q1: Array, q2: Array, distance: CosineDistance | None = None
) -> tuple[Array, Array, CosineDistance]:
    k, q1, q2 = as_floats(k, q1, q2)
    lines = arc_cosine(k, root(q1), root(q2), distance)
    previous, current = lines.j0, lines.j1
    if degree == 0:
        acute = lines.acute / math.pi
        new = CosineDistance(lines.distance.choose(k, 1 - acute, acute), acute=True)
        return previous / (2 * math.pi), jnp.zeros_like(k), new

    h_squared = determinant(k, q1, q2)
    for d in range(1, degree):
        previous, current = current, (2 * d + 1) * k * current + d * d * h_squared * previous
    return current / (2 * math.pi), degree**2 / (2 * math.pi) * previous, _distance(degree, k, lines)


def _distance(degree: int, k: Array, lines: ArcCosine) -> CosineDistance:
    """The recurrence of `j_d`, for `1 - j_d / j_d(theta = 0)` of vectors of length 1."""
    d_in = lines.distance
    cosine, one_less_cosine = d_in.correlation(k), d_in.choose(k, 2 - d_in.value, d_in.value)
    sine_squared = d_in.value * (2 - d_in.value)
    previous = lines.j0 / math.pi
    value = d_in.choose(k, jnp.ones_like(k), d_in.value) - lines.excess / math.pi
    for d in range(1, degree):
        current = 1 - value
        # 1 - c j_d - w s^2 j_(d-1), where no small number is found as a difference of large ones.
        value = one_less_cosine + cosine * value - d * d / (4 * d * d - 1) * sine_squared * previous
        previous = current
    return CosineDistance(value, acute=True)
