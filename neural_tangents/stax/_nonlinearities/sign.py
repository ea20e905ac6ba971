"""The sign function."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.numerics import as_floats
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine, root
from neural_tangents.stax._nonlinearities.dual import Dual


def sign() -> Dual:
    """`f(x) = sign(x)`.

    `E[f(u) f(v)] = 1 - 2 theta / pi` with the angle `theta` between the inputs. A zero input gives 0, and correlation
    0 with all others. The derivative of `f` is 0 almost everywhere, and so is `E[f'(u) f'(v)]`: the derivative in `k`
    of the first moment, which is positive, is not the second.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009), eq. (4).
    """
    return Dual(fn=jnp.sign, pair_moments=_moments, variance=_variance, prepare=root)


@jax.jit
def _moments(k: Array, r1: Array, r2: Array) -> tuple[Array, Array]:
    k, r1, r2 = as_floats(k, r1, r2)
    j0, _, _ = arc_cosine(k, r1, r2)
    return (j0 - math.pi / 2) * (2 / math.pi), jnp.zeros_like(k)


def _variance(q: Array) -> Array:
    (q,) = as_floats(q)
    return jnp.where(q > 0, jnp.ones_like(q), 0)
