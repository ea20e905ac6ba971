"""Functions of NumPy arrays that programs for CPUs call, and what takes their place where no program can.

`jax.pure_callback` makes arrays of jax of what it passes on. On a CPU that takes a thread of XLA, while the call
occupies one: with few cores, both wait for ever. What is called here gets NumPy arrays, and needs no thread of XLA.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._compat import is_for_this_cpu, lowered_function, lowered_host_call, new_primitive
from neural_tangents._core.types import PyTree


def host_call(function: Callable[..., Sequence[Any]], results: Sequence[Any], *arrays: Array) -> list[Array]:
    """What a function makes of NumPy arrays; only within the first argument of `on_cpu`.

    Args:
      function: takes NumPy arrays, and returns as many arrays as `results` has.
      results: their shapes and types.
      *arrays: its arguments.
    """
    return _HOST_CALL.bind(*arrays, function=function, results=tuple(results))


def on_cpu(function: Callable[..., PyTree], elsewhere: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """`function(*args)` in programs that run here, on a CPU; `elsewhere(*args)` outside of programs and in all others.

    Args:
      function: may make use of `host_call`.
      elsewhere: has results of the same shapes and types.
      *args: all that either depends on and that may be traced.
    """
    leaves, structure = jax.tree.flatten(args)

    def flat(*leaves: Array) -> PyTree:
        return function(*jax.tree.unflatten(structure, leaves))

    def flat_elsewhere(*leaves: Array) -> list[Array]:
        return jax.tree.leaves(elsewhere(*jax.tree.unflatten(structure, leaves)))

    program: Any = jax.make_jaxpr(flat)(*leaves)
    here = functools.partial(jax.core.eval_jaxpr, program.jaxpr, program.consts)
    shapes = jax.eval_shape(flat, *leaves)
    results = tuple(jax.tree.leaves(shapes))
    return jax.tree.unflatten(
        jax.tree.structure(shapes), _ON_CPU.bind(*leaves, here=here, elsewhere=flat_elsewhere, results=results)
    )


def _lowered(ctx: Any, *leaves: Any, here: Any, elsewhere: Any, results: Any) -> Any:
    return lowered_function(here if is_for_this_cpu(ctx) else elsewhere, ctx, leaves)


def _batched(leaves: Sequence[Array], axes: Sequence[Any], *, here: Any, elsewhere: Any, results: Any) -> Any:
    found = on_cpu(jax.vmap(here, axes), jax.vmap(elsewhere, axes), *leaves)
    return found, [0] * len(found)


def _lowered_call(ctx: Any, *arrays: Any, function: Any, results: Any) -> Any:
    return lowered_host_call(function, ctx, arrays)


def _batched_call(arrays: Sequence[Array], axes: Sequence[Any], *, function: Any, results: Any) -> Any:
    """One call after the other."""
    mapped = [jnp.moveaxis(x, axis, 0) for x, axis in zip(arrays, axes, strict=True) if axis is not None]

    def of_one(some: list[Array]) -> list[Array]:
        rest = iter(some)
        args = [x if axis is None else next(rest) for x, axis in zip(arrays, axes, strict=True)]
        return host_call(function, results, *args)

    found = jax.lax.map(of_one, mapped)
    return found, [0] * len(found)


_HOST_CALL = new_primitive("host_call", _lowered_call, _batched_call)
_ON_CPU = new_primitive("on_cpu", _lowered, _batched)
_ON_CPU.def_impl(lambda *leaves, here, elsewhere, results: elsewhere(*leaves))
