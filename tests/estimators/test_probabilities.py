"""Probabilities of being the largest, against adaptive quadrature, closed forms and draws."""

import numpy as np
import pytest
import scipy.integrate
from scipy.stats import norm

from neural_tangents.estimators._probabilities import probabilities_of_largest

RNG = np.random.RandomState(0)


def integrated(mean, stddev, c):
    def density(z):
        return norm.pdf(z, mean[c], stddev) * np.prod(norm.cdf(z, np.delete(mean, c), stddev))

    return scipy.integrate.quad(density, mean[c] - 12 * stddev, mean[c] + 12 * stddev, epsabs=1e-12, limit=400)[0]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_against_quadrature(classes):
    mean, stddev = RNG.normal(size=(4, classes)), np.array([0.1, 0.5, 1.0, 5.0])
    found = probabilities_of_largest(mean, stddev)
    expected = [[integrated(m, s, c) for c in range(2)] for m, s in zip(mean, stddev, strict=True)]
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


def test_against_draws():
    rng = np.random.RandomState(0)
    mean, stddev, n = np.array([[0.2, 0.0, -0.3, 0.1]]), np.array([0.4]), 100_000
    largest = np.argmax(mean + stddev[:, None] * rng.normal(size=(n, 4)), axis=1)
    found = probabilities_of_largest(mean, stddev)[0]
    error = np.sqrt(found * (1 - found) / n)
    assert np.all(np.abs(np.bincount(largest, minlength=4) / n - found) < 4.5 * error)


@pytest.mark.parametrize("classes", [2, 4])
def test_limits(classes):
    mean = np.arange(classes) * np.array([[1.0], [1e-200]])
    certain = probabilities_of_largest(mean, np.array([0.0, 0.0]))
    np.testing.assert_array_equal(certain, np.eye(classes)[[classes - 1] * 2])
    np.testing.assert_allclose(probabilities_of_largest(mean, np.array([1e9, 1.0])), 1 / classes, rtol=1e-6)
    far = probabilities_of_largest(100.0 * mean, np.ones(2))
    assert np.all(np.isfinite(far)) and far[0, -1] > 1 - 1e-6
