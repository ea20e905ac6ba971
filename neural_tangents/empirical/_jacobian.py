"""Jacobians as arrays."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.mesh_axes import varying_like
from neural_tangents._core.types import PyTree
from neural_tangents.empirical._complex_products import product_with_transpose


def unit_cotangents(like: Any) -> jax.Array:
    """All unit vectors of the space of an array, `(size, *shape)`."""
    size = math.prod(like.shape)
    return varying_like(jnp.eye(size, dtype=like.dtype).reshape(size, *like.shape), like)


def row(pull: Callable[[list[Any]], list[jax.Array]], outputs: Sequence[Any], leaf: int, unit: jax.Array) -> Any:
    """The row of the Jacobian for one entry of one output, given as a unit cotangent, for each leaf of the parameters.

    `pull` maps cotangents of all outputs to those of the parameters.
    """
    return product_with_transpose(pull, outputs, [unit if i == leaf else None for i in range(len(outputs))])


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
