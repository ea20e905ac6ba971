"""Helpers of users' layers: against plain loops, NumPy, and the requirements of networks."""

import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents._src.stax.requirements import (
    _DEFAULT_INPUT_REQ,
    _fuse_requirements,
    _get_input_req_attr,
    _has_req,
    _set_req,
    get_diagonal,
    get_diagonal_outer_prods,
    get_req,
    mean_and_var,
    requires,
)

RNG = np.random.RandomState(0)
FULL1, FULL2 = RNG.uniform(1, 2, size=(2, 2, 4, 4, 3, 3)), RNG.uniform(1, 2, size=(5, 5, 4, 4, 3, 3))
Q1, Q2 = (np.einsum("aahhww->ahw", full) for full in (FULL1, FULL2))


def stored(full, diagonal_batch, diagonal_spatial):
    cov = np.einsum("aahiwx->ahiwx", full) if diagonal_batch else full
    return np.einsum("...hhww->...hw", cov) if diagonal_spatial else cov


LAYOUTS = list(itertools.product([True, False], repeat=2))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_diagonal(layout):
    np.testing.assert_allclose(get_diagonal(stored(FULL1, *layout), *layout), Q1, rtol=1e-6)
    assert get_diagonal(None, *layout) is None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation", [operator.mul, jnp.add, lambda a, b: a - 2 * b])
def test_outer_products_are_those_of_loops(layout, operation):
    diagonal_batch, diagonal_spatial = layout
    found = get_diagonal_outer_prods(stored(FULL1, *layout), stored(FULL2, *layout), *layout, operation)

    def truth(a, b):
        pairs = np.zeros((len(a), len(b), 4, 4, 3, 3))
        for i, j, h, g, w, v in np.ndindex(pairs.shape):
            pairs[i, j, h, g, w, v] = operation(a[i, h, w], b[j, g, v])
        return np.einsum("...hhww->...hw", pairs) if diagonal_spatial else pairs

    own = "aa...->a..." if diagonal_batch else "ab...->ab..."
    np.testing.assert_allclose(found[0], np.einsum(own, truth(Q1, Q1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], truth(Q1, Q2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[2], np.einsum(own, truth(Q2, Q2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outer_products_of_one_batch(layout):
    own, cross, third = get_diagonal_outer_prods(stored(FULL1, *layout), None, *layout, operator.mul)
    both = get_diagonal_outer_prods(stored(FULL1, *layout), stored(FULL1, *layout), *layout, operator.mul)
    assert third is own
    np.testing.assert_allclose(own, both[0])
    np.testing.assert_allclose(cross, both[1])


def test_outer_products_of_means():
    mask = np.zeros((2, 4, 3), bool)
    mask[0, 1] = mask[1, 2, 2] = True
    layout = (True, False)
    found = get_diagonal_outer_prods(stored(FULL1, *layout), None, *layout, operator.mul, axis=(1, 2), mask1=mask)
    means = np.ma.array(Q1, mask=mask).mean((1, 2)).data
    np.testing.assert_allclose(found[1], np.outer(means, means).reshape(2, 2, 1, 1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(found[0], (means**2).reshape(2, 1, 1, 1, 1), rtol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), [1, 2], ()])
@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("ddof", [0, 1])
def test_mean_and_variance_are_those_of_numpy(axis, keepdims, ddof, dtype):
    x = RNG.normal(size=(5, 4, 3)).astype(dtype)
    axes = tuple(axis) if isinstance(axis, list) else axis
    mean, var = mean_and_var(x, axis, keepdims=keepdims, ddof=ddof, get_var=True)
    np.testing.assert_allclose(mean, x.mean(axes, keepdims=keepdims), rtol=1e-5, atol=1e-6)
    assert mean.dtype == dtype
    if axis != ():
        np.testing.assert_allclose(var, x.var(axes, keepdims=keepdims, ddof=ddof), rtol=1e-5)
    masked = np.ma.array(x, mask=RNG.uniform(size=x.shape) < 0.3)
    masked[:, 0, 0] = 0.5
    mean, var = mean_and_var(np.where(masked.mask, np.nan, x * 0 + masked.data), axis, mask=masked.mask, get_var=True)
    if axis != ():
        np.testing.assert_allclose(mean, masked.mean(axes), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(var, masked.var(axes), rtol=1e-4, atol=1e-6)


def test_mean_of_nothing():
    assert mean_and_var(None, 0) == (None, None)
    mean, var = mean_and_var(jnp.ones((2, 3)), 1, mask=jnp.array([[True], [False]]), get_var=True)
    assert mean.tolist() == [0, 1] and var.tolist() == [0, 0]
    assert mean_and_var(jnp.ones((2, 3)), 1)[1] is None
    with pytest.raises(NotImplementedError, match="use what is returned"):
        mean_and_var(jnp.ones(2), out=np.zeros(()))


def test_helpers_can_be_traced_and_differentiated():
    prods = jax.jit(lambda cov: get_diagonal_outer_prods(cov, None, True, False, operator.mul)[1].sum())
    cov = jnp.asarray(stored(FULL1, True, False), jnp.float32)
    gradient = jax.grad(prods)(cov)
    np.testing.assert_allclose(np.einsum("ahhww->ahw", gradient), np.full(Q1.shape, 2 * Q1.sum()), rtol=1e-5)


# Requirements as attributes.


def test_requirements_are_read_and_written():
    def kernel_fn(k): ...

    assert not _has_req(kernel_fn) and get_req(kernel_fn, "none") == "none"
    _set_req(kernel_fn, {"batch_axis": 1})
    assert _has_req(kernel_fn) and get_req(kernel_fn) == {"batch_axis": 1}
    decorated = requires(channel_axis=2)(lambda k: k)
    assert _has_req(decorated) and get_req(decorated) == {"channel_axis": 2}
    assert get_req(stax.Flatten()[2])["diagonal_spatial"] == stax.Diagonal(stax.Bool.YES, stax.Bool.YES)


def test_requirements_of_sequences_and_branches():
    conv, pool, flatten = stax.Conv(1, (3,))[2], stax.GlobalAvgPool()[2], stax.Flatten()[2]
    sequence = _get_input_req_attr([conv, flatten], operator.rshift)
    assert bool(sequence["diagonal_spatial"]) and sequence["batch_axis"] == 0 and sequence["channel_axis"] == -1
    assert sequence == get_req(stax.serial(stax.Conv(1, (3,)), stax.Flatten())[2])
    assert not bool(_get_input_req_attr([conv, pool])["diagonal_spatial"])
    branches = _get_input_req_attr([conv, pool], operator.and_)
    assert branches["diagonal_spatial"] == stax.Diagonal(stax.Bool.MAYBE, stax.Bool.NO)


def test_requirements_of_inputs():
    required = get_req(stax.serial(stax.Conv(1, (3,)), stax.Flatten())[2])
    fused = _fuse_requirements(required, _DEFAULT_INPUT_REQ, diagonal_batch=False, channel_axis=None, pattern=3)
    assert fused["diagonal_spatial"] is True and fused["diagonal_batch"] is False and fused["channel_axis"] == -1
    assert "pattern" not in fused
    assert _fuse_requirements({}, _DEFAULT_INPUT_REQ)["diagonal_spatial"] is False
    with pytest.raises(ValueError, match="`diagonal_spatial=True`, but the network needs all"):
        _fuse_requirements({}, _DEFAULT_INPUT_REQ, diagonal_spatial=True)
