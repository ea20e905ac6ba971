"""Normalisation over channels as a layer of `stax`: which axes, and which `eps`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeps import mostly_slow

from neural_tangents import tracing

W = 8


def by_moments(x, axes, eps):
    square = (x**2).mean(axes, keepdims=True) - x.mean(axes, keepdims=True) ** 2
    return (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(jnp.maximum(square, 0) + eps)


def centred(x, axes, eps):
    x = x - x.mean(axes, keepdims=True)
    return x / jnp.sqrt((x**2).mean(axes, keepdims=True) + eps)


def root_mean_square(x, axes, eps):
    return x / jnp.sqrt((x**2).mean(axes, keepdims=True) + eps)


CASES = {
    "layer norm": (by_moments, (-1,), 1e-6, "LayerNorm(axis=(-1,), eps=1e-06)"),
    "centred": (centred, (-1,), 0.1, "LayerNorm(axis=(-1,), eps=0.1)"),
    "root mean square": (root_mean_square, (-1,), 1e-3, "LayerNorm(axis=(-1,), eps=0.001)"),
    "over one axis": (by_moments, (1, 3), 1e-3, "LayerNorm(axis=(1, -1), eps=0.001)"),
    "over all": (centred, (1, 2, 3), 1e-5, "LayerNorm(axis=(1, 2, -1), eps=1e-05)"),
}
STRUCTS = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in {"u": (2, W), "w": (W, 1)}.items()}


def lifted(norm, backend="auto"):
    def f(p, x):
        return jax.nn.relu(norm(x @ p["u"])).mean((1, 2)) @ p["w"]

    x = jnp.asarray(np.random.RandomState(0).normal(size=(3, 2, 3, 2)), jnp.float32)
    return x, tracing.lift(f, STRUCTS, x, distribution=lambda path, shape: 1 / shape[0], backend=backend)


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    norm, axes, eps, text = CASES[name]
    assert text in repr(lifted(lambda x: norm(x, axes, eps))[1].network)


@pytest.mark.parametrize("name", mostly_slow(CASES, ["over one axis"]))
def test_both_back_ends(name):
    norm, axes, eps, _ = CASES[name]
    x, net = lifted(lambda x: norm(x, axes, eps))
    want = lifted(lambda x: norm(x, axes, eps), "direct")[1].kernel_fn(x, x[:2], "ntk")
    np.testing.assert_allclose(net.kernel_fn(x, x[:2], "ntk"), want, rtol=2e-6)


def test_other_functions_of_means_are_no_layer():
    assert lifted(lambda x: x * (x**2).mean(-1, keepdims=True))[1].backend == "direct"
    assert lifted(lambda x: x / (1 + jnp.sqrt((x**2).mean(-1, keepdims=True))))[1].backend == "direct"
