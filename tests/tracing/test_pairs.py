"""The direct back end on graphs made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.tracing._graph import Bias, Fixed, Host, Linear, Phi, Stopped, Sum, Weights, times
from neural_tangents.tracing._pairs import Pairs
from neural_tangents.tracing._recognised import activation

X = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3)), jnp.float32)
INPUTS = Fixed((3,), Host(0, ()))


def dense(child, leaf, variance=0.5, width=1, rate=1.0):
    weights = Weights(leaf, ((0,), (0,)), (None, "c"), ("in", "channel"), variance, rate)
    return Linear((), child, weights, width, ("sum",) * len(child.fin))


def pairs():
    def hosts(host):
        return X

    return Pairs((hosts, hosts), (4, 4), jnp.float32)


U, B = dense(INPUTS, 0), Bias((), Weights(1, ((0,),), ("c",), ("channel",), 0.3, 2.0), ())
K = 0.5 * X @ X.T


def test_linear():
    both = Sum((), (U, B))
    np.testing.assert_allclose(pairs().second(both, both), K + 0.3, rtol=1e-5)
    np.testing.assert_allclose(pairs().tangent(both, both), 2 * K + 2, rtol=1e-5)
    np.testing.assert_allclose(pairs().second(both, times(U, 3.0)), 3 * K, rtol=1e-5)
    np.testing.assert_allclose(pairs().variance(both, 0), jnp.diag(K) + 0.3, rtol=1e-5)


def test_what_is_independent_or_stopped():
    assert pairs().second(U, dense(INPUTS, 2)) is None and pairs().tangent(U, B) is None
    stopped = Stopped((), U)
    assert pairs().tangent(stopped, U) is None
    np.testing.assert_allclose(pairs().second(stopped, U), K, rtol=1e-5)


def test_products_with_other_weights():
    top = dense(Phi((), U, activation(lambda x: x**2)), 3, 1 / 8, 8)
    q = jnp.diag(K)
    np.testing.assert_allclose(pairs().second(top, top), 2 * K**2 + jnp.outer(q, q), rtol=1e-4)
    np.testing.assert_allclose(
        pairs().tangent(top, top), 4 * K * (X @ X.T) + 8 * (2 * K**2 + jnp.outer(q, q)), rtol=1e-4
    )


def test_a_nonlinearity_and_its_argument():
    """By Stein's lemma, `E[f(u) v] = k E[f'(u)]`."""
    phi = Phi((), U, activation(lambda x: x**3))
    np.testing.assert_allclose(pairs().second(phi, U), 3 * jnp.diag(K)[:, None] * K, rtol=1e-4)


def test_memory():
    large = Bias((40_000,), B.weights, (False,))
    with pytest.raises(MemoryError, match="nt.batch"):
        pairs().second(large, large)
