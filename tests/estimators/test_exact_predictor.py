"""Means, variances and covariances by dense linear algebra, however many test points there are."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.estimators import _exact_predictor
from neural_tangents.estimators._exact_predictor import ExactPredictor
from neural_tangents.estimators._network_kernel import NetworkKernel
from neural_tangents.estimators._ridge import Ridge

RNG = np.random.RandomState(0)
X, Y, X_TEST = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2)), RNG.normal(size=(9, 3))
NOISE = 0.2


def kernel_fn(x1, x2, get):
    """Kernels that compile fast."""
    x2 = x1 if x2 is None else x2
    nngp = jnp.exp(-jnp.sum((x1[:, None] - x2[None]) ** 2, axis=-1) / 4)
    return nngp if get == "nngp" else (1 + x1 @ x2.T) * nngp + nngp


KERNEL = NetworkKernel(kernel_fn)


@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("at_once", [2048, 4])
def test_dense_linear_algebra(get, at_once, monkeypatch):
    monkeypatch.setattr(_exact_predictor, "_AT_ONCE", at_once)
    ridge = Ridge.of(KERNEL.matrix(X, None, get), np.ones(12), 1e-7)
    found = ExactPredictor(KERNEL, get, X, ridge, NOISE, ridge.solve(NOISE, Y))
    k_dd, k_td = KERNEL.matrix(X, None, get), KERNEL.matrix(X_TEST, X, get)
    prior_dd, prior_td, prior_tt = (KERNEL.matrix(*xs, "nngp") for xs in ((X, None), (X_TEST, X), (X_TEST, None)))
    a = k_td @ np.linalg.inv(k_dd + NOISE * np.eye(12))
    if get == "nngp":
        covariance = prior_tt - a @ k_td.T
    else:
        covariance = prior_tt + a @ prior_dd @ a.T - a @ prior_td.T - prior_td @ a.T
    np.testing.assert_allclose(found.mean(X_TEST), a @ Y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.covariance(X_TEST), covariance, atol=1e-5)
    np.testing.assert_allclose(found.variance(X_TEST), covariance.diagonal(), atol=1e-5)


def test_variances_are_not_negative():
    ridge = Ridge.of(KERNEL.matrix(X, None, "nngp"), np.ones(12), 1e-7)
    found = ExactPredictor(KERNEL, "nngp", X, ridge, 1e-9, Y)
    assert np.all(found.variance(X) >= 0)
