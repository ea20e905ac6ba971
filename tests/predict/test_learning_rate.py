"""`max_learning_rate` against LAPACK and against gradient descent that just converges or just does not."""

import jax
import numpy as np
import pytest

from neural_tangents import predict


def kernel(n, seed):
    phi = np.random.default_rng(seed).normal(size=(n, 6))
    return phi @ phi.T


def test_formula(dtype):
    k = kernel(5, 0).astype(dtype)
    largest = np.linalg.eigvalsh(k.astype(np.float64))[-1]
    np.testing.assert_allclose(predict.max_learning_rate(k), 2 * 5 / largest, rtol=1e-5)
    np.testing.assert_allclose(predict.max_learning_rate(k, 15, 0.9, 2.0), 2 * 1.9 * 15 / (largest + 2), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(predict.max_learning_rate)(k, 15, 0.9), 2 * 1.9 * 15 / largest, rtol=1e-5)
    assert predict.max_learning_rate(k).dtype == dtype
    assert np.isfinite(predict.max_learning_rate(np.zeros((2, 2), dtype)))


def test_interleaved_kernel():
    full = kernel(6, 1)
    interleaved = full.reshape(3, 2, 3, 2).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(predict.max_learning_rate(interleaved), predict.max_learning_rate(full), rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("factor, converges", [(0.98, True), (1.02, False)])
def test_is_the_largest(momentum, factor, converges):
    k, f, previous = kernel(4, 2), np.ones(4), np.ones(4)
    learning_rate = factor * float(predict.max_learning_rate(k, momentum=momentum))
    for _ in range(2000):
        f, previous = f - learning_rate * k @ f / 4 + momentum * (f - previous), f
    assert (np.abs(f).max() < 1) == converges


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 3, 2), (3, 3, 2, 1), (3, 2, 3, 2), (0, 0)])
def test_shapes(shape):
    with pytest.raises(ValueError, match=r"square matrix.*got shape \("):
        predict.max_learning_rate(np.ones(shape))
