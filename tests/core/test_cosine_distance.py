"""Cosine distances of inputs, and of sums of independent activations, against long double."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.cosine_distance import CosineDistance, lengths_of_parts, of_covariance, of_inputs, of_sum

Long = np.longdouble


def exact_distance(x1, x2):
    """`1 - |rho|` from the component of one vector that is orthogonal to the other."""
    x1, x2 = (x.astype(Long) for x in (x1, x2))
    u1, u2 = (x / np.sqrt(np.sum(x**2, axis=1, keepdims=True)) for x in (x1, x2))
    rho = np.abs(u1 @ u2.T)
    rest = u1[:, None] - (u1 @ u2.T)[:, :, None] * u2[None]
    return np.sum(rest**2, axis=-1) / (1 + rho)


def inputs(d):
    random = np.random.RandomState(d)
    x = random.normal(size=(6, d))
    scales = 10.0 ** np.arange(-6, 1)
    near = np.concatenate([sign * 3 * x + s * random.normal(size=x.shape) for s in scales for sign in (-1, 1)])
    return x.astype(np.float32), near.astype(np.float32)


@pytest.mark.parametrize("d", [2, 40, 3000])  # blocks of rows, single rows, parts of rows
def test_of_inputs(d):
    x1, x2 = inputs(d)
    k = x1 @ x2.T
    r1, r2 = np.linalg.norm(x1, axis=1)[:, None], np.linalg.norm(x2, axis=1)[None]
    want = exact_distance(x1, x2)
    for fn in (of_inputs, jax.jit(of_inputs)):
        covariance, distance = fn(x1, x2, k, r1, r2, False)
        np.testing.assert_allclose(covariance, k, atol=2e-6 * np.max(r1 * r2))
        # A rounding error of the angle is one of the distance times the sine.
        close = want < 1e-3
        assert np.sum(close) > 20
        np.testing.assert_allclose(
            np.sqrt(2 * np.asarray(distance.value)[close]), np.sqrt(2 * want[close]).astype(float), rtol=1e-6, atol=4e-7
        )
    assert np.sum(np.asarray(of_covariance(k, r1, r2).value)[want < 1e-8]) == 0  # is what covariances tell


@pytest.mark.slow
def test_derivatives_of_inputs():
    """They are those of the covariance, also where distances are found from differences."""
    x1, x2 = inputs(2)
    r1, r2 = np.linalg.norm(x1, axis=1)[:, None], np.linalg.norm(x2, axis=1)[None]
    k = jnp.asarray(x1 @ x2.T)

    def sums(k):
        covariance, distance = of_inputs(x1, x2, k, r1, r2, False)
        return jnp.sum(covariance), jnp.sum(distance.value)

    for got, want in zip(jax.jacrev(sums)(k), (np.ones(k.shape), -np.sign(k) / (r1 * r2)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    for a, b in zip(jax.jacfwd(sums)(k), jax.jacrev(sums)(k), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_zero_and_equal_inputs():
    x = np.asarray([[0.0, 0.0], [1.0, 3.0], [1.0, 3.0], [-2.0, -6.0]], np.float32)
    r = np.linalg.norm(x, axis=1)
    _, distance = of_inputs(x, x, jnp.asarray(x @ x.T), r[:, None], r[None], True)
    want = np.ones((4, 4))
    want[1:, 1:] = 0
    np.testing.assert_allclose(distance.value, want, atol=1e-13)


@pytest.mark.parametrize("acute", [False, True])
def test_of_sum(acute):
    """Vectors with two orthogonal parts, of which one or both are almost parallel or opposite."""
    random = np.random.RandomState(0)
    sums, terms = [], []
    for d in (3, 4):
        x = np.abs(random.normal(size=(5, d))) * random.lognormal(size=(5, 1))
        sums.append(np.concatenate([x, x + 1e-4 * random.normal(size=x.shape), x if acute else -x]))
    full = np.concatenate(sums, axis=1)
    want = exact_distance(full, full)
    squares = [np.sum(x**2, axis=1).astype(np.float32) for x in sums]
    lengths = lengths_of_parts([jnp.asarray(q) for q in squares])
    for x, length in zip(sums, lengths, strict=True):
        distance = CosineDistance(jnp.asarray(exact_distance(x, x), jnp.float32), acute)
        terms.append((distance, jnp.asarray(x @ x.T, jnp.float32), length[:, None], length[None]))
    r = jnp.asarray(np.linalg.norm(full, axis=1), jnp.float32)
    found = of_sum(terms, jnp.asarray(full @ full.T, jnp.float32), r[:, None], r[None]).value
    np.testing.assert_allclose(np.sqrt(found), np.sqrt(want).astype(float), rtol=2e-6, atol=3e-7)
