"""Recursive feature machines: their gradient outer product, which iteration is kept, and what they find."""

import jax
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.estimators import NNGPClassifier, NTKRegressor
from neural_tangents.estimators._feature_learning import Fit, gradient_outer_product, learn_features, square_root
from neural_tangents.estimators._network_kernel import NetworkKernel
from neural_tangents.estimators._ridge import Ridge

RNG = np.random.RandomState(0)
HALF = RNG.normal(size=(3, 3))
MATRIX = HALF @ HALF.T


def test_square_root():
    root = square_root(MATRIX, 3)
    np.testing.assert_allclose(root, root.T, atol=1e-12)
    np.testing.assert_allclose(root @ root, MATRIX, rtol=1e-10)
    np.testing.assert_array_equal(square_root(None, 3), np.eye(3))


@pytest.mark.parametrize("get", ["ntk", "nngp"])
@pytest.mark.parametrize("matrix", [None, MATRIX])
def test_gradient_outer_product_by_differences(get, matrix):
    """Differences are central, so the kinks of the kernel at training points have no part in them."""
    with jax.enable_x64(True):
        x, c, weights = RNG.normal(size=(30, 3)), RNG.normal(size=(30, 2)), RNG.uniform(size=30)
        kernel, root = NetworkKernel(None), square_root(matrix, 3)

        def f(points):
            return kernel.matrix(points @ root, x @ root, get) @ c

        gradients = np.stack([(f(x + step) - f(x - step)) / 2e-5 for step in 1e-5 * np.eye(3)], axis=-1)
        expected = np.einsum("n,ntd,nte->de", weights / weights.sum(), gradients, gradients)
        found = gradient_outer_product(kernel, get, x, c, weights, matrix)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.trace(expected))


def test_keeps_the_best_of_all_fits():
    x, y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 1))
    ridge = Ridge.of(x @ x.T + np.eye(8), np.ones(8), 1e-7)
    errors, seen = [3.0, 1.0, 2.0], []

    def fit(matrix):
        seen.append(matrix)
        return Fit(matrix, ridge, 0.1, errors[len(seen) - 1])

    best = learn_features(fit, NetworkKernel(stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1))), "ntk", x, y, 2)
    assert len(seen) == 3 and seen[0] is None and best.matrix is seen[1] and best.error == 1.0
    assert np.trace(seen[1]) == pytest.approx(3) and np.trace(seen[2]) == pytest.approx(3)


def test_finds_the_inputs_that_matter():
    """Two of eight, of which only the difference matters."""
    rng = np.random.RandomState(0)
    x = rng.normal(size=(160, 8))
    y = np.sin(1.5 * (x[:, 2] - x[:, 5]))
    plain, learned = (NTKRegressor(feature_learning=n).fit(x[:100], y[:100]) for n in (0, 3))
    matrix = learned.feature_matrix_
    assert np.trace(matrix) == pytest.approx(8) and plain.feature_matrix_ is None
    direction = np.linalg.eigh(matrix)[1][:, -1]
    assert abs(direction[2] - direction[5]) / np.sqrt(2) > 0.95
    assert learned.leave_one_out_error_ < 0.5 * plain.leave_one_out_error_
    assert learned.score(x[100:], y[100:]) > plain.score(x[100:], y[100:]) + 0.1


@pytest.mark.slow
def test_of_classes_and_of_a_constant():
    rng = np.random.RandomState(0)
    x = rng.normal(size=(100, 8))  # as above: no more programs
    fitted = NNGPClassifier(feature_learning=2).fit(x, x[:, 1] > 0)
    assert np.argmax(np.diagonal(fitted.feature_matrix_)) == 1
    constant = NTKRegressor(feature_learning=2).fit(x, np.full(100, 3.0))
    assert constant.feature_matrix_ is None
    np.testing.assert_allclose(constant.predict(x), 3.0)
