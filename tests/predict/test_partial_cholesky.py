"""The randomly pivoted partial Cholesky factorisation against dense algebra, and its law against the sequential one."""

import functools
import itertools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from neural_tangents.predict._partial_cholesky import partial_cholesky

POINTS = np.random.default_rng(0).normal(size=(60, 3))


def smooth_kernel(width=1.0, points=POINTS):
    return np.exp(-np.sum((points[:, None] - points[None]) ** 2, -1) / (2 * width**2))


def factorise(kernel, rank, seed=0, block=128):
    eps = float(jnp.finfo(kernel.dtype).eps)
    rows = jnp.asarray(kernel)
    return partial_cholesky(lambda i: rows[i], jnp.diagonal(rows), rank, jax.random.key(seed), eps, block)


@pytest.mark.parametrize("block", [1, 7, 128])
def test_it_is_exact_in_the_rows_of_its_pivots(dtype, block):
    kernel = smooth_kernel(0.5).astype(dtype)
    found = factorise(kernel, 20, block=block)
    rows, pivots = np.asarray(found.rows, "float64"), np.asarray(found.pivots)
    assert found.rows.dtype == dtype and found.rank == 20 and len(set(pivots)) == 20
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(rows.T @ rows[:, pivots], kernel[:, pivots], atol=100 * eps)
    np.testing.assert_allclose(np.tril(rows[:, pivots], -1), 0, atol=100 * eps)
    left = kernel - rows.T @ rows
    np.testing.assert_allclose(found.rest, np.diagonal(left), atol=100 * eps)
    schur = kernel - kernel[:, pivots] @ np.linalg.solve(kernel[pivots][:, pivots].astype(float), kernel[pivots])
    np.testing.assert_allclose(left, schur, atol=1000 * eps)
    assert np.all(found.rest >= 0) and np.all(np.asarray(found.rest)[pivots] == 0)


def test_full_rank_is_the_kernel(dtype):
    kernel = smooth_kernel(0.3).astype(dtype)
    found = factorise(kernel, 60)
    np.testing.assert_allclose(found.rows.T @ found.rows, kernel, atol=100 * np.finfo(dtype).eps)
    assert found.rank == 60 and not np.any(found.rest)


def test_kernels_of_lower_rank(dtype):
    """Zero kernels, points that occur twice, zero inputs: it ends where nothing is left."""
    x = POINTS.astype(dtype)
    twice = smooth_kernel(0.3, np.concatenate([POINTS[:15]] * 4)).astype(dtype)
    with_zeros = np.where(np.arange(60)[:, None] % 2, x, 0)
    for kernel, rank in ((x @ x.T, 3), (twice, 15), (with_zeros @ with_zeros.T, 3), (np.zeros((60, 60), dtype), 0)):
        found = factorise(kernel, 40)
        assert found.rank == rank and not np.any(found.rest)
        assert not np.any(found.rows[rank:]) and found.rows.shape == (40, 60)
        np.testing.assert_allclose(found.rows.T @ found.rows, kernel, atol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_units_do_not_matter(scale):
    kernel = smooth_kernel().astype("float32")
    want, found = factorise(kernel, 10), factorise(np.float32(scale) * kernel, 10)
    np.testing.assert_array_equal(want.pivots, found.pivots)
    np.testing.assert_allclose(found.rows / np.sqrt(scale), want.rows, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [(0, 0), (3, 5)])
def test_it_ends_for_numbers_that_are_not_finite(value, where):
    kernel = smooth_kernel()
    kernel[where] = kernel[where[::-1]] = value
    found = jax.jit(functools.partial(factorise, rank=40))(kernel.astype("float32"))
    assert found.rows.shape == (40, 60)


@pytest.mark.slow
def test_compiled_and_mapped():
    kernels = np.stack([smooth_kernel(0.5), np.zeros((60, 60)), smooth_kernel(5.0)]).astype("float32")
    rank, seed, block = 20, 3, 8
    found = jax.jit(jax.vmap(lambda kernel: factorise(kernel, rank, seed, block)))(kernels)
    for i, kernel in enumerate(kernels):
        want = factorise(kernel, rank, seed, block)
        assert found.rank[i] == want.rank
        products = [np.asarray(rows.T @ rows) for rows in (found.rows[i], want.rows)]
        np.testing.assert_allclose(*products, atol=1e-3)
    np.testing.assert_array_equal(found.pivots[0], factorise(kernels[0], rank, seed, block).pivots)


@pytest.mark.parametrize("block", [1, 3])
def test_law_of_the_pivots(block):
    """Pairs of pivots are as likely as if they were drawn one at a time; the block has them from one diagonal."""
    x = np.array([[1.0, 0.0], [0.9, 0.3], [0.2, 1.5]])
    kernel = (x @ x.T + 0.1 * np.eye(3)).astype("float32")
    want = np.zeros((3, 3))
    for i, j in itertools.permutations(range(3), 2):
        first = np.diagonal(kernel) / np.trace(kernel)
        left = kernel - np.outer(kernel[i], kernel[i]) / kernel[i, i]
        want[i, j] = first[i] * left[j, j] / np.trace(left)
    draws = 20_000

    def pivots(key):
        rows = jnp.asarray(kernel)
        # Of rank 3, so that a block of 3 is not cut to 2.
        return partial_cholesky(lambda i: rows[i], jnp.diagonal(rows), 3, key, 1e-7, block).pivots

    found = np.asarray(jax.jit(jax.vmap(pivots))(jax.random.split(jax.random.key(0), draws)))
    counts = np.zeros((3, 3))
    np.add.at(counts, (found[:, 0], found[:, 1]), 1 / draws)
    np.testing.assert_allclose(counts, want, atol=5 * np.sqrt(0.25 / draws))


def test_it_finds_what_uniform_columns_miss():
    """A few points far from all others: their share of the trace grows as the rest is explained."""
    points = np.concatenate([0.01 * POINTS, [[10, 0, 0], [0, 10, 0], [0, 0, 10]]])
    kernel = smooth_kernel(1.0, points)
    for seed in range(5):
        found = factorise(kernel.astype("float32"), 8, seed)
        assert {60, 61, 62} <= set(np.asarray(found.pivots)[: int(found.rank)].tolist())
