"""A regularised matrix as an array, as a product and as a tangent, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import Regularised


def example(n_outputs):
    """A kernel that is not quite symmetric, of 4 points with some outputs each, and its matrix by NumPy."""
    rng = np.random.default_rng(n_outputs)
    size = 4 * n_outputs
    k, added = rng.normal(size=(size, size)).astype("float32"), rng.normal(size=size).astype("float32")
    kernel = k.reshape(4, n_outputs, 4, n_outputs).transpose(0, 2, 1, 3)
    matrix = Regularised(jnp.asarray(kernel), jnp.asarray(added), Outputs((4, n_outputs), ()))
    return matrix, k, (k + k.T) / 2 + np.diag(added)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_forms(n_outputs):
    matrix, k, dense = example(n_outputs)
    np.testing.assert_array_equal(matrix.unregularised(np.dtype("float32")), k)
    np.testing.assert_allclose(matrix.dense(np.dtype("float32")), dense, rtol=1e-6)
    np.testing.assert_allclose(matrix.diagonal(np.dtype("float32")), np.diag(dense), rtol=1e-6)
    x = np.arange(len(k) * 2, dtype="float32").reshape(-1, 2)
    np.testing.assert_allclose(matrix.times(jnp.asarray(x)), dense @ x, rtol=1e-4, atol=1e-4)
    raised = matrix.plus(jnp.float32(0.5)).dense(np.dtype("float32"))
    np.testing.assert_allclose(raised, dense + 0.5 * np.eye(len(k)), rtol=1e-6)


def test_a_tangent_is_such_a_matrix():
    matrix, _, _ = example(1)
    change, _, dense_change = example(1)
    _, tangent = jax.jvp(lambda m: m.dense(np.dtype("float32")), (matrix,), (change,))
    np.testing.assert_allclose(tangent, dense_change, rtol=1e-6)


def test_the_identity_is_not_left_behind():
    """The mask of the diagonal is part of the compiled program, and no array of its own."""
    matrix = Regularised.of(jnp.ones((37, 37)))
    jax.jit(lambda m: m.dense(np.dtype("float32")))(matrix)
    assert not [a for a in jax.live_arrays() if a.shape == (37, 37) and a.dtype == bool]
