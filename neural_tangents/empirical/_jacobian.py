"""Jacobians as arrays."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.mesh_axes import varying_like
from neural_tangents._core.types import PyTree


def unit_cotangents(like: Any) -> jax.Array:
    """All unit vectors of the space of an array, `(size, *shape)`."""
    size = math.prod(like.shape)
    return varying_like(jnp.eye(size, dtype=like.dtype).reshape(size, *like.shape), like)


def row(pull: Callable[[list[Any]], list[jax.Array]], outputs: Sequence[Any], leaf: int, unit: jax.Array) -> Any:
    """The row of the Jacobian for one entry of one output, given as a unit cotangent, for each leaf of the parameters.

    With respect to complex parameters the network is taken to be holomorphic, or, if it is real, to have the derivative
    `∂f/∂x - i ∂f/∂y`, as `jax.grad` does. `pull` maps cotangents of all outputs to those of the parameters.
    """

    def of(cotangent: jax.Array) -> list[jax.Array]:
        return pull([cotangent if i == leaf else jnp.zeros_like(out) for i, out in enumerate(outputs)])

    found = of(unit)
    if not jnp.iscomplexobj(unit) or all(map(jnp.iscomplexobj, found)):
        return found
    # Cotangents of real parameters are real parts; the imaginary ones are found by turning the output.
    turned = of(-1j * unit)
    return [r if jnp.iscomplexobj(r) else r + 1j * t for r, t in zip(found, turned, strict=True)]


def jacobian(f: Callable[[PyTree], list[jax.Array]], params: PyTree) -> list[list[jax.Array]]:
    """Derivatives of each output with respect to each leaf of the parameters, `(output size, *leaf.shape)`."""
    outputs, pull = vjp_of_leaves(f, params)
    return [
        jax.vmap(functools.partial(row, pull, outputs, leaf))(unit_cotangents(out)) for leaf, out in enumerate(outputs)
    ]


def vjp_of_leaves(
    f: Callable[[PyTree], list[jax.Array]], params: PyTree
) -> tuple[list[jax.Array], Callable[[list[Any]], list[jax.Array]]]:
    """The outputs of `f`, and the map of their cotangents to those of the leaves of the parameters."""
    outputs, vjp = jax.vjp(f, params)
    return outputs, lambda cotangents: jax.tree.leaves(vjp(cotangents)[0])
