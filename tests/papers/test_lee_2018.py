"""Infinitely wide deep networks as Gaussian processes: Lee et al., "Deep Neural Networks as Gaussian Processes", 2018.

Reproduced: the recursion of the kernel of deep ReLU networks (section 2.3), the kernel of error functions of Williams,
"Computing with Infinite Networks", 1997 (eq. 11), which they cite, and what becomes of variances and correlations in
deep networks (section 3.2): fixed points, and the border `W_std^2 = 2`, `b_std = 0` of ReLU between networks whose
variances vanish and explode.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax

INPUTS = np.random.RandomState(0).normal(size=(6, 5))


def by_depth(depths, nonlinearity, W_std, b_std, x=INPUTS):
    """Covariances of outputs of networks of each number of hidden layers."""
    with jax.enable_x64(True):
        layer = jax.jit(stax.serial(nonlinearity, stax.Dense(1, W_std, b_std))[2])
        kernel, found = stax.Dense(1, W_std, b_std)[2](jnp.asarray(x), None), {}
        for depth in range(max(depths) + 1):
            if depth in depths:
                found[depth] = np.asarray(kernel.nngp)
            kernel = layer(kernel)
    return [found[depth] for depth in depths]


def correlations(covariance):
    std = np.sqrt(np.diag(covariance))
    return covariance / np.outer(std, std)


def relu_step(covariance, w2, b2):
    """`sigma_b^2 + sigma_w^2 / (2 pi) sqrt(K(x, x) K(x', x')) (sin theta + (pi - theta) cos theta)`."""
    std = np.sqrt(np.diag(covariance))
    theta = np.arccos(np.clip(correlations(covariance), -1.0, 1.0))
    shape = np.sin(theta) + (np.pi - theta) * np.cos(theta)
    np.fill_diagonal(shape, np.pi)
    return b2 + w2 / (2 * np.pi) * np.outer(std, std) * shape


@pytest.mark.parametrize("w2, b2", [(1.6, 0.1), (2.0, 0.0), (2.5, 1.0)])
def test_recursion_of_relu(w2, b2):
    depths = (0, 1, 3, 20)
    found = dict(zip(depths, by_depth(depths, stax.Relu(), w2**0.5, b2**0.5), strict=True))
    covariance = b2 + w2 * INPUTS @ INPUTS.T / INPUTS.shape[1]
    for depth in range(max(depths) + 1):
        if depth in depths:
            # Each layer of the recursion loses 1e-16 / theta, with theta > 0.01, at its arc cosine.
            np.testing.assert_allclose(found[depth], covariance, rtol=1e-12)
        covariance = relu_step(covariance, w2, b2)


@pytest.mark.parametrize("w2, b2", [(1.0, 0.0), (3.0, 0.5)])
def test_kernel_of_error_functions(w2, b2):
    """Eq. (11) of Williams 1997, of inputs with a 1 in front and weights of covariance `diag(b^2, w^2 / d, ...)`."""
    inputs = np.concatenate([np.ones((len(INPUTS), 1)), INPUTS], 1)
    for found in by_depth(
        (1, 2, 3), stax.Erf(), w2**0.5, b2**0.5
    ):  # a layer takes features of the one before, of which only inner products count
        sigma = np.diag([b2] + [w2 / (inputs.shape[1] - 1)] * (inputs.shape[1] - 1))
        inner = 2 * inputs @ sigma @ inputs.T
        kernel = 2 / np.pi * np.arcsin(inner / np.sqrt(np.outer(1 + np.diag(inner), 1 + np.diag(inner))))
        features = np.linalg.cholesky(kernel) * len(kernel) ** 0.5
        inputs = np.concatenate([np.ones((len(features), 1)), features], 1)
        np.testing.assert_allclose(found, w2 * kernel + b2, rtol=1e-12)


@pytest.mark.parametrize("w2", [1.6, 2.0, 2.4])
def test_variance_of_relu_without_bias(w2):
    """A layer multiplies all variances by `W_std^2 / 2`, so 2 is the border between vanishing and exploding."""
    start = w2 * np.sum(INPUTS**2, 1) / INPUTS.shape[1]
    depths = (1, 10, 100)
    for depth, covariance in zip(depths, by_depth(depths, stax.Relu(), w2**0.5, None), strict=True):
        np.testing.assert_allclose(np.diag(covariance), start * (w2 / 2) ** depth, rtol=1e-12)


@pytest.mark.parametrize("w2, b2", [(1.0, 0.3), (1.8, 0.2)])
def test_fixed_point_of_relu(w2, b2):
    """Below the border, variances go to `b^2 / (1 - W^2 / 2)`, at the rate `W^2 / 2`, and correlations to 1."""
    fixed, x = b2 / (1 - w2 / 2), INPUTS[:3]
    *near, converged = by_depth((0, 20, 400), stax.Relu(), w2**0.5, b2**0.5, x)
    start, then = (np.diag(covariance) - fixed for covariance in near)
    # Rounding errors of 1e-16 in each layer add up like 1 / (1 - W^2 / 2) = 10.
    np.testing.assert_allclose(then, (w2 / 2) ** 20 * start, rtol=1e-9)
    np.testing.assert_allclose(converged, fixed, rtol=1e-12)


def test_correlations_of_critical_relu():
    """At the border, angles go to 0 as `1 / theta = l / (3 pi) + ln(l) / (2 pi) + O(1)`: no exponential decay.

    From `cos theta' = cos theta + (sin theta - theta cos theta) / pi`, in powers of theta:
    `1 / theta' = 1 / theta + 1 / (3 pi) + theta / (6 pi^2) + O(theta^2)`, and `theta = 3 pi / l` in the last term.
    """
    of_pairs = np.triu_indices(len(INPUTS), 1)
    found = by_depth((200, 400, 800), stax.Relu(), 2.0**0.5, None)
    inverse = [1 / np.arccos(correlations(covariance)[of_pairs]) for covariance in found]
    for depth, growth in zip((200, 400), np.diff(inverse, axis=0), strict=True):
        # Terms left out are a sum of O(ln(l) / l^2) over `depth` layers; at 200, ln(l) / l = 0.026.
        np.testing.assert_allclose(growth, depth / (3 * np.pi) + np.log(2) / (2 * np.pi), atol=np.log(depth) / depth)


def test_fixed_point_of_error_functions():
    """Variances and correlations of deep networks are where the map of Williams' kernel does not move them."""
    w2, b2 = 4.0, 0.1
    q = c = 0.5
    for _ in range(300):
        q = b2 + w2 * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))
    for _ in range(300):
        c = (b2 + w2 * 2 / np.pi * np.arcsin(2 * c * q / (1 + 2 * q))) / q
    assert 0.01 < c < 0.99
    (found,) = by_depth((200,), stax.Erf(), w2**0.5, b2**0.5)
    np.testing.assert_allclose(np.diag(found), q, rtol=1e-12)
    np.testing.assert_allclose(correlations(found)[np.triu_indices(len(found), 1)], c, rtol=1e-11)
