"""The standard parameterization: Sohl-Dickstein et al., "On the infinite width limit of neural networks with a standard
parameterization", 2020.

Reproduced: the NTK of fully-connected networks, in which each layer counts by its width; its agreement with finite
networks, whose layers are `s` times as wide; that relative widths matter, unlike in the NTK parameterization; and that
the NTK of the naive standard parameterization (`s = 1`) grows linearly with the width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import stax

INPUTS = np.random.RandomState(0).normal(size=(4, 3))
W2, B2 = 1.7, 0.3
DRAWS = 60


def network(widths, s=1, parameterization="standard", b_std=B2**0.5):
    """A network with hidden ReLU layers of widths `s * widths` and one output."""
    dense = functools.partial(stax.Dense, W_std=W2**0.5, b_std=b_std, parameterization=parameterization)
    multipliers = [1, *[s] * len(widths), 1]
    layers = [dense(width, s=multipliers[i : i + 2]) for i, width in enumerate([*widths, 1])]
    hidden = [layer for dense_layer in layers[:-1] for layer in (dense_layer, stax.Relu())]
    return stax.serial(*hidden, layers[-1])


def ntk(*args, **kwargs):
    with jax.enable_x64(True):
        return np.asarray(network(*args, **kwargs)[2](jnp.asarray(INPUTS), None, "ntk"))


def layer_by_layer(widths, b2=B2):
    """NTKs of the weights and of the biases of each layer, in the standard parameterization.

    A layer has `N` inputs of covariance `K`; its weights have `N K` in front of its outputs, its biases have 1. Each
    later layer multiplies that by `W2` times the covariance `(pi - theta) / (2 pi)` of the derivatives of ReLU.
    """
    covariance = INPUTS @ INPUTS.T / INPUTS.shape[1]
    weights, biases = [INPUTS.shape[1] * covariance], [np.ones_like(covariance)]
    for width in widths:
        covariance = W2 * covariance + b2
        std = np.sqrt(np.diag(covariance))
        theta = np.arccos(np.clip(covariance / np.outer(std, std), -1.0, 1.0))
        np.fill_diagonal(theta, 0.0)
        covariance = np.outer(std, std) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
        of_derivatives = (np.pi - theta) / (2 * np.pi)
        weights = [*(W2 * of_derivatives * k for k in weights), width * covariance]
        biases = [*(W2 * of_derivatives * k for k in biases), np.ones_like(covariance)]
    return weights, biases


@pytest.mark.parametrize("widths", [(7,), (5, 9), (20, 3, 8)])
def test_formula(widths):
    weights, biases = layer_by_layer(widths)
    np.testing.assert_allclose(ntk(widths), sum(weights) + sum(biases), rtol=1e-12)
    without_bias = sum(layer_by_layer(widths, 0.0)[0])
    np.testing.assert_allclose(ntk(widths, b_std=None), without_bias, rtol=1e-12)


def test_relation_of_parameterizations():
    """Weights `W_std / sqrt(N) W` learn `W2 / N` times as fast as `W`, and biases `b_std b`, `B2` times."""
    widths = (5, 9)
    weights, biases = layer_by_layer(widths)
    scaled = [W2 / n * w for n, w in zip((INPUTS.shape[1], *widths), weights, strict=True)]
    np.testing.assert_allclose(ntk(widths, parameterization="ntk"), sum(scaled) + B2 * sum(biases), rtol=1e-12)


def test_relative_widths_matter():
    """Each width multiplies the part of its layer; in the NTK parameterization, none has an effect."""
    weights, _ = layer_by_layer((1, 1))
    change = ntk((5, 12)) - ntk((5, 9))
    np.testing.assert_allclose(change, 3 * weights[2], rtol=1e-12)
    np.testing.assert_allclose(ntk((8, 9)) - ntk((5, 9)), 3 * weights[1], rtol=1e-12)
    np.testing.assert_array_equal(ntk((5, 9), parameterization="ntk"), ntk((8, 12), parameterization="ntk"))


@pytest.mark.parametrize("s", [1, 16, 64])
def test_width_multiplier_has_no_effect_on_the_kernel(s):
    np.testing.assert_array_equal(ntk((5, 9), s), ntk((5, 9)))


@functools.cache
def empirical(widths, s=1):
    """Mean over `DRAWS` of the NTK of the finite network, and the standard error of that mean."""
    init_fn, apply_fn, _ = network(widths, s)
    kernel_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(s), DRAWS, standard_error=True)
    return kernel_fn(jnp.asarray(INPUTS, "float32"), None, "ntk")


@pytest.mark.slow
@pytest.mark.parametrize("widths, s", [((4, 16), 16), ((64, 256), 1)])
def test_finite_networks(widths, s):
    """The mean NTK of finite networks of hundreds of units is the kernel, to about the inverse of their width, 64."""
    found, want = empirical(widths, s), ntk(widths)
    tolerance = 4.5 * np.asarray(found.standard_error) + np.max(want) / 64
    assert np.all(np.abs(found.mean - want) < tolerance)
    # So precise an estimate tells the kernel from the one of the same widths in another order.
    assert np.any(np.abs(found.mean - ntk(widths[::-1])) > tolerance)


def test_kernels_of_finite_networks_concentrate():
    """Draws of the NTK spread as `1 / sqrt(s)` at width multiplier `s`: half as much at 4 times the width."""
    wide, narrow = (np.sqrt(np.mean(np.square(empirical((4, 16), s).standard_error))) for s in (16, 4))
    # Both have errors of 1 / sqrt(2 * 60) = 9 %, and at s = 4 the spread has a correction of the order of 1 / 16.
    assert 1.5 < narrow / wide < 2.7


@pytest.mark.slow
def test_naive_standard_parameterization_diverges():
    """Without a multiplier, the NTK of finite networks is `a + b N` for hidden layers of width `N`."""
    first, second, third = (ntk((n, n)) for n in (32, 64, 128))
    np.testing.assert_allclose(third - second, 2 * (second - first), rtol=1e-10)
    finite = [empirical((n, n)) for n in (32, 128)]
    growth = finite[1].mean - finite[0].mean
    error = np.hypot(finite[0].standard_error, finite[1].standard_error)
    # The mean NTK of a width `N` has a relative bias of O(1 / N), which is constant in the difference.
    assert np.all(np.abs(growth - (third - first)) < 4.5 * error + np.max(first) / 32)
    assert np.all(growth > 10 * error)
