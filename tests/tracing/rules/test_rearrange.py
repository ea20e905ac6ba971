"""Linear maps of positions: what they do to activations, and so to covariances, they do to inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neural_tangents import tracing

W = 8
SUM = dict(init_value=0.0, computation=lax.add)
MAPS = {
    "slice": lambda x: x[:, 1:, ::2],
    "one position": lambda x: x[:, 1],
    "last": lambda x: x[:, :, -1],
    "reversed": lambda x: x[:, ::-1],
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
    "wrapped": lambda x: jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="wrap"),
    "rolled": lambda x: jnp.roll(x, 1, axis=2),
    "joined": lambda x: jnp.concatenate([x, 2 * x[:, :1], x[:, 1:2]], 1),
    "stacked": lambda x: jnp.stack([x, -x], 1),
    "repeated": lambda x: jnp.repeat(x, 2, axis=1),
    "taken": lambda x: jnp.take(x, jnp.array([2, 0, 0]), axis=1),
    "transposed": lambda x: x.transpose(0, 2, 1, 3),
    "reshaped": lambda x: x.reshape(len(x), 6, 2, -1),
    "flat": lambda x: x.reshape(len(x), 12, -1)[:, 3:7],
    "blocks": lambda x: x.reshape(len(x), 3, 2, 2, -1).transpose(0, 2, 1, 3, 4),
    "mean": lambda x: x.mean(1),
    "weighted mean": lambda x: jnp.einsum("nabc,ad->ndbc", x, jnp.arange(6.0).reshape(3, 2)),
    "cumulative": lambda x: jnp.cumsum(x, 2),
    "cumulative from behind": lambda x: lax.cumsum(x, 1, reverse=True),
    "differences": lambda x: jnp.diff(x, axis=1),
    "window": lambda x: lax.reduce_window(
        x, window_dimensions=(1, 2, 3, 1), window_strides=(1, 1, 2, 1), padding=[(0, 0), (1, 0), (1, 1), (0, 0)], **SUM
    ),
    "dilated window": lambda x: lax.reduce_window(
        *(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"), window_dilation=(1, 2, 1, 1)
    ),
    "vmap": lambda x: jax.vmap(lambda y: y[:, 1] + y.sum(1), in_axes=2, out_axes=1)(x),
}


@pytest.mark.parametrize("name", MAPS)
def test_acts_on_positions(name):
    f = MAPS[name]
    x1, x2 = (jnp.asarray(np.random.RandomState(n).normal(size=(n, 3, 4, 5)), jnp.float32) for n in (2, 3))
    struct = jax.ShapeDtypeStruct((5, W), jnp.float32), jax.ShapeDtypeStruct((W, 2), jnp.float32)
    kernel_fn = tracing.lift(
        *(lambda p, x: f(x @ p[0]) @ p[1], struct, x1), distribution=lambda path, shape: 1 / shape[0], backend="direct"
    ).kernel_fn
    y1, y2 = (f(x).reshape(len(x), -1, 5) for x in (x1, x2))
    got = kernel_fn(x1, x2, "nngp")
    n = f(x1).shape[1:-1]
    want = jnp.einsum("npc,mqc->nmpq", y1, y2).reshape(2, 3, *n, *n) / 5
    order = [0, 1, *(axis for i in range(len(n)) for axis in (2 + i, 2 + len(n) + i))]
    np.testing.assert_allclose(got, want.transpose(order), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_nonlinearity_after_a_choice_of_positions():
    """A choice commutes with what acts entry by entry, so it may come between two parts of one nonlinearity."""
    x = jnp.asarray(np.random.RandomState(0).normal(size=(2, 3, 5)), jnp.float32)
    struct = jax.ShapeDtypeStruct((5, W), jnp.float32), jax.ShapeDtypeStruct((W, 2), jnp.float32)

    def kernel(f):
        return tracing.lift(
            *(lambda p, x: f(x @ p[0]) @ p[1], struct, x), distribution=lambda path, shape: 1 / shape[0]
        ).kernel_fn(x, None, "ntk")

    before = kernel(lambda h: jax.nn.relu(1 - jax.nn.relu(h[:, ::2])))
    after = kernel(lambda h: jax.nn.relu(1 - jax.nn.relu(h)[:, ::2]))
    np.testing.assert_allclose(before, after, rtol=1e-6)
