"""`Bool`, `Diagonal` and `Requirements`: the laws of their algebra, and what it says of networks."""

import functools
import itertools
import operator
import warnings

import pytest

from neural_tangents._core.requirements import Bool, Diagonal, Requirements

NO, MAYBE, YES = Bool
DIAGONALS = [Diagonal(i, o) for i, o in itertools.product(Bool, Bool)]

DENSE = CONV = RELU = Diagonal(YES, NO)
CONV_LOCAL = Diagonal(YES, MAYBE)
POOL = Diagonal(MAYBE, NO)
GLOBAL_POOL = Diagonal(MAYBE, YES)
FLATTEN = Diagonal(YES, YES)
ATTENTION = Diagonal(NO, NO)


def test_bool_is_ordered():
    for a, b in itertools.product(Bool, Bool):
        assert (a & b) is min(a, b) and isinstance(a & b, Bool)
    assert (1 & YES) is MAYBE


def test_serial_composition_is_associative():
    for a, b, c in itertools.product(DIAGONALS, repeat=3):
        assert (a >> b) >> c == a >> (b >> c)


def test_serial_composition():
    """The definition, in words: whether diagonal inputs will do for `b(a(x))`, and for all that follows."""
    for a, b in itertools.product(DIAGONALS, repeat=2):
        both = a >> b
        assert (b << a) == both
        if a.output == YES:  # nothing after `a` needs anything
            assert both == a
            continue
        assert both.output == b.output
        assert both.input <= a.input  # more layers never need less of their inputs
        if b.input == YES:
            assert both.input == a.input
        if b.input == NO or (b.input == MAYBE and a.output == NO):
            assert both.input == NO
        if b.input == MAYBE and a.output == MAYBE:
            assert both.input == a.input


def test_parallel_composition():
    for a, b in itertools.product(DIAGONALS, repeat=2):
        assert a & b == b & a == Diagonal(min(a.input, b.input), min(a.output, b.output))
        assert a & a == a
    for a, b, c in itertools.product(DIAGONALS, repeat=3):
        assert (a & b) & c == a & (b & c)


def test_truth_value():
    assert [d for d in DIAGONALS if d] == [Diagonal(YES, MAYBE), Diagonal(YES, YES)]
    assert not Diagonal()


@pytest.mark.parametrize(
    "layers, diagonal",
    [
        ([FLATTEN], True),
        ([CONV, RELU, FLATTEN], True),
        ([CONV, RELU, CONV, RELU, FLATTEN, DENSE, RELU], True),
        ([FLATTEN, ATTENTION], True),
        ([CONV, RELU], False),
        ([DENSE], False),
        ([CONV, GLOBAL_POOL], False),
        ([CONV, RELU, POOL, FLATTEN], False),
        ([CONV, RELU, POOL, CONV, FLATTEN], False),
        ([CONV, ATTENTION, FLATTEN], False),
        ([ATTENTION, FLATTEN], False),
        ([CONV_LOCAL, RELU, GLOBAL_POOL], False),
        ([CONV_LOCAL, GLOBAL_POOL], True),
        ([CONV_LOCAL, CONV_LOCAL, GLOBAL_POOL, DENSE], True),
        ([CONV_LOCAL, FLATTEN], True),
        ([GLOBAL_POOL], False),
    ],
)
def test_networks(layers, diagonal):
    assert bool(functools.reduce(operator.rshift, layers)) is diagonal
    assert bool(functools.reduce(lambda a, b: b >> a, reversed(layers))) is diagonal


def test_branches():
    assert (CONV >> FLATTEN) & FLATTEN
    assert not (CONV >> FLATTEN) & (CONV >> GLOBAL_POOL)
    assert not (CONV >> FLATTEN) & RELU
    assert CONV >> (RELU & CONV) >> FLATTEN


def test_demands_state_only_what_is_given():
    assert Requirements().stated() == {}
    requirements = Requirements.of(batch_axis=1, diagonal_batch=False)
    assert requirements.stated() == {"batch_axis": 1, "diagonal_batch": False}
    assert requirements.get("batch_axis", 0) == 1 and requirements.get("channel_axis", -1) == -1
    assert Requirements.of(channel_axis=None).get("channel_axis", -1) is None
    assert Requirements.of(diagonal_spatial=True) == Requirements(diagonal_spatial=Diagonal(YES, YES))
    assert Requirements.of(diagonal_spatial=False) == Requirements(diagonal_spatial=Diagonal(NO, NO))
    assert Requirements.of(diagonal_spatial=POOL).stated() == {"diagonal_spatial": POOL}
    hash(requirements.stated())


def test_unknown_requirement():
    with pytest.raises(NotImplementedError, match=r"\['widths'\].*'batch_axis'"):
        Requirements.of(widths=3, batch_axis=0)


@pytest.mark.parametrize("combine", [operator.rshift, operator.and_])
def test_unstated_attributes_have_no_say(combine):
    full = Requirements(False, POOL, 1, 2, True)
    assert combine(full, Requirements()) == combine(Requirements(), full) == full
    assert combine(Requirements(), Requirements()) == Requirements()


def test_a_branch_that_states_nothing_keeps_the_correlations_of_its_input():
    local, readout = (Requirements(diagonal_spatial=Diagonal(*d)) for d in ((YES, MAYBE), (MAYBE, YES)))
    assert (local >> readout).diagonal_spatial
    for beside in (local & Requirements(), Requirements() & local):
        assert beside.diagonal_spatial == Diagonal(YES, NO) and not (beside >> readout).diagonal_spatial


def test_the_first_layer_that_states_an_axis_wins():
    layers = (
        Requirements(),
        Requirements(channel_axis=1),
        Requirements(batch_axis=2, channel_axis=-1),
        Requirements(batch_axis=0),
    )
    assert functools.reduce(operator.rshift, layers).stated() == {"channel_axis": 1, "batch_axis": 2}
    flat = Requirements(channel_axis=None) >> Requirements(channel_axis=-1)
    assert flat.stated() == {"channel_axis": None}


@pytest.mark.parametrize("a, b, text", [(0, 1, "different axes"), (-1, -2, "different axes"), (3, -1, "Unless both")])
@pytest.mark.parametrize("name", ["batch_axis", "channel_axis"])
def test_branches_that_disagree_on_an_axis(name, a, b, text):
    with pytest.warns(UserWarning, match=f"`{name}`: {a} and {b}.*{text}"):
        both = Requirements.of(**{name: a}) & Requirements.of(**{name: b})
    assert both.get(name, None) == a


def test_branches_of_which_one_flattens():
    with pytest.warns(UserWarning, match="`channel_axis`: None and -1"):
        assert (Requirements(channel_axis=None) & Requirements(channel_axis=-1)).get("channel_axis", 0) is None


def test_branches_that_agree_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (Requirements(batch_axis=1) & Requirements(batch_axis=1)).stated() == {"batch_axis": 1}
        assert (Requirements(batch_axis=1) >> Requirements(batch_axis=0)).stated() == {"batch_axis": 1}


@pytest.mark.parametrize("combine", [operator.rshift, operator.and_])
def test_off_diagonal_inputs_are_needed_if_one_layer_needs_them(combine):
    for a, b in itertools.product((False, True), repeat=2):
        assert combine(Requirements(diagonal_batch=a), Requirements(diagonal_batch=b)).get("diagonal_batch", None) is (
            a and b
        )


def test_spatial_demands_combine_as_diagonals():
    a, b = Requirements(diagonal_spatial=CONV_LOCAL), Requirements(diagonal_spatial=GLOBAL_POOL)
    assert (a >> b).get("diagonal_spatial", None) == CONV_LOCAL >> GLOBAL_POOL
    assert (a & b).get("diagonal_spatial", None) == CONV_LOCAL & GLOBAL_POOL


@pytest.mark.parametrize("combine", [operator.rshift, operator.and_])
def test_dropout_must_agree(combine):
    assert combine(Requirements(use_dropout=True), Requirements(use_dropout=True)).get("use_dropout", None) is True
    with pytest.raises(ValueError, match="use_dropout"):
        combine(Requirements(use_dropout=True), Requirements(use_dropout=False))
