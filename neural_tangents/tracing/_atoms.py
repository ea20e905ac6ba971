"""What the axes of a value are: batch, positions, channels; products of these; and how axes are rearranged."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

BATCH, POSITION, CHANNEL, REPEATED, LEAF = "batch", "position", "channel", "repeated", "leaf"


@dataclasses.dataclass(frozen=True)
class Atom:
    """A factor of an axis; an axis of size 1 has none.

    Attributes:
      kind: `BATCH`; `POSITION`, a finite axis; `CHANNEL`, whose entries are exchangeable; `REPEATED`, along which
        nothing changes; `LEAF`, an axis of a parameter.
      size: number of entries.
      key: for `POSITION`, the number of the finite axis; for `CHANNEL`, where the channels come from; for `LEAF`, the
        axis of the parameter.
    """

    kind: str
    size: int
    key: Any = None


class Part(NamedTuple):
    """The name of a factor of a channel axis that was split into sizes."""

    whole: Any
    sizes: tuple[int, ...]
    place: int


Axes = tuple[tuple[Atom, ...], ...]


class Misfit(Exception):
    """Axes cannot be rearranged as asked; says why."""


def flat(axes: Axes) -> list[Atom]:
    """All atoms, in order."""
    return [atom for axis in axes for atom in axis]


def size_of(atoms: Iterable[Atom]) -> int:
    """The size of an axis with these atoms."""
    return math.prod(atom.size for atom in atoms)


def find(axes: Axes, kind: str) -> list[Atom]:
    """All atoms of a kind, in order."""
    return [atom for atom in flat(axes) if atom.kind == kind]


class Names:
    """Names of channels, and which of them are the same channels."""

    def __init__(self) -> None:
        self.parents: dict[Any, Any] = {}
        self.count = 0

    def new(self) -> int:
        """A new name."""
        self.count += 1
        return self.count

    def root(self, key: Any) -> Any:
        """The representative of all names of the same channels."""
        while key in self.parents:
            key = self.parents[key]
        if isinstance(key, Part):
            found = self.root(key.whole)
            return key if found == key.whole else self.root(key._replace(whole=found))
        return key

    def same(self, a: Atom, b: Atom) -> bool:
        """Whether two atoms are the same channels."""
        return self.root(a.key) == self.root(b.key)

    def unite(self, mine: Sequence[Atom], other: Sequence[Atom]) -> None:
        """Says that channels of two values are the same ones, pair by pair.

        Raises:
          Misfit: they are known to be in another order.
        """
        for a, b in zip(mine, other, strict=True):
            if self.same(a, b):
                continue
            if any(self.same(b, c) for c in mine) or any(self.same(a, c) for c in other):
                raise Misfit("the channels of two activations are paired in different orders")
            self.parents[self.root(b.key)] = self.root(a.key)
        if len({self.root(a.key) for a in mine}) < len(mine):
            raise Misfit("an activation is combined with its own transpose over channels")


def split_atom(atom: Atom, sizes: Sequence[int]) -> list[Atom]:
    """An atom as several, the first one outermost.

    Raises:
      Misfit: it is the batch axis, or an axis of a parameter or of positions, which are split elsewhere.
    """
    if atom.kind == REPEATED:
        return [Atom(REPEATED, size) for size in sizes]
    if atom.kind == CHANNEL:
        return [Atom(CHANNEL, size, Part(atom.key, tuple(sizes), i)) for i, size in enumerate(sizes)]
    raise Misfit(f"a {atom.kind} axis of size {atom.size} is cut into {tuple(sizes)}")


def joined(atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """Atoms where all parts of a channel axis that was split, side by side again, are that axis."""
    atoms = list(atoms)
    i = 0
    while i < len(atoms):
        key = atoms[i].key
        if atoms[i].kind == CHANNEL and isinstance(key, Part) and key.place == 0:
            parts = [part.key for part in atoms[i : i + len(key.sizes)]]
            if parts == [key._replace(place=j) for j in range(len(key.sizes))]:
                atoms[i : i + len(parts)] = [Atom(CHANNEL, math.prod(key.sizes), key.whole)]
                i = max(i - 1, 0)
                continue
        i += 1
    return tuple(atoms)


def reshaped(axes: Axes, shape: Sequence[int], splits: dict[Atom, tuple[int, ...]]) -> Axes:
    """Axes after a reshape to a shape.

    Args:
      axes: the axes before.
      shape: sizes after it.
      splits: filled with the sizes into which atoms of positions or of parameters have to be split. The result then
        does not hold, and is to be computed again for the value after these splits.

    Raises:
      Misfit: axes are merged and cut in a way that is no rearrangement.
    """
    queue, result = flat(axes), []
    for size in shape:
        axis: list[Atom] = []
        rest = size
        while rest > 1:
            if not queue:
                raise Misfit(f"a reshape to {tuple(shape)}")
            atom = queue.pop(0)
            if rest % atom.size == 0:
                axis.append(atom)
                rest //= atom.size
                continue
            common = math.gcd(rest, atom.size)
            if common != rest:
                raise Misfit(f"a reshape cuts an axis of size {atom.size} within {tuple(shape)}")
            sizes = (rest, atom.size // rest)
            if atom.kind in (POSITION, LEAF):
                splits[atom] = sizes
                return axes
            first, second = split_atom(atom, sizes)
            axis.append(first)
            queue.insert(0, second)
            rest = 1
        result.append(joined(axis))
    if queue:
        raise Misfit(f"a reshape to {tuple(shape)}")
    return tuple(result)


def refined(axes: Sequence[tuple[Atom, ...]]) -> list[int]:
    """The sizes into which one axis of several values has to be cut so that their atoms agree.

    Raises:
      Misfit: sizes do not divide each other.
    """
    marks = sorted({size_of(axis[i:]) for axis in axes for i in range(len(axis) + 1)}, reverse=True)
    if any(a % b for a, b in pairwise(marks)):
        raise Misfit(f"axes made of sizes {[[a.size for a in axis] for axis in axes]} side by side")
    return [a // b for a, b in pairwise(marks)]


def cut(axis: Sequence[Atom], sizes: Sequence[int]) -> list[tuple[Atom, list[int]]]:
    """For each atom of an axis, the sizes of a refinement into which it is cut."""
    rest, result = list(sizes), []
    for atom in axis:
        mine: list[int] = []
        while math.prod(mine) < atom.size:
            mine.append(rest.pop(0))
        result.append((atom, mine))
    return result
