"""A network as one list of steps: calls are opened, loops of known length unrolled."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import lax

from neural_tangents._compat import bind, opened, user_line
from neural_tangents._core.program_reader import PLAIN_CALLS, ProgramReader, StepOfJaxpr
from neural_tangents.tracing._custom_calls import agrees
from neural_tangents.tracing._errors import LiftError

# Calls that are replaced by the steps that they contain, with the name of the parameter that holds these.
_CALLS = {
    **{name: (parameter,) for name, parameter in PLAIN_CALLS.items()},
    "custom_jvp_call": ("call_jaxpr",),
    **{name: ("call_jaxpr", "fun_jaxpr") for name in ("custom_vjp_call", "custom_vjp_call_jaxpr")},
}
LONGEST_LOOP = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Step(StepOfJaxpr):
    """One equation of a jaxpr, with the numbers of the values that it takes and of those that it makes."""

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.eqn.primitive.name

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters of the primitive."""
        return self.eqn.params

    @property
    def line(self) -> str:
        """Where in the user's code the step was made."""
        return user_line(self.eqn)

    def run(self, values: Sequence[Any]) -> list[Any]:
        """The results for given operands."""
        return bind(self.jaxpr, self.eqn, values)


@dataclasses.dataclass
class Program:
    """A function as steps on numbered values; numbers do not depend on sizes, so they agree between batch sizes.

    Attributes:
      constants: known values, by number.
      inputs: numbers of the arguments.
      outputs: numbers of the results.
      steps: in an order in which they can be run; without those that no output needs.
      avals: shape and type of each value.
    """

    constants: dict[int, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: list[Step]
    avals: dict[int, Any]


def program_of(closed: Any) -> Program:
    """The program of a closed jaxpr."""
    reader = _Reader()
    jaxpr, constants = opened(closed)
    inputs = [reader.new(v.aval) for v in jaxpr.invars]
    outputs = reader.read(jaxpr, constants, inputs)
    return Program(reader.constants, tuple(inputs), tuple(outputs), reader.needed(outputs), reader.avals)


class _Reader(ProgramReader["Step"]):
    """Reads jaxprs into one list of steps."""

    def read_equation(self, jaxpr: Any, eqn: Any, operands: list[int]) -> list[int]:
        inner = _CALLS.get(eqn.primitive.name)
        called = next((eqn.params[name] for name in inner or () if name in eqn.params), None)
        if called is not None and (not eqn.primitive.name.startswith("custom") or agrees(jaxpr, eqn, called)):
            return self.read(*opened(called), operands)
        if eqn.primitive.name in _EXPANDED:
            return self.called(functools.partial(_EXPANDED[eqn.primitive.name], **eqn.params), operands)
        if eqn.primitive.name == "scan" and eqn.params["length"] <= LONGEST_LOOP:
            return self.unrolled(eqn, operands)
        results = [self.new(v.aval) for v in eqn.outvars]
        self.steps.append(Step(jaxpr, eqn, tuple(operands), tuple(results)))
        return results

    def called(self, fn: Any, operands: Sequence[int]) -> list[int]:
        """The results of a function of jax on values of the program."""
        closed = jax.make_jaxpr(fn)(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in map(self.avals.get, operands)))  # type: ignore[union-attr]
        return self.read(*opened(closed), operands)

    def unrolled(self, eqn: Any, operands: list[int]) -> list[int]:
        """The results of `scan`, whose counts of constants and carries differ by name between releases of jax."""
        jaxpr, constants = opened(eqn.params["jaxpr"])
        length = eqn.params["length"]
        split = [v.aval.ndim != inner.aval.ndim for v, inner in zip(eqn.invars, jaxpr.invars, strict=True)]
        stacked = [v.aval.ndim != inner.aval.ndim for v, inner in zip(eqn.outvars, jaxpr.outvars, strict=True)]
        n_carry, n_split = len(stacked) - sum(stacked), sum(split)
        n_constants = len(operands) - n_carry - n_split
        fixed, carry = operands[:n_constants], operands[n_constants : n_constants + n_carry]
        order = range(length - 1, -1, -1) if eqn.params["reverse"] else range(length)
        rows: list[list[int]] = [[] for _ in range(sum(stacked))]
        for i in order:
            slices = [
                self.called(lambda x, i=i: lax.index_in_dim(x, i, keepdims=False), [v])[0]
                for v in operands[n_constants + n_carry :]
            ]
            results = self.read(jaxpr, constants, [*fixed, *carry, *slices])
            carry = results[:n_carry]
            for row, result in zip(rows, results[n_carry:], strict=True):
                row.append(result)
        rows = [row[::-1] for row in rows] if eqn.params["reverse"] else rows
        return [*carry, *(self.called(_stack, row)[0] for row in rows)]


def _stack(*xs: Any, axis: int = 0, **_: Any) -> list[Any]:
    return [lax.concatenate([lax.expand_dims(x, (axis,)) for x in xs], axis)]


def _tile(x: Any, *, reps: Sequence[int], **_: Any) -> list[Any]:
    reps = (1,) * (x.ndim - len(reps)) + tuple(reps)
    shape = [size for pair in zip(reps, x.shape, strict=True) for size in pair]
    copies = lax.broadcast_in_dim(x, shape, tuple(range(1, 2 * x.ndim, 2)))
    return [lax.reshape(copies, [n * size for n, size in zip(reps, x.shape, strict=True)])]


# Primitives of some releases, in terms of others.
_EXPANDED = {"stack": _stack, "tile": _tile}


def trace(fn: Any, params: Any, x: Any, batch: int) -> tuple[Program, Any]:
    """The program of `fn(params, x)` for a batch size, and the structure of its outputs.

    Raises:
      LiftError: the function cannot be traced at this size.
    """
    x = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    try:
        closed, shapes = jax.make_jaxpr(fn, return_shape=True)(params, x)
    except Exception as error:
        raise LiftError(
            f"`apply_fn(params, x)` could not be traced for x of shape {x.shape}: {type(error).__name__}: {error}\n"
            "A network that is lifted takes any batch size, along the first axis of x. For a module of one example, "
            "lift its `jax.vmap`."
        ) from error
    return program_of(closed), jax.tree.structure(shapes)
