"""Piecewise linear functions with kinks anywhere."""

import collections
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core import mesh_axes
from neural_tangents._core.chebyshev import chebyshev_coefficients, chebyshev_nodes, chebyshev_sum
from neural_tangents._core.numerics import erfc, safe_sqrt
from neural_tangents.stax._nonlinearities.angle_series import FEW, compiled_for_layouts, one_deviation
from neural_tangents.stax._nonlinearities.angle_tables import distance_of_place, place_of_distance
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._nonlinearities.polar import Pairs, Spread, polar
from neural_tangents.stax._spec import LayerSpec

# Numbers of nodes, and the scale of the tangent of half an angle up to which they are refined.
_NODES = {"float32": (24, 3e-3), "float64": (64, 1e-4)}
# Numbers of angles between which moments for equal variances are interpolated.
_ANGLES = {"float32": 36, "float64": 72}
# Kinks further out, in standard deviations, do not matter.
_FAR = 40.0


@public_nonlinearity
def HardTanh() -> LayerSpec:
    """Identity between two constants, `f(x) = min(max(x, -1), 1)`.

    With `m(q) = E[f(u)] = 0`, `w(q) = E[f'(u)] = P(|u| < 1)`, kinks `t_1 = -1`, `t_2 = 1` with jumps `D_1 = 1`,
    `D_2 = -1` of the slope, and the density `n(x, y; r)` of two Gaussians of variances `q1`, `q2` and covariance `r`,

        K = m(q1) m(q2) + w(q1) w(q2) k + sum_ij D_i D_j int_0^k (k - r) n(t_i, t_j; r) dr,
        K' = w(q1) w(q2) + sum_ij D_i D_j int_0^k n(t_i, t_j; r) dr.

    Source: Price, "A Useful Theorem for Nonlinear Devices Having Gaussian Inputs", 1958, eq. (4), with `f''` a sum of
    delta functions.
    """
    return nonlinearity("HardTanh", piecewise_linear(jax.nn.hard_tanh, HARD_TANH))


@public_nonlinearity
def Relu6() -> LayerSpec:
    """Rectified linear unit that saturates, `f(x) = min(max(x, 0), 6)`.

    With `m(q) = E[f(u)]`, `w(q) = E[f'(u)] = P(0 < u < 6)`, kinks `t_1 = 0`, `t_2 = 6` with jumps `D_1 = 1`, `D_2 = -1`
    of the slope, and the density `n(x, y; r)` of two Gaussians of variances `q1`, `q2` and covariance `r`,

        K = m(q1) m(q2) + w(q1) w(q2) k + sum_ij D_i D_j int_0^k (k - r) n(t_i, t_j; r) dr,
        K' = w(q1) w(q2) + sum_ij D_i D_j int_0^k n(t_i, t_j; r) dr.

    Source: Price, "A Useful Theorem for Nonlinear Devices Having Gaussian Inputs", 1958, eq. (4), with `f''` a sum of
    delta functions.
    """
    return nonlinearity("Relu6", piecewise_linear(jax.nn.relu6, RELU_6))


class Pieces(NamedTuple):
    """The function `f(x) = constant + slope x + sum_j jumps[j] max(x - kinks[j], 0)`."""

    constant: float
    slope: float
    kinks: tuple[float, ...]
    jumps: tuple[float, ...]


HARD_TANH = Pieces(-1.0, 0.0, (-1.0, 1.0), (1.0, -1.0))
RELU_6 = Pieces(0.0, 0.0, (0.0, 6.0), (1.0, -1.0))


def piecewise_linear(fn: Any, pieces: Pieces) -> Dual:
    """The record of a piecewise linear function.

    The integrals are over the tangent of half the angle, whose logarithm is the area tangent of the correlation.
    """

    def moments(pairs: Pairs, spread: Spread, shortest: bool) -> tuple[Array, Array]:
        return _expectations(pieces, pairs, spread, shortest)

    def square(r: Array) -> Array:
        return _moments(pieces, jnp.ones_like(r), jnp.zeros_like(r), r, r)[0]

    constant = pieces.constant + sum(d * max(-t, 0) for t, d in zip(pieces.kinks, pieces.jumps, strict=True))
    return polar(fn, moments, square, vanishes=constant == 0)


@compiled_for_layouts("pieces")
def _expectations(pieces: Pieces, pairs: Pairs, spread: Spread, shortest: bool) -> tuple[Array, Array]:
    """`E[f(u) f(v)]` and `E[f'(u) f'(v)]`."""

    def of_pairs(pairs: Pairs) -> tuple[Array, Array]:
        return _moments(pieces, pairs.k, pairs.distance, *spread(pairs.r1, pairs.r2))

    if not shortest or pairs.k.size <= FEW:
        return of_pairs(pairs)
    equal, r = one_deviation(pairs)
    return mesh_axes.cond(equal, lambda pairs: _of_one_deviation(pieces, pairs, spread, r), of_pairs, pairs)


def _of_one_deviation(pieces: Pieces, pairs: Pairs, spread: Spread, r: Array) -> tuple[Array, Array]:
    """Moments for equal variances, interpolated between some angles."""
    nodes = chebyshev_nodes(_ANGLES[pairs.k.dtype.name])
    distance = jnp.asarray(distance_of_place(nodes), r.dtype)
    ones = jnp.ones_like(distance)
    same, opposite = (_moments(pieces, sign * ones, distance, r * ones, r * ones) for sign in (1, -1))
    y = place_of_distance(pairs.distance, safe_sqrt)
    exist = jnp.multiply(*spread(jnp.ones_like(pairs.r1), jnp.ones_like(pairs.r2)))

    def interpolated(same: Array, opposite: Array) -> Array:
        even, odd = (chebyshev_sum(chebyshev_coefficients(x), y) for x in (same + opposite, same - opposite))
        return (even + jnp.where(pairs.k < 0, -odd, odd)) / 2 * exist

    return interpolated(same[0], opposite[0]), interpolated(same[1], opposite[1])


@functools.partial(jax.jit, static_argnums=0)
def _moments(pieces: Pieces, k: Array, distance: Array, r1: Array, r2: Array) -> tuple[Array, Array]:
    means1, means2 = _means(pieces, r1), _means(pieces, r2)
    sign = jnp.where(k < 0, -1, 1).astype(k.dtype)
    size = r1 * r2
    first, second = _integrals(pieces, sign, distance, r1, r2)
    rho = sign * (1 - distance)
    slopes = means1[1] * means2[1]
    return means1[0] * means2[0] + size * (slopes * rho + second), slopes + first


def _scaled(kink: float, r: Array) -> Array:
    """A kink in units of a standard deviation."""
    return kink / jnp.maximum(r, abs(kink) / _FAR) if kink else jnp.zeros_like(r)


def _means(pieces: Pieces, r: Array) -> tuple[Array, Array]:
    """`E[f(u)]` and `E[f'(u)]`."""
    mean, slope = jnp.full_like(r, pieces.constant), jnp.full_like(r, pieces.slope)
    for kink, jump in zip(pieces.kinks, pieces.jumps, strict=True):
        a = _scaled(kink, r)
        above = erfc(a * math.sqrt(0.5)) / 2
        mean += jump * (r * jnp.exp(-a * a / 2) / math.sqrt(2 * math.pi) - kink * above)
        slope += jump * above
    return mean, slope


def _integrals(pieces: Pieces, sign: Array, distance: Array, r1: Array, r2: Array) -> tuple[Array, Array]:
    """The sums over kinks of integrals of the density, for variances of 1, with weights 1 and `rho - r`."""
    nodes, scale = _NODES[distance.dtype.name]
    x, w = np.polynomial.legendre.leggauss(nodes)
    span = math.log1p(1 / scale)
    start = jnp.log1p(safe_sqrt(distance / (2 - distance)) / scale) / span
    terms = [(jump, _scaled(kink1, r1), _scaled(kink2, r2)) for (kink1, kink2), jump in _pairs_of_kinks(pieces)]

    def step(sums: tuple[Array, Array], node: Array) -> tuple[tuple[Array, Array], None]:
        grown = jnp.exp(span * (start + (1 - start) * node[0])) * scale
        t = grown - scale
        once = 1 + t * t
        inverse = 1 / (t * once)  # one division for both that are needed
        width, per_once = once * once * inverse / 2, t * inverse
        density = jnp.full_like(t, _jump_at_zero(pieces) ** 2)
        for jump, a, b in terms:
            gap = (a - sign * b) * width
            density += jump * jnp.exp(-gap * gap / 2 - sign * (a * b) * once / 2)
        density *= (1 - start) * node[1] * span * grown * per_once
        return (sums[0] + sign * density, sums[1] + density * (2 * per_once * (t * t) - distance)), None

    points = jnp.asarray(np.stack([(1 + x) / 2, w / (2 * math.pi)], axis=1), distance.dtype)
    zeros = jnp.zeros_like(distance + r1 + r2)
    return mesh_axes.scan(step, (zeros, zeros), points)[0]


def _pairs_of_kinks(pieces: Pieces) -> list[tuple[tuple[float, float], float]]:
    """Pairs of kinks that are not both 0, with the products of their jumps; the density at opposite pairs is equal."""
    jumps: dict[tuple[float, float], float] = collections.defaultdict(float)
    for kink1, jump1 in zip(pieces.kinks, pieces.jumps, strict=True):
        for kink2, jump2 in zip(pieces.kinks, pieces.jumps, strict=True):
            jumps[max((kink1, kink2), (-kink1, -kink2))] += jump1 * jump2
    return [(pair, jump) for pair, jump in jumps.items() if any(pair)]


def _jump_at_zero(pieces: Pieces) -> float:
    return sum(jump for kink, jump in zip(pieces.kinks, pieces.jumps, strict=True) if kink == 0)
