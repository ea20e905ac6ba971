"""The Gabor function."""

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, determinant
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Gabor() -> LayerSpec:
    """Gabor function, `f(x) = exp(-x^2) sin(x)`.

    With `D = 4 (p - k^2)`, `d = 1 + 2 s + D` and `L = exp(-(s + D) / (2 d))`,

        K  = L sinh(k / d) / sqrt(d),
        K' = L [(1 + 2 s + 4 (k^2 + p)) cosh(k / d) + 4 k (2 + 3 s + D) sinh(k / d)] / d^(5/2).

    Source: Han et al., "Fast Neural Kernel Embeddings for General Activations", 2022,
    https://arxiv.org/abs/2209.04121; a Gaussian integral of the imaginary part of `exp(-x^2 + i x)`.
    """
    return nonlinearity("Gabor", gabor())


def gabor() -> Dual:
    """The record of `Gabor`."""
    return Dual(
        fn=lambda x: jnp.exp(-x * x) * jnp.sin(x),
        pair_moments=_moments,
        variance=lambda q: _moments(q, q, q)[0],
    )


@jax.jit
def _moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    s, det = q1 + q2, 4 * determinant(k, q1, q2)
    d = 1 + 2 * s + det
    factor = jnp.exp(-(s + det) / (2 * d)) / jnp.sqrt(d)
    sinh = _sinh(k / d)
    cosh = jnp.sqrt(1 + sinh * sinh)
    slope = (1 + 2 * s + 4 * (k * k + q1 * q2)) * cosh + 4 * k * (2 + 3 * s + det) * sinh
    return factor * sinh, factor * slope / (d * d)


def _sinh(x: Array) -> Array:
    """Power series for `|x| < 1/4`, which holds for `k / d`, to float64 precision."""
    z, series = x * x, jnp.ones_like(x)
    for n in (156, 110, 72, 42, 20, 6):
        series = 1 + z / n * series
    return x * series
