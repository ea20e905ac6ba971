"""Powers on the positive half-line."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine, root
from neural_tangents.stax._nonlinearities.dual import Dual


def rectified_monomial(degree: int) -> Dual:
    """`f(x) = x^d` for `x >= 0`, else 0, with `d = degree >= 0`.

    `E[f(u) f(v)] = (q1 q2)^(d/2) J_d(theta) / 2 pi` is the arc-cosine kernel of order `d`. The terms `j_d` without the
    factor `1 / 2 pi` obey the recurrence of Legendre polynomials, with positive terms unless `k < 0`:

        j_0 = pi - theta,     j_1 = h + k j_0,     j_{d+1} = (2 d + 1) k j_d + d^2 h^2 j_{d-1},     h^2 = q1 q2 - k^2.

    `E[f'(u) f'(v)] = d^2 j_{d-1} / 2 pi`. It is 0 for the step `d = 0`, whose derivative is 0 almost everywhere.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009), eqs. (1)-(8).
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
