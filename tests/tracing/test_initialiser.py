"""Initialisers as functions of random words: which arrays have entries of one law, and what is known of the others."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from neural_tangents.tracing._initialiser import POINTS, Entries, Known, Unknown, equal_parts, interpret, quantiles

KEY = jr.key(0)


def read(init, grid=quantiles):
    (value,) = interpret(jax.make_jaxpr(init)(KEY), KEY, grid)
    return value


@pytest.mark.parametrize(
    "init, quantile",
    [
        (lambda key: 3 * jr.normal(key, (4, 5)), lambda t: 3 * t),
        (lambda key: jr.uniform(key, (4, 5), minval=-1, maxval=2), lambda t: 3 * stats.norm.cdf(t) - 1),
        (lambda key: jr.truncated_normal(key, -1, 2, (4, 5)), lambda t: stats.truncnorm.ppf(stats.norm.cdf(t), -1, 2)),
        (lambda key: jr.laplace(key, (4, 5)), lambda t: -stats.laplace.ppf(stats.norm.cdf(t))),
        (lambda key: jnp.where(jr.normal(key, (4, 5)) > 1, 2.0, 0.5), lambda t: np.where(t > 1, 2, 0.5)),
    ],
)
def test_entries_are_quantile_functions(init, quantile):
    value = read(init)
    inside = np.abs(POINTS) < 4
    assert value.shape == (4, 5) and value.bits == 32 and len(value.keys) == 1
    np.testing.assert_allclose(value.values[inside], quantile(POINTS)[inside], rtol=2e-3, atol=2e-5)


def test_grids_of_words():
    words = quantiles(32)
    np.testing.assert_allclose(stats.norm.ppf((words + 0.5) / 2**32), POINTS, atol=1e-2)
    assert quantiles(64).dtype == np.uint64 and np.all(np.diff(quantiles(64).astype(float)) > 0)
    for grid in quantiles, equal_parts:
        np.testing.assert_array_equal(grid(8), np.arange(256, dtype=np.uint8))
    assert abs(equal_parts(32).mean() / 2**32 - 0.5) < 1e-9


def moved(w):
    return jnp.moveaxis(w.reshape(2, 3, 4)[:, ::-1], 0, 2)[None].squeeze(0)[:2]


@pytest.mark.parametrize(
    "init",
    [
        lambda key: moved(jr.normal(key, (6, 4))),
        lambda key: moved(jr.normal(key, (6, 4))) * 2 - moved(jr.normal(key, (6, 4))),
        lambda key: jnp.concatenate([jr.normal(k, (2, 4)) for k in jr.split(key)]),
        lambda key: jax.vmap(lambda k: jr.normal(k, (4,)))(jr.split(key, 3)),
        lambda key: jax.lax.scan(lambda c, k: (c, jr.normal(k, (4,))), 0.0, jr.split(key, 3))[1],
        lambda key: jax.lax.scan(lambda k, _: (jr.split(k)[0], jr.normal(k, (4,))), key, None, 3, reverse=True)[1],
        jax.checkpoint(jax.jit(lambda key: jr.normal(key, (6, 4)))),
    ],
)
def test_what_moves_entries_keeps_their_law(init):
    value = read(init)
    assert isinstance(value, Entries) and value.shape == jax.eval_shape(init, KEY).shape
    np.testing.assert_allclose(value.values[300:-300], POINTS[300:-300], rtol=1e-4, atol=1e-5)
    assert len(set(value.keys)) == len(value.keys)


@pytest.mark.parametrize(
    "init",
    [
        lambda key: jr.normal(key, (4,)) + jr.normal(jr.split(key)[0], (4,)),
        lambda key: jr.normal(key, (4,)) + jr.normal(key, (4,))[::-1],
        lambda key: jnp.tile(jr.normal(key, (4,)), 2),
        lambda key: jr.normal(key) * jnp.ones(4),
        lambda key: jr.normal(key, (4,)) * jnp.arange(4.0),
        lambda key: jr.normal(key, (4,)).at[0].set(0),
        lambda key: jr.normal(key, (4, 4)) @ jnp.ones((4, 4)),
        lambda key: jnp.concatenate([jr.normal(key, (4,)), jr.uniform(jr.split(key)[0], (4,))]),
        lambda key: jr.permutation(key, jnp.arange(4.0)),
        lambda key: jax.lax.scan(lambda c, k: (c, c * jr.normal(k, (4,))), 1.0, jr.split(key, 3))[1].cumsum(0),
    ],
)
def test_other_entries_are_unknown(init):
    assert isinstance(read(init), Unknown)


def test_constants_and_keys():
    three = read(lambda key: jnp.full((4, 5), 3.0).T * jnp.ones((5, 4)))
    assert three.shape == (5, 4) and three.values == 3 and three.bits == 0
    table = read(lambda key: jnp.arange(6.0).reshape(2, 3) * 2)
    np.testing.assert_array_equal(table.value, 2 * np.arange(6.0).reshape(2, 3))
    assert not table.keyed and read(lambda key: jr.normal(jr.key(7), (4,))).keyed is False
    assert isinstance(read(lambda key: key), Known) and read(lambda key: jr.fold_in(key, 3)).keyed
    stacked = read(lambda key: jax.lax.scan(lambda i, _: (i + 1, i), 0.0, jr.split(key, 3))[1])
    np.testing.assert_array_equal(stacked.value, [0, 1, 2])


def test_keys_tell_draws_apart():
    def init(key):
        a, b = jr.split(key)
        return jr.normal(a, (3,)), jr.uniform(a, (7,)), jr.normal(b, (3,)), jr.normal(jr.split(key)[1], (2,))

    first, again, second, second_again = interpret(jax.make_jaxpr(init)(KEY), KEY, quantiles)
    assert first.keys == again.keys != second.keys == second_again.keys


def test_steps_are_the_same_for_other_sizes_and_constants():
    def init(key):
        return 2 * jr.normal(key, (3,)), 5 * jr.normal(key, (4, 4)), jr.normal(key, (3,)) + 2

    first, second, third = interpret(jax.make_jaxpr(init)(KEY), KEY, quantiles)
    assert first.steps == second.steps != third.steps


def test_what_parameters_do_not_need_is_left_out():
    def init(key):
        w = jr.normal(key, (4, 4))
        jax.debug.callback(lambda x: pytest.fail("was run"), w @ w)
        return w, jnp.linalg.svd(w)[0]

    closed = jax.make_jaxpr(lambda key: init(key)[0])(KEY)
    (value,) = interpret(closed, KEY, quantiles)
    assert isinstance(value, Entries)
