"""Products with weights: `dot_general` of activations with a parameter, and embeddings; products of activations."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from neural_tangents.tracing._alignment import equal_atoms, placed_host
from neural_tangents.tracing._atoms import BATCH, CHANNEL, LEAF, POSITION, REPEATED, Atom, Misfit, Part, find, joined
from neural_tangents.tracing._graph import Embedding, Host, Linear, Node, view
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._rules.multiply import contraction, product
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Data, Known, Param, axis_of, viewed

SOME = (
    "weights contract positions, or some of the channels, and are shared by the other channels, so that the kernel "
    "stays random at infinite width (token mixing of an MLP-Mixer, say)"
)
MEAN = "weights have a mean that is not 0, so that activations grow with the width"


def dot_general(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`dot_general`."""
    (contracted_a, contracted_b), (batch_a, batch_b) = step.params["dimension_numbers"]
    a, b = (reading.host_of(v) if isinstance(v, Known) else v for v in operands)
    if isinstance(a, Param) and not isinstance(b, Param):
        made = weighted(reading, step, b, a, (contracted_b, contracted_a), (batch_b, batch_a), param_first=True)
    elif isinstance(b, Param) and not isinstance(a, Param):
        made = weighted(reading, step, a, b, (contracted_a, contracted_b), (batch_a, batch_b), param_first=False)
    elif isinstance(a, Param):
        raise Misfit("two parameters are multiplied, so that entries are not the independent ones they were drawn as")
    else:
        free_a = [i for i in range(len(a.axes)) if i not in (*contracted_a, *batch_a)]
        free_b = [i for i in range(len(b.axes)) if i not in (*contracted_b, *batch_b)]
        none = ((),)
        a = viewed(a, _taken(a, [*batch_a, *free_a]) + none * len(free_b) + _taken(a, contracted_a))
        b = viewed(b, _taken(b, batch_b) + none * len(free_a) + _taken(b, [*free_b, *contracted_b]))
        n = len(batch_a) + len(free_a) + len(free_b)
        summed = range(n, n + len(contracted_a))
        if isinstance(a, Data) and isinstance(b, Data):
            return product(reading, step, a, b, summed)
        return _with_host(reading, step, a, b, summed)
    return made


def _with_host(reading: Reading, step: Step, a: Any, b: Any, summed: Sequence[int]) -> Any:
    """A product of an activation and numbers, whose axes of the program are not those of the step."""
    data, host = (a, b) if isinstance(a, Data) else (b, a)
    return contraction(reading, step, [data, host], summed)


def _taken(value: Any, axes: Sequence[int]) -> tuple[tuple[Atom, ...], ...]:
    return tuple(value.axes[i] for i in axes)


def weighted(
    reading: Reading,
    step: Step,
    x: Any,
    param: Param,
    contracted: tuple[Sequence[int], Sequence[int]],
    batched: tuple[Sequence[int], Sequence[int]],
    param_first: bool,
) -> Data:
    """The product of an activation, or of inputs, with weights."""
    if param.shift:
        raise Misfit(MEAN)
    x = reading.as_data(x) if isinstance(x, Host) else x
    free_x = [i for i in range(len(x.axes)) if i not in (*contracted[0], *batched[0])]
    free_w = [i for i in range(len(param.axes)) if i not in (*contracted[1], *batched[1])]
    both = [
        dataclasses.replace(x, axes=_taken(x, [*contracted[0], *batched[0], *free_x])),
        dataclasses.replace(param, axes=_taken(param, [*contracted[1], *batched[1]]) + ((),) * len(free_x)),
    ]
    free_axes = _taken(param, free_w)
    x, w = equal_atoms(both)
    product = _Product(reading, x, w)
    n, m = len(contracted[0]), len(batched[0])
    for i in range(n):
        for a, b in _columns(x.axes[i], w.axes[i]):
            product.contract(a, b)
    batch_axes = [tuple(product.batch(a, b) for a, b in _columns(x.axes[i], w.axes[i])) for i in range(n, n + m)]
    rest = [tuple(product.free(a) for a in axis) for axis in x.axes[n + m :]]
    new = [joined(tuple(product.output(a) for a in axis)) for axis in free_axes]
    axes = [*batch_axes, *new, *rest] if param_first else [*batch_axes, *rest, *new]
    return product.made(step, axes)


def _columns(a: Sequence[Atom], b: Sequence[Atom]) -> list[tuple[Atom | None, Atom | None]]:
    n = max(len(a), len(b))
    return list(zip(a or (None,) * n, b or (None,) * n, strict=True))


class _Product:
    """A product with weights, put together axis by axis."""

    def __init__(self, reading: Reading, x: Data, param: Param) -> None:
        self.reading, self.x, self.param = reading, x, param
        self.width = 1
        self.role: dict[int, Any] = {}
        self.kept: list[int | None] = []  # finite axes of the child, in the order of those of the result
        self.kept_sizes: list[int] = []
        self.kinds: list[tuple[Any, Any, int | None, int]] = []  # leaf axis, what happens, axis of the child, size

    def _sum(self, b: Atom, kind: str, place: int | None, size: int) -> None:
        self.set_role(b, kind)
        order = (axis_of(b), b.key.place if isinstance(b.key, Part) else 0)
        self.kinds.append((order, kind, place, size))

    def set_role(self, b: Atom, kind: str) -> None:
        """Notes what an axis of the parameter is used for."""
        axis = axis_of(b)
        if not isinstance(b.key, Part):
            self.role[axis] = kind
            return
        parts = list(self.role.get(axis, (None,) * len(b.key.sizes)))
        parts[b.key.place] = (kind, b.size)
        self.role[axis] = tuple(parts)

    def contract(self, a: Atom | None, b: Atom | None) -> None:
        """Notes an axis that both have and that is summed."""
        if b is None and a is None:
            return
        if b is None or b.kind != LEAF:
            raise Misfit("activations are added up with equal weights, which is a sum and no product with weights")
        if a is None or a.kind == REPEATED:
            self._sum(b, "sum", None, b.size)
        elif a.kind == BATCH:
            raise Misfit("the network mixes its inputs: weights contract the batch")
        elif a.kind == CHANNEL:
            self.width *= a.size
            self.set_role(b, "in")
            self.reading.names.unite([a], [self.param.channel(b)])
        else:
            self._sum(b, "sum", a.key, a.size)

    def batch(self, a: Atom | None, b: Atom | None) -> Atom:
        """Notes an axis along which weights differ, and that is in the result."""
        if a is None or b is None or b.kind != LEAF or a.kind == BATCH:
            raise Misfit("weights that are shared along an axis of the batch of a product")
        if a.kind == CHANNEL:
            self.set_role(b, "channel")
            return a
        self._sum(b, "own", a.key if a.kind == POSITION else None, a.size)
        return Atom("own", a.size, (axis_of(b), b.key.place if isinstance(b.key, Part) else 0))

    def free(self, a: Atom) -> Atom:
        """An axis of the activation that is in the result."""
        if a.kind == CHANNEL:
            raise Misfit(SOME)
        if a.kind == POSITION:
            self.kept.append(a.key)
            self.kept_sizes.append(a.size)
            return Atom(POSITION, a.size, len(self.kept) - 1)
        return a

    def output(self, b: Atom) -> Atom:
        """An axis of the parameter that is in the result."""
        if b.kind != LEAF:
            return Atom(REPEATED, b.size) if b.kind == REPEATED else b
        self.set_role(b, "channel")
        return self.param.channel(b)

    def made(self, step: Step, axes: Sequence[tuple[Atom, ...]]) -> Data:
        """The product, with these axes."""
        kinds = sorted(self.kinds, key=lambda k: k[0])
        own = [k for k in kinds if k[1] == "own"]
        order = [*self.kept, *(k[2] for k in kinds)]
        sizes = [*self.kept_sizes, *(k[3] for k in kinds)]
        if {i for i in order if i is not None} != set(range(len(self.x.node.fin))):
            raise Misfit("an activation has an axis that is not in its shape")
        child = view(self.x.node, self.x.node.fin, tuple(order), dict(enumerate(sizes)))
        number = {k[0]: len(self.kept) + i for i, k in enumerate(own)}
        axes = [
            joined(tuple(Atom(POSITION, a.size, number[a.key]) if a.kind == "own" else a for a in axis))
            for axis in axes
        ]
        weights = self.reading.used(step, self.param, self.role)
        fin = (*self.kept_sizes, *(k[3] for k in own))
        what = ("keep",) * len(self.kept) + tuple(k[1] for k in kinds)
        node: Node = Linear(fin, child, weights, self.width, what)
        return Data(node, tuple(axes))


def embedding(reading: Reading, step: Step, operands: Sequence[Any]) -> Data:
    """Rows of a parameter by an index that depends on inputs."""
    param, index, axis = operands
    if not param.axes[axis] or param.shift:
        raise Misfit(MEAN if param.shift else "an embedding with one row")
    host = reading.host_of(index) if isinstance(index, Known) else index
    numbers = step.params["dimension_numbers"]
    if host.axes[-1]:  # an index along several axes, of which the first is the one that matters
        host = dataclasses.replace(host, axes=(*host.axes[:-1], (Atom(REPEATED, host.axes[-1][0].size),)))
    places = {atom.key: i for i, atom in enumerate(sorted(find(host.axes, POSITION), key=lambda a: a.key))}
    sizes = {places[a.key]: a.size for a in find(host.axes, POSITION)}
    whole = placed_host(host, places)
    role = {axis_of(a): "channel" for a in (a for x in param.axes for a in x)}
    role[axis_of(param.axes[axis][0])] = "row"
    weights = reading.used(step, param, role)
    fin = tuple(sizes[i] for i in range(len(sizes)))
    node: Node = Embedding(fin, weights, whole, (False,) * len(fin))
    collapsed = numbers.collapsed_slice_dims
    placed = list(whole.axes[:-1])
    rest = [() if i == axis else a for i, a in enumerate(param.axes) if i not in collapsed]
    axes: list[Any] = []
    for i in range(len(reading.shapes(step.results[0])[0])):
        if i in numbers.offset_dims:
            axes.append(joined(tuple(map(param.channel, rest.pop(0)))))
        else:
            axes.append(placed.pop(0))
    return Data(node, tuple(axes))
