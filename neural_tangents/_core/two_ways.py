"""Functions that are evaluated in one way where only values are needed, and in another where derivatives are."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.compiled import separated
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.moving import moved, moving
from neural_tangents._core.undivided import undivided


def two_ways(fn: Callable[..., Any], with_derivatives: Callable[..., Any], *args: Any, forward: int = 0) -> Any:
    """`fn(*args)`, with the derivatives of another function, which has the same values.

    Args:
      fn: a function that depends on no traced values but its arguments.
      with_derivatives: another one.
      *args: pytrees; what is known of them remains so, and only what changes is differentiated.
      forward: if no more than so many numbers change, and nothing else, derivatives in each of them are carried forward
        beside the values, also where a pass backward is asked for: it then needs nothing but them.
    """
    traced, rest = separated(args, lambda x: not is_concrete(x))

    @jax.custom_jvp
    def of_traced(*values: Any) -> Any:
        return fn(*rest.filled(values))

    def of_moving(values: Sequence[Any], places: Sequence[int], *some: Any) -> Any:
        return with_derivatives(*rest.filled(moved(values, places, some)))

    def derivative(values: Sequence[Any], changes: Sequence[Any]) -> Any:
        places = moving(changes)
        some, changed = [values[i] for i in places], [changes[i] for i in places]
        if len(places) <= forward and all(jnp.ndim(x) == 0 for x in some):
            return _in_numbers(of_moving, values, places, changed)
        return jax.jvp(functools.partial(of_moving, values, places), some, changed)

    of_traced.defjvp(derivative, symbolic_zeros=True)
    return of_traced(*traced)


def _in_numbers(
    fn: Callable[..., Any], values: Sequence[Any], places: Sequence[int], changes: Sequence[Array]
) -> tuple[Any, Any]:
    """`fn(values, places, *numbers)` at the numbers in some places, and its derivative, from that in each number."""

    def along_each(*values: Any) -> tuple[Any, Any]:
        numbers = [values[i] for i in places]
        each = [jnp.arange(len(numbers)) == i for i in range(len(numbers))]
        directions = [along.astype(jnp.result_type(x)) for along, x in zip(each, numbers, strict=True)]
        of_numbers = functools.partial(fn, values, places)
        return jax.vmap(lambda along: jax.jvp(of_numbers, numbers, along), out_axes=(None, 0))(directions)

    def total(partial: Array) -> Any:
        if partial.dtype == jax.dtypes.float0:  # of what is no floating-point number
            return np.zeros(partial.shape[1:], partial.dtype)
        return functools.reduce(operator.add, (part * change for part, change in zip(partial, changes, strict=True)))

    found, partial = undivided(along_each, *values)
    return found, jax.tree.map(total, partial)
