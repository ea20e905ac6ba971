"""One driver for all nonlinearities: from a `Dual` record to a layer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec, Leaf


def nonlinearity(name: str, dual: Dual, label: str | None = None) -> LayerSpec:
    """The layer that applies a nonlinearity to each entry.

    With variances `q1`, `q2` at the matching inputs and positions, `nngp, k_dot = dual.moments(nngp, q1, q2)` and
    `ntk = k_dot * ntk`.

    Args:
      name: name of the layer's functions.
      dual: the nonlinearity.
      label: what users call the layer; None if this is `name`.
    """
    label = label or name

    def apply(params: Any, x: Any) -> Any:
        if dual.fn is None:
            raise NotImplementedError(f"{label} has only a kernel: no function was given or is known.")
        return dual.fn(x)

    def kernel(k: Kernel) -> Kernel:
        if not k.is_gaussian:
            raise ValueError(
                f"{label} needs a Gaussian input, got the output of a nonlinearity or of another layer without random "
                "weights, or the inputs of the network. Insert a `Dense` layer before it."
            )
        return of_formulas(k.for_users()).from_users() if dual.of_user else of_formulas(k)

    def of_formulas(k: Kernel) -> Kernel:
        layout = k.layout
        k = k if dual.vanishes else k.replace(nngp=layout.without_gap(k.nngp), distance=k.distance)
        distance = None
        q1, q2 = k.variances
        if k.nngp.ndim == q1.ndim:  # made by hand, with one covariance for each variance
            nngp, k_dot = dual.moments(k.nngp, q1, q2)
        else:
            # Over the layers of a deep network, rounding makes covariances and variances drift apart.
            one = dual.prepare(layout.variance(k.cov1))
            prepared = layout.spread(one, one if k.cov2 is None else dual.prepare(q2))
            if k.distance is None or dual.with_distance is None:
                nngp = k.nngp
                if k.one_batch:
                    nngp = layout.tie(nngp, layout.spread(q1, q2)[0], layout.is_same(nngp))
                if dual.in_layout is None:
                    nngp, k_dot = dual.pair_moments(nngp, *prepared)
                else:
                    known = None if k.distance is None else k.distance.value
                    nngp, k_dot = dual.in_layout(nngp, q1, q2, _Spread(layout), known)
            else:
                nngp, k_dot, distance = dual.with_distance(k.nngp, *prepared, k.distance)
        return k.replace(
            nngp=nngp,
            ntk=None if k.ntk is None else k_dot * k.ntk,
            cov1=_own(k.cov1, q1, k, dual),
            cov2=None if k.cov2 is None else _own(k.cov2, q2, k, dual),
            is_gaussian=False,
            distance=distance,
        )

    requirements = Requirements(diagonal_spatial=Diagonal(Bool.YES, Bool.NO))
    if dual.small_angles:
        requirements = dataclasses.replace(requirements, small_angles=True)
    return Leaf(
        name,
        apply=apply,
        kernel=kernel,
        remask=not dual.vanishes,
        requirements=requirements,
        positions="each",
    ).spec()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Spread:
    """`Layout.spread`, the same function for equal layouts, so that what it is static for is compiled once.

    A pytree, since the layout of a slab has arrays.
    """

    layout: Layout

    def __call__(self, x: Any, y: Any) -> tuple[Any, Any]:
        return self.layout.spread(x, y)


def _own(cov: Any, q: Any, k: Kernel, dual: Dual) -> Any:
    """The covariance of one batch with itself after the nonlinearity."""
    if k.diagonal_batch and (k.diagonal_spatial or cov.ndim == 1):
        return dual.variance(cov)
    v1, v2 = k.layout.spread_own(q)
    return jnp.where(k.layout.is_same_own(cov), dual.variance(v1), dual.moments(cov, v1, v2)[0])
