"""Exponentials."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, python_scalar, safe_reciprocal, safe_sqrt, straight_through
from neural_tangents.stax._hyperparameters import check_numbers
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Exp(a: float = 1.0, b: float = 1.0) -> LayerSpec:
    """Exponential, `f(x) = a exp(b x)`.

        K = a^2 exp(b^2 (s/2 + k)),    K' = b^2 K.

    Args:
      a: factor of the output, by default 1.
      b: factor of the input, by default 1.

    Source: Daniely et al., "Toward Deeper Understanding of Neural Networks", 2016, https://arxiv.org/abs/1602.05897.
    """
    check_numbers("Exp", a=a, b=b)
    return nonlinearity("Exp", exp(a, b))


@public_nonlinearity
def ExpNormalized(gamma: float = 1.0, shift: float = -1.0, do_clip: bool = False) -> LayerSpec:
    """Exponential of the correlation of two inputs: a kernel for which no `f` is known.

        K = sqrt(p) exp(gamma (k / sqrt(p) + shift)),    K' = gamma exp(gamma (k / sqrt(p) + shift)).

    Args:
      gamma: inverse squared length scale on the unit sphere, by default 1.
      shift: added to the correlation `k / sqrt(p)`; -1, the default, preserves variances.
      do_clip: whether to clip the correlation to [-1, 1], by default False.

    Raises:
      NotImplementedError: in `apply_fn`, always: no `f` is known.

    Source: Mairal et al., "Convolutional Kernel Networks", 2014, https://arxiv.org/abs/1406.3332; Shankar et al.,
    "Neural Kernels Without Tangents", 2020, https://arxiv.org/abs/2003.02237.
    """
    check_numbers("ExpNormalized", gamma=gamma, shift=shift)
    return nonlinearity("ExpNormalized", exp_normalized(gamma, shift, do_clip))


def exp(a: float, b: float) -> Dual:
    """The record of `Exp`."""
    a, b = python_scalar(a), python_scalar(b)
    return Dual(
        fn=lambda x: a * jnp.exp(b * x),
        pair_moments=lambda k, q1, q2: _exp_moments(k, q1, q2, a, b),
        variance=lambda q: _exp_moments(q, q, q, a, b)[0],
    )


def exp_normalized(gamma: float, shift: float, do_clip: bool) -> Dual:
    """The record of `ExpNormalized`, without a function.

    Clipping is meant to remove rounding errors, and derivatives ignore it.
    """
    gamma, shift = python_scalar(gamma), python_scalar(shift)

    def moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        return _exp_normalized_moments(k, q1, q2, gamma, shift, do_clip)

    return Dual(fn=None, pair_moments=moments, variance=lambda q: moments(q, q, q)[0])


@jax.jit
def _exp_moments(k: Array, q1: Array, q2: Array, a: float, b: float) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    nngp = a * a * jnp.exp(b * b * ((k + q1) + (k + q2)) / 2)
    return nngp, b * b * nngp


@jax.jit
def _exp_normalized_moments(
    k: Array, q1: Array, q2: Array, gamma: float, shift: float, do_clip: bool
) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    rho = k * safe_reciprocal(safe_sqrt(q1)) * safe_reciprocal(safe_sqrt(q2))
    rho = straight_through(rho, do_clip & (jnp.abs(rho) > 1), jnp.sign(rho))
    factor = jnp.exp(gamma * (rho + shift))
    return safe_sqrt(q1) * safe_sqrt(q2) * factor, gamma * factor
