"""A network as a list of steps: first those that involve parameters alone, then those that involve data."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from neural_tangents._compat import bind, is_literal, opened
from neural_tangents._core.types import PyTree
from neural_tangents.empirical._structured.parameter_boxes import ParameterBoxes, boxes_of_results

# Calls that are replaced by the steps they contain. Calls with derivatives of their own stay as they are.
_CALLS = {
    **{name: "jaxpr" for name in ("jit", "pjit", "checkpoint", "remat", "remat2")},
    **{name: "call_jaxpr" for name in ("closed_call", "core_call")},
}


@dataclasses.dataclass(frozen=True)
class Step:
    """One equation of a jaxpr, with the numbers of the values that it takes and of those that it makes."""

    jaxpr: Any
    eqn: Any
    operands: tuple[int, ...]
    results: tuple[int, ...]

    def run(self, values: dict[int, Any]) -> list[Any]:
        return bind(self.jaxpr, self.eqn, [values[i] for i in self.operands])


@dataclasses.dataclass(frozen=True)
class Program:
    """A network for one sample.

    Attributes:
      constants: known values, by number.
      parameters: numbers of the leaves of the parameters.
      data: numbers of the leaves of the sample.
      outputs: numbers of the outputs.
      preparation: the steps that do not depend on the sample.
      steps: the steps that do.
      boxes: for each value that depends on parameters and not on the sample, which parameters it depends on.
    """

    constants: Mapping[int, Any]
    parameters: tuple[int, ...]
    data: tuple[int, ...]
    outputs: tuple[int, ...]
    preparation: tuple[Step, ...]
    steps: tuple[Step, ...]
    boxes: Mapping[int, ParameterBoxes]

    def prepare(self, leaves: Sequence[Any]) -> dict[int, Any]:
        """All values that do not depend on the sample."""
        values = {**self.constants, **dict(zip(self.parameters, leaves, strict=True))}
        for step in self.preparation:
            values.update(zip(step.results, step.run(values), strict=True))
        return values


def trace(f: Callable[[PyTree, PyTree], list[Any]], params: PyTree, sample: PyTree) -> Program:
    """The program of `f(params, sample)`, a list of arrays."""
    closed = jax.make_jaxpr(f)(params, sample)
    jaxpr, constants = opened(closed)
    tracing = _Tracing()
    inputs = [tracing.new() for _ in jaxpr.invars]
    n_params = len(jax.tree.leaves(params))
    for number, i in enumerate(inputs[:n_params]):
        tracing.boxes[i] = ParameterBoxes.parameter(number, jaxpr.invars[number].aval.shape)
    tracing.on_data.update(inputs[n_params:])
    outputs = tracing.run(jaxpr, constants, inputs)
    needed, steps = set(outputs), []  # from the last step to the first, keep what a later one or an output needs
    for step in reversed(tracing.steps):
        if needed.intersection(step.results):
            needed.update(step.operands)
            steps.append(step)
    steps.reverse()
    return Program(
        constants=tracing.constants,
        parameters=tuple(inputs[:n_params]),
        data=tuple(inputs[n_params:]),
        outputs=tuple(outputs),
        preparation=tuple(step for step in steps if not tracing.on_data.issuperset(step.results)),
        steps=tuple(step for step in steps if tracing.on_data.issuperset(step.results)),
        boxes=tracing.boxes,
    )


class _Tracing:
    """What is known of the values of a program while it is read."""

    def __init__(self) -> None:
        self.count = 0
        self.steps: list[Step] = []
        self.constants: dict[int, Any] = {}
        self.boxes: dict[int, ParameterBoxes] = {}
        self.on_data: set[int] = set()

    def new(self) -> int:
        self.count += 1
        return self.count

    def constant(self, value: Any) -> int:
        number = self.new()
        self.constants[number] = value
        return number

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        """Appends the steps of a jaxpr; returns the numbers of its results."""
        names = dict(zip(jaxpr.constvars, map(self.constant, constants), strict=True))
        names.update(zip(jaxpr.invars, inputs, strict=True))

        def number(atom: Any) -> int:
            return self.constant(np.asarray(atom.val, atom.aval.dtype)) if is_literal(atom) else names[atom]

        for eqn in jaxpr.eqns:
            operands = [number(atom) for atom in eqn.invars]
            call = _CALLS.get(eqn.primitive.name)
            if call is not None and any(i in self.boxes for i in operands):
                results = self.run(*opened(eqn.params[call]), operands)
            else:
                results = self.add(jaxpr, eqn, operands)
            names.update(zip(eqn.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def add(self, jaxpr: Any, eqn: Any, operands: list[int]) -> list[int]:
        results = [self.new() for _ in eqn.outvars]
        self.steps.append(Step(jaxpr, eqn, tuple(operands), tuple(results)))
        if self.on_data.intersection(operands):
            self.on_data.update(results)
        else:
            boxes = boxes_of_results(eqn, [self.boxes.get(i) for i in operands])
            self.boxes.update({i: boxes_of for i, boxes_of in zip(results, boxes, strict=True) if boxes_of is not None})
        return results
