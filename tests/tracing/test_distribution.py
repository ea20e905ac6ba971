"""Distributions of parameters, read from initialisers or given, against the variances that are known."""

import dataclasses
import time

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from neural_tangents.tracing import LiftError, _distribution
from neural_tangents.tracing._distribution import given_distribution, read_initialiser

SHAPE = 24, 40
initializers = jax.nn.initializers
TRUNCATED = stats.truncnorm(-2, 2).var()


def read(init):
    (law,) = read_initialiser(init)
    return law


@pytest.mark.parametrize(
    "init, variance",
    {
        "lecun_normal": (initializers.lecun_normal(), 1 / 24),
        "lecun_uniform": (initializers.lecun_uniform(), 1 / 24),
        "he_normal": (initializers.he_normal(), 2 / 24),
        "glorot_normal": (initializers.glorot_normal(), 1 / 32),
        "glorot_uniform": (initializers.glorot_uniform(), 1 / 32),
        "normal": (initializers.normal(0.02), 0.02**2),
        "uniform": (lambda key, shape, dtype: jr.uniform(key, shape, dtype, -0.15, 0.15), 0.3**2 / 12),
        "truncated": (initializers.truncated_normal(0.02), 0.02**2 * TRUNCATED),
        "orthogonal": (initializers.orthogonal(1.5), 2.25 / 40),
        "fan out": (initializers.variance_scaling(2.0, "fan_out", "normal"), 2 / 40),
        "torch": (lambda key, shape, dtype: jr.uniform(key, shape, dtype, -1, 1) / np.sqrt(24), 1 / 72),
        "laplace": (lambda key, shape, dtype: jr.laplace(key, shape, dtype), 2.0),
        "signs": (lambda key, shape, dtype: jr.rademacher(key, shape, dtype), 1.0),
        "coins": (lambda key, shape, dtype: jr.bernoulli(key, 0.1, shape).astype(dtype) - 0.1, 0.09),
    }.values(),
)
def test_variances_of_initialisers(init, variance, dtype):
    law = read(lambda key: init(key, SHAPE, dtype))
    assert law.shape == SHAPE and law.dtype == dtype and law.value is None
    assert abs(law.mean) < 1e-6
    np.testing.assert_allclose(law.variance, variance, rtol=2e-6)


@pytest.mark.parametrize(
    "init, fan",
    [
        (initializers.lecun_normal(), 9 * 4),
        (initializers.glorot_uniform(), 9 * (4 + 8) / 2),
        (initializers.lecun_normal(2, 3), 9 * 4),
    ],
)
def test_fans_of_convolutions_are_exact(init, fan):
    assert read(lambda key: init(key, (3, 3, 4, 8))).variance == 1 / fan


def test_means(dtype):
    law = read(lambda key: 1 + 0.1 * jr.normal(key, (7,), dtype))
    assert (law.mean, law.variance) == (1.0, pytest.approx(0.01, abs=1e-12))
    law = read(lambda key: jr.uniform(key, (7,), dtype))
    assert (law.mean, law.variance) == (0.5, 1 / 12)


@pytest.mark.parametrize("short", [jnp.bfloat16, jnp.float16])
def test_short_types_are_read_word_by_word(short):
    law = read(lambda key: jr.normal(key, SHAPE, short))
    drawn = np.asarray(jr.normal(jr.key(3), (100_000,), short), np.float64)
    assert law.mean == 0 and abs(law.variance - np.var(drawn)) < 6 * np.sqrt(2 / drawn.size)


def test_constants():
    ones, table, count, average = read_initialiser(
        lambda key: (jnp.ones((3, 4)), jnp.arange(3.0), jnp.arange(3), jnp.zeros(()))
    )
    assert (ones.mean, ones.variance, ones.value) == (1.0, 0.0, None) and average.mean == 0
    np.testing.assert_array_equal(table.value, [0, 1, 2])
    assert count.dtype == np.int32 and count.value is not None and table.mean is table.value and table.variance == 0


def test_paths_are_those_of_the_tree():
    laws = read_initialiser(lambda key: {"b": jnp.zeros(3), "a": [jr.normal(key, (2, 2))]})
    assert [law.path for law in laws] == ["['a'][0]", "['b']"]


def test_keys_among_the_parameters_are_no_numbers():
    key, data, words = read_initialiser(lambda key: (key, jr.key_data(key), jr.bits(key, (3,))))
    assert np.isnan([key.mean, data.mean, words.mean]).all() and key.variance == 0


@pytest.mark.parametrize(
    "init, words",
    [
        (lambda key: jr.normal(key, SHAPE) * jr.bernoulli(jr.split(key)[0], 0.5, SHAPE), "one random number each"),
        (lambda key: sum(jr.normal(k, SHAPE) for k in jr.split(key)), "one random number each"),
        (lambda key: jr.normal(key, (40, 40)) + jr.normal(key, (40, 40)).T, "one random number each"),
        (lambda key: jr.normal(key) * jnp.ones(40), "or share one"),
        (lambda key: jr.rademacher(key, (), float) * jnp.ones(40), "have a mean"),
        (lambda key: jnp.tile(jr.normal(key, (10,)), 4), "or share one"),
        (lambda key: jr.normal(key, (40,)) * jnp.arange(40.0), "one random number each"),
        (lambda key: initializers.delta_orthogonal()(key, (3, 3, 8, 8)), "distributed differently along axis 0"),
        (lambda key: jr.cauchy(key, (40,)), "heavy tails"),
        (lambda key: jnp.exp(3 * jr.normal(key, (40,))), "heavy tails"),
        (lambda key: jnp.sinh(jr.normal(key, (40,))), "heavy tails"),
        (lambda key: np.random.normal(size=3) * np.asarray(key), "no program of JAX"),
    ],
)
def test_what_cannot_be_read_asks_for_a_distribution(init, words):
    with pytest.raises(LiftError, match=words) as info:
        read_initialiser(lambda key: {"here": init(key)})
    assert "Pass `distribution`" in str(info.value)


def test_a_wrong_reading_is_found_by_draws(monkeypatch):
    interpret = _distribution.interpret

    def wrong(*arguments):
        return [dataclasses.replace(value, values=1.3 * value.values) for value in interpret(*arguments)]

    monkeypatch.setattr(_distribution, "interpret", wrong)
    with pytest.raises(LiftError, match="draws have"):
        read_initialiser(lambda key: jr.normal(key, SHAPE))


@pytest.mark.parametrize("second", [(4, 4), (8,)])
def test_leaves_of_one_key_are_refused(second):
    def init(key):
        return {"a": jr.normal(key, (4, 4)), "b": 3 * jr.uniform(key, second)}

    with pytest.raises(LiftError, match=r"leaves \['a'\] and \['b'\] with one random key"):
        read_initialiser(init)
    with pytest.raises(LiftError, match="parts of leaf"):
        read_initialiser(lambda key: jax.vmap(lambda k: jr.normal(k, (3,)))(jnp.stack([key, key])))


def equinox_mlp(key):
    return eqx.filter(eqx.nn.MLP(3, 2, 8, 1, key=key), eqx.is_inexact_array)


def nnx_mlp(key):
    rngs = nnx.Rngs(key)
    return nnx.state(nnx.Sequential(nnx.Linear(3, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 2, rngs=rngs)))


X = np.ones((2, 3), np.float32)
FRAMEWORKS = {
    "linen": (lambda key: nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)]).init(key, X), [1, 1]),
    "nnx": (nnx_mlp, [1, 1]),
    "equinox": (equinox_mlp, [1 / 3, 1 / 3]),
    "haiku": (hk.transform(lambda x: hk.nets.MLP([8, 2])(x)).init, [TRUNCATED, TRUNCATED]),
}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_frameworks(name):
    init, fans = FRAMEWORKS[name]
    laws = read_initialiser((lambda key: init(key, X)) if name == "haiku" else init)
    shapes = jax.eval_shape((lambda key: init(key, X)) if name == "haiku" else init, jr.key(0))
    assert [law.shape for law in laws] == [leaf.shape for leaf in jax.tree.leaves(shapes)]
    inputs = iter([3, 8])
    found = [law.variance * next(inputs) for law in laws if len(law.shape) == 2]
    np.testing.assert_allclose(found, fans, rtol=1e-6)


def test_functions_among_the_leaves_are_refused():
    with pytest.raises(LiftError, match="eqx.filter"):
        read_initialiser(lambda key: eqx.nn.MLP(3, 2, 8, 1, key=key))


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(16):
            x = x + nn.Conv(64, (3, 3))(nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(64, (3, 3))(x))))
        return nn.Dense(10)(x.mean((1, 2)))


def test_large_initialisers_are_not_run():
    init = lambda key: Blocks().init(key, np.ones((1, 8, 8, 64), np.float32))  # noqa: E731
    jax.make_jaxpr(init)(jr.key(0))
    start = time.process_time()
    laws = read_initialiser(init)
    assert time.process_time() - start < 5  # compiling it takes longer than that
    assert {law.variance * 9 * 64 for law in laws if len(law.shape) == 4} == {1.0}


def test_given():
    tree = {"w": jax.ShapeDtypeStruct((4, 6), jnp.float32), "b": np.ones(6), "n": np.arange(3)}
    b, n, w = given_distribution(tree, lambda path, shape: (1, 0.5) if path == "['b']" else np.float32(2 / shape[0]))
    assert (b.mean, b.variance, b.shape) == (1.0, 0.5, (6,)) and (w.mean, w.variance) == (0.0, 0.5)
    np.testing.assert_array_equal(n.value, [0, 1, 2])
    drawn = given_distribution(lambda key: {"w": jr.normal(key, (4, 6))}, lambda path, shape: 3)
    assert [(law.path, law.shape, law.variance) for law in drawn] == [("['w']", (4, 6), 3.0)]


@pytest.mark.parametrize(
    "answer, got",
    [(-1, "-1"), (None, "None"), ((1, 2, 3), "(1, 2, 3)"), (np.nan, "nan"), ("a", "'a'"), ((0, -2.0), "(0, -2.0)")],
)
def test_wrong_answers(answer, got):
    with pytest.raises(LiftError, match=r"leaf \['a'\] of shape \(2, 3\)") as info:
        given_distribution({"a": np.ones((2, 3))}, lambda path, shape: answer)
    assert f"got {got}" in str(info.value)


def test_unknown_paths():
    with pytest.raises(LiftError, match="KeyError"):
        given_distribution({"a": np.ones((2, 3))}, lambda path, shape: {"['b']": 1.0}[path])
    with pytest.raises(LiftError, match="no array"):
        given_distribution({"a": "text"}, lambda path, shape: 1.0)
