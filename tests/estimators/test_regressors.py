"""Regressors predict what `predict` does, in the units of the targets."""

import jax
import numpy as np
import pytest
import scipy.stats

from neural_tangents import predict, stax
from neural_tangents.estimators import NNGPRegressor, NTKRegressor

RNG = np.random.RandomState(0)
X, X_TEST, Y = RNG.normal(size=(25, 3)), RNG.normal(size=(6, 3)), RNG.normal(2, 3, size=(25, 2))
WEIGHTS = RNG.uniform(0.5, 2, 25)
NETWORK = stax.serial(stax.Dense(1, 1.5, 0.3), stax.Erf(), stax.Dense(1, 1.5, 0.3))
KERNEL_FN = jax.jit(NETWORK[2], static_argnames="get")
ESTIMATORS = {"ntk": NTKRegressor, "nngp": NNGPRegressor}
ALPHA, SCALE = 0.03, 0.7


def standardised(a, like):
    """`a` in units of the weighted mean and deviation of `like`, and these."""
    mean = np.average(like, 0, WEIGHTS)
    unit = np.sqrt(np.average((like - mean) ** 2, 0, WEIGHTS))
    return (a - mean) / unit, mean, unit


@pytest.mark.parametrize("get", ESTIMATORS)
def test_agrees_with_gp_inference(get, dtype):
    (x, _, _), (x_test, _, _), (y, mean, unit) = standardised(X, X), standardised(X_TEST, X), standardised(Y, Y)
    names, kernel_fn = ("nngp", "ntk"), KERNEL_FN
    k = kernel_fn(x, None, names)
    noise = ALPHA * np.average(np.diagonal(getattr(k, get)), weights=WEIGHTS) / WEIGHTS
    predict_fn = predict.gp_inference(k, y, noise_variance=noise)
    expected = predict_fn(get, kernel_fn(x_test, x, names), kernel_fn(x_test, None, "nngp"))

    fitted = ESTIMATORS[get](NETWORK, alpha=ALPHA, output_scale=SCALE).fit(X, Y, WEIGHTS)
    found, std = fitted.predict(X_TEST, return_std=True)
    _, covariance = fitted.predict(X_TEST, return_cov=True)
    assert found.dtype == std.dtype == "float64" and covariance.shape == (6, 6, 2)
    tolerance = dict(rtol=2e-3, atol=2e-3) if dtype == "float32" else dict(rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found, mean + unit * np.asarray(expected.mean), **tolerance)
    np.testing.assert_allclose(std, np.sqrt(SCALE) * unit * np.asarray(expected.stddev), **tolerance)
    scaled = SCALE * unit**2 * np.asarray(expected.covariance)[..., None]
    np.testing.assert_allclose(covariance, scaled, **tolerance)


def test_agrees_with_the_trained_ensemble():
    """For the NTK, of all networks trained for ever, with the ridge of `diag_reg`."""
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent_mse_ensemble(KERNEL_FN, X, Y, diag_reg=ALPHA)
        expected = predict_fn(x_test=X_TEST, get="ntk", compute_cov=True)
        options = dict(alpha=ALPHA, output_scale=1.0, standardize=False, normalize_y=False)
        fitted = NTKRegressor(NETWORK, **options).fit(X, Y)
        mean, std = fitted.predict(X_TEST, return_std=True)
        np.testing.assert_allclose(mean, expected.mean, rtol=1e-8)
        np.testing.assert_allclose(std, expected.stddev, rtol=1e-6)


@pytest.mark.parametrize("get", ESTIMATORS)
def test_likelihood_and_leaving_one_out(get):
    with jax.enable_x64(True):
        options = dict(standardize=False, normalize_y=False, output_scale="ml")
        fitted = ESTIMATORS[get](NETWORK, **options).fit(X, Y)
        k, s = np.asarray(KERNEL_FN(X, None, get)), fitted.output_scale_
        noise = fitted.alpha_ * k.trace() / 25
        gp = predict.gp_inference(s * k, Y, noise_variance=s * noise)
        assert fitted.log_marginal_likelihood_value_ == pytest.approx(float(gp.log_marginal_likelihood()), rel=1e-8)
        left_out = gp.leave_one_out()
        assert fitted.leave_one_out_error_ == pytest.approx(float(np.mean((left_out.mean - Y) ** 2)), rel=1e-8)
        np.testing.assert_allclose(fitted.noise_variance_, s * noise, rtol=1e-8)


@pytest.mark.parametrize("normalize", [True, False])
def test_shapes_of_one_target(normalize):
    y = Y[:, 0]
    fitted = NTKRegressor(NETWORK, normalize_y=normalize).fit(X, y)
    mean, std = fitted.predict(X_TEST, return_std=True)
    assert mean.shape == std.shape == (6,) and fitted.predict(X_TEST, return_cov=True)[1].shape == (6, 6)
    assert isinstance(fitted.noise_variance_, float)
    column = NTKRegressor(NETWORK, normalize_y=normalize).fit(X, y[:, None])
    np.testing.assert_array_equal(column.predict(X_TEST), mean[:, None])
    assert column.sample_y(X_TEST, 4).shape == (6, 1, 4)


def test_draws():
    fitted = NNGPRegressor(NETWORK, alpha=0.1).fit(X, Y)
    draws, n = fitted.sample_y(X_TEST, 4000, random_state=1), 4000
    assert draws.shape == (6, 2, n)
    mean, covariance = fitted.predict(X_TEST, return_cov=True)
    for t in range(2):
        z = (draws[:, t].mean(1) - mean[:, t]) / np.sqrt(np.diagonal(covariance[..., t]) / n)
        assert np.all(np.abs(z) < 4.5)
        white = np.linalg.solve(np.linalg.cholesky(covariance[..., t]), draws[:, t] - mean[:, t, None])
        assert np.all(scipy.stats.kstest(white.ravel(), "norm").pvalue > 1e-4)
    np.testing.assert_array_equal(draws, fitted.sample_y(X_TEST, n, random_state=1))


def test_uncertainty_covers_new_targets():
    """Of targets from the prior, with noise, about as many are within an interval as it says."""
    rng = np.random.RandomState(0)
    x = rng.normal(size=(300, 2))
    network = stax.serial(stax.Dense(1, 1.5, 0.5), stax.Erf(), stax.Dense(1, 3.0, 0.0))
    k = np.asarray(network[2](x, None, "nngp"), np.float64)
    y = np.linalg.cholesky(k + 1e-4 * np.eye(300)) @ rng.normal(size=(300, 20)) + 0.3 * rng.normal(size=(300, 20))
    fitted = NNGPRegressor(network, standardize=False).fit(x[:150], y[:150])
    mean, std = fitted.predict(x[150:], return_std=True)
    z = (y[150:] - mean) / np.sqrt(std**2 + fitted.noise_variance_)
    assert abs(np.mean(np.abs(z) < 1.96) - 0.95) < 0.02


@pytest.mark.parametrize("alpha", ["loo", "ml"])
def test_noise_is_seen_where_inputs_repeat(alpha):
    """Six inputs, with twenty targets each."""
    rng = np.random.RandomState(1)
    x = np.arange(6.0).repeat(20)[:, None]
    y = np.stack([np.sin(x[:, 0]), 10 * np.cos(x[:, 0])], axis=1) + rng.normal(size=(120, 2)) * [0.5, 5]
    fitted = NNGPRegressor(NETWORK, alpha=alpha).fit(x, y)
    of_each = y.reshape(6, 20, 2).var(axis=1, ddof=1)
    np.testing.assert_allclose(fitted.noise_variance_, of_each.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(fitted.noise_variance_, [0.25, 25], rtol=0.4)
    given = NNGPRegressor(NETWORK, alpha=0.1, output_scale=0.01, standardize=False, normalize_y=False).fit(x, y)
    k = np.diagonal(KERNEL_FN(x[::20], None, "nngp"))
    np.testing.assert_allclose(given.noise_variance_, 0.01 * 0.1 * k.mean(), rtol=1e-5)
