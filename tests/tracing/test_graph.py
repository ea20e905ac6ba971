"""What is known of nodes of a graph without computing them."""

import jax.numpy as jnp
import numpy as np

from neural_tangents.tracing._graph import (
    Bias,
    Linear,
    Node,
    Phi,
    Product,
    Sum,
    View,
    Weights,
    along,
    has_mean,
    independent,
    is_gaussian,
    sources,
    times,
    view,
    walk,
)
from neural_tangents.tracing._recognised import activation


def weights(leaf):
    return Weights(leaf, ((0,),), ("c",), ("channel",), 1.0, 1.0)


INPUTS = Node((2, 3))
U, V = (Linear((2, 3), INPUTS, weights(i), 1, ("keep", "keep")) for i in range(2))
PHI = Phi((2, 3), U, activation(jnp.sin))


def test_sources():
    assert sources(U) == {weights(0).place} and sources(Sum((2, 3), (U, V))) == sources(U) | sources(V)
    assert independent(U, V) and not independent(U, PHI)
    assert not sources(INPUTS) and sources(Bias((), weights(4), ())) == {weights(4).place}


def test_gaussians_and_means():
    assert is_gaussian(Sum((2, 3), (U, V))) and not is_gaussian(Sum((2, 3), (U, PHI)))
    product = Product((2, 3), U, V, ("ab", "ab", "ab"))
    assert not is_gaussian(product) and not has_mean(product)
    assert has_mean(Product((2, 3), U, U, ("ab", "ab", "ab"))) and has_mean(PHI) and not has_mean(U)


def test_walk_is_in_order():
    order = walk([Sum((2, 3), (PHI, V))])
    assert len(order) == 5 and all(order.index(c) < order.index(n) for n in order for c in n.children)


def test_maps_are_made_once():
    assert times(times(U, 2.0), 0.5) is U and times(U, 2.0) is times(U, 2.0)
    assert along(U, 0, np.eye(2)) is U
    swapped = view(U, (2, 3), (1, 0))
    assert isinstance(swapped, View) and swapped.fin == (3, 2)
    assert view(swapped, (3, 2), (1, 0)) is U


def test_choices_of_positions_go_before_nonlinearities():
    chosen = along(PHI, 1, np.eye(3)[[2, 0]])
    assert isinstance(chosen, Phi) and chosen.fin == (2, 2)
    assert not isinstance(along(PHI, 1, np.ones((1, 3))), Phi)
