"""Compiling functions of arguments that are not all arrays."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from neural_tangents._core.types import PyTree


def compiled(fn: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`fn`, compiled once for each set of shapes of the arrays, and of values of all else, in its arguments.

    Arrays and floating-point numbers are traced. What is the same array in several places of the arguments is the same
    one within `fn` too. `fn` is called without being compiled if something else in its arguments cannot be hashed, or
    if it needs the values of arrays.
    """

    @functools.partial(jax.jit, static_argnums=1)
    def of_traced(traced: list[Any], rest: _Rest) -> PyTree:
        args, kwargs = rest.filled(traced)
        return fn(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> PyTree:
        traced, rest = separated((args, kwargs), _is_traced)
        try:
            hash(rest)
        except TypeError:
            return fn(*args, **kwargs)
        try:
            return of_traced(traced, rest)
        except jax.errors.JAXTypeError:  # a value was needed
            pass
        return fn(*args, **kwargs)

    return call


@dataclasses.dataclass(frozen=True)
class _Rest:
    """Arguments without what is traced in them.

    Attributes:
      places: for each leaf, its number among traced values, or None.
      values: for each leaf, its type and value, or None if it is traced.
      structure: of the arguments.
    """

    places: tuple[int | None, ...]
    values: tuple[tuple[type, Any] | None, ...]
    structure: Any

    def filled(self, traced: Sequence[Any]) -> Any:
        """The arguments, with traced values, in the order in which `separated` returned them."""
        leaves = [
            value[1] if value is not None else traced[place]  # type: ignore[index]
            for place, value in zip(self.places, self.values, strict=True)
        ]
        return jax.tree.unflatten(self.structure, leaves)


def separated(arguments: Any, is_traced: Callable[[Any], bool]) -> tuple[list[Any], _Rest]:
    """Different values that are to be traced, each once, and all else."""
    leaves, structure = jax.tree.flatten(arguments)
    found = {id(leaf): leaf for leaf in leaves if is_traced(leaf)}
    numbers = {key: number for number, key in enumerate(found)}
    places = tuple(numbers.get(id(leaf)) for leaf in leaves)
    values = tuple(None if id(leaf) in found else (type(leaf), leaf) for leaf in leaves)
    return list(found.values()), _Rest(places, values, structure)


def _is_traced(leaf: Any) -> bool:
    return (
        isinstance(leaf, jax.Array | float | np.floating)
        or isinstance(leaf, np.ndarray)
        and leaf.dtype.kind not in "OSUMm"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether a program has failed since there is not enough memory for it."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
