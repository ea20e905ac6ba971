"""Derivatives by scales of single channels."""

import jax.numpy as jnp
import pytest

from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import Bias, Node, Phi, Scale, ScaleDerivative, Sum, Times, Weights
from neural_tangents.tracing._recognised import activation
from neural_tangents.tracing._scales import derivative, is_zero

GAMMA = Weights(0, ((0, 1),), ("c",), ("channel",), 0.0, 1.0)
BASE = Node(())
SCALED = Scale((), BASE, GAMMA, 2.0, ())


def test_of_maps_and_sums():
    d = derivative(Times((), SCALED, 3.0), GAMMA.place)
    assert isinstance(d, Times) and d.factor == 3 and isinstance(d.child, ScaleDerivative) and d.child.child is BASE
    d = derivative(Sum((), (SCALED, BASE)), GAMMA.place)
    assert isinstance(d, Sum) and len(d.terms) == 1
    assert derivative(BASE, GAMMA.place) is None


def test_of_a_nonlinearity():
    """The derivative of `f(g x)` by `g` is `f'(g x) x`, a function of `g x`."""
    d = derivative(Phi((), SCALED, activation(jnp.sin)), GAMMA.place)
    x = jnp.asarray([0.3, -1.0])
    assert isinstance(d, Phi) and jnp.allclose(d.activation.fn(x), jnp.cos(x) * x / 2, rtol=1e-5)


def test_of_a_nonlinearity_of_a_sum():
    with pytest.raises(LiftError, match="trained scale"):
        derivative(Phi((), Sum((), (SCALED, BASE)), activation(jnp.sin)), GAMMA.place)


def test_zeros():
    assert is_zero(Bias((), GAMMA, ())) and not is_zero(SCALED) and not is_zero(BASE)
