"""Derivatives of moments that are known by angles and deviations, and how the driver calls them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_cases import SERIES
from sweeps import mostly_slow

from neural_tangents import stax

NAMES = ["selu", "hard tanh"]
SINGULAR = [(0, 0, 0), (0, 0, 1), (1, 1, 1), (-1, 1, 1), (0.5, 0.25, 1), (-3, 9, 1)]


def points():
    q1, q2, rho = (x.ravel() for x in np.meshgrid([0.3, 1.0, 7.0], [0.3, 2.0], [-0.95, 0.1, 0.8], indexing="ij"))
    return np.stack([rho * np.sqrt(q1 * q2), q1, q2])


@pytest.mark.parametrize("name", mostly_slow(NAMES, ["hard tanh"]))
def test_derivatives(name):
    """Against difference quotients, and finite where formulas are singular."""
    moments = SERIES[name].dual.moments

    def jacobian(x):
        return jnp.stack(jax.jacfwd(lambda x: moments(x[:1], x[1:2], x[2:]))(x))[:, 0]

    with jax.enable_x64(True):
        x = points()
        got = jax.jit(jax.vmap(jacobian))(x.T)  # (N, 2, 3)
        for i in range(3):
            step = 1e-3 * np.eye(3)[i][:, None] * np.sqrt(x[1] * x[2])
            near, far = (np.stack(moments(*(x + n * step))) - np.stack(moments(*(x - n * step))) for n in (1, 2))
            difference = (8 * near - far) / 12 / (1e-3 * np.sqrt(x[1] * x[2]))
            np.testing.assert_allclose(got[:, :, i].T, difference, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got[:, 0, 0], moments(*x)[1], rtol=1e-12)  # E[f' f'] is the derivative


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(NAMES, ["hard tanh"]))
def test_derivatives_are_finite(name, dtype):
    moments = SERIES[name].dual.moments

    def scalar(x):
        return jnp.stack(moments(*x)).sum()

    second = jax.jit(jax.vmap(jax.jacfwd(jax.grad(scalar))))(jnp.asarray(SINGULAR, dtype))
    assert second.dtype == dtype and jnp.isfinite(second).all()


def test_gradients_of_networks():
    """Of inputs of one variance, for which the shortest series is used where nothing is differentiated."""
    x = np.random.RandomState(1).normal(size=(3, 4))
    x[2] = x[1]
    x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    kernel_fn = stax.serial(stax.Dense(1, 1.1), stax.Tanh(), stax.Dense(1))[2]
    weights = np.arange(6.0).reshape(2, 3)

    @jax.jit
    def total(x):
        return jnp.sum(weights * kernel_fn(x[:2], x, "ntk"))

    with jax.enable_x64(True):
        gradient = jax.grad(total)(x)
        step = 1e-4
        for i, j in ((0, 0), (1, 2), (2, 3)):
            shift = np.zeros_like(x)
            shift[i, j] = step
            difference = (8 * (total(x + shift) - total(x - shift)) - total(x + 2 * shift) + total(x - 2 * shift)) / 12
            np.testing.assert_allclose(gradient[i, j], difference / step, rtol=1e-5, atol=1e-6)


def test_many_pairs_and_half_precision():
    """Pairs with deviations of their own are evaluated in blocks."""
    moments = SERIES["tanh"].dual.moments
    n = 2**14 + 5
    few = moments(*(jnp.full(3, x) for x in (0.3, 1.0, 0.7)))
    for got, want in zip(moments(*(jnp.full(n, x) for x in (0.3, 1.0, 0.7))), few, strict=True):
        assert got.shape == (n,)
        np.testing.assert_allclose(got, want[0], rtol=1e-6)
    half = moments(*(jnp.full(3, x, jnp.bfloat16) for x in (0.3, 1.0, 0.7)))
    for got, want in zip(half, few, strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(got.astype(np.float32), want, rtol=0.03)
