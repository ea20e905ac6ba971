"""Activations of two half-lines: ReLU, leaky ReLU, absolute value."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats, python_scalar
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine, root
from neural_tangents.stax._nonlinearities.dual import Dual


def abrelu(a: float, b: float) -> Dual:
    """`f(x) = a min(x, 0) + b max(x, 0)`.

    With the angle `theta` between the inputs and `g = (a - b)^2 / 2 pi`,

        E[f'(u) f'(v)] = a b + g (pi - theta),      E[f(u) f(v)] = a b k + g (sqrt(q1 q2 - k^2) + k (pi - theta)).

    Source: Tsuchida et al., "Invariance of weight distributions in rectified MLPs" (2018), eq. (4).
    """
    a, b = python_scalar(a), python_scalar(b)

    def fn(x: Array) -> Array:
        return a * jnp.minimum(x, 0) + b * jnp.maximum(x, 0)

    return Dual(
        fn=fn,
        pair_moments=lambda k, r1, r2: _moments(k, r1, r2, a, b),
        variance=lambda q: (a * a + b * b) / 2 * q,
        prepare=root,
        vanishes=True,
    )


@jax.jit
def _moments(k: Array, r1: Array, r2: Array, a: float, b: float) -> tuple[Array, Array]:
    k, r1, r2 = as_floats(k, r1, r2)
    j0, j1, _ = arc_cosine(k, r1, r2)
    g = (a - b) ** 2 / (2 * math.pi)
    return a * b * k + g * j1, a * b + g * j0
