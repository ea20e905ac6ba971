"""`Dense` against finite networks and its closed forms."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate

from neural_tangents import stax

RANDOM = np.random.RandomState(0)
X1, X2 = RANDOM.normal(size=(2, 5)), RANDOM.normal(size=(3, 5))

# `s` of the two layers, parameterization, bias.
CASES = [
    ("ntk", None, (1, 1)),
    ("ntk", 0.4, (1, 1)),
    ("standard", None, (1, 1)),
    ("standard", 0.4, (1, 1)),
    ("standard", 0.4, (1, 2)),
    ("STANDARD", 0.0, (1, 3)),
]


@pytest.mark.parametrize(("parameterization", "b_std", "s"), CASES)
def test_finite_networks_have_the_kernel_on_average(parameterization, b_std, s):
    def dense(width, W_std, s):
        return stax.Dense(width, W_std, b_std, parameterization=parameterization, s=s)

    # With one hidden layer, the kernel is the mean over parameters at any width. (But the width is part of it.)
    net = stax.serial(dense(8, 1.3, s), stax.Relu(), dense(1, 0.7, s[::-1]))
    nngp, ntk = estimate(net, X1, X2, seed=CASES.index((parameterization, b_std, s)), draws=2000)
    kernel = compiled(net, X1, X2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize(("batch_axis", "channel_axis"), [(0, 1), (0, 2), (0, -1), (1, 0), (2, 1), (-1, -2)])
def test_axes(batch_axis, channel_axis):
    x = np.random.RandomState(7).normal(size=(2, 3, 4)).astype(np.float32)
    moved = np.moveaxis(x, (0, 2), (batch_axis, channel_axis))
    net = stax.serial(*[stax.Dense(6, 1.2, 0.3, batch_axis, channel_axis), stax.Relu()] * 2)
    plain = stax.serial(*[stax.Dense(6, 1.2, 0.3), stax.Relu()] * 2)
    with pytest.warns(UserWarning, match="batch axis") if batch_axis else contextlib.nullcontext():
        kernel = compiled(net, moved)
    expected = compiled(plain, x)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(kernel, name), getattr(expected, name), rtol=1e-5)
    shape, params = net[0](jax.random.PRNGKey(1), moved.shape)
    y = net[1](params, moved)
    assert y.shape == shape == kernel.shape1
    y_plain = plain[1](jax.tree.map(lambda p: p if p.ndim == 2 else p.reshape(1, 1, -1), params), x)
    np.testing.assert_allclose(np.moveaxis(y, (batch_axis, channel_axis), (0, 2)), y_plain, rtol=1e-4, atol=1e-6)


def test_parameters():
    shape, (w, b) = stax.Dense(200, 3.0, 0.5)[0](jax.random.PRNGKey(0), (-1, 4, 100))
    assert shape == (-1, 4, 200) and w.shape == (100, 200) and b.shape == (1, 1, 200)
    assert abs(w.std() - 1) < 0.02 and abs(b.std() - 1) < 0.25
    assert stax.Dense(2)[0](jax.random.PRNGKey(0), (-1, 3))[1][1] is None


def test_parameters_in_standard_parameterization():
    layer = stax.Dense(100, 3.0, 0.5, parameterization="standard", s=(2, 3))
    shape, (w, b) = layer[0](jax.random.PRNGKey(0), (-1, 200))
    assert shape == (-1, 300) and w.shape == (200, 300) and b.shape == (1, 300)
    assert abs(w.std() / (3 / 100**0.5) - 1) < 0.02 and abs(b.std() / 0.5 - 1) < 0.2


def test_bias_may_be_a_number():
    layer = stax.Dense(3, 1.5, 0.5)
    _, (w, _) = layer[0](jax.random.PRNGKey(0), (-1, 5))
    np.testing.assert_allclose(layer[1]((w, 0.0), X1), 1.5 / 5**0.5 * jnp.asarray(X1) @ w, rtol=1e-5)


def test_closed_form():
    with jax.enable_x64(True):
        kernel = compiled(stax.serial(stax.Dense(7, 1.5, 0.2), stax.Dense(1, 0.5, 0.1)), X1, X2)
        first = 1.5**2 * X1 @ X2.T / 5 + 0.2**2
        second = 0.5**2 * first + 0.1**2
        np.testing.assert_allclose(kernel.nngp, second, rtol=1e-13)
        np.testing.assert_allclose(kernel.ntk, second + 0.5**2 * first, rtol=1e-13)
        np.testing.assert_allclose(kernel.cov2, 0.5**2 * (1.5**2 * (X2**2).mean(1) + 0.2**2) + 0.1**2, rtol=1e-13)
        assert kernel.is_gaussian and kernel.shape1 == (2, 1) and kernel.shape2 == (3, 1)


def test_masked_positions_are_as_if_absent():
    with jax.enable_x64(True):
        x = np.random.RandomState(3).normal(size=(2, 4, 3))
        masked = x.copy()
        masked[0, 2:] = masked[1, 3:] = np.nan
        net = stax.serial(stax.Dense(5, 1.1, 0.3), stax.Erf(), stax.Dense(2, 0.9, 0.2))
        kernel = compiled(net, masked, mask_constant=np.nan)
        every = compiled(net, x)
        for i, n1 in enumerate((2, 3)):
            for j, n2 in enumerate((2, 3)):
                for name in ("nngp", "ntk"):
                    block, expected = getattr(kernel, name)[i, j], getattr(every, name)[i, j]
                    np.testing.assert_allclose(block[:n1, :n2], expected[:n1, :n2], rtol=1e-12)
                    assert not block[n1:].any() and not block[:, n2:].any()
        assert kernel.mask1.shape == (2, 4, 1)
