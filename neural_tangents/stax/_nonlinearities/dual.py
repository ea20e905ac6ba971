"""The record that describes a nonlinearity to the kernel machinery.

Its expectations as functions of the covariances of `u` and `v` are what the literature calls the *dual activation* of
`f` and of `f'`, hence the name of the record. Elsewhere "activations" are outputs of layers, and `f` a nonlinearity.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance


class Dual(NamedTuple):
    """A nonlinearity `f` as data: what a finite network computes and what an infinite one does.

    For jointly Gaussian `(u, v)` with zero mean, variances `q1`, `q2` and covariance `k`,

        moments(k, q1, q2) = (E[f(u) f(v)], E[f'(u) f'(v)]),      variance(q) = E[f(u)^2] with E[u^2] = q,

        moments(k, q1, q2) = pair_moments(k, prepare(q1), prepare(q2)).

    The cosine distance `1 - |k| / sqrt(q1 q2)` of `u` and `v` tells small angles apart where `k` does not.

    Attributes:
      fn: `f`, applied entrywise; `None` where only the kernel is known.
      pair_moments: maps arrays that broadcast against each other (of equal rank) to a pair of arrays of `k`'s shape.
      variance: maps an array of variances to an array of its shape; equals `moments(q, q, q)[0]`.
      prepare: maps an array of variances to one of its shape: what can be computed for each input by itself, once, and
        not for each pair of inputs.
      vanishes: whether it is known that `f(0) = 0`, so that covariances with what is masked, which are 0, stay 0; and
        that for `q1 = 0` moments are finite for any `k`.
      with_distance: `(k, prepare(q1), prepare(q2), distance) -> (*moments, distance)`, the latter that of `f(u)` and
        `f(v)`; None if it is not known, and found from covariances where a later layer needs it.
      small_angles: whether moments depend on small angles so much that they need the distance.
      in_layout: `(k, q1, q2, spread, distance) -> moments`, for variances of the inputs of two batches, where more is
        computed for each input than `prepare` can hold; `spread(a, b)` makes arrays of their shapes broadcast against
        `k`; distances, or None where they are not known. None to use `pair_moments`.
      of_user: whether moments are formulas of a user, which may be infinite unless `k` is the covariance of vectors.
    """

    fn: Callable[[Array], Array] | None
    pair_moments: Callable[[Array, Array, Array], tuple[Array, Array]]
    variance: Callable[[Array], Array]
    prepare: Callable[[Array], Array] = lambda q: q
    vanishes: bool = False
    with_distance: Callable[[Array, Array, Array, CosineDistance], tuple[Array, Array, CosineDistance]] | None = None
    small_angles: bool = False
    in_layout: Callable[[Array, Array, Array, Callable[..., Any], Array | None], tuple[Array, Array]] | None = None
    of_user: bool = False

    def moments(self, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """Both moments, from the covariance and the variances."""
        return self.pair_moments(k, self.prepare(q1), self.prepare(q2))
