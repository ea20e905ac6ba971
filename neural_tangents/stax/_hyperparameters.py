"""Checks of the hyper-parameters that layers share. Errors name the layer and the argument, and say what is needed."""

import enum
import math
import numbers
import operator
from typing import Any, TypeVar

import jax.numpy as jnp

E = TypeVar("E", bound=enum.Enum)


def integer(layer: str, argument: str, value: Any, least: int | None = 1) -> int:
    """A whole number: a width, a size, or, with `least=None`, an axis.

    Raises:
      TypeError: it is of another type, such as a float.
      ValueError: it is smaller than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{layer} needs a whole number as `{argument}`, got {value!r}.") from None
    if least is not None and number < least:
        raise ValueError(f"{layer} needs `{argument}` of at least {least}, got {number}.")
    return number


def integers(layer: str, argument: str, values: Any, least: int | None = 1, where: str = "spatial axis") -> tuple:
    """A tuple of whole numbers, one for each axis of the kind that `where` names.

    Raises:
      TypeError: it is a single number, or numbers are not whole.
      ValueError: a number is smaller than `least`.
    """
    try:
        sizes = tuple(map(operator.index, values))
    except TypeError:
        advice = f" For two of them write `({values}, {values})`." if isinstance(values, int) else ""
        raise TypeError(
            f"{layer} needs a tuple of whole numbers as `{argument}`, one for each {where}, got {values!r}.{advice}"
        ) from None
    if least is not None and min(sizes, default=least) < least:
        raise ValueError(f"{layer} needs `{argument}` of at least {least}, got {sizes}.")
    return sizes


def degree_of(layer: str, degree: Any, largest: float = math.inf) -> int:
    """The degree of a polynomial: a whole number, also as a float.

    Raises:
      NotImplementedError: it is not whole, is negative, or is larger than `largest`.
    """
    if not 0 <= number(layer, "degree", degree) <= largest or degree != int(degree):
        allowed = "0 or more" if largest == math.inf else f"from 0 to {largest}"
        raise NotImplementedError(f"{layer} needs a whole number, {allowed}, as `degree`, got {degree}.")
    return int(degree)


def check_axes(layer: str, **axes: Any) -> None:
    """Raises a `TypeError` if one of some axes, passed by the names of arguments, is not a whole number."""
    for argument, axis in axes.items():
        integer(layer, argument, axis, least=None)


def number(layer: str, argument: str, value: Any) -> Any:
    """A single real number: a Python or NumPy one, or an array of one number, which may be traced.

    Raises:
      TypeError: it is something else, such as None, a string, or an array of several numbers.
    """
    if hasattr(value, "dtype"):
        kinds = (jnp.integer, jnp.floating, jnp.bool_)
        is_number = value.size == 1 and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    else:
        is_number = isinstance(value, numbers.Real)
    if not is_number:
        got = f"an array of shape {value.shape}" if getattr(value, "shape", ()) else repr(value)
        raise TypeError(f"{layer} needs a single real number as `{argument}`, got {got}.")
    return value


def check_numbers(layer: str, **values: Any) -> None:
    """Raises a `TypeError` if one of some values, passed by the names of arguments, is not a single real number."""
    for argument, value in values.items():
        number(layer, argument, value)


def check_function(layer: str, argument: str, value: Any, optional: bool = False) -> None:
    """Raises a `TypeError` if a value is not a function; None will do if it is `optional`."""
    if not (callable(value) or (optional and value is None)):
        raise TypeError(f"{layer} needs a function as `{argument}`, got {value!r}.")


def member(layer: str, kind: type[E], value: Any) -> E:
    """The member of an enumeration, given itself or by its name.

    Raises:
      ValueError: there is none of this name.
    """
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"{layer}: {error}") from None
