"""Numbers that depend on inputs alone: computed as the network does, and checked for mixing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing

X = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3)), jnp.float32)


def lifted(f):
    struct = jax.ShapeDtypeStruct((3, 9), jnp.float32)
    return tracing.lift(lambda p, x: f(x) @ p, struct, X, distribution=lambda *_: 1 / 3)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
        lambda x: jax.nn.softmax(x, -1),
        lambda x: jnp.sort(x, -1),
        lambda x: jnp.pad(x, ((0, 0), (1, 0)))[:, :3] + x[:, ::-1],
    ],
)
def test_inputs_are_prepared(f):
    np.testing.assert_allclose(lifted(f).kernel_fn(X, X[:2], "nngp"), f(X) @ f(X[:2]).T / 3, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [lambda x: x - x.mean(0, keepdims=True), lambda x: x[::-1], lambda x: x * len(x)])
def test_inputs_are_mixed(f):
    with pytest.raises(tracing.LiftError, match="mix"):
        lifted(f)
