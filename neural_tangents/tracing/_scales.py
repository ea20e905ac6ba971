"""Derivatives of activations by the scale of their own channel."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import (
    MAPS,
    Linear,
    Node,
    Phi,
    Product,
    Scale,
    ScaleDerivative,
    Sum,
    line_of,
    scales,
    times,
)
from neural_tangents.tracing._recognised import Activation, activation


def derivative(node: Node, place: Any) -> Node | None:
    """The derivative of a node by the scale at a place of the parameters, of the same channel; None if it is 0.

    Raises:
      LiftError: a nonlinearity follows a sum of scaled and other activations.
    """
    if all(scale.weights.place != place for scale in scales(node)):
        return None
    if isinstance(node, Scale):
        if node.weights.place == place:
            return ScaleDerivative(node.fin, node.child, node.own)
        below = derivative(node.child, place)
        return None if below is None else Scale(node.fin, below, node.weights, node.mean, node.own)
    if isinstance(node, MAPS | Linear):
        below = derivative(node.child, place)
        return None if below is None else _with_child(node, below)
    if isinstance(node, Sum):
        terms = [d for term in node.terms if (d := derivative(term, place)) is not None]
        return Sum(node.fin, tuple(terms)) if terms else None
    if isinstance(node, Product):
        first, second = derivative(node.first, place), derivative(node.second, place)
        if first is not None and second is not None:
            raise _unknown(node)
        if first is None and second is None:
            return None
        return Product(node.fin, first or node.first, second or node.second, node.spec, node.width, node.shared)
    if isinstance(node, Phi):
        mean = _factor(node.child, place)
        if mean == 0:
            below = derivative(node.child, place)
            at_zero = float(node.activation.slope.fn(jnp.zeros(1))[0])
            return None if below is None else times(below, at_zero)
        return Phi(node.fin, node.child, _weighted_slope(node.activation, mean))
    raise _unknown(node)


def _with_child(node: Any, child: Node) -> Node:
    fields = {name: getattr(node, name) for name in node.__dataclass_fields__}
    return type(node)(**{**fields, "child": child})


def _factor(node: Node, place: Any) -> float:
    """The mean of the scale, if the node is the scaled activation but for linear maps."""
    if isinstance(node, Scale) and node.weights.place == place and not node.weights.variance and not any(node.own):
        return node.mean
    if isinstance(node, Scale | MAPS):
        return _factor(node.child, place)
    if isinstance(node, Sum):
        varying = [term for term in node.terms if not is_zero(term)]
        if len(varying) == 1:
            return _factor(varying[0], place)
    raise _unknown(node)


def is_zero(node: Node) -> bool:
    """Whether a node, before training, is 0: a bias that starts at 0."""
    return not getattr(getattr(node, "weights", None), "variance", 1.0) and not isinstance(node, Scale)


def _weighted_slope(phi: Activation, mean: float) -> Activation:
    slope = phi.slope.fn

    def fn(x: Array) -> Array:
        return slope(x) * x / mean

    return activation(fn)


def _unknown(node: Node) -> LiftError:
    return LiftError(
        "The tangent kernel of a trained scale, followed by a nonlinearity of a sum that holds other activations too, "
        f"is not known. Leave it out by `trainable=`, or use `parameterization='ntk'`.{line_of(node)}"
    )
