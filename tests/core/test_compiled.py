"""Compiled functions of arguments that are not all arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.compiled import compiled


def test_compiled_retraces_for_other_static_values_only():
    traces = []

    @compiled
    def scaled(x, factor, *, name):
        traces.append((factor, name))
        return x * factor

    for factor in (2, 2, 3):
        np.testing.assert_array_equal(scaled(jnp.ones(2), factor, name="a"), factor * np.ones(2))
    assert traces == [(2, "a"), (3, "a")]


def test_arrays_and_floating_point_numbers_are_traced_once():
    traces = []

    @compiled
    def scaled(x, factor):
        traces.append(factor)
        return x * factor

    for x in (np.ones(2), np.zeros(2), jnp.ones(2)):
        for factor in (0.5, 0.7):
            np.testing.assert_allclose(scaled(x, factor), x * factor, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(scaled)(jnp.ones((2, 3)), jnp.arange(2.0)), [[0] * 3, [1] * 3])
    assert len(traces) <= 3  # weak and strong types


@pytest.mark.parametrize("wrapper", [lambda fn: fn, jax.jit], ids=["concrete", "traced"])
def test_what_is_one_array_stays_one(wrapper):
    @compiled
    def same(pair, other):
        assert pair[0] is pair[1] and pair[0] is not other
        return pair[0] - other

    x, y = jnp.ones(2), jnp.zeros(2)
    np.testing.assert_array_equal(wrapper(lambda x, y: same((x, x), y))(x, y), np.ones(2))


def test_numbers_of_different_types_are_different():
    @compiled
    def kind(x, value):
        return x * (1 if value is True else 2)

    assert [float(kind(1.0, value)) for value in (True, 1, True)] == [1, 2, 1]


@pytest.mark.parametrize("option", [{1, 2}, np.array(["a", "b"])], ids=["set", "words"])
def test_arguments_that_cannot_be_hashed(option):
    np.testing.assert_array_equal(compiled(lambda x, option: x * len(option))(np.ones(2), option), 2 * np.ones(2))


def test_functions_that_need_values():
    """They are computed, if values are known, and raise the error of jax if they are not."""

    @compiled
    def clipped(x, least):
        return jnp.maximum(x, least) if least > 0 else x

    for least in (0.5, -0.5, np.array(0.5)):
        np.testing.assert_array_equal(clipped(np.zeros(2), least), np.full(2, max(float(least), 0)))
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(clipped)(np.zeros(2), 0.5)
