"""How long a function takes, from a count of its arithmetic."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from neural_tangents._compat import opened

TRAFFIC = 8.0  # how many multiplications take as long as moving one number to or from memory


def arithmetic(jaxpr: Any) -> float:
    """The multiplications of matrix products and convolutions, plus `TRAFFIC` for each number that any step writes.

    A loop counts as often as it runs, if that is known; a conditional as its dearest branch.
    """
    total = 0.0
    for eqn in opened(jaxpr)[0].eqns:
        inner = [arithmetic(j) for j in _inner(eqn)]
        if inner:
            total += (max(inner) if eqn.primitive.name == "cond" else sum(inner)) * eqn.params.get("length", 1)
        else:
            total += _multiplications(eqn) + TRAFFIC * sum(math.prod(var.aval.shape) for var in eqn.outvars)
    return total


def has_primitive(jaxpr: Any, name: str) -> bool:
    """Whether a jaxpr, or one inside it, uses a primitive of this name."""
    return any(eqn.primitive.name == name for eqn in equations(opened(jaxpr)[0].eqns))


def equations(eqns: Iterable[Any]) -> Iterator[Any]:
    """Equations, and those of the jaxprs that they call."""
    for eqn in eqns:
        yield eqn
        for jaxpr in _inner(eqn):
            yield from equations(opened(jaxpr)[0].eqns)


def _inner(eqn: Any) -> Iterator[Any]:
    """The jaxprs that an equation calls."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            if hasattr(item, "eqns"):
                yield item


def _multiplications(eqn: Any) -> float:
    """How many multiplications a matrix product or a convolution takes; 0 for other operations."""
    name, size = eqn.primitive.name, math.prod(eqn.outvars[0].aval.shape) if eqn.outvars else 0
    if name == "dot_general":
        (contracting, _), _ = eqn.params["dimension_numbers"]
        return float(size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracting))
    if name == "conv_general_dilated":
        filters, spec = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"].rhs_spec
        return float(size * math.prod(filters) // max(1, filters[spec[0]]))
    return 0.0
