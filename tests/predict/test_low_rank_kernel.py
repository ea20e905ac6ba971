"""Features of kernels of low rank, and what is learned of a training set with them, against dense algebra."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from neural_tangents.predict import _low_rank_kernel
from neural_tangents.predict._low_rank_kernel import features, kernel_rows, learn, low_rank_kernel

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")


def kernel_fn(x1, x2, get):
    x2 = x1 if x2 is None else x2
    return jnp.exp(-jnp.sum((x1[:, None] - x2[None]) ** 2, -1))


def test_features_of_the_training_set_are_its_rows():
    found = low_rank_kernel(kernel_fn, X, 40, "ntk", 15, jax.random.key(0), jnp.float32, {})
    phi = features(found, kernel_rows(kernel_fn, found.inputs, {"x_test": X}, 40, "ntk", {}))
    np.testing.assert_allclose(phi, found.rows, atol=1e-4)
    np.testing.assert_allclose(found.rest, 1 - np.sum(np.square(phi), 0), atol=1e-4)
    np.testing.assert_allclose(found.scale, 1, rtol=1e-6)
    assert found.rank == 15 and found.inputs.shape == (15, 3)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [5, 4096])
def test_learned(monkeypatch, at_once):
    """Also where the last rows that are taken together are fewer."""
    monkeypatch.setattr(_low_rank_kernel, "_AT_ONCE", at_once)
    rng = np.random.default_rng(1)
    rows, y = rng.normal(size=(7, 33)), rng.normal(size=(33, 2))
    with jax.enable_x64(True):
        jax.clear_caches()
        found = learn(jnp.asarray(rows), jnp.asarray(y))
        values, rotation, targets = (np.asarray(x) for x in found)
    np.testing.assert_allclose(values, np.linalg.svd(rows)[1] ** 2, rtol=1e-10)
    np.testing.assert_allclose((rotation * values) @ rotation.T, rows @ rows.T, atol=1e-10)
    np.testing.assert_allclose(rotation @ targets, rows @ y, atol=1e-10)


def test_values_that_are_rounding_are_left_out():
    rows = np.ones((3, 10), "float32") * np.array([[1.0], [2.0], [0.0]], "float32")
    found = learn(jnp.asarray(rows), jnp.ones((10, 1)))
    np.testing.assert_allclose(found.values, [50, 0, 0], rtol=1e-5)
    assert not np.any(found.targets[1:])
    assert not np.any(learn(jnp.zeros((3, 10)), jnp.ones((10, 1))).values)
