"""Activations as a graph: what each is made of, as far as its covariances are concerned."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np

from neural_tangents.tracing._atoms import POSITION, find
from neural_tangents.tracing._recognised import Activation


@dataclasses.dataclass(frozen=True)
class Weights:
    """A part of a parameter, as it is used.

    Attributes:
      leaf: number of the parameter.
      box: for each of its axes, the indices that are in the part.
      names: for each of its axes, the name of the channels along it; None for an axis that is summed or finite.
      role: what each of its axes is used for.
      variance: of its entries, as they are used.
      rate: how fast they are trained: the tangent kernel is the sum over entries of rate times squared derivatives.
    """

    leaf: int
    box: tuple[tuple[int, ...], ...]
    names: tuple[Any, ...]
    role: tuple[Any, ...]
    variance: float
    rate: float

    @property
    def place(self) -> tuple[Any, ...]:
        """What tells it from other parts."""
        return self.leaf, self.box


@dataclasses.dataclass(frozen=True, eq=False)
class Host:
    """Numbers that depend on inputs alone, `[N, *positions]`: a value of the program, and where its axes go.

    Attributes:
      number: of the value.
      axes: what its axes are; the order of positions is that of their keys.
      invert: whether it stands for one divided by the value.
      case: if not None, it stands for whether the value equals it.
      channels: whether entries along the axes of kind `CHANNEL` differ; these are one axis, the last.
      unscaled: if it is a sum over channels that is not yet divided by their number, how many it adds up.
      layout: the axes of the value in the program, if they are not these: atoms of positions have the same keys.
    """

    number: int
    axes: Any
    invert: bool = False
    case: int | None = None
    channels: bool = False
    unscaled: float = 0.0
    layout: Any = None

    @property
    def stored(self) -> Any:
        """What the axes of the value in the program are."""
        return self.axes if self.layout is None else self.layout

    @property
    def places(self) -> list[int]:
        """The finite axes that it has."""
        return sorted(atom.key for atom in find(self.axes, POSITION))


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """An activation.

    Attributes:
      fin: sizes of its finite axes. It has a batch axis besides, and channels.
    """

    fin: tuple[int, ...]

    @property
    def children(self) -> tuple["Node", ...]:
        """What it is made of."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(x for x in fields if isinstance(x, Node))


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed(Node):
    """Depends on inputs alone, and is equal in all channels unless `host.channels`."""

    host: Host


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Node):
    """A product with weights.

    Attributes:
      child: what is multiplied.
      weights: the weights.
      width: how many channels of the child each output adds up; 1 for those of inputs.
      channels: whether channels of the child are added up; if not, each has weights of its own.
      geometry: of a convolution, for its translation.
      axes: what happens to each finite axis of the child: `"keep"`; `"own"`, weights differ along it; `"sum"`, it is
        contracted; or an array `[P, K]` of positions, -1 for zeros, which the K weights at each of P places meet.
    """

    child: Node
    weights: Weights
    width: int
    axes: tuple[Any, ...]
    channels: bool = True
    geometry: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Bias(Node):
    """A random constant for each channel, and along some finite axes (`own`) for each position."""

    weights: Weights
    own: tuple[bool, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding(Node):
    """Rows of a random table, by an index that depends on inputs."""

    weights: Weights
    index: Host
    own: tuple[bool, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Scale(Node):
    """Multiplied by a parameter of mean `mean` for each channel, and along some finite axes for each position."""

    child: Node
    weights: Weights
    mean: float
    own: tuple[bool, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ScaleDerivative(Node):
    """The derivative of `Scale` by its parameter: the child, where positions that share no parameter do not covary."""

    child: Node
    own: tuple[bool, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Phi(Node):
    """A function of one Gaussian, entry by entry."""

    child: Node
    activation: Activation


@dataclasses.dataclass(frozen=True, eq=False)
class Product(Node):
    """A product of two activations, entry by entry, or summed over `width` channels and some finite axes.

    Attributes:
      first: a factor.
      second: the other one.
      spec: names of the finite axes of both, and of the product, as in `einsum`.
      width: number of channels that are summed.
      shared: whether one factor is shared by channels of the other.
    """

    first: Node
    second: Node
    spec: tuple[str, str, str]
    width: int = 1
    shared: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Sum(Node):
    """A sum of activations with the same finite axes."""

    terms: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        return self.terms


@dataclasses.dataclass(frozen=True, eq=False)
class Times(Node):
    """Multiplied by a number."""

    child: Node
    factor: float


@dataclasses.dataclass(frozen=True, eq=False)
class View(Node):
    """Finite axes split, put into another order, and new ones along which nothing changes.

    Attributes:
      split: sizes of the axes after the split.
      order: for each axis of the result, which of these it is; None for a new one.
    """

    child: Node
    split: tuple[int, ...]
    order: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Along(Node):
    """A constant matrix `[P, p]` applied along one finite axis; `window` says which pool it is, if it is one."""

    child: Node
    axis: int
    matrix: np.ndarray
    window: Any = None

    @functools.cached_property
    def selects(self) -> bool:
        """Whether each result is one of the entries."""
        return bool(np.all((self.matrix == 0) | (self.matrix == 1)) and np.all(self.matrix.sum(1) == 1))


@dataclasses.dataclass(frozen=True, eq=False)
class Weighted(Node):
    """Multiplied by numbers that depend on inputs alone, and summed over some finite axes.

    Attributes:
      host: the numbers.
      spec: names of the finite axes of the numbers, of the child, and of the result, as in `einsum`.
    """

    child: Node
    host: Host
    spec: tuple[str, str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Stopped(Node):
    """An activation whose derivatives count as 0."""

    child: Node


MAPS = Times | View | Along | Weighted
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


F = TypeVar("F", bound=Callable[[Any], Any])


def _kept(fn: F) -> F:
    """A function of a node, whose value is kept with the node."""

    def of(node: Node) -> Any:
        if fn.__name__ not in node.__dict__:
            node.__dict__[fn.__name__] = fn(node)
        return node.__dict__[fn.__name__]

    return cast(F, functools.wraps(fn)(of))


def walk(nodes: Iterable[Node]) -> list[Node]:
    """All nodes that some are made of, each after its own parts."""
    order: dict[Node, None] = {}
    stack = [(node, False) for node in nodes]
    while stack:
        node, done = stack.pop()
        if done:
            order[node] = None
        elif node not in order:
            stack.append((node, True))
            stack += [(child, False) for child in node.children]
    return list(order)


@_kept
def sources(node: Node) -> frozenset[Any]:
    """The parts of parameters that make its channels random, given what is summed over many channels below."""
    if isinstance(node, Bias | Embedding) or isinstance(node, Linear) and node.channels:
        return frozenset({node.weights.place})
    below = frozenset().union(*(sources(child) for child in node.children))
    own = isinstance(node, Scale) and node.weights.variance or isinstance(node, Linear)
    return below | {node.weights.place} if own else below  # type: ignore[attr-defined]


def line_of(*nodes: Node) -> str:
    """Where in the user's code one of some nodes was made, as the end of a message; empty if it is unknown."""
    steps = [node.__dict__["step"] for node in nodes if "step" in node.__dict__]
    return f"\nMet at {steps[0].line}" if steps and steps[0].line else ""


def independent(a: Node, b: Node) -> bool:
    """Whether equal channels of two activations are independent."""
    return not sources(a) & sources(b)


@_kept
def is_gaussian(node: Node) -> bool:
    """Whether it is Gaussian with mean 0, jointly with all others that are."""
    if isinstance(node, Linear):
        return node.channels
    if isinstance(node, Bias | Embedding):
        return True
    if isinstance(node, Product):
        return node.width > 1 and is_gaussian(node.first) and is_gaussian(node.second)
    if isinstance(node, Scale):
        return not node.weights.variance and is_gaussian(node.child)
    return isinstance(node, MAPS | Sum | Stopped) and all(map(is_gaussian, node.children))


@_kept
def has_mean(node: Node) -> bool:
    """Whether its mean may differ from 0."""
    if isinstance(node, Linear | Bias | Embedding):
        return False
    if isinstance(node, Phi | Fixed):
        return True
    if isinstance(node, Product):
        if independent(node.first, node.second):
            return has_mean(node.first) and has_mean(node.second)
        return True
    if isinstance(node, Scale):
        return node.mean != 0 and has_mean(node.child)
    return any(map(has_mean, node.children))


@_kept
def is_shared(node: Node) -> bool:
    """Whether something in it is shared by several channels."""
    if isinstance(node, Product) and node.shared:
        return True
    return not (isinstance(node, Linear) and node.channels) and any(map(is_shared, node.children))


@_kept
def scales(node: Node) -> frozenset[Scale]:
    """The trained scales of single channels that it depends on in the same channel."""
    if isinstance(node, Stopped) or isinstance(node, Linear) and node.channels:
        return frozenset()
    below = frozenset().union(*(scales(child) for child in node.children))
    return below | {node} if isinstance(node, Scale) and node.weights.rate else below


def _interned(made: Node, parent: Node, key: Any) -> Node:
    """The node that was first made of a parent in the same way."""
    return cast(Node, parent.__dict__.setdefault("made", {}).setdefault(key, made))


def times(node: Node, factor: float) -> Node:
    """A node times a number, as one `Times` at most."""
    if isinstance(node, Times):
        return times(node.child, node.factor * factor)
    return node if factor == 1 else _interned(Times(node.fin, node, factor), node, ("times", factor))


def along(node: Node, axis: int, matrix: np.ndarray, window: Any = None) -> Node:
    """A matrix along one axis; a choice of positions is made before a nonlinearity, so that it can be fused."""
    size = matrix.shape[0]
    if matrix.shape == (size, size) and np.array_equal(matrix, np.eye(size)):
        return node
    fin = (*node.fin[:axis], size, *node.fin[axis + 1 :])
    if isinstance(node, Along) and node.axis == axis and node.window is None and window is None:
        return along(node.child, axis, matrix @ node.matrix)
    mapped: Node = Along(fin, node, axis, matrix, window)
    if isinstance(node, Phi) and mapped.selects:  # type: ignore[attr-defined]
        mapped = Phi(fin, along(node.child, axis, matrix), node.activation)
    return _interned(mapped, node, ("along", axis, matrix.shape, matrix.tobytes()))


def _composed(node: View, order: tuple[int | None, ...], sizes: list[int]) -> tuple[int | None, ...]:
    """Where the axes of a view of a view are in its origin; one of size 1 that was dropped comes back."""
    places = [None if axis is None else node.order[axis] for axis in order]
    for i, place in enumerate(places):
        dropped = [j for j, n in enumerate(node.split) if n == 1 and j not in places]
        if place is None and sizes[i] == 1 and dropped:
            places[i] = dropped[0]
    return tuple(places)


def view(node: Node, split: tuple[int, ...], order: tuple[int | None, ...], new: dict[int, int] | None = None) -> Node:
    """Rearranged axes; `new` has the sizes of new ones, by place. It is done before a nonlinearity too."""
    if split == node.fin and order == tuple(range(len(node.fin))):
        return node
    if isinstance(node, View) and split == node.fin:
        sizes = [(new or {})[i] if axis is None else split[axis] for i, axis in enumerate(order)]
        return view(node.child, node.split, _composed(node, order, sizes), dict(enumerate(sizes)))
    fin = tuple((new or {})[i] if axis is None else split[axis] for i, axis in enumerate(order))
    if isinstance(node, Phi):
        made: Node = Phi(fin, view(node.child, split, order, new), node.activation)
    else:
        made = View(fin, node, split, order)
    return _interned(made, node, ("view", split, order, fin))
