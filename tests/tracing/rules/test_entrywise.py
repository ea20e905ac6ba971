"""Steps that act entry by entry: which are functions of one Gaussian, and which are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing

STRUCTS = {"u": jax.ShapeDtypeStruct((3, 8), jnp.float32), "w": jax.ShapeDtypeStruct((8, 1), jnp.float32)}
X = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3)), jnp.float32)


def lifted(f):
    return tracing.lift(
        lambda p, x: f(x @ p["u"], x) @ p["w"], STRUCTS, X, distribution=lambda path, shape: 1 / shape[0]
    )


@pytest.mark.parametrize(
    ("f", "layer"),
    [
        (lambda h, x: h / (1 + jnp.exp(-h)), "Silu()"),
        (lambda h, x: h + jax.nn.relu(h), "ABRelu(1.0, 2.0)"),
        (lambda h, x: jnp.where(h > 0, h, 0.5 * h), "ABRelu(0.5, 1.0)"),
        (lambda h, x: jnp.clip(h, -1, 1), "HardTanh()"),
        (lambda h, x: 1 - (jnp.maximum(h, 0) - 1), "Nonlinearity("),
    ],
)
def test_functions_of_one_gaussian(f, layer):
    assert layer in repr(lifted(f).network)


def test_masks_and_numbers_that_depend_on_inputs():
    """Without nonlinearities, kernels are products of what inputs are multiplied by."""
    for f, factor in (
        (lambda h, x: jnp.where(x[:, :1] > 0, h, 0.0), X[:, 0] > 0),
        (lambda h, x: h * x[:, 1:2] - 2 * h, X[:, 1] - 2),
    ):
        want = jnp.outer(factor, factor) * (X @ X.T) / 3
        np.testing.assert_allclose(lifted(f).kernel_fn(X, None, "nngp"), want, rtol=1e-5, atol=1e-6)


def test_several_gaussians():
    with pytest.raises(tracing.LiftError, match="one Gaussian"):
        lifted(lambda h, x: jnp.maximum(h, x[:, :1] + h))
