"""Values side by side."""

import pytest

from neural_tangents.tracing._alignment import align, equal_atoms
from neural_tangents.tracing._atoms import BATCH, CHANNEL, LEAF, POSITION, Atom, Misfit, Names
from neural_tangents.tracing._graph import Linear, Node, Weights
from neural_tangents.tracing._values import Data, Param

N = Atom(BATCH, 2)


def activation(leaf, *fin, channels=8):
    weights = Weights(leaf, ((0,), tuple(range(channels))), (None, (leaf, 1)), ("sum", "channel"), 1.0, 1.0)
    node = Linear(fin, Node((*fin, 1)), weights, 1, ("keep",) * len(fin) + ("sum",))
    axes = [(Atom(POSITION, n, i),) for i, n in enumerate(fin)]
    return Data(node, ((N,), *axes, (Atom(CHANNEL, channels, (leaf, 1)),)))


def test_channels_of_a_sum_are_the_same():
    names = Names()
    aligned = align([activation(0, 3), activation(1, 3)], names)
    assert aligned.fin == [3] and names.same(Atom(CHANNEL, 8, (0, 1)), Atom(CHANNEL, 8, (1, 1)))
    assert aligned.lacks(0) == aligned.lacks(1) == ""


def test_a_bias_for_each_position():
    bias = Param(1, (tuple(range(3)), tuple(range(8))), ((), (Atom(LEAF, 3, 0),), (Atom(LEAF, 8, 1),)), 1.0, 0.0)
    aligned = align([activation(0, 3), bias], Names())
    assert aligned.flags(1) == (True,) and aligned.flags(0) == (False,)
    shared = Param(1, ((0,),), ((), (), ()), 1.0, 0.0)
    assert align([activation(0, 3), shared], Names()).lacks(1) == "all"


def test_merged_axes_are_split():
    merged = activation(0, 6)
    apart = Data(Node((2, 3)), ((N,), (Atom(POSITION, 2, 0), Atom(POSITION, 3, 1)), ()))
    first, second = equal_atoms([merged, apart])
    assert [atom.size for atom in first.axes[1]] == [atom.size for atom in second.axes[1]] == [2, 3]


def test_positions_do_not_meet_channels():
    positions = Data(Node((8,)), ((N,), (Atom(POSITION, 8, 0),)))
    with pytest.raises(Misfit, match="channels of another"):
        align([activation(0), positions], Names())
