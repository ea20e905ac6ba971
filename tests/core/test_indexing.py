"""`Kernel.__getitem__` and its axes, against NumPy indexing of explicit features."""

import jax
import numpy as np
import pytest
from explicit_features import LAYOUTS, assert_equal, features, kernel

from neural_tangents._core.indexing import canonical_index, indexed_mask, indexed_shape

WHOLE = slice(None)
SHAPES = (3, 4, 5, 6), (2, 4, 5, 6)  # (N, S, T, F)
INDICES = [
    np.s_[:],
    np.s_[...],
    np.s_[:, 1],
    np.s_[:, :, -2],
    np.s_[..., 3, :],
    np.s_[:, np.int64(2), ::2],
    np.s_[1:, ::-1, 3:0:-2],
    np.s_[::-1, ..., 1:3, :],
    np.s_[:, 2:2],
    np.s_[:2, -1, 0, :],
    np.s_[:1, 1:100, -3:, 0:],
]


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("idx", INDICES, ids=str)
def test_agrees_with_features(idx):
    f1, f2 = features(0, *SHAPES)
    random = np.random.default_rng(1)
    mask1, mask2 = (random.random((*f[0].shape[:3], 1)) < 0.5 for f in (f1, f2))
    y1, y2 = ([f[idx] for f in pair] for pair in (f1, f2))
    for layout in LAYOUTS[::3]:
        expected = kernel(y1, y2, *layout, mask1=mask1[idx], mask2=mask2[idx])
        actual = kernel(f1, f2, *layout, mask1=mask1, mask2=mask2)[idx]
        assert_equal(actual, expected)


@pytest.mark.parametrize("batch_axis, channel_axis", [(1, 0), (2, 1), (3, 2), (0, 1)])
@pytest.mark.parametrize("first", [0, slice(2, 0, -1)])
def test_other_axes(first, batch_axis, channel_axis):
    axes = {"batch_axis": batch_axis, "channel_axis": channel_axis}
    shape = (4, 4, 4, 4)
    f1, f2 = features(2, shape, shape)
    idx = [WHOLE] * 4
    idx[batch_axis] = slice(1, None)
    spatial = [axis for axis in range(4) if axis not in (batch_axis, channel_axis)]
    idx[spatial[0]], idx[spatial[1]] = first, slice(1, 3)
    idx = tuple(idx)
    removed = spatial[0] if isinstance(first, int) else 4
    axes_out = {name: axis - (axis > removed) for name, axis in axes.items()}
    y1, y2 = ([f[idx] for f in pair] for pair in (f1, f2))
    for layout in LAYOUTS:
        assert_equal(kernel(f1, f2, *layout, **axes)[idx], kernel(y1, y2, *layout, **axes_out))


def test_same_batches_scalar_ntk_and_reversed_kernels():
    (f,) = features(3, (3, 4, 5, 6))
    idx = np.s_[1:, 2, ::2]
    k = kernel(f, None)
    assert_equal(k[idx], kernel([x[idx] for x in f], None))
    assert k[idx].cov2 is None
    assert k.replace(ntk=None)[idx].ntk is None
    assert k.replace(ntk=np.array(0.0))[idx].ntk.shape == ()
    assert_equal(k.reverse()[:, ::2, 1:3].reverse(), k[:, ::2, 1:3])


def test_masks_of_size_one():
    mask = np.random.default_rng(4).random((1, 4, 1, 1)) < 0.5
    for idx in INDICES:
        expected = np.broadcast_to(mask, (3, 4, 5, 6))[idx]
        actual = indexed_mask(mask, canonical_index(idx, 4))
        assert actual.ndim == expected.ndim and actual.size <= 4
        np.testing.assert_array_equal(np.broadcast_to(actual, expected.shape), expected)
    assert indexed_mask(None, (WHOLE,)) is None


@pytest.mark.parametrize("idx", [0, np.s_[..., 0], np.s_[..., 1:], np.s_[..., ::-1], np.s_[:, :, :, :6], np.s_[-1, :]])
def test_channels_and_the_batch_axis_stay(idx):
    with pytest.raises(NotImplementedError, match="Expected `:` for the channel axis 3|Expected a slice for the batch"):
        kernel(*features(5, *SHAPES))[idx]


def test_wrong_indices():
    k = kernel(*features(6, *SHAPES))
    with pytest.raises(IndexError, match="at most 4 indices"):
        k[:, :, :, :, :]
    with pytest.raises(IndexError, match="one `...`"):
        k[..., 0, ...]
    for position in (4, -5):
        with pytest.raises(IndexError, match=f"{position} is out of range for axis 1"):
            k[:, position]
    for part in (None, True, np.array([0, 1]), [0, 1], 1.0, "a"):
        with pytest.raises(TypeError, match="consists of integers, slices"):
            k[:, part]


def test_canonical_index():
    assert canonical_index(1, 2) == (1, WHOLE)
    assert canonical_index((), 2) == (WHOLE, WHOLE)
    assert canonical_index((..., 1), 3) == (WHOLE, WHOLE, 1)
    assert canonical_index((0, ..., slice(2)), 3) == (0, WHOLE, slice(2))
    assert canonical_index((0, 1, ...), 2) == (0, 1)
    assert [type(part) for part in canonical_index((np.int64(1),), 1)] == [int]


def test_shapes_of_unknown_size():
    assert indexed_shape((WHOLE, 1, slice(0, None)), (-1, 4, -1)) == (-1, -1)
    assert indexed_shape((slice(1, None, 2), -4), (6, 4)) == (3,)
    for part in (0, slice(1, None), slice(None, None, -1)):
        with pytest.raises(ValueError, match="Expected a known size of axis 0"):
            indexed_shape((part, WHOLE), (-1, 4))
