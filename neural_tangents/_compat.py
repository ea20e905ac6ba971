"""The parts of jax that are not promised to be stable, or that differ between its releases."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import core as jex


def is_literal(atom: Any) -> bool:
    """Whether an operand of an equation of a jaxpr is a literal number, not a variable."""
    return isinstance(atom, jex.Literal)


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr inside a closed one, and its constants; in some releases, and for some primitives, it is not closed."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


def bind(jaxpr: Any, eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of one equation of a jaxpr for given operands, with the derivatives that its primitive defines."""
    variables = {}
    for atom, operand in zip(eqn.invars, operands, strict=True):
        if not is_literal(atom):
            variables[atom] = operand
    alone = jaxpr.replace(constvars=[], invars=list(variables), outvars=eqn.outvars, eqns=[eqn])
    return jax.core.eval_jaxpr(alone, (), *variables.values())
