"""Standardisation with weights is that of repeated rows, and merged rows lose nothing that predictions need."""

import numpy as np
import pytest

from neural_tangents.estimators._standardise import Affine, distinct, spread_of_equal

RNG = np.random.RandomState(0)


@pytest.mark.parametrize("shape", [(9, 4), (9, 5, 6, 2)])
def test_mean_and_variance(shape):
    a = RNG.normal(3, 2, shape)
    axes = tuple(range(len(shape) - 1))
    mapped = Affine.standardising(a, np.ones(9))(a)
    np.testing.assert_allclose(mapped.mean(axes), 0, atol=1e-12)
    np.testing.assert_allclose(mapped.std(axes), 1, rtol=1e-12)


def test_weights_are_repetitions():
    a, counts = RNG.normal(size=(6, 3)), np.array([1, 0, 3, 2, 1, 5])
    weighted = Affine.standardising(a, counts.astype(float))
    repeated = Affine.standardising(a.repeat(counts, axis=0), np.ones(counts.sum()))
    np.testing.assert_allclose(weighted.offset, repeated.offset, rtol=1e-12)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-12)


def test_constants_are_not_scaled():
    a = np.stack([np.full(5, 0.1), np.zeros(5), np.arange(5.0)], axis=1)
    found = Affine.standardising(a, np.ones(5))
    assert found.scale[0] == found.scale[1] == 1 and found.scale[2] > 1
    np.testing.assert_array_equal(found(a)[:, :2], 0)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_units_whose_squares_overflow(unit):
    a = RNG.normal(3, 2, (9, 4))
    expected = Affine.standardising(a, np.ones(9))(a)
    np.testing.assert_allclose(Affine.standardising(unit * a, np.ones(9))(unit * a), expected, rtol=1e-12)


@pytest.mark.parametrize(("centre", "scale"), [(False, False), (True, False), (False, True)])
def test_parts_and_inverse(centre, scale):
    a = RNG.normal(3, 2, (7, 2))
    found = Affine.standardising(a, np.ones(7), centre, scale)
    assert np.all(found.offset == 0) != centre and np.all(found.scale == 1) != scale
    np.testing.assert_allclose(found.inverse(found(a)), a, rtol=1e-12)


def test_distinct_inputs_in_the_order_in_which_they_come():
    x = np.array([[2.0, 0.0], [1.0, 5.0], [2.0, 0.0], [7.0, 7.0], [1.0, 5.0], [0.0, 1.0]])
    y = np.array([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0]])
    found = distinct(x, y, np.array([1.0, 1.0, 2.0, 0.0, 3.0, 0.5]))
    for a, b in zip(found, ([[2, 0], [1, 5], [0, 1]], [[3], [12.5], [32]], [3, 4, 0.5]), strict=True):
        np.testing.assert_allclose(a, b)


def test_different_inputs_stay_as_they_are():
    x, y, w = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 1)), RNG.uniform(size=5)
    assert all(np.array_equal(a, b) for a, b in zip(distinct(x, y, w), (x, y, w), strict=True))


def test_spread_of_equal_inputs():
    x = np.array([[2.0, 0.0], [1.0, 5.0], [2.0, 0.0], [7.0, 7.0], [2.0, 0.0], [1.0, 5.0]])
    y = np.array([[1.0, 5.0], [4.0, 5.0], [3.0, 5.0], [9.0, 5.0], [5.0, 5.0], [0.0, 5.0]])
    squares, count, single = spread_of_equal(x, y, np.ones(6))
    np.testing.assert_allclose(squares, [2**2 + 0 + 2**2 + 2 * 2**2, 0])
    assert count == 3 and single == 1
    squares, count, single = spread_of_equal(x, y, np.array([1.0, 1.0, 0.0, 1.0, 3.0, 0.0]))
    np.testing.assert_allclose(squares, [1 * 3**2 + 3 * 1**2, 0])
    assert count == 1 and single == 2
    squares, count, single = spread_of_equal(x[:2], y[:2], np.ones(2))
    assert not squares.any() and count == 0 and single == 2


def test_spread_of_repeated_rows_is_that_of_their_weights():
    random = np.random.RandomState(0)  # of its own: others draw in any order
    x, y, counts = random.randint(0, 6, (20, 1)), random.normal(size=(20, 2)), random.randint(0, 4, 20)
    weighted = spread_of_equal(x, y, counts)
    repeated = spread_of_equal(x.repeat(counts, 0), y.repeat(counts, 0), np.ones(counts.sum()))
    np.testing.assert_allclose(weighted[0], repeated[0], rtol=1e-12)
    assert weighted[1:] == repeated[1:] and weighted[1] > 5
