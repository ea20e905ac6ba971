"""Functions as lists of steps, read from their jaxprs: calls are replaced by the steps that they contain."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from neural_tangents._compat import is_literal

# Calls without derivatives of their own, with the name of the parameter that holds their steps.
PLAIN_CALLS = {
    **{name: "jaxpr" for name in ("jit", "pjit", "checkpoint", "remat", "remat2")},
    **{name: "call_jaxpr" for name in ("closed_call", "core_call")},
}


@dataclasses.dataclass(frozen=True, eq=False)
class StepOfJaxpr:
    """One equation of a jaxpr, with the numbers of the values that it takes and of those that it makes."""

    jaxpr: Any
    eqn: Any
    operands: tuple[int, ...]
    results: tuple[int, ...]


S = TypeVar("S", bound=StepOfJaxpr)


class ProgramReader(Generic[S]):
    """Reads jaxprs into one list of steps on numbered values. Subclasses say what becomes of an equation.

    Attributes:
      steps: in an order in which they can be run.
      constants: known values, by number.
      avals: shape and type of each value.
    """

    def __init__(self) -> None:
        self.steps: list[S] = []
        self.constants: dict[int, Any] = {}
        self.avals: dict[int, Any] = {}

    def new(self, aval: Any) -> int:
        """The number of a new value."""
        self.avals[len(self.avals)] = aval
        return len(self.avals) - 1

    def constant(self, value: Any) -> int:
        """The number of a known value."""
        number = self.new(jax.typeof(value))
        self.constants[number] = value
        return number

    def read(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        """Appends the steps of a jaxpr; returns the numbers of its results."""
        names = dict(zip(jaxpr.constvars, map(self.constant, constants), strict=True))
        names.update(zip(jaxpr.invars, inputs, strict=True))

        def number(atom: Any) -> int:
            return self.constant(np.asarray(atom.val, atom.aval.dtype)) if is_literal(atom) else names[atom]

        for eqn in jaxpr.eqns:
            results = self.read_equation(jaxpr, eqn, [number(atom) for atom in eqn.invars])
            names.update(zip(eqn.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def read_equation(self, jaxpr: Any, eqn: Any, operands: list[int]) -> list[int]:
        """Appends the steps of an equation; returns the numbers of its results."""
        raise NotImplementedError

    def needed(self, outputs: Collection[int]) -> list[S]:
        """The steps that outputs, or later ones of these steps, need."""
        numbers, steps = set(outputs), []
        for step in reversed(self.steps):
            if numbers.intersection(step.results):
                numbers.update(step.operands)
                steps.append(step)
        return steps[::-1]
