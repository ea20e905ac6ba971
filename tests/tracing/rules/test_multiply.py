"""Products of activations, and sums over channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing

W = 8
SHAPES = {"u": (3, W), "v": (3, W), "w": (W, 1)}
STRUCTS = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in SHAPES.items()}
X = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3)), jnp.float32)
K = X @ X.T / 3


def nngp(f):
    net = tracing.lift(
        lambda p, x: f(x @ p["u"], x @ p["v"]) @ p["w"], STRUCTS, X, distribution=lambda path, shape: 1 / shape[0]
    )
    return net.kernel_fn(X, None, "nngp")


def test_independent_factors():
    np.testing.assert_allclose(nngp(lambda a, b: a * b), K**2, rtol=1e-5)


def test_squares():
    want = K**2 * 2 + jnp.outer(jnp.diag(K), jnp.diag(K))  # Isserlis' theorem
    np.testing.assert_allclose(nngp(lambda a, b: a * a), want, rtol=1e-5)
    np.testing.assert_allclose(nngp(lambda a, b: a**2), want, rtol=1e-5)


def test_sums_over_channels_are_expectations():
    q = jnp.diag(K)
    np.testing.assert_allclose(nngp(lambda a, b: b * (a * a).mean(-1, keepdims=True)), jnp.outer(q, q) * K, rtol=1e-5)
    np.testing.assert_allclose(nngp(lambda a, b: b / (a**2).sum(-1, keepdims=True) * W), K / jnp.outer(q, q), rtol=1e-5)


def test_sums_of_order_root_width():
    with pytest.raises(tracing.LiftError, match="width"):
        nngp(lambda a, b: b * (a * b).sum(-1, keepdims=True))


@pytest.mark.parametrize("f", [lambda g: g, lambda g: g.max(1, keepdims=True), lambda g: jnp.diagonal(g)[:, None]])
def test_inputs_of_a_batch_are_not_paired(f):
    with pytest.raises(tracing.LiftError, match="mixes its inputs"):
        nngp(lambda a, b: b * f(a @ a.T / W)[:, :1])
