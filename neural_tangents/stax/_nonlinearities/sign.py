"""The sign function."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents._core.numerics import as_floats
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine, root
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Sign() -> LayerSpec:
    """Sign, `f(x) = sign(x)`.

        K = 1 - 2 theta / pi,    K' = 0,

    and `K = 0` where a variance is 0. `f'` is 0 almost everywhere, so that `K'` is not the derivative of `K`.

    Source: Cho & Saul, "Kernel Methods for Deep Learning", 2009, eq. (4).
    """
    return nonlinearity("Sign", sign())


def sign() -> Dual:
    """The record of `Sign`, in terms of the lengths `sqrt(q1)`, `sqrt(q2)` of vectors and of their angle."""
    return Dual(
        fn=jnp.sign,
        pair_moments=lambda k, r1, r2: _moments(k, r1, r2)[:2],
        with_distance=_moments,
        variance=_variance,
        prepare=root,
        small_angles=True,
    )


@jax.jit
def _moments(
    k: Array, r1: Array, r2: Array, distance: CosineDistance | None = None
) -> tuple[Array, Array, CosineDistance]:
    k, r1, r2 = as_floats(k, r1, r2)
    lines = arc_cosine(k, r1, r2, distance)
    new = dataclasses.replace(lines.distance, value=lines.acute * (2 / math.pi))
    return (lines.j0 - math.pi / 2) * (2 / math.pi), jnp.zeros_like(k), new


def _variance(q: Array) -> Array:
    (q,) = as_floats(q)
    return jnp.where(q > 0, jnp.ones_like(q), 0)
