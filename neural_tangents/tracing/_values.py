"""What is known of a value of the program: a constant, a parameter, numbers that depend on inputs, or an activation."""

import dataclasses
import functools
from typing import Any

import numpy as np

from neural_tangents.tracing._atoms import CHANNEL, LEAF, POSITION, Atom, Axes, Misfit, Part, flat
from neural_tangents.tracing._graph import Host, Node, Weights, view


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A constant.

    Attributes:
      values: for each of the two batch sizes of the traces, its value.
      number: of the value in the program.
      unscaled: if it is a sum over channels of mean 0, not yet divided by their number, how many it adds up.
      vanished: whether it is made of means over channels, which are 0 at infinite width.
    """

    values: tuple[np.ndarray, np.ndarray]
    number: int
    unscaled: float = 0.0
    vanished: bool = False

    @functools.cached_property
    def uniform(self) -> float | None:
        """Its entry, if all are equal."""
        first = self.values[0].reshape(-1)[:1]
        if not first.size or not all(equal(v, first) for v in self.values):
            return None
        return first[0].item()


@dataclasses.dataclass(frozen=True, eq=False)
class Param:
    """`scale` times a part of a parameter, of mean 0, plus `shift`.

    Attributes:
      leaf: number of the parameter.
      box: for each axis of the parameter, the indices that are in the part.
      axes: what the axes of the value are: atoms of kind `LEAF` have as key the axis of the parameter, or a `Part`.
      scale: factor.
      shift: mean.
    """

    leaf: int
    box: tuple[tuple[int, ...], ...]
    axes: Axes
    scale: float
    shift: float

    def name(self, axis: int) -> Any:
        """The name of channels along an axis of the parameter."""
        return self.leaf, axis, self.box[axis]

    def channel(self, atom: Atom) -> Atom:
        """An axis of the parameter as one of channels."""
        key = atom.key
        if isinstance(key, Part):
            return Atom(CHANNEL, atom.size, Part(self.name(key.whole), key.sizes, key.place))
        return Atom(CHANNEL, atom.size, self.name(key))


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """An activation: a node, and where its finite axes and its channels are.

    Attributes:
      node: the node.
      axes: what the axes of the value are; the key of a `POSITION` is the number of a finite axis of the node.
    """

    node: Node
    axes: Axes


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """Values side by side along one axis, of channels."""

    axis: int
    parts: tuple[Any, ...]


Value = Known | Host | Param | Data | Parts


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether all entries of arrays that broadcast are equal, or both not a number."""
    return bool(np.all((a == b) | (a != a) & (b != b)))


def axis_of(atom: Atom) -> int:
    """The axis of the parameter that an atom of kind `LEAF` belongs to."""
    return atom.key.whole if isinstance(atom.key, Part) else atom.key


def split(value: Any, wanted: dict[Atom, tuple[int, ...]]) -> Any:
    """A value where atoms of positions, or of a parameter, are split into sizes, the first one outermost."""
    if not wanted:
        return value
    if isinstance(value, Param):
        if any(isinstance(atom.key, Part) for atom in wanted):
            raise Misfit("an axis of a parameter is split twice")
        pieces = {a: [Atom(LEAF, n, Part(a.key, s, i)) for i, n in enumerate(s)] for a, s in wanted.items()}
        return dataclasses.replace(value, axes=_replaced(value.axes, pieces))
    atoms = sorted((atom for atom in flat(value.axes) if atom.kind == POSITION), key=lambda atom: atom.key)
    pieces, count = {}, 0
    sizes: list[int] = []
    for atom in atoms:
        into = wanted.get(atom, (atom.size,))
        pieces[atom] = [Atom(POSITION, n, count + i) for i, n in enumerate(into)]
        sizes += into
        count += len(into)
    axes = _replaced(value.axes, pieces)
    if isinstance(value, Host):
        return dataclasses.replace(value, axes=axes, layout=_replaced(value.stored, pieces))
    node = view(value.node, tuple(sizes), tuple(range(count)))
    return Data(node, axes)


def viewed(value: Any, axes: Axes) -> Any:
    """A value whose axes are seen in another arrangement; numbers that depend on inputs stay as they are."""
    if isinstance(value, Host):
        return dataclasses.replace(value, axes=axes, layout=value.stored)
    return dataclasses.replace(value, axes=axes)


def _replaced(axes: Axes, pieces: dict[Atom, list[Atom]]) -> Axes:
    return tuple(tuple(piece for atom in axis for piece in pieces.get(atom, [atom])) for axis in axes)


def weights_of(param: Param, role: dict[int, Any], variance: float, rate: float) -> Weights:
    """A parameter as it is used.

    Args:
      param: the parameter.
      role: for each of its axes, what it is used for; `"channel"` for those of the channels of the result.
      variance: of the entries of the leaf.
      rate: of the leaf.
    """
    n = range(len(param.box))
    names = tuple(param.name(i) if role.get(i) == "channel" else None for i in n)
    factor = param.scale**2
    return Weights(param.leaf, param.box, names, tuple(role.get(i) for i in n), factor * variance, factor * rate)
