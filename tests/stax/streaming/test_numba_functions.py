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
