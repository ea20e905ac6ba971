"""Which networks become layers of `stax`, and which layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing

W = 8


def lifted(f, shapes, x, **options):
    structs = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    return tracing.lift(f, structs, x, distribution=lambda _, shape: 1 / shape[0] if len(shape) > 1 else 0.1, **options)


def plus(x, bias):
    return x + bias[None]


def residual(p, x):
    h = plus(x @ p["u"], p["a"])
    h = plus(jax.nn.relu(h) @ p["v"], p["b"]) + plus(jax.nn.relu(h) @ p["r"], p["c"])
    h = h + plus(jax.nn.relu(h) @ p["s"], p["d"])
    return jax.nn.relu(h) @ p["w"]


SIZES = {"u": (5, W), **dict.fromkeys("vrs", (W, W)), **dict.fromkeys("abcd", (W,)), "w": (W, 1)}


@pytest.mark.slow
def test_residual_networks_with_biases():
    x = jnp.asarray(np.random.RandomState(0).normal(size=(3, 5)), jnp.float32)
    net = lifted(residual, SIZES, x)
    assert net.backend == "stax" and repr(net.network).count("FanInSum") == 2
    want = lifted(residual, SIZES, x, backend="direct").kernel_fn(x, None, "ntk")
    np.testing.assert_allclose(net.kernel_fn(x, None, "ntk"), want, rtol=1e-5)


def twice(p, x):
    h = x @ p["u"]
    return h + jax.nn.relu(h) @ p["v"] + h


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (twice, "branches that share weights"),
        (lambda p, x: jax.nn.relu(x @ p["u"]) @ p["v"] @ p["v"], "more than once"),
    ],
)
def test_others_stay_as_they_are(f, words):
    x = jax.ShapeDtypeStruct((2, 5), jnp.float32)
    with pytest.raises(tracing.LiftError, match=words):
        lifted(f, SIZES, x, backend="stax")
    assert lifted(f, SIZES, x).backend == "direct"
