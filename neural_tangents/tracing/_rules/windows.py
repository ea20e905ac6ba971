"""Windows that slide over positions: convolutions with weights, sums over windows, cumulative sums."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_tangents.tracing._atoms import BATCH, CHANNEL, LEAF, POSITION, REPEATED, Atom, Misfit, joined, size_of
from neural_tangents.tracing._graph import Host, Linear, Node, view
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._rules.rearrange import mapped, replaced, with_position
from neural_tangents.tracing._rules.weights import MEAN, SOME
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Data, Known, Param, axis_of


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A convolution, as its translation needs it: one entry of each tuple for each spatial axis."""

    filter_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_dilation: tuple[int, ...]
    filter_dilation: tuple[int, ...]
    sizes: tuple[int, ...]


def window_places(size: int, n_out: int, kernel: int, stride: int, low: int, inside: int, dilation: int) -> np.ndarray:
    """Which position each entry of a window meets at each place, `[places, entries]`; -1 for padding."""
    at = np.arange(n_out)[:, None] * stride + np.arange(kernel)[None] * dilation - low
    places = at // inside
    return np.where((at % inside == 0) & (places >= 0) & (places < size), places, -1)


def convolution(reading: Reading, step: Step, operands: Sequence[Any]) -> Data:
    """`conv_general_dilated` with weights that are a parameter."""
    x, param = operands
    params = step.params
    if not isinstance(param, Param):
        raise Misfit("a convolution whose filter is no parameter")
    if param.shift:
        raise Misfit(MEAN)
    x = reading.as_data(reading.host_of(x)) if isinstance(x, Known) else x
    x = reading.as_data(x) if isinstance(x, Host) else x
    numbers = params["dimension_numbers"]
    (_, feature, *spatial), (w_out, w_in, *w_spatial) = numbers.lhs_spec, numbers.rhs_spec
    if params["batch_group_count"] != 1:
        raise Misfit("a convolution with groups of a batch")
    shape, w_shape = (reading.shapes(number)[0] for number in step.operands)
    out_shape = reading.shapes(step.results[0])[0]
    groups = params["feature_group_count"]
    geometry = Geometry(
        tuple(w_shape[i] for i in w_spatial),
        tuple(params["window_strides"]),
        tuple(params["padding"]),
        tuple(params["lhs_dilation"]),
        tuple(params["rhs_dilation"]),
        tuple(shape[i] for i in spatial),
    )
    x = _spatial(x, spatial)
    w_atoms = _leaf_atoms(param, w_out)
    role: dict[int, Any] = {axis_of(a): "channel" for a in w_atoms}
    width, entries = _features(reading, x, param, feature, w_in, groups, role)
    depthwise = groups > 1 and width == 1
    channels = joined(tuple(map(param.channel, w_atoms)))
    if depthwise:
        if size_of(channels) != groups:
            raise Misfit("a depthwise convolution with several filters for each channel")
        reading.names.unite(list(x.axes[feature]), list(channels))
    windows: list[tuple[int, Atom, np.ndarray]] = []
    for i, (axis, w_axis) in enumerate(zip(spatial, w_spatial, strict=True)):
        places = window_places(
            *(shape[axis], out_shape[numbers.out_spec[2 + i]], w_shape[w_axis], geometry.strides[i]),
            *(geometry.padding[i][0], geometry.input_dilation[i], geometry.filter_dilation[i]),
        )
        role.update({axis_of(a): "window" for a in _leaf_atoms(param, w_axis)})
        windows.append((_order(param, w_axis), x.axes[axis][0], places))
    return _windowed(
        reading, step, x, param, numbers, windows, entries, (width, channels, role, not depthwise), geometry
    )


def _leaf_atoms(param: Param, axis: int) -> tuple[Atom, ...]:
    if any(atom.kind != LEAF for atom in param.axes[axis]):
        raise Misfit("a filter that was broadcast")
    return param.axes[axis]


def _order(param: Param, axis: int) -> int:
    """Where an axis of a filter is in the parameter."""
    return axis_of(param.axes[axis][0]) if param.axes[axis] else len(param.box) + axis


def _spatial(x: Data, spatial: Sequence[int]) -> Data:
    """An activation whose spatial axes are one finite axis each."""
    for axis in spatial:
        x = with_position(x, axis)
        if [atom.kind for atom in x.axes[axis]] == [REPEATED]:
            fin, (atom,) = x.node.fin, x.axes[axis]
            node = view(x.node, fin, (*range(len(fin)), None), dict(enumerate((*fin, atom.size))))
            axes = [*x.axes[:axis], (Atom(POSITION, atom.size, len(fin)),), *x.axes[axis + 1 :]]
            x = Data(node, tuple(axes))
        if any(atom.kind == CHANNEL for atom in x.axes[axis]):
            raise Misfit(f"a convolution slides over channels: {SOME}")
        if [atom.kind for atom in x.axes[axis]] != [POSITION]:
            raise Misfit("a convolution over an axis that was merged of several")
    return x


def _features(
    reading: Reading, x: Data, param: Param, feature: int, w_in: int, groups: int, role: dict[int, Any]
) -> tuple[int, list[tuple[int, Atom]]]:
    """The number of channels that are summed, and finite axes that are."""
    inner, mine = x.axes[feature], _leaf_atoms(param, w_in)
    role.update({axis_of(a): "in" for a in mine})
    if groups != 1:
        if any(atom.kind != CHANNEL for atom in inner):
            raise Misfit("a convolution of inputs in groups, so that channels are not exchangeable")
        return int(np.prod([atom.size for atom in inner])) // groups, []
    if not inner:
        return 1, []
    if all(atom.kind == CHANNEL for atom in inner):
        if len(inner) == len(mine) == 1:
            reading.names.unite([inner[0]], [param.channel(mine[0])])
        return int(np.prod([atom.size for atom in inner])), []
    if len(inner) == 1 and inner[0].kind == POSITION:
        role.update({axis_of(a): "sum" for a in mine})
        return 1, [(_order(param, w_in), inner[0])]
    raise Misfit("the features of a convolution are merged of several axes")


def _windowed(
    reading: Reading,
    step: Step,
    x: Data,
    param: Param,
    numbers: Any,
    windows: Sequence[tuple[int, Atom, np.ndarray]],
    entries: Sequence[tuple[int, Atom]],
    parts: tuple[int, tuple[Atom, ...], dict[int, Any], bool],
    geometry: Geometry,
) -> Data:
    width, channels, role, mixes = parts
    batch = x.axes[numbers.lhs_spec[0]]
    if any(atom.kind == CHANNEL for atom in batch):
        raise Misfit(SOME)
    kept = [atom for atom in batch if atom.kind == POSITION]
    others: list[tuple[int, Atom, Any]] = [*windows, *((axis, atom, "sum") for axis, atom in entries)]
    others.sort(key=lambda other: other[0])
    order = [atom.key for atom in kept] + [atom.key for _, atom, _ in others]
    child = view(x.node, x.node.fin, tuple(order))
    sizes = [places.shape[0] for _, _, places in windows]
    by_axis = sorted(range(len(windows)), key=lambda i: windows[i][0])
    fin = (*(atom.size for atom in kept), *(sizes[i] for i in by_axis))
    weights = reading.used(step, param, role)
    what = ("keep",) * len(kept) + tuple(kind for _, _, kind in others)
    node: Node = Linear(fin, child, weights, width, what, mixes, geometry)
    key = {atom.key: i for i, atom in enumerate(kept)}
    axes: list[Any] = [()] * len(x.axes)
    axes[numbers.out_spec[0]] = tuple(
        dataclasses.replace(a, key=key[a.key]) if a.kind == POSITION else a for a in batch
    )
    axes[numbers.out_spec[1]] = channels
    for place, i in enumerate(by_axis):
        axes[numbers.out_spec[2 + i]] = (Atom(POSITION, sizes[i], len(kept) + place),)
    return without_ones(Data(node, tuple(axes)))


def without_ones(value: Data) -> Data:
    """An activation without finite axes of size 1."""
    for axis in value.axes:
        for atom in axis:
            if atom.kind == POSITION and atom.size == 1:
                return without_ones(replaced(value, atom, value.node))
    return value


def window_sum(reading: Reading, step: Step, operands: Sequence[Any]) -> Data:
    """`reduce_window_sum` over positions."""
    (value,) = operands
    if not isinstance(value, Data):
        raise Misfit("entries of a parameter are added up")
    params = step.params
    shape, out_shape = reading.shapes(step.operands[0])[0], reading.shapes(step.results[0])[0]
    for axis, size in enumerate(params["window_dimensions"]):
        config = (size, params["window_strides"][axis], *params["padding"][axis])
        if config == (1, 1, 0, 0):
            continue
        kinds = [atom.kind for atom in value.axes[axis]]
        if BATCH in kinds or CHANNEL in kinds:
            raise Misfit("a window slides over channels, or over the batch")
        value = _spatial(value, [axis])
        low, inside, dilation = (
            params["padding"][axis][0],
            params["base_dilation"][axis],
            params["window_dilation"][axis],
        )
        places = window_places(shape[axis], out_shape[axis], size, config[1], low, inside, dilation)
        matrix = np.zeros((out_shape[axis], shape[axis]))
        for k in range(size):
            rows = np.flatnonzero(places[:, k] >= 0)
            np.add.at(matrix, (rows, places[rows, k]), 1)
        value = mapped(value, value.axes[axis][0], matrix, window=(size, config[1], params["padding"][axis]))
    return without_ones(value)


def cumulative_sum(reading: Reading, step: Step, operands: Sequence[Any]) -> Data:
    """`cumsum` over positions."""
    (value,) = operands
    axis = step.params["axis"]
    if not isinstance(value, Data) or any(atom.kind in (CHANNEL, BATCH) for atom in value.axes[axis]):
        raise Misfit("a cumulative sum over channels, over the batch, or of a parameter")
    value = _spatial(value, [axis])
    (atom,) = value.axes[axis]
    matrix = np.tril(np.ones((atom.size, atom.size)))
    return without_ones(mapped(value, atom, matrix.T if step.params["reverse"] else matrix))


def no_maximum(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """Maxima and orders of activations."""
    raise Misfit(
        f"`{step.name}` of activations, which are random at infinite width: use average pooling. For a softmax, scale "
        "products of queries and keys by 1/d and pass `products='mean'`, use q = k, or no softmax"
    )
