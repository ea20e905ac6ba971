"""Inputs in the form that layers take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing

STRUCT = jax.ShapeDtypeStruct((6, 4), jnp.float32)
X = jnp.asarray(np.random.RandomState(0).normal(size=(3, 2, 3)), jnp.float32)
FORMS = {
    "merged": lambda x: x.reshape(len(x), 6),
    "in another order": lambda x: x.swapaxes(1, 2).reshape(len(x), 6),
    "scaled": lambda x: 2 * x.reshape(len(x), 6) - 1,
}


@pytest.mark.parametrize("name", FORMS)
def test_inputs(name):
    form = FORMS[name]
    net = tracing.lift(lambda p, x: form(x) @ p, STRUCT, X, distribution=lambda *_: 1 / 6, backend="stax")
    for n in (1, 3):
        got = net.kernel_fn(X[:n], X, "nngp")
        np.testing.assert_allclose(got, form(X[:n]) @ form(X).T / 6, rtol=1e-5, atol=1e-6)


def test_fields_of_layers_are_there():
    net = tracing.lift(lambda p, x: x @ p, STRUCT, jnp.ones((2, 6)), distribution=lambda *_: 1.0)
    assert net.kernel_fn(jnp.ones((2, 6)), None, ("cov1", "shape1")).shape1 == (2, 4)
