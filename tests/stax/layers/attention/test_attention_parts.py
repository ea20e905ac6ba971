"""The parts of attention: mechanisms, embeddings of positions, formulas for covariances."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.stax import AttentionMechanism, PositionalEmbedding
from neural_tangents.stax._layers.attention.attention_covariance import (
    as_matrices,
    attend,
    attend_own,
    from_matrices,
    random_weights_nngp,
    random_weights_ntk,
)
from neural_tangents.stax._layers.attention.mechanism import attention_weights
from neural_tangents.stax._layers.attention.positional import Embedding, distances

RANDOM = np.random.RandomState(0)


def embedding(kind="SUM", std=1.0, p_norm=2, decay_fn=None, channels=None, in_values=True):
    return Embedding(PositionalEmbedding(kind), std, p_norm, decay_fn, channels, in_values)


def exponential(d):
    return jnp.exp(-d / 2)


@pytest.mark.parametrize("choice", [AttentionMechanism, PositionalEmbedding])
def test_choices_go_by_their_exact_names(choice):
    for member in choice:
        assert choice(member) is choice(member.name) is member and member.value == member.name
        for wrong in (member.name.lower(), member.name.title(), member.name + " "):
            with pytest.raises(ValueError, match=f"{choice.__name__} must be one of '{next(iter(choice)).name}', "):
                choice(wrong)
    with pytest.raises(ValueError, match="got None"):
        choice(None)


def test_names():
    assert [m.name for m in AttentionMechanism] == ["SOFTMAX", "IDENTITY", "ABS", "RELU"]
    assert [p.name for p in PositionalEmbedding] == ["NONE", "SUM", "CONCAT"]


def test_mechanisms():
    x = np.array([[1.0, -2.0, 0.0], [0.5, 0.5, 0.5]], np.float32)
    expected = {
        "SOFTMAX": np.exp(x) / np.exp(x).sum(1, keepdims=True),
        "IDENTITY": x,
        "ABS": abs(x),
        "RELU": np.maximum(x, 0),
    }
    for mechanism in AttentionMechanism:
        np.testing.assert_allclose(mechanism.fn()(jnp.asarray(x)), expected[mechanism.name], rtol=1e-6)


@pytest.mark.parametrize("mechanism", AttentionMechanism)
def test_masked_keys_have_no_weight(mechanism, dtype):
    products = RANDOM.normal(size=(2, 3, 4)).astype(dtype)
    masked = np.array([[[False, True, False, True]]])
    weights = np.asarray(attention_weights(jnp.asarray(products), mechanism, jnp.asarray(masked)))
    assert weights.dtype == dtype and not weights[..., [1, 3]].any()
    alone = mechanism.fn()(jnp.asarray(products[..., [0, 2]]))
    np.testing.assert_allclose(weights[..., [0, 2]], alone, rtol=1e-5)
    # Nothing to attend to: any finite weights will do.
    assert np.isfinite(attention_weights(jnp.asarray(products), mechanism, jnp.ones((2, 1, 4), bool))).all()
    half = attention_weights(jnp.asarray(products, jnp.float16), mechanism, jnp.ones((2, 1, 4), bool))
    assert np.isfinite(half).all()


# Positions


@pytest.mark.parametrize("p", [1, 2, 1.5])
@pytest.mark.parametrize("sizes", [(), (4,), (2, 3), (1, 3, 2)])
def test_distances(sizes, p):
    got = distances(sizes, p)
    assert got.shape == tuple(s for size in sizes for s in (size, size))
    positions = list(itertools.product(*map(range, sizes)))
    for i, j in itertools.product(positions, repeat=2):
        at = tuple(index for pair in zip(i, j, strict=True) for index in pair)
        assert got[at] == pytest.approx(sum(abs(a - b) ** p for a, b in zip(i, j, strict=True)))


DECAYS = [None, exponential, lambda d: 1 / (1 + d), jnp.ones_like, lambda d: 0 * d]


@pytest.mark.parametrize("sizes", [(), (4,), (2, 3)])
def test_embeddings_have_the_covariance_of_positions(sizes, dtype):
    size = int(np.prod(sizes))

    @jax.jit
    def roots_and_covariances():
        # Embeddings are linear in the noise, so that one draw for each unit vector tells all about them.
        noise = jnp.eye(size, dtype=dtype).reshape((*sizes, size))
        parts = [embedding(decay_fn=decay_fn) for decay_fn in DECAYS]
        return [(part.correlate(noise).reshape((size, size)), part.covariance(sizes, dtype)) for part in parts]

    for (root, cov), decay_fn in zip(roots_and_covariances(), DECAYS, strict=True):
        assert cov.dtype == root.dtype == dtype
        root, cov = np.asarray(root), np.asarray(cov)
        np.testing.assert_allclose(root @ root.T, as_matrices(cov, 0), atol=40 * size * np.finfo(dtype).eps)
        value = np.eye(1) if decay_fn is None else decay_fn(np.zeros((1, 1)))
        np.testing.assert_allclose(np.diagonal(as_matrices(cov, 0)), np.broadcast_to(value[0, 0], (size,)))
    np.testing.assert_array_equal(roots_and_covariances()[0][0], np.eye(size))


def test_no_covariance_of_positions():
    part = embedding(decay_fn=lambda d: jnp.where(d == 0, 1.0, -0.9))
    for check in (part.check_covariance, jax.jit(lambda: part.check_covariance((4,)))):
        with pytest.raises(ValueError, match="not positive semi-definite"):
            check(*[(4,)] * (check == part.check_covariance))
    part.check_covariance((2,))
    # A function that is not known yet is not checked.
    jax.jit(lambda c: embedding(decay_fn=lambda d: jnp.where(d == 0, 1.0, c)).check_covariance((4,)))(-0.9)


@pytest.mark.parametrize(
    ("kind", "channels"), [("NONE", 7), ("SUM", None), ("SUM", 3), ("CONCAT", None), ("CONCAT", 5)]
)
def test_covariance_of_joined_inputs(kind, channels):
    part, sizes = embedding(kind, 0.7, decay_fn=exponential, channels=channels), (2, 3)
    assert part.value_width(3) == part.joint_width(3)
    assert embedding(kind, channels=channels, in_values=False).value_width(3) == 3
    x1, x2 = (RANDOM.normal(size=(1, *sizes, 3)) for _ in range(2))
    width = part.width(3)
    if kind == "NONE":
        assert width == 0 and part.joint_width(3) == 3
        return
    share, embeddings_share = part.shares(3)
    # The mean over these embeddings has the covariance of positions in each channel, exactly, and no mean.
    noise = np.sqrt(6) * np.concatenate([np.eye(6), -np.eye(6)])
    noise = np.broadcast_to(noise.reshape((12, *sizes, 1)), (12, *sizes, width))
    with jax.enable_x64(True):
        cov = np.asarray(as_matrices(part.covariance(sizes, float), 0))
        join = jax.jit(jax.vmap(lambda x, e: part.join(x, part.correlate(e)), (None, 0)))
        y1, y2 = (np.asarray(join(x, noise)).reshape((12, 6, -1)) for x in (x1, x2))
    assert y1.shape[-1] == part.joint_width(3)
    expected = share * x1.reshape(6, 3) @ x2.reshape(6, 3).T / 3 + embeddings_share * cov
    np.testing.assert_allclose((y1 @ y2.swapaxes(1, 2)).mean(0) / y1.shape[-1], expected, rtol=1e-10, atol=1e-12)


def test_sum_of_embeddings_of_another_width():
    for call in (embedding(channels=2).width, embedding(channels=2).joint_width):
        with pytest.raises(ValueError, match="2 channels .* inputs of 3 channels.*CONCAT"):
            call(3)


# Covariances


def features(n, sizes, channels=4):
    return RANDOM.normal(size=(n, *sizes, channels))


@pytest.mark.parametrize("sizes", [(), (3,), (2, 3), (2, 1, 3)])
def test_matrices(sizes):
    f1, f2 = features(2, sizes), features(3, sizes)
    matrices = np.einsum("apc,bqc->abpq", f1.reshape((2, -1, 4)), f2.reshape((3, -1, 4)))
    letters = "ijk"[: len(sizes)]
    cov = np.einsum(
        f"a{letters}c,b{letters.upper()}c->ab{''.join(a + b for a, b in zip(letters, letters.upper(), strict=True))}",
        f1,
        f2,
    )
    np.testing.assert_allclose(as_matrices(jnp.asarray(cov), 2), matrices, rtol=1e-5)
    np.testing.assert_allclose(from_matrices(jnp.asarray(matrices), 2, sizes), cov, rtol=1e-5)


def test_attend():
    f1, f2 = features(2, (3,)), features(3, (3,))
    w1, w2 = RANDOM.normal(size=(2, 3, 3)), RANDOM.normal(size=(3, 3, 3))
    with jax.enable_x64(True):
        got = attend(jnp.asarray(w1), jnp.einsum("aic,bjc->abij", f1, f2), jnp.asarray(w2))
        own = attend_own(jnp.asarray(w1), jnp.einsum("aic,ajc->aij", f1, f1))
    mixed1, mixed2 = w1 @ f1, w2 @ f2
    np.testing.assert_allclose(got, np.einsum("aic,bjc->abij", mixed1, mixed2), rtol=1e-10)
    np.testing.assert_allclose(own, np.einsum("aic,ajc->aij", mixed1, mixed1), rtol=1e-10)


@pytest.mark.parametrize("n_batch", [1, 2])
def test_random_weights(n_batch):
    shape = (2, 3)[:n_batch] + (2, 2, 3, 3)
    joint, values, joint_ntk, values_ntk = (RANDOM.normal(size=shape) for _ in range(4))
    with jax.enable_x64(True):
        nngp, change = jax.jvp(
            lambda k, b: random_weights_nngp(k, b, n_batch), (joint, values), (joint_ntk, values_ntk)
        )
        ntk = random_weights_ntk(joint, values, joint_ntk, values_ntk, n_batch)
        nngp, change, ntk = map(np.asarray, (nngp, change, ntk))
    for index in np.ndindex(shape[:n_batch]):
        np.testing.assert_allclose(nngp[index], (joint[index] * values[index]).sum() * joint[index], rtol=1e-10)
    # The contribution of the inputs is a derivative; that of each of four weight matrices is the covariance.
    np.testing.assert_allclose(ntk, change + 4 * nngp, rtol=1e-10, atol=1e-12)
