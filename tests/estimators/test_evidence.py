"""The likelihood that hyper-parameters are learned by, its derivatives, and where its maximum is."""

import jax
import numpy as np
import pytest
import scipy.stats

from neural_tangents import stax
from neural_tangents.estimators import NNGPRegressor
from neural_tangents.estimators._evidence import Evidence
from neural_tangents.estimators._network_kernel import NetworkKernel

RNG = np.random.RandomState(0)
X, Y, WEIGHTS = RNG.normal(size=(15, 2)), RNG.normal(size=(15, 2)), RNG.uniform(0.5, 2, 15)


def network(W_std, b_std):
    dense = stax.Dense(1, W_std, b_std)
    return stax.serial(dense, stax.Erf(), dense)


VALUES = {"W_std": 1.5, "b_std": 0.4}


@pytest.mark.parametrize(("scale", "alpha"), [(None, None), (0.8, None), (None, 0.05)])
def test_loss_and_gradient(scale, alpha):
    with jax.enable_x64(True):
        evidence = Evidence(NetworkKernel(network, VALUES), "nngp", X, Y, WEIGHTS, scale, alpha)
        at = np.log([*VALUES.values(), 0.2][: 2 if alpha else 3])
        loss, gradient = evidence.loss_and_gradient(at)
        k = np.asarray(network(**VALUES)[2](X, None, "nngp"))
        noise = alpha * np.average(k.diagonal(), weights=WEIGHTS) if alpha else 0.2
        system = k + np.diag(noise / WEIGHTS)
        s = scale or np.trace(Y.T @ np.linalg.solve(system, Y)) / Y.size
        density = sum(scipy.stats.multivariate_normal(cov=s * system).logpdf(y) for y in Y.T)
        assert loss == pytest.approx(-density / Y.size, rel=1e-10)
        for i, step in enumerate(1e-5 * np.eye(len(at))):
            difference = evidence.loss_and_gradient(at + step)[0] - evidence.loss_and_gradient(at - step)[0]
            assert gradient[i] == pytest.approx(difference / 2e-5, rel=1e-5, abs=1e-8)


def test_finds_what_targets_were_drawn_with():
    """The bias and the noise of a function that a network of known hyper-parameters has drawn."""
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        x = rng.normal(size=(120, 1))
        k = np.asarray(network(3.0, 1.0)[2](x, None, "nngp"))
        y = np.linalg.cholesky(k + 1e-9 * np.eye(120)) @ rng.normal(size=(120, 8)) + 0.2 * rng.normal(size=(120, 8))
        options = dict(standardize=False, normalize_y=False, alpha="ml", output_scale=1.0)
        fitted = NNGPRegressor(network, hyperparameters=VALUES, **options).fit(x, y)
        assert fitted.hyperparameters_["W_std"] == pytest.approx(3.0, rel=0.3)
        np.testing.assert_allclose(fitted.noise_variance_, 0.04, rtol=0.2)
        fixed = NNGPRegressor(network(**VALUES), **options).fit(x, y)
        assert fitted.log_marginal_likelihood_value_ > fixed.log_marginal_likelihood_value_ + 10


def test_in_float32_and_with_a_ridge_by_leaving_one_out():
    fitted = NNGPRegressor(network, hyperparameters=VALUES).fit(X, Y[:, 0])
    fixed = NNGPRegressor(network(**fitted.hyperparameters_)).fit(X, Y[:, 0])
    assert set(fitted.hyperparameters_) == set(VALUES) and fitted.hyperparameters_ != VALUES
    assert fitted.alpha_ == pytest.approx(fixed.alpha_, rel=1e-2)
    np.testing.assert_allclose(fitted.predict(X), fixed.predict(X), atol=1e-3)
    assert fitted.get_params()["hyperparameters"] is VALUES  # is what was given
