"""Functions that are evaluated in one way where only values are needed, and in another where derivatives are."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from neural_tangents._core.compiled import separated
from neural_tangents._core.concrete import is_concrete


def two_ways(fn: Callable[..., Any], with_derivatives: Callable[..., Any], *args: Any) -> Any:
    """`fn(*args)`, with the derivatives of another function, which has the same values.

    Args:
      fn: a function that depends on no traced values but its arguments.
      with_derivatives: another one.
      *args: pytrees; what is known of them remains so, and only what changes is differentiated.
    """
    traced, rest = separated(args, lambda x: not is_concrete(x))

    @jax.custom_jvp
    def of_traced(*values: Any) -> Any:
        return fn(*rest.filled(values))

    def derivative(values: Sequence[Any], changes: Sequence[Any]) -> Any:
        moving = [i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero)]

        def of_moving(*some: Any) -> Any:
            moved = dict(zip(moving, some, strict=True))
            return with_derivatives(*rest.filled([moved.get(i, x) for i, x in enumerate(values)]))

        return jax.jvp(of_moving, [values[i] for i in moving], [changes[i] for i in moving])

    of_traced.defjvp(derivative, symbolic_zeros=True)
    return of_traced(*traced)
