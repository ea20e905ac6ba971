"""Which numbers of a program kernels need, and their values for a batch."""

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents import tracing

STRUCTS = {"u": jax.ShapeDtypeStruct((3, 8), jnp.float32), "w": jax.ShapeDtypeStruct((8, 1), jnp.float32)}


def test_numbers_of_inputs_and_means_over_channels():
    """Inputs are centred, activations divided by their variance, and gates made of inputs."""
    x = jnp.asarray(np.random.RandomState(0).normal(size=(5, 3)), jnp.float32)

    def f(p, x):
        h = (x - x.mean(-1, keepdims=True)) @ p["u"]
        return (h / (h**2).mean(-1, keepdims=True) * jnp.exp(x[:, :1])) @ p["w"]

    net = tracing.lift(f, STRUCTS, x[:2], distribution=lambda path, shape: 1 / shape[0])
    centred = x - x.mean(-1, keepdims=True)
    k, gate = centred @ centred.T / 3, jnp.exp(x[:, 0]) / (centred**2).mean(-1)
    for n in (1, 5):
        got = net.kernel_fn(x[:n], x, "nngp")
        np.testing.assert_allclose(got, (jnp.outer(gate, gate) * k)[:n], rtol=2e-5)
