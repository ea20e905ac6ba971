"""Expectations of functions of Gaussians that have no closed form, by quadrature between kinks."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.numerics import as_floats, correlation, safe_reciprocal, safe_sqrt, sine

Entrywise = Callable[[Array], Array]
_ENDS, _NODES = (-8.0, -3.5, 3.5, 8.0), 18  # of panels, besides kinks; nodes of each


@dataclasses.dataclass(frozen=True, eq=False)
class Rough:
    """An entrywise function that is smooth between some places.

    Attributes:
      fn: the function.
      kinks: the places, in order.
    """

    fn: Entrywise
    kinks: tuple[float, ...]

    def __call__(self, x: Array) -> Array:
        return self.fn(x)

    @functools.cached_property
    def slope(self) -> "Rough":
        """The derivative, between these places."""
        return Rough(slope(self.fn), self.kinks)


def slope(fn: Entrywise) -> Entrywise:
    """The derivative of an entrywise function."""
    return functools.partial(_slope, fn)


def _slope(fn: Entrywise, x: Array) -> Array:
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]


def _nodes(ends: list[Array]) -> tuple[Array, Array]:
    """Nodes and weights for integrals against the standard normal density, panel by panel, along a new first axis."""
    points, weights = (jnp.asarray(a, ends[0].dtype) for a in np.polynomial.legendre.leggauss(_NODES))
    shape = (-1,) + (1,) * ends[0].ndim
    xs, ws = [], []
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        half = (high - low)[None] / 2
        x = (low + high)[None] / 2 + half * points.reshape(shape)
        xs.append(x)
        ws.append(half * weights.reshape(shape) * jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
    return jnp.concatenate(xs), jnp.concatenate(ws)


def _ends(kinks: tuple[float, ...], center: Array, inverse_scale: Array) -> list[Array]:
    """Ends of panels: where `center + x / inverse_scale` meets a kink."""
    marks = [jnp.clip((kink - center) * inverse_scale, _ENDS[0], _ENDS[-1]) for kink in kinks]
    ends = jnp.sort(jnp.stack([*(jnp.full_like(center, end) for end in _ENDS), *marks]), axis=0)
    return list(ends)


def mean(fn: Rough, q: Array) -> Array:
    """`E[f(u)]` for Gaussian `u` of mean 0 and variance `q`, entry by entry."""
    (q,) = as_floats(q)
    root = safe_sqrt(q)
    x, w = _nodes(_ends(fn.kinks, jnp.zeros_like(root), safe_reciprocal(root)))
    return jnp.sum(w * fn(root[None] * x), axis=0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def pair(f: Rough, g: Rough, k: Array, q1: Array, q2: Array) -> Array:
    """`E[f(u) g(v)]` for Gaussian `u`, `v` of variances `q1`, `q2` and covariance `k`, entry by entry."""
    rho = correlation(k, q1, q2)
    return _sum(f, g, rho, sine(rho), safe_sqrt(q1), safe_sqrt(q2))


@pair.defjvp
def _pair_jvp(f: Rough, g: Rough, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # In `k` the derivative is that of the derivatives; at fixed correlation the sum is smooth in standard deviations.
    k, q1, q2 = primals
    dk, dq1, dq2 = tangents
    dlog1, dlog2 = safe_reciprocal(q1) * dq1 / 2, safe_reciprocal(q2) * dq2 / 2
    root1, root2 = safe_sqrt(q1), safe_sqrt(q2)
    rho = correlation(k, q1, q2)
    value, scaled = jax.jvp(
        functools.partial(_sum, f, g, rho, sine(rho)), (root1, root2), (root1 * dlog1, root2 * dlog2)
    )
    return value, scaled + pair(f.slope, g.slope, k, q1, q2) * (dk - k * (dlog1 + dlog2))


def _sum(f: Rough, g: Rough, rho: Array, s: Array, root1: Array, root2: Array) -> Array:
    xs, ws = _nodes(_ends(f.kinks, jnp.zeros_like(root1), safe_reciprocal(root1)))

    @jax.checkpoint
    def term(x: Array, w: Array, rho: Array, s: Array, root1: Array, root2: Array) -> Array:
        center = root2 * rho * x
        ys, vs = _nodes(_ends(g.kinks, center, safe_reciprocal(root2 * s)))
        return w * f(root1 * x) * jnp.sum(vs * g(center[None] + (root2 * s)[None] * ys), axis=0)

    def step(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        return total + term(*node, rho, s, root1, root2), None

    return lax.scan(step, jnp.zeros_like(rho), (xs, ws))[0]
