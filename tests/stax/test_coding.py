"""Covariances and cosine distances as one array."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents.stax._coding import coded, decoded


@pytest.mark.parametrize("acute", [False, True])
def test_decoded_is_what_was_coded(acute):
    x = jnp.asarray([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.0, 0.0]])
    k = stax.Dense(1)[2](x, None if acute else -x)
    rho = np.array([[1, 1, 0, 0.5**0.5, 0], [1, 1, 0, 0.5**0.5, 0], [0, 0, 1, 0.5**0.5, 0]])
    rho = np.concatenate([rho, [[0.5**0.5, 0.5**0.5, 0.5**0.5, 1, 0], [0] * 5]])
    k = k.replace(distance=CosineDistance(jnp.asarray(1 - rho, jnp.float32), acute))
    code = coded(k)
    assert code.distance.value is None and code.nngp.shape == k.nngp.shape
    back = decoded(code)
    np.testing.assert_allclose(back.nngp, k.nngp, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(back.distance.value, k.distance.value, rtol=0, atol=1e-37)


def test_kernels_without_distances_stay():
    k = stax.Dense(1)[2](jnp.eye(3), None)
    assert coded(k) is k and decoded(k) is k
