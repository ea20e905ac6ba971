"""`Reach`: what runs of layers do to images, before they are evaluated."""

import pytest

from neural_tangents._core.offsets import Track
from neural_tangents.stax import AvgPool, Conv, ConvTranspose, Dense, Flatten, LayerNorm, Relu, serial
from neural_tangents.stax._reach import NotLocal, Reach, locally
from neural_tangents.stax._window import Padding, Window

SAME, CIRCULAR = (Window(3, 1, padding) for padding in (Padding.SAME, Padding.CIRCULAR))


def test_strides_multiply_and_gaps_are_wide_enough():
    start = Reach.of((8, 5))
    strided = Window(3, 2, Padding.SAME)
    end = start.behind((SAME, SAME)).behind((strided, strided)).behind((SAME, strided))
    assert end.sizes == (4, 2) and end.strides == (2, 4)
    tracks = end.tracks((Window(4, 4, Padding.VALID), Window(1, 1, Padding.VALID)))
    assert tracks == (Track(4, 5, 1, 4, False), Track(2, 2, 1, 2, False))
    # Behind a stride of 2, a gap of 1 is one of 2 positions before it.
    assert end.start((8, 5), tracks) == (Track(8, 10, 2, 4, False), Track(5, 8, 4, 2, False))
    # Without other offsets than zero there is no gap.
    assert end.start((8, 5), end.diagonal()) == (Track(8, 8, 2, 4, False), Track(5, 8, 4, 2, False))


def test_pools_need_room_and_whole_strides():
    start, pool = Reach.of((5,)).behind((SAME,)), Window(3, 2, Padding.SAME)
    assert start.tracks((pool,)) == (Track(5, 8, 1, 6, False),)
    with pytest.raises(NotLocal):
        start.tracks((Window(3, 2, Padding.CIRCULAR),))
    periodic = Reach.of((4,)).behind((CIRCULAR,))
    assert periodic.tracks((Window(3, 2, Padding.VALID),)) == (Track(4, 4, 1, 4, True),)
    for pool in (Window(3, 3, Padding.CIRCULAR), Window(3, 1, Padding.SAME)):
        with pytest.raises(NotLocal):
            periodic.tracks((pool,))


def test_pointwise_layers_change_nothing():
    start = Reach.of((4,))
    net = serial(Relu(), Dense(3), LayerNorm(), Conv(3, (1,)))
    assert locally(net[2].spec, start) == start


@pytest.mark.parametrize(
    "layer",
    [Flatten(), AvgPool((2,)), ConvTranspose(1, (2,)), LayerNorm((1, 2)), Conv(1, (2, 2))],
    ids=["Flatten", "AvgPool", "ConvTranspose", "LayerNorm", "another rank"],
)
def test_layers_that_are_not_local(layer):
    with pytest.raises(NotLocal):
        locally(layer[2].spec, Reach.of((4,)))


def test_permuted_axes_are_not_local():
    layer = Conv(1, (2, 2), dimension_numbers=("NHWC", "HWIO", "NWHC"))
    with pytest.raises(NotLocal):
        locally(layer[2].spec, Reach.of((4, 4)))


def test_zeros_and_periods_do_not_mix():
    with pytest.raises(NotLocal):
        Reach.of((4,)).behind((SAME,)).behind((CIRCULAR,))
    with pytest.raises(NotLocal):
        Reach.of((4,)).behind((SAME,)).beside(Reach.of((4,)).behind((CIRCULAR,)))
    with pytest.raises(NotLocal):
        Reach.of((5,)).behind((Window(3, 2, Padding.CIRCULAR),))
    assert Reach.of((4,)).behind((CIRCULAR,)).beside(Reach.of((4,))).wraps


def test_branches_have_to_agree():
    with pytest.raises(NotLocal):
        Reach.of((4,)).beside(Reach.of((4,)).behind((Window(1, 2, Padding.SAME),)))
