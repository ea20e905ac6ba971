"""Activations side by side along channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing
from neural_tangents.tracing import LiftError

SHAPES = {"u": (3, 8), "v": (3, 4), "w": (12, 1)}
STRUCTS = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in SHAPES.items()}
X = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3)), jnp.float32)
K = X @ X.T / 3


def nngp(f):
    net = tracing.lift(
        lambda p, x: f(jnp.concatenate([x @ p["u"], 3 * (x @ p["v"])], -1), p),
        *(STRUCTS, X),
        distribution=lambda path, shape: 1 / shape[0],
    )
    return net.kernel_fn(X, None, "nngp")


def test_readout_of_parts_is_their_mean():
    """8 channels of variance 1, and 4 of variance 9."""
    np.testing.assert_allclose(nngp(lambda h, p: h @ p["w"]), (8 + 4 * 9) / 12 * K, rtol=1e-5)


def test_functions_of_parts():
    want = (8 + 4 * 81) / 12 * (2 * K**2 + jnp.outer(jnp.diag(K), jnp.diag(K)))
    np.testing.assert_allclose(nngp(lambda h, p: (h * h) @ p["w"]), want, rtol=1e-5)


def test_one_of_the_parts():
    np.testing.assert_allclose(nngp(lambda h, p: h[:, 8:] @ p["w"][:4]), 4 * 9 / 12 * K, rtol=1e-5)


@pytest.mark.parametrize(
    "f",
    [
        lambda h, w: h[:, ::2] @ w[:6],
        lambda h, w: h[:, 4:10] @ w[:6],
        lambda h, w: h[:, :8:2] @ w[:4],
        lambda h, w: h[:, ::-1] @ w,
        lambda h, w: jnp.cumsum(h, 1) @ w,
        lambda h, w: jnp.pad(h, ((0, 0), (1, 0)))[:, :12] @ w,
        lambda h, w: h.reshape(len(h), 2, 6).sum(1) @ w[:6],
        lambda h, w: (h - h.mean(1, keepdims=True)) @ w,
    ],
)
def test_refuses_what_mixes_channels_of_parts(f):
    with pytest.raises(LiftError, match="channels|joined"):
        nngp(lambda h, p: f(h, p["w"]))
