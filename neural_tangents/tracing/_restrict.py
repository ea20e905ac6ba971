"""Some of the channels of an activation: the same graph with parts of its parameters."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_tangents.tracing._atoms import CHANNEL, LEAF, Atom, Axes, Misfit, Names, Part
from neural_tangents.tracing._graph import Bias, Embedding, Fixed, Linear, Node, Scale, Sum, Weights, sources
from neural_tangents.tracing._values import Data, Param

Indices = tuple[int, ...]


def _lattice(sizes: Sequence[int], place: int, indices: Sequence[int]) -> Indices:
    """Which entries of an axis that was split have some indices in one of the factors."""
    return tuple(np.arange(int(np.prod(sizes))).reshape(sizes).take(indices, place).reshape(-1).tolist())


def _renamed(axes: Axes, atom: Atom, indices: Sequence[int], name: Any, kind: str) -> Axes:
    """Axes after a choice of indices along an atom, where all factors of what it is a part of get new names."""
    whole = atom.key.whole if isinstance(atom.key, Part) else atom.key
    sizes = list(atom.key.sizes) if isinstance(atom.key, Part) else [atom.size]
    place = atom.key.place if isinstance(atom.key, Part) else 0
    sizes[place] = len(indices)
    kept = [i for i, n in enumerate(sizes) if n > 1]
    short = tuple(sizes[i] for i in kept)

    def new(a: Atom) -> tuple[Atom, ...]:
        mine = a.key.whole if isinstance(a.key, Part) else a.key
        if a.kind != kind or mine != whole:
            return (a,)
        i = a.key.place if isinstance(a.key, Part) else 0
        if i not in kept:
            return ()
        return (Atom(kind, sizes[i], name if len(kept) == 1 else Part(name, short, kept.index(i))),)

    return tuple(tuple(b for a in axis for b in new(a)) for axis in axes)


def sliced_param(param: Param, atom: Atom, indices: Sequence[int]) -> Param:
    """A parameter with some indices along one of its axes."""
    axis = atom.key.whole if isinstance(atom.key, Part) else atom.key
    chosen = _lattice(atom.key.sizes, atom.key.place, indices) if isinstance(atom.key, Part) else tuple(indices)
    if len(set(chosen)) < len(chosen):
        raise Misfit("entries of a parameter are repeated")
    box = list(param.box)
    box[axis] = tuple(box[axis][i] for i in chosen)
    axes = _renamed(param.axes, atom, indices, axis, LEAF)
    return dataclasses.replace(param, box=tuple(box), axes=axes)


def restricted(reading: Any, step: Any, value: Data, atom: Atom, indices: Sequence[int]) -> Data:
    """An activation with some of its channels.

    Raises:
      Misfit: they are not parts of parameters.
    """
    names: Names = reading.names
    if len(set(indices)) < len(indices):
        raise Misfit("channels of an activation are repeated")
    root = names.root(atom.key)
    part = root if isinstance(root, Part) else None
    whole = part.whole if part else root
    chosen = _lattice(part.sizes, part.place, indices) if part else tuple(indices)
    name = ("some", whole, chosen)

    def new_weights(weights: Weights) -> Weights:
        box, new_names = list(weights.box), list(weights.names)
        for axis, old in enumerate(weights.names):
            if old is None:
                continue
            mine = names.root(old)
            if mine == whole:
                box[axis], new_names[axis] = tuple(box[axis][i] for i in chosen), name
            elif mine == root:
                box[axis] = tuple(box[axis][i] for i in indices)
                new_names[axis] = ("some", root, tuple(indices))
            elif isinstance(mine, Part) and mine.whole == whole and part is None:
                raise Misfit("some channels are taken of a sum whose terms have them in different arrangements")
        if tuple(new_names) == weights.names:
            raise Misfit("some channels are taken of an activation whose weights are shared by all of them")
        made = dataclasses.replace(weights, box=tuple(box), names=tuple(new_names))
        reading.uses.setdefault(made, reading.uses.get(weights, step))
        return made

    node = _restricted(value.node, new_weights, reading.restrictions.setdefault((root, tuple(indices)), {}))
    axes = _renamed(_with_root(value.axes, names, root), dataclasses.replace(atom, key=root), indices, name, CHANNEL)
    return Data(node, axes)


def _with_root(axes: Axes, names: Names, root: Any) -> Axes:
    """Axes where channels are named by the representatives of their names."""

    def named(atom: Atom) -> Atom:
        return dataclasses.replace(atom, key=names.root(atom.key)) if atom.kind == CHANNEL else atom

    return tuple(tuple(map(named, axis)) for axis in axes)


def _restricted(node: Node, new_weights: Any, done: dict[Node, Node]) -> Node:
    if node in done:
        return done[node]
    fields: dict[str, Any] = {name: getattr(node, name) for name in node.__dataclass_fields__}
    if isinstance(node, Fixed) and node.host.channels:
        raise Misfit("some channels are taken of an activation that holds constants which differ between channels")
    if isinstance(node, Linear | Bias | Embedding | Scale):
        fields["weights"] = new_weights(node.weights)
    if isinstance(node, Sum):
        fields["terms"] = tuple(_restricted(t, new_weights, done) for t in node.terms)
    elif not isinstance(node, Linear) or not node.channels:
        for name, value in fields.items():
            if isinstance(value, Node):
                fields[name] = _restricted(value, new_weights, done)
    done[node] = type(node)(**fields)
    assert sources(done[node]) or not sources(node)
    return done[node]
