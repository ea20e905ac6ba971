"""Everything that one eigendecomposition gives, against dense linear algebra and refitting."""

import numpy as np
import pytest
import scipy.stats

from neural_tangents.estimators._ridge import Ridge, best_scale

RNG = np.random.RandomState(0)
N, T = 12, 2
FEATURES = RNG.normal(size=(N, 20))
K = FEATURES @ FEATURES.T
Y = RNG.normal(size=(N, T))
WEIGHTS = RNG.uniform(0.2, 3, N)
RIDGES = np.array([1e-2, 1.0, 30.0])
RIDGE = Ridge.of(K.copy(), WEIGHTS, 2e-16)


def system(ridge, kept=slice(None)):
    return K[kept][:, kept] + ridge * np.diag(1 / WEIGHTS[kept])


@pytest.mark.parametrize("ridge", RIDGES)
def test_solutions(ridge):
    inverse = np.linalg.inv(system(ridge))
    np.testing.assert_allclose(RIDGE.solve(ridge, Y), inverse @ Y, rtol=1e-9)
    white = RIDGE.whiten(ridge, Y)
    np.testing.assert_allclose(white.T @ white, Y.T @ inverse @ Y, rtol=1e-9)
    np.testing.assert_allclose(RIDGE.quadratic(np.array([ridge]), Y), np.trace(Y.T @ inverse @ Y), rtol=1e-9)


def refitted_error(ridge):
    """The weighted squared error by as many fits as there are points."""
    total = 0.0
    for i in range(N):
        kept = np.arange(N) != i
        mean = K[i, kept] @ np.linalg.solve(system(ridge, kept), Y[kept])
        total += WEIGHTS[i] * np.sum((mean - Y[i]) ** 2)
    return total / WEIGHTS.sum() / T


def test_leave_one_out_is_refitting():
    np.testing.assert_allclose(RIDGE.leave_one_out(RIDGES, Y), [refitted_error(ridge) for ridge in RIDGES], rtol=1e-9)


def refitted_scale(ridge, prior):
    """The mean ratio of squared errors and variances, by as many fits as there are points."""
    ratios = []
    for i in range(N):
        kept = np.arange(N) != i
        a = np.linalg.solve(system(ridge, kept), K[kept, i])
        if prior is None:
            variance = K[i, i] - a @ K[kept, i]
        else:
            variance = prior[i, i] + a @ prior[kept][:, kept] @ a - 2 * a @ prior[kept, i]
        ratios.append((a @ Y[kept] - Y[i]) ** 2 / (variance + ridge / WEIGHTS[i]))
    return np.mean(ratios)


@pytest.mark.parametrize("prior", [None, np.diag(RNG.uniform(1, 2, N)) + FEATURES[:, :5] @ FEATURES[:, :5].T])
def test_scale_by_leaving_out_is_refitting(prior):
    assert RIDGE.left_out_scale(1.5, Y, prior) == pytest.approx(refitted_scale(1.5, prior), rel=1e-9)


def log_density(ridge, scale):
    return sum(scipy.stats.multivariate_normal(cov=scale * system(ridge)).logpdf(y) for y in Y.T)


@pytest.mark.parametrize("scale", [0.7, None])
def test_log_likelihood(scale):
    found = RIDGE.log_likelihood(RIDGES, Y, scale)
    for ridge, value in zip(RIDGES, found, strict=True):
        best = np.trace(Y.T @ np.linalg.solve(system(ridge), Y)) / Y.size
        np.testing.assert_allclose(value, log_density(ridge, scale or best), rtol=1e-9)
        if scale is None:
            assert value > max(log_density(ridge, 0.9 * best), log_density(ridge, 1.1 * best))


@pytest.mark.parametrize(
    ("choose", "loss"),
    [
        (RIDGE.best_for_left_out, refitted_error),
        (lambda y: RIDGE.most_likely(y, 0.7), lambda ridge: -log_density(ridge, 0.7)),
    ],
)
def test_best_ridge(choose, loss):
    others = np.exp(np.linspace(np.log(RIDGE.smallest), np.log(1e3 * K.trace() / N), 30))
    assert loss(choose(Y)) <= min(loss(ridge) for ridge in others) + 1e-6


def test_smallest_ridge_and_mean_diagonal():
    assert RIDGE.mean_diagonal == pytest.approx(np.average(np.diagonal(K), weights=WEIGHTS))
    assert Ridge.of(K.copy(), WEIGHTS, 1e-7).smallest == pytest.approx(8e-7 * np.mean(WEIGHTS * np.diagonal(K)))


def test_kernel_of_zeros():
    ridge = Ridge.of(np.zeros((3, 3)), np.ones(3), 1e-7)
    assert np.isfinite(ridge.best_for_left_out(np.ones((3, 1))))
    assert np.isfinite(ridge.most_likely(np.ones((3, 1)), None))


@pytest.mark.parametrize("prior", [None, np.eye(N)])
def test_targets_of_zero_say_nothing_about_the_scale(prior):
    assert RIDGE.left_out_scale(1.5, np.zeros((N, T)), prior) == 1 == best_scale(np.zeros(1), N)[0]
    assert RIDGE.log_likelihood(RIDGES, np.zeros((N, T)), None) == pytest.approx(
        [T * log_density_of_zero(r) for r in RIDGES]
    )


def log_density_of_zero(ridge):
    return scipy.stats.multivariate_normal(cov=system(ridge)).logpdf(np.zeros(N))
