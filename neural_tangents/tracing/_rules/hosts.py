"""Steps on numbers that depend on inputs alone: they are carried out for each batch, so only their axes matter here."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents.tracing._alignment import equal_atoms
from neural_tangents.tracing._atoms import BATCH, POSITION, REPEATED, Atom, Misfit, find
from neural_tangents.tracing._graph import Host
from neural_tangents.tracing._reading import ONE, Reading
from neural_tangents.tracing._rules.entrywise import PRIMITIVES, ROOT_WIDTH
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Known

_ENTRYWISE = {
    *PRIMITIVES,
    "add",
    "sub",
    "mul",
    "div",
    "convert_element_type",
    "stop_gradient",
    "copy",
    "square",
}
_REARRANGING = ("reshape", "transpose", "squeeze", "broadcast_in_dim")
# Functions whose value for c x is a power of c times that for x, so that the number of channels is but a factor.
_HOMOGENEOUS = {
    *_REARRANGING,
    "mul",
    "div",
    "sqrt",
    "rsqrt",
    "square",
    "integer_pow",
    "neg",
    "abs",
    "convert_element_type",
}
_HOMOGENEOUS |= {
    "max",
    "min",
    "add",
    "sub",
    "copy",
    "stop_gradient",
    "reduce_sum",
    "reduce_max",
    "pow",
    "slice",
    "cbrt",
}
# Steps that keep inputs of a batch apart, whatever their parameters, if there is a batch axis in the result.
_SEPARATE = {
    *_ENTRYWISE,
    *_REARRANGING,
    "reduce_sum",
    "reduce_max",
    "reduce_min",
    "reduce_prod",
    "dot_general",
    "argmax",
    "argmin",
}
_SEPARATE |= {"reduce_and", "reduce_or", "iota", "select_n", "reduce_precision"}


def host(reading: Reading, step: Step, operands: Sequence[Any]) -> list[Any]:
    """What is known of the results of any step."""
    amount = unscaled(reading, step, operands)
    if step.name in _REARRANGING:
        try:
            made = reading.rules.rules[step.name](reading, step, operands)
            return [dataclasses.replace(made, number=step.results[0], invert=False, unscaled=amount, layout=None)]
        except Misfit:
            pass
    if step.name in _ENTRYWISE:
        try:
            return [dataclasses.replace(_merged(reading, step, operands), unscaled=amount)]
        except Misfit:
            if step.name not in ("convert_element_type",) and len(operands) > 1:
                _check_constants(reading, operands)
    _check_constants(reading, operands)
    _check_separate(reading, step, operands)
    return [dataclasses.replace(reading.fresh_host(number), unscaled=amount) for number in step.results]


def _merged(reading: Reading, step: Step, operands: Sequence[Any]) -> Host:
    """Numbers that are computed entry by entry: they vary along an axis if one of the operands does."""
    values = [reading.host_of(v) if isinstance(v, Known) else v for v in operands]
    rank = len(reading.shapes(step.results[0])[0])
    values = equal_atoms([v if v.axes else Host(v.number, ((),) * rank) for v in values])
    axes = []
    for i in range(rank):
        axis = []
        for column in zip(*(v.axes[i] for v in values if v.axes[i]), strict=True):
            kinds = {atom.kind for atom in column}
            if BATCH in kinds:
                axis.append(Atom(BATCH, column[0].size))
            elif POSITION in kinds:
                reading.count += 1
                axis.append(Atom(POSITION, column[0].size, reading.count))
            else:
                axis.append(Atom(REPEATED, column[0].size))
        axes.append(tuple(axis))
    if not find(tuple(axes), BATCH):
        return Host(step.results[0], tuple(axes))
    return Host(step.results[0], tuple(axes))


def _check_constants(reading: Reading, operands: Sequence[Any]) -> None:
    """Raises a `Misfit` if a constant depends on the number of inputs, or differs between them."""
    for value in operands:
        if isinstance(value, Known):
            reading.host_of(value)


def _batch_axes(value: Any) -> list[int]:
    return (
        [i for i, axis in enumerate(value.axes) if any(a.kind == BATCH for a in axis)]
        if isinstance(value, Host)
        else []
    )


def _check_separate(reading: Reading, step: Step, operands: Sequence[Any]) -> None:
    """Raises a `Misfit` if a step could mix the inputs of a batch."""
    name, params = step.name, step.params
    if name in _SEPARATE:
        return
    batch = {i for value in operands for i in _batch_axes(value)}
    acts = {
        "rev": lambda: set(params["dimensions"]),
        "concatenate": lambda: {params["dimension"]},
        "split": lambda: {params["axis"]},
        "sort": lambda: {params["dimension"]},
        "cumsum": lambda: {params["axis"]},
        "cumprod": lambda: {params["axis"]},
        "cummax": lambda: {params["axis"]},
        "cumlogsumexp": lambda: {params["axis"]},
        "top_k": lambda: {params.get("axis", len(reading.shapes(step.operands[0])[0]) - 1)},
        "pad": lambda: {i for i, config in enumerate(params["padding_config"]) if any(config)},
        "slice": lambda: {
            i
            for i, n in enumerate(reading.shapes(step.operands[0])[0])
            if (params["start_indices"][i], params["limit_indices"][i]) != (0, n)
            or params["strides"]
            and params["strides"][i] != 1
        },
        "reduce_window_sum": lambda: {i for i, n in enumerate(params["window_dimensions"]) if n != 1},
        "reduce_window_max": lambda: {i for i, n in enumerate(params["window_dimensions"]) if n != 1},
        "reduce_window": lambda: {i for i, n in enumerate(params["window_dimensions"]) if n != 1},
        "conv_general_dilated": lambda: set(range(5)) - {params["dimension_numbers"].lhs_spec[0]},
        "gather": lambda: _looked_up(reading, step, operands),
        "dynamic_slice": lambda: {
            i
            for i, (n, m) in enumerate(zip(reading.shapes(step.operands[0])[0], params["slice_sizes"], strict=True))
            if n != m
        },
        "fft": lambda: set(range(len(reading.shapes(step.operands[0])[0]))[-len(params["fft_lengths"]) :]),
    }
    if name not in acts or batch & acts[name]():
        raise Misfit(f"`{name}` of inputs along, or perhaps along, the batch: the network may mix its inputs")


def _looked_up(reading: Reading, step: Step, operands: Sequence[Any]) -> set[int]:
    """Along which axes of the batch entries are looked up."""
    numbers = step.params["dimension_numbers"]
    taken = set(numbers.start_index_map)
    if getattr(numbers, "operand_batching_dims", ()):
        taken -= set(numbers.operand_batching_dims)
    return taken if isinstance(operands[0], Host) and _batch_axes(operands[0]) else set()


def unscaled(reading: Reading, step: Step, operands: Sequence[Any]) -> float:
    """How many channels the result adds up, if a sum over channels was not yet divided by their number.

    Raises:
      Misfit: such a sum goes into a function that is not homogeneous, where its size matters.
    """
    amounts = [v.unscaled for v in operands]
    amount = max(amounts, default=0.0)
    if not amount:
        return 0.0
    if step.name in ("mul", "div") and len(operands) == 2:
        other = operands[1 - amounts.index(amount)]
        if step.name == "div" and amounts.index(amount) == 1:
            return amount
        if isinstance(other, Known) and other.uniform:
            factor = abs(other.uniform)
            amount = amount * factor if step.name == "mul" else amount / factor
            return amount if amount > ONE else 0.0
    if isinstance(operands[amounts.index(amount)], Known) and step.name not in (
        *_REARRANGING,
        "convert_element_type",
        "neg",
    ):
        raise Misfit(ROOT_WIDTH)
    if step.name not in _HOMOGENEOUS:
        raise Misfit(
            f"`{step.name}` of a sum over channels that is not divided by their number, and grows with the width"
        )
    return amount
