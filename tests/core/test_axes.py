"""Axes: canonical forms and interleaving, against shapes and index-by-index permutations."""

import numpy as np
import pytest

from neural_tangents._core.axes import canonical_axes, canonical_axis, unzip_axes, zip_axes, zip_flat


def test_canonical_axis_counts_from_the_front():
    assert [canonical_axis(axis, 3) for axis in (-3, -2, -1, 0, 1, 2)] == [0, 1, 2, 0, 1, 2]
    assert canonical_axis(np.int64(-1), 2) == 1


@pytest.mark.parametrize("axis, ndim", [(2, 2), (-3, 2), (0, 0), (-1, 0)])
def test_axis_out_of_range(axis, ndim):
    with pytest.raises(ValueError, match=f"array with {ndim} axes, got axis {axis}"):
        canonical_axis(axis, ndim)
    with pytest.raises(ValueError, match="Expected an axis"):
        canonical_axes((axis,), ndim)


def test_axis_is_an_integer():
    with pytest.raises(TypeError):
        canonical_axis(1.0, 2)


@pytest.mark.parametrize(
    "axes, expected",
    [
        ((), ()),
        (-1, (2,)),
        (1, (1,)),
        ((2, 0), (0, 2)),
        ((-1, 2, 2), (2,)),
        ([0, -2, 1], (0, 1)),
        (range(3), (0, 1, 2)),
    ],
)
def test_canonical_axes_are_a_sorted_set(axes, expected):
    assert canonical_axes(axes, 3) == expected


def test_zip_flat():
    assert zip_flat((1, 2, 3), "abc") == (1, "a", 2, "b", 3, "c")
    assert zip_flat((), ()) == ()
    with pytest.raises(ValueError, match="lengths 1 and 2"):
        zip_flat((1,), (1, 2))


def test_zip_and_unzip_shapes():
    assert zip_axes(np.zeros((1, 2, 3, 4))).shape == (1, 3, 2, 4)
    assert unzip_axes(np.zeros((1, 2, 3, 4, 5, 6))).shape == (1, 3, 5, 2, 4, 6)
    assert zip_axes(np.zeros((9, 8, 1, 2, 3, 4)), 2).shape == (9, 8, 1, 3, 2, 4)
    assert unzip_axes(np.zeros((9, 1, 2, 3, 4, 8)), 1, 5).shape == (9, 1, 3, 2, 4, 8)
    assert unzip_axes(np.zeros((9, 1, 2, 3, 4, 8)), -5, -1).shape == (9, 1, 3, 2, 4, 8)
    assert zip_axes(np.float32(3)).shape == unzip_axes(np.float32(3)).shape == ()
    assert zip_axes(np.zeros((2, 3)), 2).shape == zip_axes(np.zeros((2, 3)), 1, 0).shape == (2, 3)


@pytest.mark.parametrize("start, end", [(0, None), (0, 6), (1, 5), (2, None), (2, 6), (0, 2)])
def test_zip_and_unzip_are_inverse(start, end):
    x = np.random.default_rng([start, end or 7]).normal(size=(2, 3, 4, 5, 6, 7)).astype(np.float32)
    np.testing.assert_array_equal(unzip_axes(zip_axes(x, start, end), start, end), x)
    np.testing.assert_array_equal(zip_axes(unzip_axes(x, start, end), start, end), x)


def test_zip_axes_interleaves_an_outer_product():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(zip_axes(np.multiply.outer(a, b)), np.einsum("xy,zw->xzyw", a, b), rtol=1e-6)


@pytest.mark.parametrize("function", [zip_axes, unzip_axes])
@pytest.mark.parametrize("start, end, count", [(0, None, 3), (0, 1, 1), (2, None, 1)])
def test_odd_number_of_axes(function, start, end, count):
    with pytest.raises(ValueError, match=f"even number of axes.*got {count} of an array with 3 axes"):
        function(np.zeros((1, 2, 3)), start, end)
