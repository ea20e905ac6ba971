"""Masked arrays, and masks of activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.masking import (
    MaskedArray,
    all_over,
    detect_mask,
    drop_channel,
    join_mask,
    split_mask,
    unmask_fn,
)


@pytest.mark.parametrize(
    "constant", [0.1, -3.0, 7, np.nan, np.inf, -np.inf, np.float64(0.1), jnp.float32(2.5)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_detects_constants(dtype, constant):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(4, 5)).astype(dtype)
        expected = np.random.default_rng(1).random((4, 5)) < 0.4
        x[expected] = constant
        x[0, 0], expected[0, 0] = -np.inf if constant == np.inf else np.inf, False
        for mask_constant in (constant, jnp.asarray(constant)):
            found = detect_mask(x, mask_constant)
            assert isinstance(found, MaskedArray) and found.masked_value.dtype == dtype
            np.testing.assert_array_equal(found.mask, expected)
        compiled = jax.jit(detect_mask)(x, constant)
        np.testing.assert_array_equal(compiled.mask, expected)


@pytest.mark.parametrize(
    "constant, expected", [(1, [0, 1, 0]), (0.5, [0, 0, 0]), (np.nan, [0, 0, 0]), (2.0, [0, 0, 1])]
)
def test_integers(constant, expected):
    np.testing.assert_array_equal(detect_mask(np.arange(3), constant).mask, np.array(expected, bool))


def test_arrays_without_a_constant_and_masked_arrays_stay():
    x = np.arange(3.0)
    assert detect_mask(x, None) is x
    masked = MaskedArray(x, np.array([True, False, False]))
    assert detect_mask(masked, 2.0) is masked and detect_mask(masked, None) is masked


def test_split_and_join():
    x = jnp.array([1.0, jnp.nan, jnp.inf, 4.0])
    mask = jnp.array([False, True, True, False])
    value, found = split_mask(MaskedArray(x, mask))
    np.testing.assert_array_equal(value, [1, 0, 0, 4])
    assert found is mask
    assert split_mask(x) == (x, None) and split_mask(MaskedArray(x)) == (x, None)
    assert join_mask(x, None) is x
    joined = join_mask(x, mask)
    assert isinstance(joined, MaskedArray) and joined.masked_value is x and joined.mask is mask


def test_masks_broadcast_and_keep_the_dtype():
    x = jnp.ones((2, 3, 4), jnp.float16)
    value, _ = split_mask(MaskedArray(x, jnp.array([True, False, True])[None, :, None]))
    assert value.dtype == jnp.float16
    np.testing.assert_array_equal(value[:, 1], 1)
    np.testing.assert_array_equal(value[:, ::2], 0)


def test_gradients_of_masked_entries_are_zero():
    def loss(x):
        return jnp.sum(split_mask(MaskedArray(x, jnp.isnan(x)))[0] ** 2)

    np.testing.assert_array_equal(jax.grad(loss)(jnp.array([3.0, jnp.nan])), [6, 0])


def test_masked_array_is_a_pytree():
    masked = MaskedArray(jnp.ones((2, 3)), jnp.zeros((2, 1), bool))
    assert masked.shape == (2, 3) and masked.ndim == 2
    assert len(jax.tree.leaves(masked)) == 2 and len(jax.tree.leaves(MaskedArray(jnp.ones(2)))) == 1
    out = jax.jit(lambda m: MaskedArray(m.masked_value + 1, ~m.mask))(masked)
    assert isinstance(out, MaskedArray) and bool(out.mask.all()) and float(out.masked_value[0, 0]) == 2
    with pytest.raises(AttributeError):
        masked.mask = None


def test_unmask_fn():
    masked = MaskedArray(jnp.array([1.0, 2.0]), jnp.array([True, False]))

    def fn(x, *, scale):
        return [MaskedArray(scale * x.masked_value, x.mask), (x.masked_value, MaskedArray(x.masked_value))]

    first, (second, third) = unmask_fn(fn)(masked, scale=3)
    np.testing.assert_array_equal(first, [0, 6])
    np.testing.assert_array_equal(second, [1, 2])
    assert third is masked.masked_value
    np.testing.assert_array_equal(unmask_fn(lambda: masked)(), [0, 2])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_all_over(axis):
    mask = np.random.default_rng(2).random((2, 3, 2)) < 0.7
    np.testing.assert_array_equal(all_over(mask, axis), mask.all(axis, keepdims=True))
    assert all_over(None, axis) is None


def test_drop_channel():
    mask = np.random.default_rng(3).random((2, 3, 4)) < 0.5
    for batch, channel in ((0, 2), (2, 0), (1, 0), (0, -1), (-1, 1)):
        full = np.expand_dims(mask, channel)
        actual = drop_channel(full, batch, channel)
        order = [axis for axis in range(4) if axis not in (batch % 4, channel % 4)]
        expected = full.transpose(batch % 4, *order, channel % 4)[..., 0]
        np.testing.assert_array_equal(actual, expected)
    assert drop_channel(None, 0, -1) is None
    with pytest.raises(NotImplementedError, match="same for all channels.*axis 1"):
        drop_channel(mask, 0, 1)
