"""Records of nonlinearities whose moments are known as functions of angles and standard deviations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from neural_tangents._core.compiled import separated
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.cosine_distance import of_covariance
from neural_tangents._core.numerics import as_floats, length, safe_reciprocal
from neural_tangents.stax._nonlinearities.dual import Dual

# Two arrays, one for each batch of inputs, as arrays that broadcast against the covariance: `Layout.spread`.
Spread = Callable[[Array, Array], tuple[Array, Array]]

# Below this distance, derivatives of the second moment are those there: they may be infinite for parallel inputs.
_FLOOR = {"float32": 1e-4, "float64": 1e-8}
# At most so many pairs with standard deviations of their own at a time.
_BLOCK = 2**14


class Pairs(NamedTuple):
    """Pairs of Gaussians.

    Attributes:
      k: covariances, of which only the signs matter.
      distance: cosine distances.
      r1: standard deviations of the first batch.
      r2: standard deviations of the second batch.
    """

    k: Array
    distance: Array
    r1: Array
    r2: Array

    @property
    def correlation(self) -> Array:
        """The correlations, with the signs of covariances."""
        return jnp.where(self.k < 0, self.distance - 1, 1 - self.distance)


# `(pairs, spread, shortest) -> (E[f(u) f(v)], E[f'(u) f'(v)])`. If `shortest`, the derivatives need not be right.
Moments = Callable[[Pairs, Spread, bool], tuple[Array, ...]]


def polar(fn: Callable[[Array], Array], moments: Moments, square: Callable[[Array], Array], vanishes: bool) -> Dual:
    """The record of a nonlinearity.

    Args:
      fn: the nonlinearity, applied entrywise.
      moments: its moments. Its derivatives at fixed angles are taken automatically.
      square: `E[f(u)^2]` as a function of standard deviations.
      vanishes: whether it is known that `fn(0) = 0`.
    """

    def in_layout(
        k: Array, q1: Array, q2: Array, spread: Spread, distance: Array | None = None, shortest: bool = True
    ) -> tuple[Array, Array]:
        k, q1, q2 = as_floats(k, q1, q2)
        exact = jax.tree.map(lambda x: x.astype(jnp.promote_types(k.dtype, jnp.float32)), (k, q1, q2, distance))
        nngp, k_dot = _differentiable(moments, spread, shortest, *exact)
        return nngp.astype(k.dtype), k_dot.astype(k.dtype)

    def pair_moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        k, q1, q2 = as_floats(k, q1, q2)
        if k.size <= _BLOCK or not k.shape == q1.shape == q2.shape:
            return in_layout(k, q1, q2, _as_they_are, shortest=False)
        padded = [jnp.pad(x.ravel(), (0, -x.size % _BLOCK)).reshape(-1, _BLOCK) for x in (k, q1, q2)]
        results = lax.map(
            lambda block: in_layout(block[0], block[1], block[2], _as_they_are, shortest=False), tuple(padded)
        )
        nngp, k_dot = (x.ravel()[: k.size].reshape(k.shape) for x in results)
        return nngp, k_dot

    def variance(q: Array) -> Array:
        (q,) = as_floats(q)
        return square(length(q.astype(jnp.promote_types(q.dtype, jnp.float32)))).astype(q.dtype)

    return Dual(
        fn=fn,
        pair_moments=pair_moments,
        variance=variance,
        vanishes=vanishes,
        small_angles=True,
        in_layout=in_layout,
    )


def _as_they_are(a: Array, b: Array) -> tuple[Array, Array]:
    return a, b


def _differentiable(
    moments: Moments, spread: Spread, shortest: bool, k: Array, q1: Array, q2: Array, distance: Array | None
) -> tuple[Array, ...]:
    # A rule for derivatives may depend on no traced values but its arguments: those that `spread` holds are arguments.
    traced, rest = separated(spread, lambda x: not is_concrete(x))

    def distances(spread: Spread, k: Array, q1: Array, q2: Array, known: Array | None) -> Array:
        return of_covariance(k, *spread(length(q1), length(q2))).value if known is None else known

    @jax.custom_jvp
    def of_covariances(k: Array, q1: Array, q2: Array, known: Array | None, *traced: Array) -> tuple[Array, ...]:
        spread = rest.filled(traced)
        return moments(Pairs(k, distances(spread, k, q1, q2, known), length(q1), length(q2)), spread, shortest)

    def derivative(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
        """At a given angle, moments are smooth functions of the deviations. In `k`, that of the first is the second."""
        (k, q1, q2, known, *traced), (dk, dq1, dq2, *_) = primals, tangents
        spread = rest.filled(traced)
        distance = distances(spread, k, q1, q2, known)

        @jax.checkpoint
        def at(distance: Array, q1: Array, q2: Array) -> tuple[Array, ...]:
            return moments(Pairs(k, distance, length(q1), length(q2)), spread, False)

        # Partial derivatives of all pairs, each computed once, however many directions there are.
        away = jnp.maximum(distance, _FLOOR[k.dtype.name])
        by_distance = _partial(lambda distance: at(distance, q1, q2)[1], away)[1]
        inverse1, inverse2 = spread(safe_reciprocal(length(q1)), safe_reciprocal(length(q2)))
        curvature = jnp.where(k < 0, by_distance, -by_distance) * (inverse1 * inverse2)
        partial, values = [], None
        if not isinstance(dq1, SymbolicZero):
            values, by_q1 = _partial(lambda q1: at(distance, q1, q2), q1)
            partial.append((by_q1, spread(dq1, jnp.zeros_like(q2))[0]))
        if not isinstance(dq2, SymbolicZero):
            values, by_q2 = _partial(lambda q2: at(distance, q1, q2), q2)
            partial.append((by_q2, spread(jnp.zeros_like(q1), dq2)[1]))
        values = at(distance, q1, q2) if values is None else values
        dk, dq1, dq2 = map(_instantiated, (dk, dq1, dq2), (k, q1, q2))
        dlog1, dlog2 = spread(safe_reciprocal(q1) * dq1 / 2, safe_reciprocal(q2) * dq2 / 2)
        turn = dk - k * (dlog1 + dlog2)
        changes = [values[1] * turn, curvature * turn]
        for by, dq in partial:
            changes = [change + part * dq for change, part in zip(changes, by, strict=True)]
        return values, tuple(changes)

    of_covariances.defjvp(derivative, symbolic_zeros=True)
    return of_covariances(k, q1, q2, distance, *traced)


def _partial(fn: Callable[[Array], Any], x: Array) -> tuple[Any, Any]:
    """Results, each of which depends on one entry of `x` alone, and their derivatives in this entry."""
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))


def _instantiated(tangent: Any, like: Array) -> Array:
    return jnp.zeros_like(like) if isinstance(tangent, SymbolicZero) else tangent
