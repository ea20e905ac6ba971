"""Expectations of a function of two Gaussians by quadrature in polar coordinates, cut where one of them vanishes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.polynomial.legendre import leggauss

Function = Callable[[Any], Any]

# Numbers of nodes; numbers of standard deviations, and of sectors, that one program takes.
_PLACES, _RADII, DEVIATIONS, _SECTORS = 28, 40, 36, 12
# For millions of values, also where programs are compiled without optimisations, as they are in tests.
_OPTIMISED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}


class Rule(NamedTuple):
    """A quadrature rule for a sector between two rays on which `u` or `v` vanishes.

    Attributes:
      place: places between the rays, from 0 to 1/2, refined towards 0. The others are their mirror images.
      weights: their weights.
      radius: distances from the origin, refined towards it.
      radial: their weights, with the density.
    """

    place: np.ndarray
    weights: np.ndarray
    radius: np.ndarray
    radial: np.ndarray

    @classmethod
    def of(cls, finest: float) -> "Rule":
        """A rule whose nodes are evenly spread over all scales from the whole down to a share of it."""
        place, weights = graded(0.5, 2 * finest, _PLACES)
        r, w = graded(8.4, finest, _RADII)
        return cls(place, weights, r, w * r * np.exp(-r * r / 2) / math.pi)


def graded(length: float, finest: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """A rule for an interval from 0, that of Gauss and Legendre in `log(x + finest length)`."""
    x, w = leggauss(nodes)
    span = math.log1p(1 / finest)
    grown = np.exp(span * (1 + x) / 2)
    return length * finest * (grown - 1), length * finest * grown * span * w / 2


def panels(edges: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of a Gauss-Legendre rule on each of some intervals."""
    x, w = leggauss(nodes)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


class Quadrature:
    """Expectations of the even and of the odd part of a function, and of those of its derivative, in double precision.

    Args:
      fn: the function, applied entrywise.
      derivative: its derivative; None takes it from `jax`.
    """

    def __init__(self, fn: Function, derivative: Function | None = None):
        def values(x: Array) -> Array:
            both = _with_slope(fn, x) if derivative is None else (fn(x), derivative(x))
            return jnp.stack([jnp.broadcast_to(jnp.asarray(y, x.dtype), x.shape) for y in both])

        def of_sectors(s: Array, rule: Rule, angles: Array) -> Array:
            return jax.lax.map(lambda angle: _of_sector(values, s, rule, angle), angles)

        self._values = jax.jit(values)
        self._of_sectors = jax.jit(of_sectors, compiler_options=_OPTIMISED)

    def values(self, x: np.ndarray) -> np.ndarray:
        """The function and its derivative, `(2, *shape of x)`."""
        return _in_double(self._values, x)

    def __call__(self, s: np.ndarray, phi: np.ndarray, rule: Rule) -> np.ndarray:
        """`E[g(u) g(v)]` for at most `DEVIATIONS` standard deviations and some acute angles.

        Returns:
          An array of axes function or derivative, even or odd part, angle, `u` and `v`.
        """
        angles = np.concatenate([phi, math.pi - phi])
        blocks = np.append(angles, np.ones(-len(angles) % _SECTORS)).reshape(-1, _SECTORS)
        every = np.append(s, np.ones(DEVIATIONS - len(s)))
        sectors = np.concatenate([_in_double(self._of_sectors, every, rule, block) for block in blocks])
        # In the first sector `u > 0 > v`, in the second both are positive.
        mixed, equal = (
            np.moveaxis(sectors[: len(angles), :, :, : len(s), : len(s)], 0, 2)
            .reshape(2, 2, 2, len(phi), len(s), len(s))
            .swapaxes(0, 2)
            .swapaxes(1, 2)
        )
        return equal + mixed * np.array([1, -1])[:, None, None, None]


def _of_sector(values: Callable[[Array], Array], s: Array, rule: Rule, angle: Array) -> Array:
    """Contributions of a sector, if both were positive there, `(function, parity, S, S)`."""
    places = jnp.stack([rule.place, 1 - rule.place])
    # For `u` and for `v`, `(2, S, places, radii)`.
    x = s[None, :, None, None] * (jnp.sin(angle * places)[:, None, :, None] * rule.radius[None, None, None])
    right, left = jnp.moveaxis(values(jnp.stack([x, -x])), 1, 0)
    parts = jnp.stack([right + left, right - left], axis=1) / 2
    weighted = parts[:, :, 0] * (angle * rule.weights[:, None] * rule.radial[None])[None, None, None]
    flat = (2, 2, len(s), -1)
    products = jnp.einsum("gpan,gpbn->gpab", weighted.reshape(flat), parts[:, :, 1].reshape(flat))
    return products + jnp.swapaxes(products, 2, 3)


def _with_slope(fn: Function, x: Array) -> tuple[Array, Array]:
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))


def _in_double(fn: Callable[..., Array], *arguments: Any) -> np.ndarray:
    with jax.enable_x64(True), jax.core.eval_context(), jax.default_device(jax.local_devices(backend="cpu")[0]):
        return np.asarray(fn(*arguments), np.float64)
