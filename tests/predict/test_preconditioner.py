"""Preconditioners against the dense formula."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from neural_tangents.predict._partial_cholesky import partial_cholesky
from neural_tangents.predict._preconditioner import preconditioner, sketch

POINTS = np.random.default_rng(0).normal(size=(60, 3))


def smooth_kernel(x=POINTS, width=1.0):
    return np.exp(-np.sum((x[:, None] - x[None]) ** 2, -1) / (2 * width**2))


@functools.partial(jax.jit, static_argnums=(2, 3))
def low_rank(kernel, key, rank, by_columns):
    eps = float(jnp.finfo(kernel.dtype).eps)
    if by_columns:
        found = partial_cholesky(lambda i: kernel[i], jnp.diagonal(kernel), rank, key, eps)
        return found.rows, found.rest
    return sketch(lambda v: kernel @ v, len(kernel), rank, key, eps, kernel.dtype)


@jax.jit
def inverse(rows, rest, noise):
    return preconditioner(rows, rest, noise).solve(jnp.eye(len(noise), dtype=noise.dtype))


@pytest.mark.parametrize("by_columns", [True, False])
@pytest.mark.parametrize("noise", [np.full(60, 0.1), np.linspace(0, 2, 60)], ids=["uniform", "per point"])
def test_it_is_the_inverse_of_its_formula(noise, by_columns):
    kernel, rank, key = smooth_kernel(width=2.0), 7, jax.random.key(3)
    with jax.enable_x64(True):
        rows, rest = low_rank(kernel, key, rank, by_columns)
        found = np.asarray(inverse(rows, rest, noise))
        omega = np.asarray(jax.random.normal(key, (60, rank), "float64"))
    rows, rest = np.asarray(rows), np.asarray(rest)
    matrix = rows.T @ rows + np.diag(np.maximum(rest, rest.mean()) + noise)
    np.testing.assert_allclose(found, np.linalg.inv(matrix), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    if not by_columns:
        image = kernel @ omega
        dense = image @ np.linalg.solve(omega.T @ image, image.T)
        np.testing.assert_allclose(rows.T @ rows, dense, atol=1e-9)
        np.testing.assert_allclose(rest, np.linalg.eigvalsh(dense)[-rank], rtol=1e-5)


@pytest.mark.parametrize("by_columns", [True, False])
def test_it_is_positive_definite(dtype, by_columns):
    """Also of kernels of lower rank than its own, and of zero, with little or no noise."""
    x = POINTS.astype(dtype)
    twice = smooth_kernel(np.concatenate([x[:30]] * 2), 1.0)
    for kernel in (x @ x.T, smooth_kernel(x, 3.0), 1e6 * smooth_kernel(x, 0.5), twice, np.zeros((60, 60))):
        for noise in (0.0, 1e-6, 1.0):
            rows, rest = low_rank(kernel.astype(dtype), jax.random.key(0), 30, by_columns)
            found = inverse(rows, rest, np.full(60, noise, dtype))
            assert np.linalg.eigvalsh(np.asarray(found, "float64"))[0] > 0


def test_a_smaller_type_serves_vectors_of_a_larger_one():
    """As for a kernel in float32 with targets in float64."""
    kernel, noise = smooth_kernel(), np.full(60, 1e-3)
    with jax.enable_x64(True):
        rows, rest = low_rank(kernel.astype("float32"), jax.random.key(0), 30, True)
        found = np.asarray(inverse(rows, rest, noise))
    assert rows.dtype == "float32" and found.dtype == "float64"
    rows, rest = np.asarray(rows, "float64"), np.asarray(rest)
    matrix = rows.T @ rows + np.diag(np.maximum(rest, rest.mean()) + noise)
    np.testing.assert_allclose(np.linalg.eigvals(found @ matrix), 1, atol=0.05)
