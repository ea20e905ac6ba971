"""Whole networks as sums in the angle, against the same networks layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeps import mostly_slow

from neural_tangents import stax
from neural_tangents.stax import _angle_sum

BOTH = "nngp", "ntk"


def deep(nonlinearity, depth=8, b_std=None):
    return stax.serial(*[stax.Dense(8, 1.4, b_std), nonlinearity] * depth, stax.Dense(1, 1.4, b_std))


# Networks, and whether they need inputs of one length.
NETWORKS = {
    "relu": (lambda: deep(stax.Relu()), False),
    "leaky relu": (lambda: deep(stax.LeakyRelu(0.3)), False),
    "absolute value": (lambda: deep(stax.Abs(), 6), False),
    "biases": (lambda: deep(stax.Relu(), b_std=0.3), True),
    "erf": (lambda: deep(stax.Erf(), 4, 0.3), True),
}


@pytest.fixture
def sums(monkeypatch):
    """Sums for few inputs and layers; how often one was compiled."""
    calls = []

    def counted(*args):
        calls.append(args)
        return original(*args)

    original = _angle_sum._of_inputs
    monkeypatch.setattr(_angle_sum, "_of_inputs", counted)
    monkeypatch.setattr(_angle_sum, "_MANY_PAIRS", 1)
    monkeypatch.setattr(_angle_sum, "_MANY_LAYERS", 4)
    monkeypatch.setattr(_angle_sum, "_SHARED", _angle_sum.Programs())
    return calls


def inputs(one_length, dtype):
    x = np.random.default_rng(0).normal(size=(30, 6))
    x[3], x[20], x[21], x[22] = 0, x[1], -x[2], x[4] * (1 + 1e-3 * x[5])
    if one_length:
        x = np.delete(x, 3, axis=0)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    x1, x2 = jnp.asarray(x[:18], dtype), jnp.asarray(x[18:], dtype)
    return x1, x2 if one_length else 3 * x2


def by_layers(fn):
    """`fn()` without sums."""
    most = _angle_sum._MANY_LAYERS
    try:
        _angle_sum._MANY_LAYERS = 2**20
        return fn()
    finally:
        _angle_sum._MANY_LAYERS = most


@pytest.mark.parametrize("one_batch", [False, True])
@pytest.mark.parametrize("name", mostly_slow(NETWORKS, ["relu", "biases"]))
def test_equal_to_the_layers(name, one_batch, dtype, sums):
    make, one_length = NETWORKS[name]
    x1, x2 = inputs(one_length, dtype)
    x2 = None if one_batch else x2
    kernel_fn = make()[2]
    found, expected = kernel_fn(x1, x2), by_layers(lambda: kernel_fn(x1, x2))
    assert len(sums) == 1 and jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=50 * np.finfo(dtype).eps * np.abs(y).max())
    assert not np.array_equal(found.ntk, expected.ntk)  # it was the sum


@pytest.mark.slow
def test_what_does_not_converge_is_evaluated_by_layers(sums, monkeypatch):
    with jax.enable_x64(True):
        x1, x2 = inputs(False, np.float64)
        kernel_fn = deep(stax.Abs(), 80)[2]
        expected = by_layers(lambda: kernel_fn(x1, x2, "ntk"))
        found = kernel_fn(x1, x2, "ntk")
        assert sums
        np.testing.assert_allclose(found, expected, rtol=1e-11)
        # The sum itself would be wrong.
        monkeypatch.setattr(_angle_sum, "_ROUNDING", 1e20)
        monkeypatch.setattr(_angle_sum, "_SHARED", _angle_sum.Programs())
        assert np.abs(kernel_fn(x1, x2, "ntk") - expected).max() > 1e-9 * np.abs(expected).max()


@pytest.mark.slow
def test_derivatives_are_those_of_the_layers(sums):
    with jax.enable_x64(True):
        for name in ("relu", "biases"):
            make, one_length = NETWORKS[name]
            x1, x2 = inputs(one_length, np.float64)
            kernel_fn = make()[2]
            gradient = jax.grad(lambda x, fn=kernel_fn, x2=x2: jnp.sum(jnp.sin(fn(x, x2, "ntk"))))
            np.testing.assert_allclose(gradient(x1), by_layers(lambda: gradient(x1)), rtol=1e-10, atol=1e-12)  # noqa: B023
        assert len(sums) == 1  # that of the other one has lengths that are not known


def test_hyperparameters_may_be_traced(sums):
    x1, x2 = inputs(False, np.float32)

    def ntk(w):
        return jnp.sum(stax.serial(*[stax.Dense(8, w), stax.Relu()] * 6)[2](x1, x2, "ntk"))

    found = jax.jit(jax.value_and_grad(ntk))(1.3)
    assert sums
    expected = by_layers(lambda: jax.jit(jax.value_and_grad(ntk))(1.3))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_where_there_is_no_such_sum(sums):
    """Inputs of several lengths with biases, unknown lengths, layers that see more than a pair, masks, few layers."""
    x1, x2 = inputs(False, np.float32)
    unit1, unit2 = inputs(True, np.float32)
    relu = [stax.Dense(8), stax.Relu()] * 4
    deep(stax.Relu(), b_std=0.3)[2](x1, x2, BOTH)
    jax.jit(lambda x: deep(stax.Relu(), b_std=0.3)[2](x, unit2, "ntk"))(unit1)
    stax.serial(*relu, stax.Dense(8), stax.LayerNorm())[2](x1, x2, BOTH)
    stax.serial(*relu, stax.Dropout(0.9))[2](x1, x2, BOTH)
    stax.serial(stax.Dense(8), stax.Relu())[2](x1, x2, BOTH)
    deep(stax.Relu())[2](x1.at[0, 0].set(-1), x2, BOTH, mask_constant=-1.0)
    assert not sums


def test_explanation(sums):
    text = repr(stax.explain(deep(stax.Relu())[2], (2000, 6), get="ntk"))
    assert "functions of the angle" in text
