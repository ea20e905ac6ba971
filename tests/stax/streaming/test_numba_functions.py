"""The compiled functions, one by one, against NumPy."""

import numpy as np
import pytest

pytest.importorskip("numba")

from neural_tangents.stax._streaming import numba_functions  # noqa: E402

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@BOTH
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("step", [1, 4])
def test_add_up(size, step, dtype):
    x = np.random.RandomState(0).normal(size=40).astype(dtype)
    out = np.zeros_like(x)
    numba_functions.add_up(x, out, 12, 14, size, step)
    reach = size // 2
    expected = [sum(x[14 + i + step * d] for d in range(-reach, reach + 1)) for i in range(12)]
    np.testing.assert_allclose(out[14:26], expected, rtol=1e-5)
    assert not out[:14].any() and not out[26:].any()


@BOTH
def test_layers(dtype):
    """The angle, from 0 to pi, as precise as the correlation allows; zeros where there is no position."""
    theta = np.linspace(0, np.pi, 1001)
    nngp, ntk = np.cos(theta).astype(dtype), np.full(1001, 0.5, dtype)
    roots = np.ones((2, 1001), dtype)
    roots[:, 7] = 0
    numbers = np.array([1, 0, 0, 1 / (2 * np.pi)], dtype)
    out = np.zeros((2, 1001), dtype)
    noise = dtype(4 * np.finfo(dtype).eps)
    numba_functions.layers(nngp, ntk, roots, np.ones((2, 1001), dtype), 0, numbers, noise, *out)
    rho = np.clip(nngp.astype(np.longdouble), -1, 1)
    rho[1 - abs(rho) < noise] = np.sign(rho[1 - abs(rho) < noise])
    angle = np.arccos(rho)
    expected = np.array([np.sin(angle) + (np.pi - angle) * rho, (np.pi - angle) * (rho + 0.5)]) / (2 * np.pi)
    expected[:, 7] = 0
    np.testing.assert_allclose(out, expected, atol=2 * np.finfo(dtype).eps)


@BOTH
def test_shifted(dtype):
    """On the torus, `p + d` runs over positions and zeros alike."""
    image = np.zeros((4, 6), dtype)
    image[:3, :5] = np.random.RandomState(0).normal(size=(3, 5))
    out = numba_functions.shifted(image[:3].reshape(1, 18), (3, 5, 6, 1), 2, 4)
    for dy in range(4):
        expected = np.roll(image, (-dy, -2), (0, 1))[:3]
        np.testing.assert_array_equal(out[0, dy * 6 : (dy + 3) * 6].reshape(3, 6), expected)


@BOTH
def test_total(dtype):
    x = np.random.RandomState(0).normal(size=1000).astype(dtype)
    np.testing.assert_allclose(numba_functions.total(x), x.sum(dtype=np.longdouble), rtol=100 * np.finfo(dtype).eps)


@BOTH
@pytest.mark.parametrize("dy, dx", [(0, 0), (1, 3), (3, 5)])
def test_windows_of_a_pool(dy, dx, dtype):
    """Windows of two rows and two columns on an image of 4 x 5, of which the last column is in none."""
    cov = np.zeros((4, 7), dtype)
    cov[:, :5] = np.random.RandomState(0).normal(size=(4, 5))
    rows, columns = np.array([0, 0, 1, 1, -1]), np.array([0, 0, 1, 1, -1, -1, -1])
    lines, out = np.zeros((2, 2, 7), dtype), np.zeros((2, 2, 2, 2), dtype)
    numba_functions.add_rows(cov.reshape(-1), (4, 5, 7, 1), dy, rows, lines)
    numba_functions.add_columns(lines, dx, columns, dtype(0.5), out)
    expected = np.zeros_like(out)
    for y, x in np.ndindex(4, 4):
        other = (y + dy) % 5, (x + dx) % 7
        if max(other) < 4:
            expected[y // 2, other[0] // 2, x // 2, other[1] // 2] += 0.5 * cov[y, x]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    assert dy == 3 or abs(out).max() > 0
