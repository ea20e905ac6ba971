"""Activations side by side along channels: each part is treated by itself, until weights add them up."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_tangents.tracing._alignment import align
from neural_tangents.tracing._atoms import LEAF, Atom, Misfit, Part, size_of
from neural_tangents.tracing._graph import Host
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._restrict import sliced_param
from neural_tangents.tracing._rules.entrywise import PRIMITIVES
from neural_tangents.tracing._rules.rearrange import reshaped_to, slice_
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Data, Known, Param, Parts, viewed

_ENTRYWISE = {*PRIMITIVES, "add", "sub", "mul", "div", "convert_element_type", "copy", "square"}
# Steps that may leave the axis of the parts as it is.
_KEEPING = (
    "transpose squeeze broadcast_in_dim reduce_sum reduce_window_sum reshape rev pad cumsum reduce_precision"
).split()


def parts(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """Any step on activations in parts."""
    joint = next(v for v in operands if isinstance(v, Parts))
    rule = reading.rules.rules.get(step.name)
    if rule is None:
        raise Misfit(f"there is no rule for `{step.name}` of activations side by side")
    if step.name in _ENTRYWISE:
        columns = [_pieces(reading, step, v, joint, i) for i, v in enumerate(operands)]
        return Parts(joint.axis, tuple(rule(reading, step, list(column)) for column in zip(*columns, strict=True)))
    if step.name in ("dot_general", "conv_general_dilated"):
        return _weighted(reading, step, operands)
    if step.name == "reduce_sum" and joint.axis in step.params["axes"]:
        return _summed(reading, step, joint)
    if step.name in _KEEPING:
        return _moved(reading, step, joint, rule, operands[1:])
    if step.name == "concatenate" and step.params["dimension"] == joint.axis:
        return Parts(joint.axis, tuple(p for v in operands for p in (v.parts if isinstance(v, Parts) else (v,))))
    if step.name == "split" and step.params["axis"] == joint.axis:
        if list(step.params["sizes"]) == _sizes(reading, joint):
            return list(joint.parts)
    if step.name == "slice":
        return _sliced(reading, step, joint)
    raise Misfit(f"`{step.name}` of activations that are joined along channels; put weights on each branch before it")


def _sizes(reading: Reading, joint: Parts) -> list[int]:
    return [size_of(v.axes[joint.axis]) for v in joint.parts]


def _pieces(reading: Reading, step: Step, value: Any, joint: Parts, i: int) -> list[Any]:
    """A value in the same parts."""
    n = len(joint.parts)
    if isinstance(value, Parts):
        if value.axis != joint.axis or _sizes(reading, value) != _sizes(reading, joint):
            raise Misfit("activations that are joined in different parts")
        return list(value.parts)
    if isinstance(value, Known) and value.uniform is not None:
        return [value] * n
    if isinstance(value, Known):
        value = reading.host_of(value)
    axis: Any = value.axes[joint.axis] if value.axes else ()
    if not axis or all(atom.kind == "repeated" for atom in axis):
        if isinstance(value, Host | Param):
            flat = tuple(() if k == joint.axis else a for k, a in enumerate(value.axes))
            return [viewed(value, flat)] * n
    if isinstance(value, Param) and len(axis) == 1 and axis[0].kind == LEAF:
        return _cut_param(value, axis[0], _sizes(reading, joint))
    raise Misfit("activations that are joined along channels meet something in another arrangement")


def _cut_param(param: Param, atom: Atom, sizes: Sequence[int]) -> list[Param]:
    if isinstance(atom.key, Part):
        raise Misfit("a parameter that was reshaped meets activations that are joined along channels")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [sliced_param(param, atom, range(a, a + n)) for a, n in zip(starts, sizes, strict=True)]


def _weighted(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """A product or convolution with weights that adds up the parts."""
    i = next(i for i, v in enumerate(operands) if isinstance(v, Parts))
    joint, other = operands[i], operands[1 - i]
    w_axis = _summed_weights(step, joint, i)
    if not isinstance(other, Param) or w_axis is None:
        raise Misfit("a product of activations that are joined along channels, other than with weights")
    rule = reading.rules.rules[step.name]
    (atom,) = other.axes[w_axis]
    total: Any = None
    for part, piece in zip(joint.parts, _cut_param(other, atom, _sizes(reading, joint)), strict=True):
        pair = [part, piece] if i == 0 else [piece, part]
        term = rule(reading, step, pair)
        total = term if total is None else _added(reading, step, total, term)
    return total


def _summed_weights(step: Step, joint: Parts, i: int) -> int | None:
    """Which axis of the other operand is summed with that of the parts."""
    numbers = step.params["dimension_numbers"]
    if step.name == "dot_general":
        contracted, _ = numbers
        return contracted[1 - i][list(contracted[i]).index(joint.axis)] if joint.axis in contracted[i] else None
    in_groups = step.params["feature_group_count"] != 1
    return None if in_groups or i or joint.axis != numbers.lhs_spec[1] else numbers.rhs_spec[1]


def _added(reading: Reading, step: Step, a: Any, b: Any) -> Any:
    """A sum of values; `step` is not one of addition."""
    if not isinstance(a, Data) or not isinstance(b, Data):
        raise Misfit("a sum over channels of activations that are joined, and constants")
    align([a, b], reading.names)
    return reading.rules.helpers["plus"](reading, step, [a, b])


def _summed(reading: Reading, step: Step, joint: Parts) -> Any:
    raise Misfit("a mean over channels of activations that are joined along them; put weights on each branch before it")


def _moved(reading: Reading, step: Step, joint: Parts, rule: Any, others: Sequence[Any]) -> Parts:
    """A step on each part that leaves the axis of the parts as it is."""
    params, axis = step.params, joint.axis
    if step.name == "reshape":
        return _reshaped(reading, step, joint)
    if step.name == "transpose":
        axis = list(params["permutation"]).index(axis)
    elif step.name == "broadcast_in_dim":
        axis = params["broadcast_dimensions"][axis]
    elif step.name in ("squeeze", "reduce_sum"):
        axis -= sum(i < axis for i in params["dimensions" if step.name == "squeeze" else "axes"])
    elif axis in params.get("dimensions", ()) or axis == params.get("axis"):
        raise Misfit(f"`{step.name}` along the channels that activations are joined along")
    elif step.name == "pad" and any(params["padding_config"][axis]):
        raise Misfit("channels are padded")
    return Parts(axis, tuple(rule(reading, step, [v, *others]) for v in joint.parts))


def _reshaped(reading: Reading, step: Step, joint: Parts) -> Parts:
    """Axes before the channels, or after them, are merged or split."""
    old, new = reading.shapes(step.operands[0])[0], reading.shapes(step.results[0])[0]
    before, n = int(np.prod(old[: joint.axis])), old[joint.axis]
    places = [i for i in range(len(new)) if int(np.prod(new[:i])) == before and new[i] == n]
    if not places:
        raise Misfit(
            "channels that activations are joined along are merged with others, or split; put weights on each branch"
        )
    axis = places[0]
    shapes = [(*new[:axis], size, *new[axis + 1 :]) for size in _sizes(reading, joint)]
    return Parts(axis, tuple(reshaped_to(v, shape) for v, shape in zip(joint.parts, shapes, strict=True)))


def _sliced(reading: Reading, step: Step, joint: Parts) -> Any:
    """One of the parts, or some positions of each."""
    start, stop = step.params["start_indices"][joint.axis], step.params["limit_indices"][joint.axis]
    sizes = _sizes(reading, joint)
    if step.params["strides"] and step.params["strides"][joint.axis] != 1:
        raise Misfit("every few channels are taken of activations that are joined along them")
    if (start, stop) == (0, sum(sizes)):
        return Parts(joint.axis, tuple(slice_(reading, step, [v], joint.axis) for v in joint.parts))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    for value, end, size in zip(joint.parts, ends, sizes, strict=True):
        if (start, stop) == (end - size, end):
            return slice_(reading, step, [value], joint.axis)
    raise Misfit("some channels are taken of activations that are joined along them")
