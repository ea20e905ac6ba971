"""Values that vary along axes of a mesh inside `jax.shard_map`, whose default check treats this as part of their type.

A constant does not vary, and neither do parameters that all devices share. Most functions of jax accept both kinds
together; loops, conditionals and derivatives do not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from neural_tangents._compat import cast_to_varying, varying_axes
from neural_tangents._core.types import PyTree, Shape


def varying_like(tree: PyTree, *others: PyTree) -> PyTree:
    """`tree`, each of whose arrays varies along all axes of a mesh that any array of `others` varies along."""
    axes = axes_of(others)

    def cast(x: Any) -> Any:
        more = axes - varying_axes(x)
        return cast_to_varying(x, tuple(sorted(more))) if more else x

    return jax.tree.map(cast, tree) if axes else tree


def axes_of(tree: PyTree) -> frozenset[str]:
    """The axes of a mesh that any array of a tree varies along."""
    return frozenset().union(*map(varying_axes, jax.tree.leaves(tree)))


def struct_like(x: Any, shape: Shape) -> Any:
    """What stands for an array of another shape that is like `x` in all else."""
    if not varying_axes(x):
        return jax.ShapeDtypeStruct(shape, x.dtype)
    return jax.eval_shape(lambda x: varying_like(lax.full_like(x, 0, shape=shape), x), x)


def cond(predicate: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], *operands: Any) -> Any:
    """`jax.lax.cond`, whose results may vary along axes of a mesh in one case only."""
    return lax.cond(predicate, *_alike([if_true, if_false], operands), *operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`jax.lax.switch`, whose results may vary along axes of a mesh in some cases only."""
    return lax.switch(index, _alike(branches, operands), *operands)


def _alike(branches: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Sequence[Callable[..., Any]]:
    """Functions whose results vary along all axes of a mesh that those of any of them vary along."""
    if not inside_shard_map():
        return branches
    results = [jax.eval_shape(branch, *operands) for branch in branches]

    def alike(branch: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *operands: jax.tree.map(varying_like, branch(*operands), *results)

    return [alike(branch) for branch in branches]


def while_loop(condition: Callable[[Any], Any], step: Callable[[Any], Any], start: Any) -> Any:
    """`jax.lax.while_loop`, whose carry may start as constants where the steps make it vary along axes of a mesh."""
    return lax.while_loop(condition, step, _varying_as_after(step, start))


def scan(step: Callable[[Any, Any], tuple[Any, Any]], start: Any, xs: Any, length: int | None = None) -> Any:
    """`jax.lax.scan`, whose carry may start as constants where the steps make it vary along axes of a mesh."""
    if inside_shard_map():
        element = jax.tree.map(lambda x: struct_like(x, x.shape[1:]), xs)
        start = _varying_as_after(lambda *args: step(*args)[0], start, element)
    return lax.scan(step, start, xs, length)


def _varying_as_after(step: Callable[..., Any], carry: Any, *element: Any) -> Any:
    """What a loop starts with, varying along all axes of a mesh that the results of its steps vary along."""
    before: Any = None
    while inside_shard_map() and before != (before := list(map(varying_axes, jax.tree.leaves(carry)))):
        carry = jax.tree.map(varying_like, carry, jax.eval_shape(step, carry, *element))
    return carry


def inside_shard_map() -> bool:
    """Whether a function that `jax.shard_map` spreads over a mesh is being traced."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)
