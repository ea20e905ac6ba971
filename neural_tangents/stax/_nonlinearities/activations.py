"""Activations of practice whose moments have no closed form, by series."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.concrete import is_concrete
from neural_tangents.stax._hyperparameters import number
from neural_tangents.stax._nonlinearities.documentation import public_series
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._nonlinearities.series import series
from neural_tangents.stax._spec import LayerSpec

# Relative errors of kernels in double precision.
_TOLERANCE = 1e-9


@public_series
def Tanh() -> LayerSpec:
    """Hyperbolic tangent, `f(x) = tanh(x)`."""
    return nonlinearity("Tanh", ACTIVATIONS["Tanh"])


@public_series
def Sigmoid() -> LayerSpec:
    """Logistic sigmoid, `f(x) = 1 / (1 + exp(-x))`."""
    return nonlinearity("Sigmoid", ACTIVATIONS["Sigmoid"])


@public_series
def Silu() -> LayerSpec:
    """Sigmoid linear unit, `f(x) = x / (1 + exp(-x))`; `Swish` is the same."""
    return nonlinearity("Silu", ACTIVATIONS["Silu"])


@public_series
def Swish() -> LayerSpec:
    """Sigmoid linear unit, `f(x) = x / (1 + exp(-x))`; `Silu` is the same."""
    return nonlinearity("Swish", ACTIVATIONS["Swish"])


@public_series
def Softplus() -> LayerSpec:
    """Smooth rectified linear unit, `f(x) = log(1 + exp(x))`."""
    return nonlinearity("Softplus", ACTIVATIONS["Softplus"])


@public_series
def Mish() -> LayerSpec:
    """Smooth rectified linear unit that is not monotonic, `f(x) = x tanh(log(1 + exp(x)))`."""
    return nonlinearity("Mish", ACTIVATIONS["Mish"])


@public_series
def Selu() -> LayerSpec:
    """Scaled exponential linear unit, `f(x) = s x` if `x > 0` else `s a (exp(x) - 1)`; `a = 1.6733`, `s = 1.0507`."""
    return nonlinearity("Selu", ACTIVATIONS["Selu"])


@public_series
def Softsign() -> LayerSpec:
    """Softsign, `f(x) = x / (1 + |x|)`."""
    return nonlinearity("Softsign", ACTIVATIONS["Softsign"])


@public_series
def LogCosh() -> LayerSpec:
    """Smooth absolute value, `f(x) = log(cosh(x))`."""
    return nonlinearity("LogCosh", ACTIVATIONS["LogCosh"])


@public_series
def Elu(alpha: int | float = 1.0) -> LayerSpec:
    """Exponential linear unit, `f(x) = x` if `x > 0` else `alpha (exp(x) - 1)`.

    Args:
      alpha: minus the limit for negative `x`, by default 1; a number that is known, not one that is traced.

    Raises:
      TypeError: `alpha` is traced by a transformation such as `jit` or `grad`.
    """
    return nonlinearity("Elu", elu(_known("Elu", "alpha", alpha)))


@public_series
def Squareplus(b: int | float = 4.0) -> LayerSpec:
    """Smooth rectified linear unit without exponentials, `f(x) = (x + sqrt(x^2 + b)) / 2`.

    Args:
      b: the square of twice the value at 0, by default 4; at least 0; a number that is known, not one that is traced.

    Raises:
      TypeError: `b` is traced by a transformation such as `jit` or `grad`.
      ValueError: `b` is negative.
    """
    if _known("Squareplus", "b", b) < 0:
        raise ValueError(f"`Squareplus` needs `b` of at least 0, got {b}.")
    return nonlinearity("Squareplus", squareplus(_known("Squareplus", "b", b)))


def elu(alpha: float) -> Dual:
    """The record of `Elu`."""
    return series("Elu", _elu(alpha), None, _TOLERANCE, True)


def squareplus(b: float) -> Dual:
    """The record of `Squareplus`."""
    return series("Squareplus", _squareplus(b), None, _TOLERANCE, b == 0)


# Kept, so that layers with equal arguments have the same function, and share its tables.


@functools.lru_cache
def _elu(alpha: float) -> Callable[[Array], Array]:
    return lambda x: jax.nn.elu(x, alpha)


@functools.lru_cache
def _squareplus(b: float) -> Callable[[Array], Array]:
    return lambda x: jax.nn.squareplus(x, b)


def _log_cosh(x: Array) -> Array:
    size = jnp.abs(x)
    # Near 0, the two terms all but cancel.
    small = size < 1
    far = size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)
    half = jnp.sinh(jnp.where(small, x, 0) / 2)
    return jnp.where(small, jnp.log1p(2 * half * half), far)


def _known(layer: str, argument: str, value: Any) -> float:
    """A number whose value is known.

    Raises:
      TypeError: it is traced.
    """
    if not is_concrete(number(layer, argument, value)):
        raise TypeError(
            f"`{layer}` needs a number as `{argument}` whose value is known, since its series is found once, got one "
            "that is traced. Make the layer outside of `jit` and `grad`, or take `ElementwiseNumerical` of a function "
            "of it."
        )
    return float(value)


_FUNCTIONS = {
    "Tanh": jnp.tanh,
    "Sigmoid": jax.nn.sigmoid,
    "Silu": jax.nn.silu,
    "Swish": jax.nn.silu,
    "Softplus": jax.nn.softplus,
    "Mish": jax.nn.mish,
    "Selu": jax.nn.selu,
    "Softsign": jax.nn.soft_sign,
    "LogCosh": _log_cosh,
}
_POSITIVE_AT_0 = ("Sigmoid", "Softplus")

# The records of activations without arguments, by the names of their layers.
ACTIVATIONS = {
    name: series(name, fn, None, _TOLERANCE, vanishes=name not in _POSITIVE_AT_0) for name, fn in _FUNCTIONS.items()
}
