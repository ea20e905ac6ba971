"""What is known of values: constants, parts of parameters, and axes that are split."""

import numpy as np
import pytest

from neural_tangents.tracing._atoms import CHANNEL, LEAF, POSITION, Atom, Misfit, Part
from neural_tangents.tracing._graph import Node, View
from neural_tangents.tracing._values import Data, Known, Param, axis_of, equal, split, weights_of

PARAM = Param(3, ((0, 1, 2, 3), (5, 7)), ((Atom(LEAF, 4, 0),), (Atom(LEAF, 2, 1),)), -2.0, 0.0)


def test_uniform_constants():
    assert Known((np.ones(2), np.ones(3)), 0).uniform == 1
    assert Known((np.ones(2), np.zeros(3)), 0).uniform is None
    assert Known((np.arange(2), np.arange(3)), 0).uniform is None
    assert equal(np.array([1.0, np.nan]), np.array([1.0, np.nan])) and not equal(np.ones(2), np.arange(2))


def test_parts_of_a_parameter_are_split():
    made = split(PARAM, {PARAM.axes[0][0]: (2, 2)})
    assert [atom.key for atom in made.axes[0]] == [Part(0, (2, 2), 0), Part(0, (2, 2), 1)]
    assert [axis_of(atom) for atom in made.axes[0]] == [0, 0]
    with pytest.raises(Misfit, match="twice"):
        split(made, {made.axes[0][0]: (2, 1)})


def test_positions_are_split():
    value = Data(Node((6, 2)), ((Atom(POSITION, 2, 1),), (Atom(POSITION, 6, 0),)))
    made = split(value, {Atom(POSITION, 6, 0): (2, 3)})
    assert isinstance(made.node, View) and made.node.fin == (2, 3, 2)
    assert made.axes == ((Atom(POSITION, 2, 2),), (Atom(POSITION, 2, 0), Atom(POSITION, 3, 1)))


def test_weights():
    weights = weights_of(PARAM, {0: "in", 1: "channel"}, 0.5, 1.0)
    assert (weights.variance, weights.rate) == (2.0, 4.0)
    assert weights.names == (None, (3, 1, (5, 7))) and weights.place == (3, PARAM.box)
    assert PARAM.channel(Atom(LEAF, 2, 1)) == Atom(CHANNEL, 2, (3, 1, (5, 7)))
