"""Products of activations with numbers, with parameters entry by entry, and with each other; sums over channels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents.tracing._alignment import Aligned, align, is_random
from neural_tangents.tracing._atoms import BATCH, CHANNEL, POSITION, REPEATED, Atom, Misfit, find, joined, size_of
from neural_tangents.tracing._graph import (
    LETTERS,
    Host,
    Node,
    Product,
    Scale,
    Weighted,
    has_mean,
    independent,
    is_shared,
    times,
)
from neural_tangents.tracing._reading import Expectation, Reading
from neural_tangents.tracing._rules.entrywise import (
    NOT_ONE,
    ROOT_WIDTH,
    SHARED,
    SHARED_TRAINED,
    VARYING,
    fused,
    negative,
    role_of,
)
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Data, Known, Param


def mul(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`mul`."""
    first, second = operands
    if isinstance(first, Known | Host) or isinstance(first, Param) and isinstance(second, Data):
        first, second = second, first
    if isinstance(second, Known) and second.uniform is not None:
        return scaled(first, second.uniform)
    if isinstance(first, Param) and isinstance(second, Param):
        raise Misfit("two parameters are multiplied, so that entries are not the independent ones they were drawn as")
    if isinstance(second, Known):
        second = reading.host_of(second)
    if isinstance(first, Param):
        return _numbers_times_param(reading, step, second, first)
    if isinstance(second, Param):
        return times_param(reading, step, first, second)
    if isinstance(second, Host):
        return times_host(reading, first, second)
    result = fused(reading, step, operands)
    if result is not None and first is not second:
        return result
    made = product(reading, step, first, second, ())
    if result is not None:  # x * x: a function of one Gaussian, whose mean over channels is known as a variance
        result = Data(dataclasses.replace(result.node), result.axes)
        result.node.__dict__["square"] = made.node if isinstance(made, Data) else None
        return result
    return made


def square(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`square`, and `integer_pow` with the exponent 2."""
    (value,) = operands
    if isinstance(value, Data) and step.params.get("y", 2) == 2:
        result = fused(reading, step, operands)
        made = product(reading, step, value, value, ())
        if result is None:
            return made
        result = Data(dataclasses.replace(result.node), result.axes)
        result.node.__dict__["square"] = made.node
        return result
    return reading.rules.rules["exp"](reading, step, operands)


def div(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`div`."""
    first, second = operands
    if isinstance(second, Known) and second.uniform:
        return scaled(first, 1 / second.uniform)
    if isinstance(second, Known | Host) and not isinstance(first, Known | Host):
        host = reading.host_of(second) if isinstance(second, Known) else second
        inverse = dataclasses.replace(host, invert=not host.invert)
        if isinstance(first, Param):
            return _numbers_times_param(reading, step, inverse, first)
        return times_host(reading, first, inverse)
    result = None if isinstance(first, Param) or isinstance(second, Param) else fused(reading, step, operands)
    if result is None:
        raise Misfit(f"a quotient by activations or parameters: {NOT_ONE}")
    return result


def scaled(value: Any, factor: float) -> Any:
    """A value times a number."""
    if isinstance(value, Param):
        return dataclasses.replace(value, scale=value.scale * factor, shift=value.shift * factor)
    if factor == -1:
        return negative(value)
    return Data(times(value.node, float(factor)), value.axes)


def times_host(reading: Reading, value: Data, host: Host) -> Any:
    """An activation times numbers that depend on inputs."""
    return contraction(reading, None, [value, host], ())


def _numbers_times_param(reading: Reading, step: Step, host: Host, param: Param) -> Data:
    """Numbers times a parameter; remembers both, since each by itself may scale an activation."""
    result = times_param(reading, step, reading.as_data(host), param)
    result.node.__dict__["factors"] = (result.axes, host, param)
    return result


def times_param(reading: Reading, step: Step, value: Data, param: Param) -> Data:
    """An activation times a parameter for each channel."""
    aligned = align([value, param], reading.names)
    leaf = reading.leaves[param.leaf]
    if aligned.lacks(0) and is_random(value):
        raise Misfit(SHARED)
    if not leaf.variance and not leaf.rate:
        return scaled(Data(aligned.node(0), aligned.joined_axes), param.shift)
    channels = any(aligned.channels[1]) or is_random(value) and not aligned.lacks(1)
    if leaf.variance and not channels:
        raise Misfit(SHARED)
    if aligned.lacks(1):
        raise Misfit(SHARED if leaf.variance else SHARED_TRAINED)
    weights = reading.used(step, aligned.values[1], role_of(aligned.values[1], aligned))
    node = Scale(tuple(aligned.fin), aligned.node(0), weights, float(param.shift), aligned.flags(1))
    return Data(node, aligned.joined_axes)


def product(reading: Reading, step: Step | None, first: Data, second: Data, summed: Sequence[int]) -> Any:
    """A product of activations, summed over some axes."""
    for a, b in ((first, second), (second, first)):
        axes, host, param = a.node.__dict__.get("factors", (None, None, None))
        if axes == a.axes and not summed and step is not None:
            return times_param(reading, step, times_host(reading, b, host), param)
    return contraction(reading, step, [first, second], summed)


def contraction(reading: Reading, step: Step | None, values: Sequence[Any], summed: Sequence[int]) -> Any:
    """The product of two values, an activation and another one or numbers, summed over some axes.

    Args:
      reading: what is known.
      step: the step that this is.
      values: both values, with equal axes.
      summed: which axes are summed, and are gone in the result.
    """
    aligned = align(values, reading.names)
    gone = [atom for i in summed for atom in aligned.axes[i]]
    if any(atom.kind == BATCH for atom in gone):
        raise Misfit("the network mixes its inputs: it adds up over the batch. Use evaluation mode")
    factor = float(size_of(atom for atom in gone if atom.kind == REPEATED))
    width = size_of(atom for atom in gone if atom.kind == CHANNEL)
    lost = {atom.key for atom in gone if atom.kind == POSITION}
    keep = [i for i in range(len(aligned.fin)) if i not in lost]
    fin = tuple(aligned.fin[i] for i in keep)
    key = {place: i for i, place in enumerate(keep)}

    def renamed(atom: Atom) -> Atom:
        return dataclasses.replace(atom, key=key[atom.key]) if atom.kind == POSITION else atom

    axes = tuple(joined(tuple(map(renamed, a))) for i, a in enumerate(aligned.axes) if i not in summed)
    spec = (aligned.letters(0), aligned.letters(1), "".join(LETTERS[i] for i in keep))
    hosts = [i for i, value in enumerate(values) if isinstance(value, Host)]
    if hosts:
        node = _with_numbers(aligned, spec, fin, hosts[0])
    elif step is not None and reading.products == "mean" and width > 1 and _is_random_sum(aligned):
        return reading.zeros(step)
    else:
        node = _of_two(reading, step, aligned, spec, fin, width, axes)
    result = Data(times(node, factor), axes)
    if width == 1:
        return result
    if isinstance(node, Product) and node.width > 1:
        return result
    return over_channels(reading, step, result, width)


def _with_numbers(aligned: Aligned, spec: tuple[str, str, str], fin: tuple[int, ...], i: int) -> Node:
    if aligned.varying[i]:
        raise Misfit(VARYING)
    host = aligned.host(i)
    numbers = "".join(LETTERS[place] for place in host.places)
    return Weighted(fin, aligned.values[1 - i].node, host, (numbers, spec[1 - i], spec[2]))


def _of_two(
    reading: Reading, step: Any, aligned: Aligned, spec: Any, fin: tuple[int, ...], width: int, axes: Any
) -> Node:
    a, b = (value.node for value in aligned.values)
    lacking = [aligned.lacks(i) for i in (0, 1)]
    for i, value in enumerate(aligned.values):
        if is_random(value) and lacking[i] == "all":
            raise Misfit(SHARED)
    shared = any(lacking)
    if width == 1 or not _is_random_sum(aligned):
        return Product(fin, a, b, spec, 1, shared)
    if not find(axes, CHANNEL) or shared or is_shared(a) or is_shared(b):
        raise Misfit(ROOT_WIDTH)
    return Product(fin, a, b, spec, width, False)


def _is_random_sum(aligned: Aligned) -> bool:
    """Whether terms of the sum over channels of a product have mean 0."""
    a, b = (value.node for value in aligned.values)
    return independent(a, b) and not (has_mean(a) and has_mean(b))


def over_channels(reading: Reading, step: Any, value: Data, width: int) -> Any:
    """The sum of an activation over channels: by the law of large numbers, a number for each input."""
    node = value.node.__dict__.get("square") or value.node
    if len(find(value.axes, BATCH)) > 1:
        raise Misfit("the network mixes its inputs: activations of two inputs of a batch are multiplied")
    if is_shared(node) and find(value.axes, CHANNEL):
        raise Misfit("a mean over some channels of activations that others share, which stays random at infinite width")
    number = step.results[0]
    if not has_mean(node):
        return reading.zeros(step, float(width), vanished=True)
    axes = tuple(
        tuple(Atom(REPEATED, atom.size) if atom.kind == CHANNEL else atom for atom in axis) for axis in value.axes
    )
    reading.expectations[number] = Expectation(node, float(width), axes)
    return Host(number, axes, unscaled=float(width))


def reduce_sum(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`reduce_sum`."""
    (value,) = operands
    if isinstance(value, Param):
        raise Misfit("entries of a parameter are added up")
    ones = Host(-1, tuple(() for _ in value.axes))
    squared = value.node.__dict__.get("square")
    value = Data(squared, value.axes) if squared is not None and _sums_channels(value, step) else value
    return contraction(reading, step, [value, ones], tuple(step.params["axes"]))


def _sums_channels(value: Data, step: Step) -> bool:
    return any(atom.kind == CHANNEL for i in step.params["axes"] for atom in value.axes[i])
