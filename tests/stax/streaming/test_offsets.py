"""Rows of offsets: each pair of positions stands in one place, and windows read from the right ones."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.stax._streaming.offsets import OffsetAxis, taken
from neural_tangents.stax._window import Padding, Window, window_sums

RANDOM = np.random.RandomState(90)


def as_rows(offset_axis, cov):
    """All rows of a covariance of pairs of positions, with zeros in the gap."""
    positions = offset_axis.positions(jnp.arange(offset_axis.period))
    return np.where(positions.present, cov[positions.first, positions.second], 0.0)


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_each_pair_stands_in_one_place(gap):
    for size in range(1, 6):
        first, second, present = OffsetAxis(size, size + gap, 1, size, False).positions(jnp.arange(size))
        pairs = sorted(zip(first[present].tolist(), second[present].tolist(), strict=True))
        assert pairs == list(itertools.product(range(size), repeat=2))
        assert first.shape == (size, size + gap)


def test_periodic_images_have_no_gap():
    first, second, present = OffsetAxis(6, 6, 2, 3, True).positions(jnp.arange(3))
    assert present.all() and first.shape == (3, 6)
    np.testing.assert_array_equal((second - first) % 6, np.broadcast_to([[0], [2], [4]], (3, 6)))


CASES = [
    (padding, n, size, stride)
    for padding in Padding
    for n in (1, 2, 5, 6)
    for size in (1, 2, 3, 4)
    for stride in (1, 2, 3)
    if not (padding is Padding.VALID and n < size) and not (padding is Padding.CIRCULAR and n % stride)
]


@pytest.mark.slow
@pytest.mark.parametrize("padding", Padding, ids=lambda p: p.name)
def test_windows_of_rows_are_rows_of_windows(padding):
    for _, n, size, stride in (case for case in CASES if case[0] is padding):
        window = Window(size, stride, padding)
        wraps, count = padding is Padding.CIRCULAR, window.count(n)
        least = n if wraps else max(n + max(window.pads(n)), stride * count)
        offset_axis = OffsetAxis(n, -(-least // stride) * stride, stride, count, wraps)
        cov = RANDOM.normal(size=(n, n)).astype(np.float32)
        x = window.padded(jnp.asarray(cov), (0, 1))
        want = as_rows(offset_axis.after(window), np.asarray(window_sums(x, (0, 1), size, stride, count)))
        got = offset_axis.sums(jnp.asarray(as_rows(offset_axis, cov)), 1, window)
        present = offset_axis.after(window).positions(jnp.arange(count)).present
        np.testing.assert_allclose(np.where(present, got, 0), want, rtol=1e-5, atol=1e-5, err_msg=f"{n} {window}")


def test_taken_positions():
    v = RANDOM.normal(size=(2, 3, 4, 5))
    p, q = RANDOM.randint(0, 4, size=(2, 3)), RANDOM.randint(0, 5, size=(1, 6))
    want = v[:, :, p[:, :, None, None], q[None, None]]
    np.testing.assert_allclose(taken(jnp.asarray(v), [jnp.asarray(p), jnp.asarray(q)], 2), want, rtol=1e-6)
