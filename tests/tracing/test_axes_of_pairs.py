"""What linear nodes do to the axes of arrays of covariances."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.tracing._axes_of_pairs import contracted, contracted_product, masked, same_positions

WINDOWS = np.array([[-1, 0], [0, 1], [1, 2]])
KINDS = {"features": ("keep", "sum"), "of their own": ("own", "sum"), "a convolution": (WINDOWS, "sum")}


def outputs(axes, x, rng):
    """Products of inputs `[N, 3, 4]` with many draws of weights, `[draws, N, 3]`."""
    if isinstance(axes[0], str) and axes[0] == "keep":
        return jnp.einsum("npf,df->dnp", x, rng.normal(size=(20_000, 4)))
    if isinstance(axes[0], str):
        return jnp.einsum("npf,dpf->dnp", x, rng.normal(size=(20_000, 3, 4)))
    windows = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, WINDOWS + 1]
    return jnp.einsum("npkf,dkf->dnp", windows, rng.normal(size=(20_000, 2, 4)))


@pytest.mark.parametrize("name", KINDS)
def test_products_with_weights(name):
    axes, rng = KINDS[name], np.random.RandomState(0)
    x, y = jnp.asarray(rng.normal(size=(2, 3, 4))), jnp.asarray(rng.normal(size=(3, 3, 4)))
    got = contracted_product(axes, axes, x, y, own=False)
    whole = contracted(axes, axes, x[:, None, :, :, None, None] * y[None, :, None, None], 2)
    np.testing.assert_allclose(got, whole, atol=1e-5)
    a, b = np.split(outputs(axes, jnp.concatenate([x, y]), rng), [2], axis=1)
    np.testing.assert_allclose(got, np.einsum("dnp,dmq->nmpq", a, b) / len(a), atol=0.4)
    own = contracted_product(axes, axes, x, x, own=True)
    np.testing.assert_allclose(own, [contracted_product(axes, axes, x, x, own=False)[i, i] for i in (0, 1)], atol=1e-5)


def test_shared_positions():
    np.testing.assert_array_equal(masked(jnp.ones((2, 3, 3)), 1, 2)[1], np.eye(3))
    shared = same_positions((True, False), (True, False), (3, 2), (3, 2), 1, jnp.float32)
    np.testing.assert_array_equal(shared[0, :, 0, :, 1], np.eye(3))
