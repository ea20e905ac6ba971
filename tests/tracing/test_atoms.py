"""Axes as products of atoms."""

import pytest

from neural_tangents.tracing._atoms import BATCH, CHANNEL, POSITION, Atom, Misfit, Names, cut, joined, refined, reshaped

N, S, C = Atom(BATCH, 2), Atom(POSITION, 6, 0), Atom(CHANNEL, 12, "c")


def test_reshape_merges_and_splits_channels():
    splits = {}
    merged = reshaped(((N,), (S,), (C,)), (12, 12), splits)
    assert merged == ((N, S), (C,)) and not splits
    heads = reshaped(((N,), (C,)), (2, 3, 4), splits)
    assert [[a.size for a in axis] for axis in heads] == [[2], [3], [4]] and not splits
    assert reshaped(heads, (2, 12), splits) == ((N,), (C,))  # the parts of an axis are that axis again
    assert reshaped(heads, (2, 1, 3, 4, 1), splits) == (heads[0], (), *heads[1:], ())


def test_reshape_asks_for_splits_of_positions():
    splits = {}
    reshaped(((N,), (S,)), (2, 2, 3), splits)
    assert splits == {S: (2, 3)}


@pytest.mark.parametrize(("axes", "shape"), [(((N,),), (1, 2, 1, 2)), (((C,), (S,)), (8, 9)), (((S, N),), (4, 3))])
def test_reshape_refuses(axes, shape):
    with pytest.raises(Misfit):
        reshaped(axes, shape, {})


def test_refinement():
    a, b = Atom(CHANNEL, 3, "a"), Atom(CHANNEL, 4, "b")
    assert refined([(a, b), (C,)]) == [3, 4]
    assert cut((C,), [3, 4]) == [(C, [3, 4])]
    with pytest.raises(Misfit):
        refined([(a, b), (b, a)])


def test_names():
    names = Names()
    a, b, c, d = (Atom(CHANNEL, 4, key) for key in "abcd")
    names.unite([a], [b])
    names.unite([b], [c])
    assert names.same(a, c) and not names.same(a, d)
    with pytest.raises(Misfit, match="orders"):
        names.unite([a, d], [d, a])
    with pytest.raises(Misfit):
        names.unite([a, d], [c, b])


def test_joined_parts_only_in_order():
    first, second = (axis[0] for axis in reshaped(((C,),), (3, 4), {}))
    assert joined([first, second]) == (C,) and joined([second, first]) == (second, first)
