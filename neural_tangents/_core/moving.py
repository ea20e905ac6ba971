"""Which arguments of a function with a custom rule change, and functions of these alone."""

from collections.abc import Sequence
from typing import Any

from jax.custom_derivatives import SymbolicZero


def moving(changes: Sequence[Any]) -> list[int]:
    """The places of arguments that change, from the changes that a rule with symbolic zeros is given."""
    return [place for place, change in enumerate(changes) if not isinstance(change, SymbolicZero)]


def moved(values: Sequence[Any], places: Sequence[int], some: Sequence[Any]) -> list[Any]:
    """Values, with others in some places."""
    others = dict(zip(places, some, strict=True))
    return [others.get(place, value) for place, value in enumerate(values)]
