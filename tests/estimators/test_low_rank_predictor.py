"""With as many columns as points, and weights, predictions by kernels of low rank are exact."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.estimators._exact_predictor import ExactPredictor
from neural_tangents.estimators._low_rank_predictor import LowRankPredictor, WeightedKernel
from neural_tangents.estimators._network_kernel import NetworkKernel
from neural_tangents.estimators._ridge import Ridge

RNG = np.random.RandomState(0)
X, Y, WEIGHTS, X_TEST = (RNG.normal(size=s) for s in ((24, 3), (24, 2), 24, (5, 3)))
WEIGHTS = 0.5 + WEIGHTS**2


def kernel_fn(x1, x2, get):
    """Kernels that compile fast."""
    x2 = x1 if x2 is None else x2
    nngp = jnp.exp(-jnp.sum((x1[:, None] - x2[None]) ** 2, axis=-1) / 4)
    return nngp if get == "nngp" else (1 + x1 @ x2.T) * nngp + nngp


KERNEL = NetworkKernel(kernel_fn)


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_whole_rank_is_exact(get):
    ridge = Ridge.of(KERNEL.matrix(X, None, get), WEIGHTS, 1e-7)
    exact = ExactPredictor(KERNEL, get, X, ridge, 0.1, ridge.solve(0.1, Y))
    found = LowRankPredictor.of(KERNEL, get, X, Y, WEIGHTS, 0.1, rank=24, seed=1)
    for name in ("mean", "variance", "covariance"):
        one, two = getattr(found, name)(X_TEST), getattr(exact, name)(X_TEST)
        assert one.dtype == "float64"
        np.testing.assert_allclose(one, two, rtol=5e-3, atol=5e-3)


@pytest.mark.slow
def test_few_columns_are_a_subset_of_regressors():
    """`K_tS (K_Sd W K_dS + λ K_SS)⁻¹ K_Sd W y`, with all points, for the pivots `S` that were drawn."""
    found = LowRankPredictor.of(KERNEL, "ntk", X, Y, WEIGHTS, 0.1, rank=9, seed=1)
    mean = found.mean(X_TEST)
    pivots = np.asarray(found.ensemble._kernel("ntk").inputs[0])
    assert pivots.shape == (9, 3)
    k_ss, k_sd, k_ts = (KERNEL.matrix(*xs, "ntk") for xs in ((pivots, None), (pivots, X), (X_TEST, pivots)))
    expected = k_ts @ np.linalg.solve(k_sd * WEIGHTS @ k_sd.T + 0.1 * k_ss, k_sd * WEIGHTS @ Y)
    np.testing.assert_allclose(mean, expected, rtol=5e-3, atol=5e-3)


def test_weighted_kernel():
    root = np.sqrt(WEIGHTS)
    k = KERNEL.matrix(X, None, "ntk")
    found = WeightedKernel(KERNEL)((X, root), None, "ntk")
    np.testing.assert_allclose(found, root[:, None] * k * root, rtol=1e-5)
    cross = WeightedKernel(KERNEL)((X_TEST, np.ones(5)), (X, root), "ntk")
    np.testing.assert_allclose(cross, KERNEL.matrix(X_TEST, X, "ntk") * root, rtol=1e-5)
