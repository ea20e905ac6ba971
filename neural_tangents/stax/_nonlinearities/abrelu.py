"""Nonlinearities made of two half-lines: ReLU, leaky ReLU, absolute value."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents._core.numerics import as_floats, python_scalar
from neural_tangents.stax._hyperparameters import check_numbers
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine, root
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import HalfLines, LayerSpec


@public_nonlinearity
def ABRelu(a: float, b: float, do_stabilize: bool = False) -> LayerSpec:
    """Two half-lines, `f(x) = a min(x, 0) + b max(x, 0)`.

    With `g = (a - b)^2 / (2 pi)`,

        K = g sqrt(p - k^2) + K' k,    K' = (a^2 + b^2) / 2 - g theta.

    Args:
      a: slope for negative `x`.
      b: slope for positive `x`.
      do_stabilize: has no effect: the kernel neither over- nor underflows in any case. By default False.

    Source: Tsuchida et al., "Invariance of Weight Distributions in Rectified MLPs", 2018,
    https://arxiv.org/abs/1711.09090, eq. (4).
    """
    del do_stabilize
    check_numbers("ABRelu", a=a, b=b)
    return _layer(a, b)


@public_nonlinearity
def Relu(do_stabilize: bool = False) -> LayerSpec:
    """Rectified linear unit, `f(x) = max(x, 0)`: `ABRelu(0, 1)`.

        K = (sqrt(p - k^2) + (pi - theta) k) / (2 pi),    K' = (pi - theta) / (2 pi).

    Args:
      do_stabilize: has no effect: the kernel neither over- nor underflows in any case. By default False.

    Example:
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> _, _, kernel_fn = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(1))
      >>> print(kernel_fn(x, None, "nngp").round(4))  # 1/4 for equal inputs, 1 / (4 pi) for a right angle
      [[0.25   0.0796]
       [0.0796 0.25  ]]

    Source: Cho & Saul, "Kernel Methods for Deep Learning", 2009, eq. (6).
    """
    del do_stabilize
    return _layer(0.0, 1.0, "Relu")


@public_nonlinearity
def LeakyRelu(alpha: float, do_stabilize: bool = False) -> LayerSpec:
    """Leaky rectified linear unit, `f(x) = alpha min(x, 0) + max(x, 0)`: `ABRelu(alpha, 1)`.

    With `g = (1 - alpha)^2 / (2 pi)`,

        K = g sqrt(p - k^2) + K' k,    K' = (1 + alpha^2) / 2 - g theta.

    Args:
      alpha: slope for negative `x`.
      do_stabilize: has no effect: the kernel neither over- nor underflows in any case. By default False.

    Source: Tsuchida et al., "Invariance of Weight Distributions in Rectified MLPs", 2018,
    https://arxiv.org/abs/1711.09090, eq. (4).
    """
    del do_stabilize
    check_numbers("LeakyRelu", alpha=alpha)
    return _layer(alpha, 1.0, "LeakyRelu")


@public_nonlinearity
def Abs(do_stabilize: bool = False) -> LayerSpec:
    """Absolute value, `f(x) = |x|`: `ABRelu(-1, 1)`.

        K = (2 / pi) sqrt(p - k^2) + K' k,    K' = 1 - 2 theta / pi.

    Args:
      do_stabilize: has no effect: the kernel neither over- nor underflows in any case. By default False.

    Source: Tsuchida et al., "Invariance of Weight Distributions in Rectified MLPs", 2018,
    https://arxiv.org/abs/1711.09090, eq. (4).
    """
    del do_stabilize
    return _layer(-1.0, 1.0, "Abs")


def _layer(a: float, b: float, label: str | None = None) -> LayerSpec:
    return dataclasses.replace(nonlinearity("ABRelu", abrelu(a, b), label), formula=HalfLines(a, b))


def abrelu(a: float, b: float) -> Dual:
    """The record of `ABRelu`, in terms of the lengths `sqrt(q1)`, `sqrt(q2)` of vectors and of their angle."""
    a, b = python_scalar(a), python_scalar(b)

    def fn(x: Array) -> Array:
        return a * jnp.minimum(x, 0) + b * jnp.maximum(x, 0)

    acute = not isinstance(a, Array) and not isinstance(b, Array) and a * b <= 0  # of one sign

    return Dual(
        fn=fn,
        pair_moments=lambda k, r1, r2: _moments(k, r1, r2, a, b)[:2],
        with_distance=lambda k, r1, r2, distance: _moments(k, r1, r2, a, b, distance, acute),
        variance=lambda q: (a * a + b * b) / 2 * q,
        prepare=root,
        vanishes=True,
        small_angles=True,
    )


@functools.partial(jax.jit, static_argnames="acute")
def _moments(
    k: Array, r1: Array, r2: Array, a: float, b: float, distance: CosineDistance | None = None, acute: bool = False
) -> tuple[Array, Array, CosineDistance]:
    k, r1, r2 = as_floats(k, r1, r2)
    lines = arc_cosine(k, r1, r2, distance)
    g = (a - b) ** 2 / (2 * math.pi)
    nngp = a * b * k + g * lines.j1
    # 1 - |K| / (c r1 r2) with `c = (a^2 + b^2) / 2`, where no small number is found as a difference of large ones.
    c = (a * a + b * b) / 2
    per_c = 1 / jnp.where(c > 0, c, 1)
    bent = g * per_c * lines.excess
    change = a * b * per_c * lines.distance.value + bent
    outputs = CosineDistance(lines.distance.value, acute)
    opposite = outputs.choose(nngp, (a - b) ** 2 / 2 * per_c + change, (a + b) ** 2 / 2 * per_c - change)
    value = lines.distance.choose(k, opposite, lines.distance.value - bent)
    return nngp, a * b + g * lines.j0, dataclasses.replace(outputs, value=value)
