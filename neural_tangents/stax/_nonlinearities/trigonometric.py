"""Sines, cosines, and the random Fourier features of a Gaussian kernel."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, python_scalar
from neural_tangents.stax._nonlinearities.dual import Dual


def sin(a: float, b: float, c: float) -> Dual:
    """`f(x) = a sin(b x + c)`.

    With `E+- = exp(-b^2 (q1 + q2 -+ 2 k) / 2)`,

        E[f(u) f(v)] = (a^2 / 2) (E+ - cos(2 c) E-),      E[f'(u) f'(v)] = (a^2 b^2 / 2) (E+ + cos(2 c) E-).

    Source: Rahimi & Recht, "Random features for large-scale kernel machines" (2007).
    """
    a, b, c = python_scalar(a), python_scalar(b), python_scalar(c)
    return Dual(
        fn=lambda x: a * jnp.sin(b * x + c),
        pair_moments=lambda k, q1, q2: _sin_moments(k, q1, q2, a, b, c),
        variance=lambda q: _sin_moments(q, q, q, a, b, c)[0],
    )


def rbf(gamma: float) -> Dual:
    """`f(x) = sqrt(2) sin(sqrt(2 gamma) x + pi / 4)`, with `E[f(u) f(v)] = exp(-gamma (q1 + q2 - 2 k))`.

    Source: Rahimi & Recht, "Random features for large-scale kernel machines" (2007).
    """
    gamma = python_scalar(gamma)
    return Dual(
        fn=lambda x: math.sqrt(2) * jnp.sin((2 * gamma) ** 0.5 * x + math.pi / 4),
        pair_moments=lambda k, q1, q2: _rbf_moments(k, q1, q2, gamma),
        variance=lambda q: _rbf_moments(q, q, q, gamma)[0],
    )


@jax.jit
def _sin_moments(k: Array, q1: Array, q2: Array, a: float, b: float, c: float) -> tuple[Array, Array]:
    k, q1, q2 = (b * b * x for x in as_floats(k, q1, q2))
    even, odd = _even_odd(k, q1, q2)
    # cos(2 c) = cos(c)^2 - sin(c)^2: with squares, small inputs keep their precision at any phase.
    sin2, cos2 = jnp.sin(c) ** 2, jnp.cos(c) ** 2
    return a * a / 2 * (sin2 * even + cos2 * odd), a * a * b * b / 2 * (cos2 * even + sin2 * odd)


@jax.custom_jvp
def _even_odd(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """`E+ + E-` and `E+ - E-` for `b = 1`, the latter with a small relative error near 0."""
    even = jnp.exp(((k - q1) + (k - q2)) / 2) + jnp.exp(-((k + q1) + (k + q2)) / 2)
    return even, even * jnp.tanh(k)


@_even_odd.defjvp
def _even_odd_jvp(primals: tuple, tangents: tuple) -> tuple:
    # The derivative of the sum would be a difference that loses its precision near 0.
    dk, dq1, dq2 = tangents
    even, odd = _even_odd(*primals)
    dq = (dq1 + dq2) / 2
    return (even, odd), (odd * dk - even * dq, even * dk - odd * dq)


@jax.jit
def _rbf_moments(k: Array, q1: Array, q2: Array, gamma: float) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    nngp = jnp.exp(gamma * ((k - q1) + (k - q2)))
    return nngp, 2 * gamma * nngp
