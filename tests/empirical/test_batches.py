"""Which arguments belong to the first batch, and which to the second."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import X1, X2

from neural_tangents._core.tiling.call_form import filled_second
from neural_tangents.empirical._batches import same_inputs, split_keywords

KINDS = [jax.random.key, jax.random.PRNGKey]


def data(key):
    """A random key as numbers."""
    return np.asarray(jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key)


def equal(a, b):
    return np.array_equal(data(a), data(b))


# Inputs.


@pytest.mark.parametrize(
    ("x1", "x2", "expected"),
    [
        (X1, X1, True),
        (X1, X1.copy(), True),
        (X1, X1 + 1, False),
        (X1, X2, False),
        ([X1, X2], [X1.copy(), X2.copy()], True),
        ([X1, X2], [X1.copy(), X2 + 1], False),
        ([X1, X2], [X1], False),
        (X1, X1[None], False),
    ],
)
def test_equal_inputs(x1, x2, expected):
    assert bool(same_inputs(x1, x2)) is expected
    assert bool(jax.jit(same_inputs)(x1, x2)) is expected


def test_second_batches_are_filled_up():
    x1 = {"a": X1, "b": (X2, X1)}
    for x2 in (None, x1, {"a": None, "b": (None, None)}):
        filled, one_batch = filled_second(x1, x2)
        assert one_batch and filled["a"] is X1 and filled["b"][0] is X2
    filled, one_batch = filled_second(x1, {"a": None, "b": (X1, None)})
    assert not one_batch and filled["a"] is X1 and filled["b"][0] is X1 and filled["b"][1] is X1
    filled, one_batch = filled_second(X1, X2)
    assert not one_batch and filled is X2


@pytest.mark.parametrize(
    ("x1", "x2"),
    [
        (X1, [X2]),
        ([X1], X2),
        ([X1, X1], [X2]),
        ({"a": X1}, {"b": X2}),
        ((X1, X1), [X2, X2]),
        ([X1, [X1]], [X2, None, X2]),
    ],
)
def test_trees_that_do_not_match(x1, x2):
    with pytest.raises(ValueError, match="Expected x1 and x2 to be trees of arrays of the same structure"):
        filled_second(x1, x2)


# Keyword arguments.


def test_tuples_of_two_are_pairs():
    three, pair = (1, 2, 3), [4, 5]
    keywords = {"a": (X1, X2), "b": X1, "c": three, "d": pair, "e": (None, 1)}
    first, second = split_keywords(keywords, X1, X2, False)
    assert first["a"] is X1 and second["a"] is X2
    assert first["b"] is X1 and second["b"] is X1
    assert first["c"] == second["c"] == three and first["d"] == second["d"] == pair
    assert first["e"] is None and second["e"] == 1


@pytest.mark.parametrize("make", KINDS)
def test_one_key(make):
    """It is the key of equal batches, and that of the first of two that differ, with one of its own for the second."""
    key = make(5)
    for x2, one_batch in ((X1, True), (X1.copy(), False)):
        first, second = split_keywords({"rng": key}, X1, x2, one_batch)
        assert equal(first["rng"], key) and equal(second["rng"], key)
    for x2 in (X2, X1 + 1):
        first, second = split_keywords({"rng": key}, X1, x2, False)
        assert equal(first["rng"], key) and equal(second["rng"], jax.random.fold_in(key, 1))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(("same_x", "same_key"), [(True, True), (True, False), (False, True), (False, False)])
def test_pairs_of_keys_are_equal_if_and_only_if_inputs_are(make, same_x, same_key):
    keys = make(5), make(5 if same_key else 6)
    x2 = X1.copy() if same_x else X1 + 1
    expected = keys[1] if same_x == same_key else keys[0] if same_x else jax.random.fold_in(keys[0], 1)
    with contextlib.nullcontext() if same_x == same_key else pytest.warns(UserWarning, match="second key was replaced"):
        first, second = split_keywords({"rng": keys}, X1, x2, False)
    assert equal(first["rng"], keys[0]) and equal(second["rng"], expected)
    # Under jit, values are not known when a warning could be given, but the keys are the same.
    compiled = jax.jit(lambda keys, x1, x2: split_keywords({"rng": keys}, x1, x2, False))
    first, second = compiled(keys, X1, x2)
    assert equal(first["rng"], keys[0]) and equal(second["rng"], expected)


def test_a_pair_of_keys_for_one_batch():
    with pytest.warns(UserWarning, match="x1 and x2 are equal, but their random keys are not"):
        first, second = split_keywords({"rng": (jax.random.key(0), jax.random.key(1))}, X1, X1, True)
    assert equal(first["rng"], second["rng"])


def test_raw_keys_may_be_arrays_of_numpy():
    key = np.asarray(jax.random.PRNGKey(5))
    _, second = split_keywords({"rng": key}, X1, X2, False)
    assert equal(second["rng"], jax.random.fold_in(jax.random.PRNGKey(5), 1))


def test_no_key():
    assert split_keywords({"rng": None}, X1, X2, False) == ({"rng": None}, {"rng": None})
    assert split_keywords({"rng": (None, None)}, X1, X2, False) == ({"rng": None}, {"rng": None})


@pytest.mark.parametrize("rng", [0, "key", (jax.random.key(0), None), (jax.random.key(0),) * 3, [jax.random.key(0)]])
def test_other_keys(rng):
    with pytest.raises(TypeError, match="Expected `rng` to be None, a random key, or a pair of keys"):
        split_keywords({"rng": rng}, X1, X2, False)
