"""Values side by side: which axes of one are which of the other."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents.tracing._atoms import (
    BATCH,
    CHANNEL,
    LEAF,
    POSITION,
    REPEATED,
    Atom,
    Axes,
    Misfit,
    Names,
    cut,
    joined,
    refined,
    split_atom,
)
from neural_tangents.tracing._graph import LETTERS, Host, Node, sources, view
from neural_tangents.tracing._values import Data, Param, split, viewed


@dataclasses.dataclass
class Aligned:
    """Values with equal axes.

    Attributes:
      values: the values, with atoms that agree.
      axes: for each axis, its atoms; keys of positions are numbers of the finite axes.
      fin: sizes of the finite axes.
      places: for each value, which finite axis each of its own is, by key.
      own: for each value, which finite axes it differs along if it is a parameter.
      channels: for each value, what the axes of channels are in it; None where it has size 1.
      varying: for each value, whether it is made of numbers that differ between channels.
    """

    values: list[Any]
    axes: list[list[Atom]]
    fin: list[int]
    places: list[dict[Any, int]]
    own: list[set[int]]
    channels: list[list[Atom | None]]
    varying: list[bool]

    @property
    def joined_axes(self) -> Axes:
        """The axes of what is computed of them entry by entry."""
        return tuple(map(joined, self.axes))

    def node(self, i: int) -> Node:
        """An activation with all finite axes."""
        node, back = self.values[i].node, {place: key for key, place in self.places[i].items()}
        order = tuple(back.get(place) for place in range(len(self.fin)))
        return view(node, node.fin, order, dict(enumerate(self.fin)))

    def host(self, i: int) -> Host:
        """Numbers that depend on inputs, with the finite axes as keys."""
        return placed_host(self.values[i], self.places[i], self.varying[i])

    def letters(self, i: int) -> str:
        """The finite axes of a value in its own order, as letters."""
        return "".join(LETTERS[place] for _, place in sorted(self.places[i].items()))

    def flags(self, i: int) -> tuple[bool, ...]:
        """For each finite axis, whether the entries of a parameter differ along it."""
        return tuple(place in self.own[i] for place in range(len(self.fin)))

    def lacks(self, i: int) -> str:
        """Whether a value is shared by `"all"` channels, `"some"` or none (`""`)."""
        if not self.channels[i] or all(self.channels[i]):
            return ""
        return "some" if any(self.channels[i]) else "all"


def equal_atoms(values: Sequence[Any]) -> list[Any]:
    """Values whose atoms along each axis have equal sizes, but for axes of size 1."""
    rank = max(len(value.axes) for value in values)
    values = [v if v.axes else viewed(v, ((),) * rank) for v in values]
    wanted: list[dict[Atom, tuple[int, ...]]] = [{} for _ in values]
    pieces: list[dict[Atom, list[Atom]]] = [{} for _ in values]
    for i in range(rank):
        axes = [v.axes[i] for v in values]
        sizes = refined([axis for axis in axes if axis])
        for number, axis in enumerate(axes):
            for atom, into in cut(axis, sizes):
                if len(into) > 1 and atom.kind in (POSITION, LEAF):
                    wanted[number][atom] = tuple(into)
                elif len(into) > 1:
                    pieces[number][atom] = split_atom(atom, into)
    values = [split(v, w) for v, w in zip(values, wanted, strict=True)]
    return [
        viewed(v, tuple(tuple(q for a in axis for q in p.get(a, [a])) for axis in v.axes)) if p else v
        for v, p in zip(values, pieces, strict=True)
    ]


def align(values: Sequence[Any], names: Names) -> Aligned:
    """Brings values to equal axes: activations, parameters, and numbers that depend on inputs alone.

    Raises:
      Misfit: axes do not fit.
    """
    values = equal_atoms(values)
    rank = len(values[0].axes)
    result = Aligned(
        values=values,
        axes=[[] for _ in range(rank)],
        fin=[],
        places=[{} for _ in values],
        own=[set() for _ in values],
        channels=[[] for _ in values],
        varying=[False] * len(values),
    )
    for i in range(rank):
        for j in range(max(len(v.axes[i]) for v in values)):
            _add_column(result, i, [v.axes[i][j] if v.axes[i] else None for v in values])
    random = [i for i, v in enumerate(values) if isinstance(v, Data | Param)]
    for position, first in enumerate(random):
        for second in random[position + 1 :]:
            pairs = zip(result.channels[first], result.channels[second], strict=True)
            both = [(a, b) for a, b in pairs if a is not None and b is not None]
            names.unite([a for a, _ in both], [b for _, b in both])
    return result


def _add_column(result: Aligned, i: int, column: list[Atom | None]) -> None:
    kinds = {atom.kind for atom in column if atom is not None}
    size = next(atom.size for atom in column if atom is not None)
    if BATCH in kinds:
        if not kinds <= {BATCH, REPEATED}:
            raise Misfit("the batch axis meets another axis")
        result.axes[i].append(Atom(BATCH, size))
    elif CHANNEL in kinds or LEAF in kinds and POSITION not in kinds:
        result.axes[i].append(_channel(result, column))
    elif kinds & {POSITION, LEAF}:
        place = len(result.fin)
        result.axes[i].append(Atom(POSITION, size, place))
        result.fin.append(size)
        for number, atom in enumerate(column):
            if atom is not None and atom.kind == POSITION:
                result.places[number][atom.key] = place
            elif atom is not None and atom.kind == LEAF:
                result.own[number].add(place)
    else:
        result.axes[i].append(Atom(REPEATED, size))


def _channel(result: Aligned, column: list[Atom | None]) -> Atom:
    """One axis of channels; notes what it is in each value."""
    chosen: Atom | None = None
    for number, (value, atom) in enumerate(zip(result.values, column, strict=True)):
        mine = None
        if atom is not None and atom.kind == CHANNEL:
            mine = atom
        elif atom is not None and atom.kind == LEAF:
            mine = value.channel(atom)
        elif atom is not None and atom.kind == POSITION:
            if not isinstance(value, Host):
                raise Misfit("positions of one activation meet channels of another")
            result.varying[number] = True
        result.channels[number].append(mine)
        if mine is not None and (chosen is None or isinstance(value, Data)):
            chosen = mine
    assert chosen is not None
    return chosen


def is_random(value: Any) -> bool:
    """Whether a value is an activation that depends on random parameters in each channel."""
    return isinstance(value, Data) and bool(sources(value.node))


def placed_host(value: Host, places: dict[Any, int], varying: bool = False) -> Host:
    """Numbers that depend on inputs alone, with keys of positions replaced; positions without a place are channels.

    Raises:
      Misfit: they differ along several axes of channels.
    """

    def renamed(atom: Atom) -> Atom:
        if atom.kind != POSITION:
            return atom
        return dataclasses.replace(atom, key=places[atom.key]) if atom.key in places else Atom(CHANNEL, atom.size)

    axes = tuple(tuple(map(renamed, axis)) for axis in value.stored)
    if varying and sum(atom.kind == CHANNEL for axis in axes for atom in axis) > 1:
        raise Misfit("numbers that differ between channels along several axes")
    return dataclasses.replace(value, axes=axes, layout=None, channels=varying)
