"""Network trees: what is a node, and mapping over several trees at once."""

import collections

import numpy as np
import pytest

from neural_tangents._core.trees import is_node, is_shape, tree_leaves, tree_map

Pair = collections.namedtuple("Pair", "a b")


def test_only_lists_and_tuples_are_nodes():
    assert is_node([]) and is_node(()) and is_node([1]) and is_node((1, [2]))
    for leaf in (Pair(1, 2), {}, {1: 2}, "ab", np.zeros(2), None, 1, range(2)):
        assert not is_node(leaf)


def test_map_keeps_the_types_of_nodes():
    tree = [1, (2, [3], ()), Pair(4, 5)]
    mapped = tree_map(lambda x: (x, "leaf"), tree)
    assert mapped == [(1, "leaf"), ((2, "leaf"), [(3, "leaf")], ()), (Pair(4, 5), "leaf")]
    assert type(mapped[1]) is tuple and type(mapped[1][1]) is list
    assert tree_map(lambda x: x + 1, 1) == 2


def test_the_first_tree_says_what_is_a_leaf():
    kernels, shapes = ["k", ("l", "m")], [(1, 2), [(3, 4), (5,)]]
    assert tree_map(lambda k, s: (k, s), kernels, shapes) == [("k", (1, 2)), (("l", (3, 4)), ("m", (5,)))]


def test_none_stands_for_a_tree_of_none():
    tree = [1, (2, 3)]
    assert tree_map(lambda x, y: (x, y), tree, None) == [(1, None), ((2, None), (3, None))]
    assert tree_map(lambda x, y: (x, y), tree, [4, None]) == [(1, 4), ((2, None), (3, None))]
    assert tree_map(lambda x, y, z: (x, y, z), [1], [2], None) == [(1, 2, None)]
    assert tree_map(lambda x, y: (x, y), 1, None) == (1, None)


@pytest.mark.parametrize("other", [[1], [1, 2, 3], 5, "ab", {0: 1, 1: 2}])
def test_trees_must_match(other):
    with pytest.raises(ValueError, match="Expected a list or tuple of 2 branches"):
        tree_map(lambda x, y: x, [1, 2], other)


def test_leaves_from_left_to_right():
    assert list(tree_leaves([1, (2, [], [3]), Pair(4, 5), None])) == [1, 2, 3, Pair(4, 5), None]
    assert list(tree_leaves("x")) == ["x"]


def test_shapes():
    assert is_shape(()) and is_shape((1, 2)) and is_shape((-1, np.int64(3)))
    assert not any(map(is_shape, [[1, 2], ((1, 2), (3,)), (1.0,), (None, 2), 3, None]))
