"""Grids of tiles: every pair of inputs is in exactly one of them, or in its mirror image."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.tiling.grid import Blocks, Grid, TileSettings

SIZES = range(1, 18)


@pytest.mark.parametrize("largest", range(1, 9))
def test_blocks_of_any_size(largest):
    """All blocks have one size, as small as can be for their number; they are the batch, and filled with its inputs."""
    for n in SIZES:
        blocks = Blocks.at_most(n, largest)
        spans = [np.arange(n)[blocks.span(block)] for block in range(blocks.count)]
        np.testing.assert_array_equal(np.concatenate(spans), np.arange(n))
        assert blocks.size <= largest and blocks.count == -(-n // largest) or blocks.count < -(-n // largest)
        assert blocks.count * blocks.size - n < blocks.count
        for block, span in enumerate(spans):
            filled = blocks.filled(block)
            assert len(filled) == blocks.size
            np.testing.assert_array_equal(filled[: len(span)], span)
            assert (filled[len(span) :] == span[-1]).all()
            np.testing.assert_array_equal(blocks.filled(jnp.asarray(block)), filled)


@pytest.mark.parametrize("n_segments", [2, 3])
def test_blocks_do_not_cross_segments(n_segments):
    for segment in range(1, 8):
        for largest in range(1, 9):
            n = n_segments * segment
            blocks = Blocks.at_most(n, largest, segment)
            spans = [np.arange(n)[blocks.span(block)] for block in range(blocks.count)]
            np.testing.assert_array_equal(np.concatenate(spans), np.arange(n))
            assert all(span[0] // segment == span[-1] // segment for span in spans)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("largest", range(1, 9))
def test_tiles_cover_the_kernel_once(largest, symmetric):
    for n1 in SIZES:
        for n2 in [n1] if symmetric else SIZES:
            rows, columns = (Blocks.at_most(n, largest) for n in (n1, n2))
            count = np.zeros((n1, n2), int)
            for i, j in Grid(rows, columns, symmetric).tiles:
                count[rows.span(i), columns.span(j)] += 1
                if symmetric and i != j:
                    count[columns.span(j), rows.span(i)] += 1
            assert (count == 1).all(), (n1, n2)


def test_triangle_is_little_more_than_half():
    assert len(TileSettings(8, 0).grid(64, 64, True).tiles) == 36


def test_empty_batches_are_one_empty_block():
    blocks = Blocks.at_most(0, 3)
    assert (blocks.count, blocks.size) == (1, 0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(batch_size=-1), ValueError, '`batch_size` to be positive, 0 for no batches, or "auto"; got -1'),
        (dict(batch_size=2.5), TypeError, '`batch_size` to be an integer or "auto", got 2.5'),
        (dict(batch_size=None), TypeError, "`batch_size` to be an integer"),
        (dict(batch_size="large"), TypeError, "`batch_size` to be an integer"),
        (dict(device_count=-2), ValueError, "`device_count` from -1, for all devices, to .*; got -2"),
        (dict(device_count=1000), ValueError, "`device_count` from -1, for all devices, to .*; got 1000"),
        (dict(device_count=1.0), TypeError, "`device_count` to be an integer, got 1.0"),
        (dict(memory_budget=0), ValueError, "`memory_budget` to be a positive number of bytes, got 0"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        TileSettings(**settings)
