"""`RunGeometry`: what runs of layers do to images, before they are evaluated."""

import pytest

from neural_tangents.stax import AvgPool, Conv, ConvTranspose, Dense, Flatten, LayerNorm, Relu, serial
from neural_tangents.stax._streaming.offsets import OffsetAxis
from neural_tangents.stax._streaming.run_geometry import MixesOffsets, RunGeometry, after_layer
from neural_tangents.stax._window import Padding, Window

SAME, CIRCULAR = (Window(3, 1, padding) for padding in (Padding.SAME, Padding.CIRCULAR))


def test_strides_multiply_and_gaps_are_wide_enough():
    start = RunGeometry.of((8, 5))
    strided = Window(3, 2, Padding.SAME)
    end = start.after((SAME, SAME)).after((strided, strided)).after((SAME, strided))
    assert end.sizes == (4, 2) and end.strides == (2, 4)
    offset_axes = end.offset_axes((Window(4, 4, Padding.VALID), Window(1, 1, Padding.VALID)))
    assert offset_axes == (OffsetAxis(4, 5, 1, 4, False), OffsetAxis(2, 2, 1, 2, False))
    # Behind a stride of 2, a gap of 1 is one of 2 positions before it.
    assert end.start((8, 5), offset_axes) == (OffsetAxis(8, 10, 2, 4, False), OffsetAxis(5, 8, 4, 2, False))
    # Without other offsets than zero there is no gap.
    assert end.start((8, 5), end.diagonal()) == (OffsetAxis(8, 8, 2, 4, False), OffsetAxis(5, 8, 4, 2, False))


def test_pools_need_room_and_whole_strides():
    start, pool = RunGeometry.of((5,)).after((SAME,)), Window(3, 2, Padding.SAME)
    assert start.offset_axes((pool,)) == (OffsetAxis(5, 8, 1, 6, False),)
    with pytest.raises(MixesOffsets):
        start.offset_axes((Window(3, 2, Padding.CIRCULAR),))
    periodic = RunGeometry.of((4,)).after((CIRCULAR,))
    assert periodic.offset_axes((Window(3, 2, Padding.VALID),)) == (OffsetAxis(4, 4, 1, 4, True),)
    for pool in (Window(3, 3, Padding.CIRCULAR), Window(3, 1, Padding.SAME)):
        with pytest.raises(MixesOffsets):
            periodic.offset_axes((pool,))


def test_pointwise_layers_change_nothing():
    start = RunGeometry.of((4,))
    net = serial(Relu(), Dense(3), LayerNorm(), Conv(3, (1,)))
    assert after_layer(net[2].spec, start) == start


@pytest.mark.parametrize(
    "layer",
    [Flatten(), AvgPool((2,)), ConvTranspose(1, (2,)), LayerNorm((1, 2)), Conv(1, (2, 2))],
    ids=["Flatten", "AvgPool", "ConvTranspose", "LayerNorm", "another rank"],
)
def test_layers_that_are_not_local(layer):
    with pytest.raises(MixesOffsets):
        after_layer(layer[2].spec, RunGeometry.of((4,)))


def test_permuted_axes_are_not_local():
    layer = Conv(1, (2, 2), dimension_numbers=("NHWC", "HWIO", "NWHC"))
    with pytest.raises(MixesOffsets):
        after_layer(layer[2].spec, RunGeometry.of((4, 4)))


def test_zeros_and_periods_do_not_mix():
    with pytest.raises(MixesOffsets):
        RunGeometry.of((4,)).after((SAME,)).after((CIRCULAR,))
    with pytest.raises(MixesOffsets):
        RunGeometry.of((4,)).after((SAME,)).beside(RunGeometry.of((4,)).after((CIRCULAR,)))
    with pytest.raises(MixesOffsets):
        RunGeometry.of((5,)).after((Window(3, 2, Padding.CIRCULAR),))
    assert RunGeometry.of((4,)).after((CIRCULAR,)).beside(RunGeometry.of((4,))).wraps


def test_branches_have_to_agree():
    with pytest.raises(MixesOffsets):
        RunGeometry.of((4,)).beside(RunGeometry.of((4,)).after((Window(1, 2, Padding.SAME),)))
