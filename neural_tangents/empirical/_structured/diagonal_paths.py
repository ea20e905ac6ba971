"""Results of steps that reach the outputs through a sum, entry by entry: their cotangents are products.

Behind the last convolution of many networks there are biases, nonlinearities and a mean over positions. Of these, the
result `y` of the convolution and the mean `z`, each `z[c]` depends on `y[p, c]` alone. So the cotangent of `y` for an
output `u` is `∂u/∂z[c] · ∂z[c]/∂y[p, c]`, and the second factor is the same for all outputs.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._compat import bind
from neural_tangents._core.mesh_axes import varying_like
from neural_tangents.empirical._structured.program import Program, Step

_ELEMENTWISE = {
    *("neg", "exp", "log1p", "square", "integer_pow", "tanh", "logistic", "erf", "abs", "copy"),
    *("add", "add_any", "sub", "mul", "div", "max", "min", "select_n"),
}


@dataclasses.dataclass(frozen=True)
class DiagonalPath:
    """The way from the result of a step to a sum of its entries.

    Attributes:
      steps: numbers of the steps on the way, each with the position of the operand that comes from the one before.
      kept: axes of the result along which the sum has entries.
    """

    steps: tuple[tuple[int, int], ...]
    kept: tuple[int, ...]

    @property
    def end(self) -> int:
        """The number of the step whose result is the sum."""
        return self.steps[-1][0]

    def slopes(self, steps: Sequence[Step], operands: Mapping[int, Sequence[Any]]) -> jax.Array:
        """The derivative of an entry of the sum by each entry of the result that goes into it."""

        def along(x: jax.Array) -> jax.Array:
            for number, position in self.steps:
                changed = [x if i == position else operand for i, operand in enumerate(operands[number])]
                (x,) = bind(steps[number].jaxpr, steps[number].eqn, changed)
            return x

        (number, position), *_ = self.steps
        total, pull = jax.vjp(along, operands[number][position])
        return pull(varying_like(jnp.ones_like(total), total))[0]


def readers(program: Program) -> dict[int, list[tuple[int, int]]]:
    """For each value, the numbers of the steps that read it, and the positions of the value among their operands."""
    found: dict[int, list[tuple[int, int]]] = {}
    for number, step in enumerate(program.steps):
        for position, value in enumerate(step.operands):
            found.setdefault(value, []).append((number, position))
    return found


def diagonal_path(
    program: Program, number: int, readers: Mapping[int, Sequence[tuple[int, int]]]
) -> DiagonalPath | None:
    """The longest such way from the result of a step, up to a sum; None if there is none.

    Each value on the way has one reader, so that no other operand of the steps on it depends on the first result.
    """
    first = program.steps[number]
    if len(first.results) != 1:
        return None
    (value,), shape = first.results, first.eqn.outvars[0].aval.shape
    path: list[tuple[int, int]] = []
    axes, found = tuple(range(len(shape))), None
    while value not in program.outputs:
        (reader, position), *others = readers.get(value, [(None, 0)])
        if reader is None or others or (kept := _kept(program.steps[reader], position, axes)) is None:
            break
        path.append((reader, position))
        (value,), axes = program.steps[reader].results, kept
        if math.prod(shape[axis] for axis in axes) < math.prod(shape):
            found = DiagonalPath(tuple(path), axes)
    return found


def _kept(step: Step, position: int, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes that are left after a step; None if it does anything but to act on each entry alone, or to add up."""
    name, before = step.eqn.primitive.name, step.eqn.invars[position].aval
    if len(step.results) != 1 or step.eqn.outvars[0].aval.dtype != before.dtype:
        return None
    if name == "reduce_sum":
        return tuple(axis for place, axis in enumerate(axes) if place not in step.eqn.params["axes"])
    is_choice = name == "select_n" and position == 0
    same_shape = step.eqn.outvars[0].aval.shape == before.shape
    return axes if name in _ELEMENTWISE and same_shape and not is_choice else None
