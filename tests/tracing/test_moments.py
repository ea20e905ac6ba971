"""Second moments of two nonlinearities of nodes with finite axes."""

import jax.numpy as jnp
import numpy as np

from neural_tangents.tracing._graph import Node, Phi
from neural_tangents.tracing._moments import moments, size_of
from neural_tangents.tracing._recognised import activation


def test_of_all_pairs_and_of_equal_inputs():
    a = Phi((2,), Node((2,)), activation(jnp.abs))
    q = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [1.0, 1.0]])
    k = jnp.sqrt(q[:, None, :, None] * q[None, :, None])
    value, slope = moments(a, a, k, q, q, False, False)  # of parallel Gaussians: E[|u| |v|] is their covariance
    np.testing.assert_allclose(value, k, rtol=1e-5)
    np.testing.assert_allclose(slope, 1, rtol=2e-3)
    own = moments(a, a, k[jnp.arange(3), jnp.arange(3)], q, q, True, True)
    np.testing.assert_allclose(own[0], value[jnp.arange(3), jnp.arange(3)], rtol=1e-6)


def test_of_two_functions():
    a, b = (Phi((), Node(()), activation(f)) for f in (lambda x: x**2, lambda x: x**4))
    q1, q2, k = jnp.asarray([2.0]), jnp.asarray([1.5]), jnp.asarray([[0.7]])
    value, slope = moments(a, b, k, q1, q2, False, False)
    # By Isserlis' theorem, E[u^2 v^4] = 3 q1 q2^2 + 12 k^2 q2, and E[2 u 4 v^3] = 24 k q2.
    np.testing.assert_allclose(value, 3 * 2.0 * 1.5**2 + 12 * 0.49 * 1.5, rtol=1e-4)
    np.testing.assert_allclose(slope, 24 * 0.7 * 1.5, rtol=1e-4)
    assert size_of(Node((2, 3))) == 6
