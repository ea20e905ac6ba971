"""The Gaussian error linear unit."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import angle, as_floats, determinant, erfc
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Gelu(approximate: bool = False) -> LayerSpec:
    """Gaussian error linear unit, `f(x) = x Phi(x)` with the normal distribution function `Phi`.

    With `P = (1 + q1) (1 + q2)`, `D = sqrt(P - k^2)` and `psi = pi / 2 + atan2(k, D)`,

        K = [(k^2 + p D^2) / (P D) + k psi] / (2 pi),
        K' = [psi + (k / D) (1 / D^2 + 1 / (1 + q1) + 1 / (1 + q2))] / (2 pi).

    Args:
      approximate: whether the finite network uses the approximation of `Phi` by a `tanh`, by default False. The kernel
        is that of the exact `f`.

    Source: Tsuchida et al., "Avoiding Kernel Fixed Points: Computing with ELU and GELU Infinite Networks", 2020,
    https://arxiv.org/abs/2002.08517.
    """
    return nonlinearity("Gelu", gelu(approximate))


def gelu(approximate: bool) -> Dual:
    """The record of `Gelu`; `approximate` concerns the finite network only."""

    def fn(x: Array) -> Array:
        (x,) = as_floats(x)
        return jax.nn.gelu(x, approximate=True) if approximate else x / 2 * erfc(-x * math.sqrt(0.5))

    return Dual(
        fn=fn,
        pair_moments=_moments,
        variance=lambda q: _moments(q, q, q)[0],
    )


@jax.jit
def _moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    d_squared = 1 + q1 + q2 + determinant(k, q1, q2)
    d = jnp.sqrt(d_squared)
    inverse1, inverse2 = 1 / (1 + q1), 1 / (1 + q2)
    scale1, scale2 = jnp.sqrt(inverse1), jnp.sqrt(inverse2)
    # As one angle: for opposite inputs, pi / 2 and atan2(k, D) all but cancel.
    psi = angle(-k * scale1 * scale2, d * scale1 * scale2)
    nngp = (k * inverse1 * (k * inverse2) + q1 * inverse1 * (q2 * inverse2) * d_squared) / d + k * psi
    slope = psi + k / d * (1 / d_squared + (inverse1 + inverse2))
    return nngp / (2 * math.pi), slope / (2 * math.pi)
