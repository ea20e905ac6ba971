"""The parts of jax that come without a promise of stability, or differ between its releases."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import core as jex


def is_literal(atom: Any) -> bool:
    """Whether an operand of an equation of a jaxpr is a number written into it, and not a variable."""
    return isinstance(atom, jex.Literal)


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr inside of a closed one, and its constants; some releases, and some primitives, do not close theirs."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


def bind(jaxpr: Any, eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of one equation of a jaxpr for some operands, with the derivatives that its primitive defines."""
    variables = {}
    for atom, operand in zip(eqn.invars, operands, strict=True):
        if not is_literal(atom):
            variables[atom] = operand
    alone = jaxpr.replace(constvars=[], invars=list(variables), outvars=eqn.outvars, eqns=[eqn])
    return jax.core.eval_jaxpr(alone, (), *variables.values())
