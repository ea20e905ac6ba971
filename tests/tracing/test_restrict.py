"""Some of the channels of activations: the parts of parameters that make them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing
from neural_tangents.tracing._atoms import LEAF, Atom, Misfit, Part
from neural_tangents.tracing._restrict import sliced_param
from neural_tangents.tracing._values import Param

PARAM = Param(
    0, (tuple(range(6)),), ((Atom(LEAF, 2, Part(0, (2, 3), 0)), Atom(LEAF, 3, Part(0, (2, 3), 1))),), 1.0, 0.0
)


def test_parts_of_parameters():
    whole = Param(0, (tuple(range(6)),), ((Atom(LEAF, 6, 0),),), 1.0, 0.0)
    assert sliced_param(whole, whole.axes[0][0], [1, 4]).box == ((1, 4),)
    assert sliced_param(PARAM, PARAM.axes[0][1], [2]).box == ((2, 5),)
    with pytest.raises(Misfit, match="repeated"):
        sliced_param(whole, whole.axes[0][0], [1, 1])


def test_parts_of_activations_are_independent():
    """Of channels `a`, `b` of one product, `E[a b a' b']` is the square of their covariance."""
    structs = {"u": jax.ShapeDtypeStruct((3, 8), jnp.float32), "w": jax.ShapeDtypeStruct((4, 1), jnp.float32)}
    x = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3)), jnp.float32)

    def f(p, x):
        h = x @ p["u"]
        return (h[:, :4] * h[:, 4:]) @ p["w"]

    net = tracing.lift(f, structs, x, distribution=lambda path, shape: 1 / shape[0])
    np.testing.assert_allclose(net.kernel_fn(x, None, "nngp"), (x @ x.T / 3) ** 2, rtol=1e-5)
