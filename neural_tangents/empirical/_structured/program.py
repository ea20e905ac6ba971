"""A network as a list of steps: first those that involve parameters alone, then those that involve data."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from neural_tangents._compat import bind, opened
from neural_tangents._core.program_reader import PLAIN_CALLS, ProgramReader, StepOfJaxpr
from neural_tangents._core.types import PyTree
from neural_tangents.empirical._structured.parameter_boxes import ParameterBoxes, boxes_of_results


@dataclasses.dataclass(frozen=True, eq=False)
class Step(StepOfJaxpr):
    """One equation of a jaxpr, with the numbers of the values that it takes and of those that it makes."""

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
    inputs = [tracing.new(v.aval) for v in jaxpr.invars]
    n_params = len(jax.tree.leaves(params))
    for number, i in enumerate(inputs[:n_params]):
        tracing.boxes[i] = ParameterBoxes.parameter(number, jaxpr.invars[number].aval.shape)
    tracing.on_data.update(inputs[n_params:])
    outputs = tracing.read(jaxpr, constants, inputs)
    steps = tracing.needed(outputs)
    return Program(
        constants=tracing.constants,
        parameters=tuple(inputs[:n_params]),
        data=tuple(inputs[n_params:]),
        outputs=tuple(outputs),
        preparation=tuple(step for step in steps if not tracing.on_data.issuperset(step.results)),
        steps=tuple(step for step in steps if tracing.on_data.issuperset(step.results)),
        boxes=tracing.boxes,
    )


class _Tracing(ProgramReader["Step"]):
    """What is known of the values of a program while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[int, ParameterBoxes] = {}
        self.on_data: set[int] = set()

    def read_equation(self, jaxpr: Any, eqn: Any, operands: list[int]) -> list[int]:
        call = PLAIN_CALLS.get(eqn.primitive.name)
        if call is not None and any(i in self.boxes for i in operands):
            return self.read(*opened(eqn.params[call]), operands)
        results = [self.new(v.aval) for v in eqn.outvars]
        self.steps.append(Step(jaxpr, eqn, tuple(operands), tuple(results)))
        if self.on_data.intersection(operands):
            self.on_data.update(results)
        else:
            boxes = boxes_of_results(eqn, [self.boxes.get(i) for i in operands])
            self.boxes.update({i: boxes_of for i, boxes_of in zip(results, boxes, strict=True) if boxes_of is not None})
        return results
