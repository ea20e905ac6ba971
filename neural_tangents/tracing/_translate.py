"""The back end of `stax` layers: graphs in which layers follow each other, and branches that part and join."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_tangents import stax
from neural_tangents.tracing._graph import (
    Along,
    Bias,
    Linear,
    Node,
    Phi,
    Product,
    Sum,
    Times,
    Weighted,
    independent,
    is_gaussian,
    sources,
    walk,
)
from neural_tangents.tracing._normalisation import normalisation_of
from neural_tangents.tracing._padding import Untranslated, Window, window_of
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._recognised import Activation


@dataclasses.dataclass(frozen=True)
class Translation:
    """A network of layers, and the node whose values are its inputs.

    Attributes:
      layer: the network.
      inputs: the node.
      features: which of its finite axes are the channels of the inputs.
      is_certain: whether layers are known to take what comes before them; else `layer` has to be tried.
    """

    layer: Any
    inputs: Node
    features: tuple[int, ...]
    is_certain: bool


def translated(node: Node, reading: Reading) -> Translation:
    """The network that computes a node, the output of a graph.

    Args:
      node: the output.
      reading: of the program of the network.

    Raises:
      Untranslated: there is none.
    """
    places = [n.weights.place for n in walk([node]) if isinstance(n, Linear | Bias)]
    if len(set(places)) < len(places):
        raise Untranslated("weights that are used more than once")
    translator = _Translator(reading)
    layers = translator.layers(node, None)
    inputs, features = translator.inputs
    return Translation(stax.serial(*layers), inputs, features, not (translator.joins and translator.changes_axes))


class _Translator:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.emitted: set[Any] = set()
        self.found: tuple[Node, tuple[int, ...]] | None = None
        self.dominators: dict[Node, list[Node | None]] = {}
        self.joins = self.changes_axes = False  # whether there are branches, and layers after which axes are others

    @property
    def inputs(self) -> tuple[Node, tuple[int, ...]]:
        assert self.found is not None
        return self.found

    def above(self, node: Node) -> list[Node | None]:
        """All nodes through which every path from the inputs to a node goes, in order; the inputs are None."""
        if node not in self.dominators:
            others = [child for child in node.children if not isinstance(child, Bias)]
            children = [child for child in others if sources(child)]
            chains = [self.above(child) for child in children]
            common: list[Node | None] = [None]
            if chains:
                common = [n for n in chains[0] if all(n in chain for chain in chains[1:])]
            if len(children) < len(others) and not isinstance(node, Linear):
                common = [None]
            self.dominators[node] = [*common, node]
        return self.dominators[node]

    def layers(self, node: Node, stop: Node | None) -> list[Any]:
        """The layers from the values of a node, `stop` (None for inputs), to those of another."""
        if node is stop:
            return []
        if isinstance(node, Sum) and isinstance(node.terms[1], Bias) and isinstance(node.terms[0], Linear):
            return self.linear(node.terms[0], node.terms[1], stop)
        if isinstance(node, Linear):
            return self.linear(node, None, stop)
        if isinstance(node, Phi):
            return [*self.layers(node.child, stop), _layer(node.activation)]
        if isinstance(node, Times) and isinstance(node.child, Phi):
            return [*self.layers(node.child.child, stop), _layer(node.child.activation.times(node.factor))]
        if isinstance(node, Times) and isinstance(node.child, Linear):
            weights, square = node.child.weights, node.factor**2
            weights = dataclasses.replace(weights, variance=weights.variance * square, rate=weights.rate * square)
            return self.linear(dataclasses.replace(node.child, weights=weights), None, stop)
        if isinstance(node, Sum | Product):
            return self.branches(node, stop)
        if isinstance(node, Weighted) and node.host.number != -1:
            return self.normalisation(node, stop)
        if isinstance(node, Times | Along | Weighted):
            return self.pool(node, stop)
        raise Untranslated(type(node).__name__)

    def branches(self, node: Sum | Product, stop: Node | None) -> list[Any]:
        """Branches that part at the last node that both have in common."""
        children = node.children
        if isinstance(node, Product):
            first, second, out = node.spec
            if node.width > 1 or node.shared or not first == second == out:
                raise Untranslated("Product over axes")
        if isinstance(node, Sum) and not is_gaussian(node):
            raise Untranslated("a sum of activations that are no Gaussian process")
        if not all(map(sources, children)):
            raise Untranslated("a branch that is not random")
        if not independent(*children):
            raise Untranslated("branches that share weights")
        self.joins = True
        start = [n for n in self.above(children[0]) if n in self.above(children[1])][-1]
        before = [] if start is None else self.layers(start, stop)
        parts = [self.layers(child, start) for child in children]
        inner = [stax.serial(*part) if part else stax.Identity() for part in parts]
        join = stax.FanInSum() if isinstance(node, Sum) else stax.FanInProd()
        return [*before, stax.FanOut(2), stax.parallel(*inner), join]

    def linear(self, node: Linear, bias: Bias | None, stop: Node | None) -> list[Any]:
        """A layer with weights, and what comes before it."""
        if node.weights.place in self.emitted:
            raise Untranslated("an activation that several branches share")
        self.emitted.add(node.weights.place)
        if not node.channels or sources(node.child) and n_channels(node.child) != node.width:
            raise Untranslated("weights in groups")
        if bias is not None and any(bias.own):
            raise Untranslated("a bias for each position")
        spatial = [i for i, kind in enumerate(node.axes) if not _is(kind, "sum")]
        kinds = [node.axes[i] for i in spatial]
        summed = [i for i, kind in enumerate(node.axes) if _is(kind, "sum")]
        child, before = node.child, []
        fan_in = node.width
        is_conv = any(isinstance(kind, np.ndarray) for kind in kinds)
        window = Window((), (), "VALID")
        if is_conv:
            if not all(isinstance(kind, np.ndarray) for kind in kinds):
                raise Untranslated("a convolution of some positions")
            child, window = window_of(node, spatial)
            fan_in *= int(np.prod(window.filter_shape))
        elif not all(_is(kind, "keep") for kind in kinds):
            raise Untranslated("weights that differ between positions")
        if sources(child):
            if summed and (spatial or len(summed) != len(child.fin)):
                raise Untranslated("weights for some positions")
            before = [*self.layers(child, stop), *([stax.Flatten()] if summed else [])]
            self.changes_axes |= bool(summed) and stop is not None
            fan_in *= int(np.prod([child.fin[i] for i in summed]))
        else:
            if stop is not None:
                raise Untranslated("inputs in the middle of a network")
            self.set_inputs(child, tuple(summed))
            fan_in *= int(np.prod([child.fin[i] for i in summed]))
        return [*before, self.affine(node, bias, fan_in, window if is_conv else None)]

    def set_inputs(self, node: Node, features: tuple[int, ...]) -> None:
        """Notes which node is the inputs."""
        if self.found not in (None, (node, features)):
            raise Untranslated("several kinds of inputs")
        self.found = node, features

    def affine(self, node: Linear, bias: Bias | None, fan_in: int, window: Window | None) -> Any:
        """The layer of one product with weights, and its bias."""
        weights = node.weights
        parts = [weights] if bias is None else [weights, bias.weights]
        rules = {"standard": [1.0] * 2, "ntk": [part.variance for part in parts]}
        fits = [
            name
            for name, rates in rules.items()
            if all(np.isclose(part.rate, rate, rtol=1e-12) for part, rate in zip(parts, rates, strict=False))
        ]
        if not fits:
            raise Untranslated("a parameter with a rate of its own")
        rule, b_std = fits[0], None if bias is None else bias.weights.variance**0.5
        n_out = n_channels(node)
        std = (weights.variance * fan_in) ** 0.5
        if window is None:
            return stax.Dense(n_out, std, b_std, parameterization=rule)
        return stax.Conv(n_out, window.filter_shape, window.strides, window.padding, std, b_std, parameterization=rule)

    def normalisation(self, node: Weighted, stop: Node | None) -> list[Any]:
        """Division by the root of the mean of squares."""
        found = normalisation_of(node, self.reading)
        if found is None:
            raise Untranslated("a product with numbers that depend on inputs")
        axes = (*(1 + axis for axis in found.axes), -1)
        return [*self.layers(node.child, stop), stax.LayerNorm(axes, found.eps)]

    def pool(self, node: Node, stop: Node | None) -> list[Any]:
        """Sums over all positions, or over windows, with a number in front."""
        self.changes_axes |= stop is not None
        factor = 1.0
        if isinstance(node, Times):
            factor = node.factor
            node = node.child
        if isinstance(node, Weighted) and node.host.number == -1 and not node.fin:
            if not _in_order(node.spec[1]):
                raise Untranslated("a sum over positions in another order")
            size = float(np.prod(node.child.fin))
            return [*self.layers(node.child, stop), _mean_or_sum(factor, size, stax.GlobalAvgPool, stax.GlobalSumPool)]
        windows: dict[int, Any] = {}
        while isinstance(node, Along) and node.window is not None and node.axis not in windows:
            windows[node.axis] = node.window
            node = node.child
        if not windows or len(windows) != len(node.fin):
            raise Untranslated("a linear map of positions")
        shape, strides, pads = zip(*(windows[i] for i in range(len(node.fin))), strict=True)
        geometry = shape, strides, _pool_padding(node.fin, shape, strides, pads)
        layer = _mean_or_sum(factor, float(np.prod(shape)), stax.AvgPool, stax.SumPool, *geometry)
        return [*self.layers(node, stop), layer]


def _mean_or_sum(factor: float, size: float, mean: Any, total: Any, *arguments: Any) -> Any:
    """A pool, by the number that its sum is multiplied by."""
    if np.isclose(factor * size, 1, rtol=1e-6):
        return mean(*arguments)
    if np.isclose(factor, 1, rtol=1e-6):
        return total(*arguments)
    raise Untranslated("a sum over positions that is no mean")


def _pool_padding(fin: Sequence[int], shape: Sequence[int], strides: Sequence[int], pads: Sequence[Any]) -> str:
    if all(tuple(pad) == (0, 0) for pad in pads):
        return "VALID"
    totals = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(fin, shape, strides, strict=True))
    if all(tuple(pad) == (total // 2, total - total // 2) for pad, total in zip(pads, totals, strict=True)):
        return "SAME"
    raise Untranslated("a pool with padding that no layer has")


def _layer(activation: Activation) -> Any:
    if activation.needs_quadrature:
        raise Untranslated("a nonlinearity with kinks, which series are too inaccurate for")
    return activation.layer


def n_channels(node: Node) -> int:
    """How many channels an activation has."""
    while not isinstance(node, Linear):
        random = [child for child in node.children if sources(child)]
        if not random:
            raise Untranslated(type(node).__name__)
        node = random[0]
    return int(np.prod([len(node.weights.box[i]) for i, name in enumerate(node.weights.names) if name is not None]))


def _is(kind: Any, name: str) -> bool:
    return isinstance(kind, str) and kind == name


def _in_order(letters: Sequence[str]) -> bool:
    return list(letters) == sorted(letters)
