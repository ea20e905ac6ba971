"""The triple that `lift` returns, used as a layer, in batches, and in predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import stax, tracing
from neural_tangents.tracing import LiftError

W = 16
STRUCTS = {"u": jax.ShapeDtypeStruct((3, W), jnp.float32), "w": jax.ShapeDtypeStruct((W, 2), jnp.float32)}


def network(p, x):
    return jax.nn.relu(x @ p["u"]) @ p["w"]


def lifted(backend, f=network, x=None):
    x = inputs() if x is None else x
    return tracing.lift(f, STRUCTS, x, distribution=lambda path, shape: 1 / shape[0], backend=backend)


def inputs(n=5):
    return jnp.asarray(np.random.RandomState(n).normal(size=(n, 3)), jnp.float32)


def layers():
    return stax.serial(
        stax.Dense(W, parameterization="standard"), stax.Relu(), stax.Dense(2, parameterization="standard")
    )


@pytest.mark.slow
def test_before_further_layers():
    head = stax.Relu(), stax.Dense(1)
    x = inputs()
    got = stax.serial(lifted("stax"), *head)[2](x, None, "ntk")
    np.testing.assert_allclose(got, stax.serial(layers(), *head)[2](x, None, "ntk"), rtol=1e-5)
    with pytest.raises(LiftError, match="needs its inputs"):
        stax.serial(lifted("direct"), *head)[2](x, None, "ntk")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["stax", "direct"])
def test_in_batches_and_predictions(backend):
    net, x = lifted(backend), inputs(6)
    want = net.kernel_fn(x, None, ("nngp", "ntk"))
    got = nt.batch(net.kernel_fn, 2)(x, None, ("nngp", "ntk"))
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-4)
    y = jnp.ones((4, 1))
    predictions = (
        nt.predict.gradient_descent_mse_ensemble(fn, x[:4], y, diag_reg=1e-3)(x_test=x[4:], get="ntk")
        for fn in (net.kernel_fn, layers()[2])
    )
    np.testing.assert_allclose(*predictions, rtol=1e-3)


def test_finite_network():
    net, x = lifted("stax"), inputs()
    kernel_fn = nt.monte_carlo_kernel_fn(net.init_fn, net.apply_fn, jax.random.key(0), 300)
    np.testing.assert_allclose(kernel_fn(x, None, "nngp"), net.kernel_fn(x, None, "nngp"), rtol=0.4, atol=0.1)


def test_tree_of_outputs():
    net = lifted("auto", lambda p, x: {"a": network(p, x), "b": x @ p["u"]})
    found = net.kernel_fn(inputs(), None, ("ntk", "nngp"))
    assert set(found) == {"a", "b"} and found["a"]._fields == ("ntk", "nngp")
    np.testing.assert_allclose(found["b"].nngp, inputs() @ inputs().T / 3, rtol=1e-5)


def test_inputs_that_are_prepared():
    def prepared(x):
        return (x.reshape(len(x), 3) - 0.5) / 2

    x = inputs().reshape(5, 1, 3)
    net = lifted("stax", lambda p, x: network(p, prepared(x)), x)
    got = net.kernel_fn(x, x[:2], "ntk")
    np.testing.assert_allclose(got, layers()[2](prepared(x), prepared(x[:2]), "ntk"), rtol=1e-5)


def test_refuses_layers_where_there_are_none():
    with pytest.raises(LiftError, match="no sequence of `stax` layers"):
        lifted("stax", lambda p, x: network(p, x) + network(p, -x))


def test_checks_shapes_and_names():
    kernel_fn = lifted("direct").kernel_fn
    with pytest.raises(ValueError, match="inputs of shape"):
        kernel_fn(jnp.zeros((2, 4)))
    with pytest.raises(KeyError, match="cov1"):
        kernel_fn(inputs(), None, "cov1")


def test_bounds_memory():
    structs = {"u": jax.ShapeDtypeStruct((1, W), jnp.float32), "w": jax.ShapeDtypeStruct((W, 2), jnp.float32)}
    x = jax.ShapeDtypeStruct((2, 100, 1), jnp.float32)
    net = tracing.lift(
        lambda p, x: jax.nn.relu(x @ p["u"]) @ p["w"], structs, x, distribution=lambda *_: 1.0, backend="direct"
    )
    with pytest.raises(MemoryError, match="nt.batch"):
        net.kernel_fn(jnp.zeros((1000, 100, 1)), None, "nngp")


def test_many_features_take_no_memory():
    """Covariances of all pairs of 5,000 features of 9 inputs would take 8 GB."""
    structs = {"u": jax.ShapeDtypeStruct((5000, W), jnp.float32), "w": STRUCTS["w"]}
    x = jnp.asarray(np.random.RandomState(0).normal(size=(9, 5000)), jnp.float32)
    net = tracing.lift(network, structs, x, distribution=lambda path, shape: 1 / shape[0], backend="direct")
    np.testing.assert_allclose(net.kernel_fn(x, None, "ntk"), layers()[2](x, None, "ntk"), rtol=1e-4)


@pytest.mark.parametrize("backend, most", [("direct", 100), pytest.param("stax", 200, marks=pytest.mark.slow)])
def test_a_new_batch_size_retraces_once(backend, most, count_compilations):
    """By pairs there is one program, and that which cuts results; layers of `stax` are many small ones.

    What is counted are traces and compilations: how often a program that calls others counts is up to the release.
    """
    kernel_fn = lifted(backend).kernel_fn
    kernel_fn(inputs(5), None, ("nngp", "ntk"))
    numbers = []
    for n in (5, 7, 7, 5, 8, 8):
        x = inputs(n) + 1
        with count_compilations() as count:
            kernel_fn(x, None, ("nngp", "ntk"))
            numbers.append(count())
    assert all(0 < numbers[i] <= most for i in (1, 4)) and not any(numbers[i] for i in (0, 2, 3, 5)), numbers
