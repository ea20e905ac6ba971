"""Steps that only rearrange entries: reshapes, transposes, broadcasts, slices, padding, joining, and looking up."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_tangents.tracing._atoms import (
    BATCH,
    CHANNEL,
    LEAF,
    POSITION,
    REPEATED,
    Atom,
    Axes,
    Misfit,
    find,
    reshaped,
    size_of,
)
from neural_tangents.tracing._graph import Along, Host, Node, Sum, along, view
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._restrict import restricted, sliced_param
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Data, Known, Param, Parts, split


def with_axes(value: Any, axes: Axes) -> Any:
    """A value whose axes are others, which have the same atoms."""
    return dataclasses.replace(value, axes=axes)


def reshape(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`reshape`, also where it merges or splits axes."""
    return reshaped_to(operands[0], reading.shapes(step.results[0])[0])


def reshaped_to(value: Any, shape: Sequence[int]) -> Any:
    """A value in another shape."""
    while True:
        splits: dict[Atom, tuple[int, ...]] = {}
        axes = reshaped(value.axes, tuple(shape), splits)
        if not splits:
            return with_axes(value, axes)
        value = split(value, splits)


def transpose(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`transpose`."""
    return with_axes(operands[0], tuple(operands[0].axes[i] for i in step.params["permutation"]))


def squeeze(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`squeeze`."""
    gone = {i % len(operands[0].axes) for i in step.params["dimensions"]}
    return with_axes(operands[0], tuple(axis for i, axis in enumerate(operands[0].axes) if i not in gone))


def broadcast_in_dim(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`broadcast_in_dim`: new axes, along which nothing changes."""
    value, where = operands[0], step.params["broadcast_dimensions"]
    axes = []
    for i, atom in enumerate(reading.new_axes(step.results[0])):
        old = value.axes[where.index(i)] if i in where else ()
        new = () if atom is None else (Atom(atom.kind if atom.kind == BATCH else REPEATED, atom.size),)
        axes.append(old or new)
    return with_axes(value, tuple(axes))


def same(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """A change of type, or none."""
    return operands[0]


def selected(reading: Reading, step: Step, value: Any, axis: int, indices: Sequence[int]) -> Any:
    """Some entries along one axis, in any order."""
    atoms, indices = value.axes[axis], list(indices)
    if not atoms or indices == list(range(size_of(atoms))):
        return value
    if len(atoms) > 1:
        value = merged(value, axis)
    (atom,) = value.axes[axis]
    if atom.kind == BATCH:
        raise Misfit("the network mixes its inputs: it takes some of a batch")
    if atom.kind == REPEATED:
        new: tuple[Atom, ...] = (Atom(REPEATED, len(indices)),) if len(indices) > 1 else ()
        return with_axes(value, (*value.axes[:axis], new, *value.axes[axis + 1 :]))
    if isinstance(value, Param):
        return sliced_param(value, atom, indices)
    if atom.kind == CHANNEL:
        return restricted(reading, step, value, atom, indices)
    matrix = np.zeros((len(indices), atom.size))
    matrix[np.arange(len(indices)), indices] = 1
    return mapped(value, atom, matrix)


def merged(value: Any, axis: int) -> Any:
    """An activation whose finite axes, which make up one axis together, are one.

    Raises:
      Misfit: the axis is made of other factors too.
    """
    atoms = value.axes[axis]
    if not isinstance(value, Data) or any(atom.kind != POSITION for atom in atoms):
        raise Misfit("an axis that was merged of several is changed")
    mine = [atom.key for atom in atoms]
    rest = [i for i in range(len(value.node.fin)) if i not in mine]
    node = view(value.node, value.node.fin, (*rest, *mine))
    fin = (*(value.node.fin[i] for i in rest), size_of(atoms))
    node = view(node, fin, tuple(range(len(fin))))
    place = {key: i for i, key in enumerate(rest)}

    def renamed(a: Atom) -> Atom:
        return dataclasses.replace(a, key=place[a.key]) if a.kind == POSITION else a

    joint = Atom(POSITION, size_of(atoms), len(rest))
    axes = ((joint,) if i == axis else tuple(map(renamed, a)) for i, a in enumerate(value.axes))
    return Data(node, tuple(axes))


def mapped(value: Data, atom: Atom, matrix: np.ndarray, window: Any = None) -> Data:
    """An activation with a matrix applied along one finite axis."""
    return replaced(value, atom, along(value.node, atom.key, matrix, window))


def replaced(value: Data, atom: Atom, node: Any) -> Data:
    """An activation made into a node of which one finite axis has another size."""
    size = node.fin[atom.key]
    if size > 1:
        new: tuple[Atom, ...] = (Atom(POSITION, size, atom.key),)
        axes = tuple(tuple(b for a in axis for b in (new if a == atom else (a,))) for axis in value.axes)
        return Data(node, axes)
    rest = tuple(n for i, n in enumerate(node.fin) if i != atom.key)
    node = view(node, rest, tuple(range(len(rest))))

    def kept(a: Atom) -> Atom:
        return dataclasses.replace(a, key=a.key - (a.key > atom.key)) if a.kind == POSITION else a

    return Data(node, tuple(tuple(kept(a) for a in axis if a != atom) for axis in value.axes))


def slice_(reading: Reading, step: Step, operands: Sequence[Any], kept: int | None = None) -> Any:
    """`slice`, with steps; an axis `kept` stays whole."""
    value = operands[0]
    strides = step.params["strides"] or (1,) * len(value.axes)
    bounds = zip(step.params["start_indices"], step.params["limit_indices"], strides, strict=True)
    for axis, (start, stop, stride) in enumerate(bounds):
        if axis == kept:
            continue
        if value.axes[axis] and value.axes[axis][0].kind == BATCH and len(value.axes[axis]) == 1:
            if start or stride != 1 or stop != value.axes[axis][0].size:
                raise Misfit("the network mixes its inputs: it takes some of a batch")
            continue
        value = selected(reading, step, value, axis, range(start, stop, stride))
    return value


def split_axis(reading: Reading, step: Step, operands: Sequence[Any]) -> list[Any]:
    """`split` into parts along one axis."""
    ends = np.cumsum([0, *step.params["sizes"]]).tolist()
    parts = zip(ends[:-1], ends[1:], strict=True)
    return [selected(reading, step, operands[0], step.params["axis"], range(a, b)) for a, b in parts]


def dynamic_slice(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`dynamic_slice` from constant places."""
    value, *starts = operands
    shape = reading.shapes(step.operands[0])[0]
    for axis, (start, size) in enumerate(zip(starts, step.params["slice_sizes"], strict=True)):
        if not isinstance(start, Known):
            raise Misfit("a slice from a place that depends on inputs")
        if size == shape[axis]:
            continue
        first = int(np.clip(int(start.values[0]), 0, shape[axis] - size))
        value = selected(reading, step, value, axis, range(first, first + size))
    return value


def rev(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`rev`, of positions."""
    value = operands[0]
    for axis in step.params["dimensions"]:
        size = size_of(value.axes[axis])
        value = selected(reading, step, value, axis, range(size)[::-1])
    return value


def pad(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`pad` of positions with zeros."""
    value, fill = operands
    if not isinstance(value, Data):
        raise Misfit("a parameter is padded")
    if not isinstance(fill, Known) or fill.uniform != 0:
        raise Misfit("activations are padded with something other than zeros")
    for axis, (low, high, inside) in enumerate(step.params["padding_config"]):
        if not (low or high or inside):
            continue
        value = with_position(value, axis)
        if any(a.kind != POSITION for a in value.axes[axis]):
            raise Misfit("an axis that is not one of positions is padded")
        (atom,) = value.axes[axis]
        at = low + np.arange(atom.size) * (inside + 1)
        size = low + high + (atom.size - 1) * (inside + 1) + 1
        matrix = np.zeros((size, atom.size))
        inner = (at >= 0) & (at < size)
        matrix[at[inner], np.arange(atom.size)[inner]] = 1
        value = mapped(value, atom, matrix)
    return value


def with_position(value: Data, axis: int) -> Data:
    """An activation of which an axis of size 1, or one of several positions, is one finite axis."""
    if len(value.axes[axis]) > 1 and all(atom.kind == POSITION for atom in value.axes[axis]):
        return merged(value, axis)
    if value.axes[axis]:
        return value
    fin = value.node.fin
    node = view(value.node, fin, (*range(len(fin)), None), {i: n for i, n in enumerate((*fin, 1))})
    axes = list(value.axes)
    axes[axis] = (Atom(POSITION, 1, len(fin)),)
    return Data(node, tuple(axes))


def concatenate(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`concatenate` along positions, where parts are padded and added; or along channels, where they are kept apart."""
    axis = step.params["dimension"]
    if not any(isinstance(v, Data) for v in operands):
        raise Misfit("parameters are joined with something that is not an activation")
    atoms = [a for v in operands if isinstance(v, Data) for a in v.axes[axis]]
    if any(a.kind == CHANNEL for a in atoms) or not atoms and _is_channel(operands, axis):
        parts = (reading.host_of(v) if isinstance(v, Known) else v for v in operands)
        return Parts(axis, tuple(reading.as_data(v) if isinstance(v, Host) else v for v in parts))
    sizes = [reading.shapes(number)[0][axis] for number in step.operands]
    total, start, terms = sum(sizes), 0, []
    template = next(v for v in operands if isinstance(v, Data))
    for value, size in zip(operands, sizes, strict=True):
        data = _like(reading, step, value, template, axis)
        data = with_position(data, axis)
        if any(a.kind != POSITION for a in data.axes[axis]):
            raise Misfit("activations are joined along an axis that is not one of positions")
        matrix = np.zeros((total, size))
        matrix[start : start + size] = np.eye(size)
        terms.append(mapped(data, data.axes[axis][0], matrix))
        start += size
    result = terms[0]
    for term in terms[1:]:
        result = reading.rules.rules["add"](reading, step, [result, term])
    return _one_map(result)


def _is_channel(operands: Sequence[Any], axis: int) -> bool:
    """Whether activations of one output each are put side by side."""
    return all(isinstance(v, Data) and not find(v.axes, CHANNEL) for v in operands)


def _like(reading: Reading, step: Step, value: Any, template: Data, axis: int) -> Data:
    """A value as an activation that can be joined with another."""
    if isinstance(value, Data):
        return value
    if isinstance(value, Known):
        value = reading.host_of(value)
    if isinstance(value, Host):
        return reading.as_data(value)
    hidden = Data(template.node, tuple(() if i == axis else a for i, a in enumerate(template.axes)))
    return reading.rules.helpers["as_data"](reading, step, [value, hidden, axis])


def _one_map(value: Data) -> Data:
    """A sum of maps of one node along one axis, as one map: a circular padding, say."""
    terms = _terms(value.node)
    if len(terms) < 2 or not all(isinstance(t, Along) for t in terms):
        return value
    first: Any = terms[0]
    if any(t.child is not first.child or t.axis != first.axis for t in terms):  # type: ignore[attr-defined]
        return value
    matrix = np.sum([t.matrix for t in terms], axis=0)  # type: ignore[attr-defined]
    return Data(along(first.child, first.axis, matrix), value.axes)


def _terms(node: Node) -> list[Node]:
    return [t for term in node.terms for t in _terms(term)] if isinstance(node, Sum) else [node]


def gather(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`gather` of rows: of an activation at constant places, or of a parameter, which is an embedding."""
    value, index = operands
    numbers, sizes = step.params["dimension_numbers"], step.params["slice_sizes"]
    shape = reading.shapes(step.operands[0])[0]
    taken = [(k, i) for k, i in enumerate(numbers.start_index_map) if sizes[i] != shape[i]]
    whole = all(size == shape[i] for i, size in enumerate(sizes) if i not in numbers.start_index_map)
    if not whole or numbers.operand_batching_dims:
        raise Misfit("entries are looked up in several arrays at once")
    if isinstance(value, Param) and not isinstance(index, Data | Param):
        if len(taken) != 1 or taken[0][0] or sizes[taken[0][1]] != 1:
            raise Misfit("slices of a parameter at places that depend on inputs")
        return reading.rules.helpers["embedding"](reading, step, [value, index, taken[0][1]])
    if not isinstance(index, Known):
        raise Misfit("activations are looked up at places that depend on inputs")
    where = [i for i in range(len(reading.shapes(step.results[0])[0])) if i not in numbers.offset_dims]
    gone: list[int] = []
    chosen: tuple[Atom, ...] = ()
    for component, axis in taken:
        places = _places(index, component, shape[axis] - sizes[axis])
        if axis not in numbers.collapsed_slice_dims:
            if places.size and np.any(places != places.flat[0]):
                raise Misfit("several slices are looked up")
            value = selected(reading, step, value, axis, range(places.flat[0], places.flat[0] + sizes[axis]))
        elif gone or len(where) > 1:
            raise Misfit("entries are looked up along several axes at once")
        else:
            value = selected(reading, step, value, axis, places.reshape(-1).tolist())
            gone, chosen = [axis], value.axes[axis]
    ones = [i for i in numbers.collapsed_slice_dims if i not in gone]
    axes = [a for i, a in enumerate(value.axes) if i not in (*gone, *ones)]
    if gone and where:
        axes.insert(where[0], chosen)
    elif where:
        raise Misfit("entries are looked up by an index along no axis")
    return with_axes(value, tuple(axes))


def _places(index: Known, component: int, last: int) -> np.ndarray:
    if not np.array_equal(*index.values):
        raise Misfit("the network mixes its inputs: an index depends on how many there are")
    places = index.values[0][..., component].astype(int)
    return np.clip(places, 0, last)


def leaf_atom(param: Param, axis: int) -> Atom:
    """The one atom of an axis of a parameter."""
    atoms = param.axes[axis]
    if len(atoms) != 1 or atoms[0].kind != LEAF:
        raise Misfit("an axis of a parameter that was merged or broadcast")
    return atoms[0]
