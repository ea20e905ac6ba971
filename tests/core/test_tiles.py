"""Kernels in tiles: whatever the size of a tile, they are what a loop over pairs of inputs gives."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.tiles import Tiles, batch_length

RNG = np.random.default_rng(0)
X1, X2 = ({"a": RNG.normal(size=(n, 2)), "b": (RNG.normal(size=n),)} for n in (5, 3))


def of_tile(x1, x2, i, j):
    """Two kernels, neither of them symmetric, the second with further axes."""
    return {
        "k": x1["a"] @ x2["a"].T + 2 * x1["b"][0][:, None] - x2["b"][0][None],
        "outer": x1["a"][:, None, :, None] * x2["a"][None, :, None, :],
    }


@pytest.fixture(scope="module")
def truth():
    """The same for one pair of inputs at a time."""
    k, outer = np.zeros((5, 3)), np.zeros((5, 3, 2, 2))
    for i in range(5):
        for j in range(3):
            k[i, j] = np.dot(X1["a"][i], X2["a"][j]) + 2 * X1["b"][0][i] - X2["b"][0][j]
            outer[i, j] = np.outer(X1["a"][i], X2["a"][j])
    return {"k": k, "outer": outer}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize("store_on_device", [True, False])
def test_tiles_of_any_size_are_the_kernel(size, store_on_device, truth):
    """Sizes that divide neither batch leave smaller blocks at the ends."""
    with jax.enable_x64(True):
        found = Tiles(size, 0, store_on_device).kernel(of_tile, X1, X2)
        for name in ("k", "outer"):
            np.testing.assert_allclose(found[name], truth[name], rtol=1e-14)


@pytest.mark.parametrize("store_on_device", [True, False])
def test_where_tiles_are_kept(store_on_device):
    for size in (0, 2):
        found = Tiles(size, 0, store_on_device).kernel(lambda a, b, i, j: jnp.zeros((len(a), len(b))), X1["a"], X2["a"])
        assert isinstance(found, jax.Array if store_on_device else np.ndarray)


def test_sizes_and_numbers_of_blocks():
    """Rows of tiles come one after the other, and all but the last block have the full size."""
    seen = []

    def kernel(a, b, i, j):
        seen.append((i, j, len(a), len(b)))
        return jnp.zeros((len(a), len(b)))

    Tiles(2, 0, True).kernel(kernel, X1["a"], X2["a"])
    sizes = ([2, 2, 1], [2, 1])
    assert seen == [(i, j, a, b) for i, a in enumerate(sizes[0]) for j, b in enumerate(sizes[1])]


@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize(("n1", "n2"), [(0, 3), (3, 0), (0, 0)])
def test_empty_batches(size, n1, n2):
    found = Tiles(size, 0, True).kernel(lambda a, b, i, j: a @ b.T, jnp.zeros((n1, 2)), jnp.zeros((n2, 2)))
    assert found.shape == (n1, n2)


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_pairs_of_keywords_are_cut_like_the_batches(size):
    """Scales of rows and columns, given as a keyword, go with their inputs."""
    tiles, scales = Tiles(size, 0, True), ({"s": np.arange(1.0, 6)}, np.arange(7.0, 10))

    def kernel(a, b, i, j):
        s1, s2 = tiles.keyword(scales, i, j)
        return (a @ b.T) * s1["s"][:, None] * s2[None]

    expected = (X1["a"] * np.arange(1.0, 6)[:, None]) @ (X2["a"] * np.arange(7.0, 10)[:, None]).T
    np.testing.assert_allclose(tiles.kernel(kernel, X1["a"], X2["a"]), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [3.0, "name", None, np.arange(5), [1, 2], (1, 2, 3), (2.0, None), ("one", "other")])
def test_other_keywords_are_whole(value):
    found = Tiles(2, 0, True).keyword(value, 1, 0)
    assert found is value or found == value


def test_under_jit(truth):
    with jax.enable_x64(True):
        found = jax.jit(lambda x1, x2: Tiles(2, -1, True).kernel(of_tile, x1, x2))(X1, X2)
        np.testing.assert_allclose(found["outer"], truth["outer"], rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, 0), ValueError, "`batch_size` to be positive, or 0 for no batches; got -1"),
        ((2.5, 0), TypeError, "`batch_size` to be an integer, got 2.5"),
        ((None, 0), TypeError, "`batch_size` to be an integer, got None"),
        ((0, -2), ValueError, "`device_count` from -1, for all devices, to .*; got -2"),
        ((0, 1000), ValueError, "`device_count` from -1, for all devices, to .*; got 1000"),
        ((0, 1.0), TypeError, "`device_count` to be an integer, got 1.0"),
    ],
)
def test_numbers_out_of_range(arguments, error, message):
    with pytest.raises(error, match=message):
        Tiles(*arguments, True)


def test_length_of_a_batch():
    assert batch_length(X1) == 5 and batch_length(np.zeros((0, 2))) == 0
    for wrong, message in (
        ({"a": np.zeros((2, 3)), "b": np.zeros(3)}, r"got arrays of shapes \[\(2, 3\), \(3,\)\]"),
        ([np.zeros(2), np.zeros(())], r"got arrays of shapes \[\(2,\), \(\)\]"),
        (1.0, r"got arrays of shapes \[\(\)\]"),
        ({}, "got no arrays"),
    ):
        with pytest.raises(ValueError, match="equal size along their first axis, " + message):
            batch_length(wrong)


DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from neural_tangents._core.tiles import Tiles
x1, x2 = (np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32) for seed, n in enumerate((6, 5)))
CASES = ((0, 0, [1]), (0, -1, [3]), (0, 2, [2]), (4, -1, [4, 4, 2, 2]), (3, 3, [3] * 4), (2, 1, [1] * 9))
for size, count, expected in CASES:
    seen = []
    def kernel(a, b, i, j):
        assert len(b.devices() if isinstance(b, jax.Array) else [0]) in (1, expected[len(seen)])
        seen.append(len(a.devices()) if isinstance(a, jax.Array) else 1)
        return jnp.asarray(a) @ jnp.asarray(b).T
    np.testing.assert_allclose(Tiles(size, count, False).kernel(kernel, x1, x2), x1 @ x2.T, rtol=1e-5, atol=1e-6)
    assert seen == expected, (size, count, seen)
try:
    Tiles(0, 4, True).kernel(kernel, x1, x2)
except ValueError as error:
    print(error)
"""


def test_rows_are_spread_over_devices(four_devices):
    found = subprocess.run([sys.executable, "-c", DEVICES], env=four_devices, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "6 rows of a tile to be divisible by `device_count=4`" in found.stdout
