"""Sines, cosines, and the random Fourier features of a Gaussian kernel."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, python_scalar
from neural_tangents.stax._hyperparameters import check_numbers
from neural_tangents.stax._nonlinearities.damped_hyperbolic import damped_hyperbolic
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Sin(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> LayerSpec:
    """Sine, `f(x) = a sin(b x + c)`.

        K  = (a^2 / 2) (exp(b^2 (k - s/2)) - cos(2 c) exp(-b^2 (k + s/2))),
        K' = (a^2 b^2 / 2) (exp(b^2 (k - s/2)) + cos(2 c) exp(-b^2 (k + s/2))).

    Args:
      a: amplitude, by default 1.
      b: frequency, by default 1.
      c: phase, by default 0.

    Source: Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", 2007.
    """
    check_numbers("Sin", a=a, b=b, c=c)
    return nonlinearity("Sin", sin(a, b, c))


@public_nonlinearity
def Cos(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> LayerSpec:
    """Cosine, `f(x) = a cos(b x + c)`: `Sin(a, b, c + pi / 2)`.

        K  = (a^2 / 2) (exp(b^2 (k - s/2)) + cos(2 c) exp(-b^2 (k + s/2))),
        K' = (a^2 b^2 / 2) (exp(b^2 (k - s/2)) - cos(2 c) exp(-b^2 (k + s/2))).

    Args:
      a: amplitude, by default 1.
      b: frequency, by default 1.
      c: phase, by default 0.

    Source: Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", 2007.
    """
    check_numbers("Cos", a=a, b=b, c=c)
    return nonlinearity("Sin", sin(a, b, c + math.pi / 2), "Cos")


@public_nonlinearity
def Rbf(gamma: float = 1.0) -> LayerSpec:
    """Random features of the Gaussian kernel, `f(x) = sqrt(2) sin(sqrt(2 gamma) x + pi / 4)`.

        K = exp(-gamma (s - 2 k)),    K' = 2 gamma K.

    After `Dense(W_std=1)` on `C` input features, this is the Gaussian kernel `exp(-gamma |x1 - x2|^2 / C)`.

    Args:
      gamma: inverse squared length scale, by default 1.

    Source: Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", 2007.
    """
    check_numbers("Rbf", gamma=gamma)
    return nonlinearity("Rbf", rbf(gamma))


def sin(a: float, b: float, c: float) -> Dual:
    """The record of `Sin`."""
    a, b, c = python_scalar(a), python_scalar(b), python_scalar(c)
    return Dual(
        fn=lambda x: a * jnp.sin(b * x + c),
        pair_moments=lambda k, q1, q2: _sin_moments(k, q1, q2, a, b, c),
        variance=lambda q: _sin_moments(q, q, q, a, b, c)[0],
    )


def rbf(gamma: float) -> Dual:
    """The record of `Rbf`."""
    gamma = python_scalar(gamma)
    return Dual(
        fn=lambda x: math.sqrt(2) * jnp.sin((2 * gamma) ** 0.5 * x + math.pi / 4),
        pair_moments=lambda k, q1, q2: _rbf_moments(k, q1, q2, gamma),
        variance=lambda q: _rbf_moments(q, q, q, gamma)[0],
    )


@jax.jit
def _sin_moments(k: Array, q1: Array, q2: Array, a: float, b: float, c: float) -> tuple[Array, Array]:
    k, q1, q2 = (b * b * x for x in as_floats(k, q1, q2))
    even, odd = damped_hyperbolic(k, q1, q2)
    # cos(2 c) = cos(c)^2 - sin(c)^2: with squares, small inputs keep their precision at any phase.
    sin2, cos2 = jnp.sin(c) ** 2, jnp.cos(c) ** 2
    return a * a / 2 * (sin2 * even + cos2 * odd), a * a * b * b / 2 * (cos2 * even + sin2 * odd)


@jax.jit
def _rbf_moments(k: Array, q1: Array, q2: Array, gamma: float) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    nngp = jnp.exp(gamma * ((k - q1) + (k - q2)))
    return nngp, 2 * gamma * nngp
