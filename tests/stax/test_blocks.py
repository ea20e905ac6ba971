"""Layers of one form are compiled once, however many there are; nesting and depth cost no more than their layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.stax import _blocks, _compiled_runs
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._spec import Leaf

X = np.random.RandomState(0).normal(size=(3, 4)).astype(np.float32)


def blocks(n):
    return [stax.Dense(4, 1.3, 0.2), stax.ABRelu(0.1, 1.0)] * n


@pytest.fixture
def unrolled(monkeypatch):
    """A function that computes something without loops."""

    def call(fn, *args):
        with monkeypatch.context() as patch:
            for module in (_blocks, _compiled_runs):
                patch.setattr(module, "fewest", lambda kernels: 1000)
            return fn(*args)

    return call


def jaxpr(net, get=None):
    return jax.make_jaxpr(lambda x: net[2](x, None, get))(X)


def count(jaxpr, name=None):
    """The number of equations, or of those of one primitive, bodies of loops included."""
    total = 0
    for eqn in jaxpr.eqns:
        total += name is None or eqn.primitive.name == name
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    total += count(getattr(inner, "jaxpr", inner), name)
    return total


@pytest.mark.parametrize("n", [1, 2, 3, 12])
@pytest.mark.parametrize("get", [("nngp", "ntk"), ("nngp",)])
def test_loops_have_the_numbers_of_unrolled_layers(n, get, unrolled):
    net = stax.serial(*blocks(n), stax.Dense(1))

    def kernels(x):
        return net[2](x, None, get)

    assert count(jaxpr(net).jaxpr, "scan") == (n >= 3)
    assert unrolled(lambda: count(jaxpr(net).jaxpr, "scan")) == 0
    for a, b in zip(jax.jit(kernels)(X), unrolled(lambda: jax.jit(lambda x: kernels(x))(X)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def different(kind):
    """Deep networks whose layers differ in some way."""
    scales = [1.2 + 0.02 * i for i in range(14)]
    names = {"in turn": ["Relu", "Erf"], "in any order": ["Relu", "Erf", "Sin", "Relu", "Relu", "Sin", "Erf"]}
    layers = [stax.Dense(4)]
    for i, scale in enumerate(scales):
        nonlinearity = getattr(stax, names.get(kind, ["Relu"])[i % len(names.get(kind, [0]))])()
        if kind == "nonlinearities":
            nonlinearity = stax.LeakyRelu(0.05 * i)
        dense = stax.Dense(4, scale, 0.1) if kind != "some biases" or i % 3 else stax.Dense(4, scale)
        branches = stax.parallel(stax.serial(nonlinearity, dense), stax.Dense(4, scale / 2))
        residual = stax.serial(stax.FanOut(2), branches, stax.FanInSum())
        layers += [residual] if kind == "residual" else [nonlinearity, dense]
    return stax.serial(*layers)


@pytest.mark.parametrize("kind", ["numbers", "in turn", "in any order", "nonlinearities", "some biases", "residual"])
def test_layers_that_differ(kind, dtype):
    """Eager calls evaluate layer by layer, with the numbers of each as they were given."""
    net, x = different(kind), X.astype(dtype)
    assert count(jaxpr(net).jaxpr, "scan") == 1
    got, want = jax.jit(lambda x: net[2](x, None, ("nngp", "ntk", "cov1")))(x), net[2](x, None, ("nngp", "ntk", "cov1"))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_numbers_of_each_layer_can_be_traced():
    """The NTK of linear layers is a polynomial in their scales, so its derivative is known."""

    def ntk(scales):
        return stax.serial(*[stax.Dense(4, scale) for scale in scales])[2](X, None, "ntk")[0, 1]

    scales = [1 + jnp.asarray(i / 10) for i in range(8)]
    assert count(jax.make_jaxpr(ntk)(scales).jaxpr, "scan") == 1
    want = 8 * np.prod([scale**2 for scale in scales]) * (X @ X.T)[0, 1] / 4
    value, slopes = jax.jit(jax.value_and_grad(ntk))(scales)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(slopes, [2 * want / scale for scale in scales], rtol=1e-5)


def test_numbers_that_layers_need_to_know():
    """A layer that cannot be made with a traced number is compiled with its own."""

    @public_layer
    def Scaled(c: float):
        def kernel(k):
            return k * (c if c > 1 else 1 / c)

        return Leaf("Scaled", apply=lambda params, x: c * x, kernel=kernel).spec()

    factors = [0.5, 2.0, 4.0, 0.25, 0.5, 2.0, 8.0]
    net = stax.serial(stax.Dense(1), *map(Scaled, factors))
    got = jax.jit(lambda x: net[2](x, None, "nngp"))(X)
    np.testing.assert_allclose(got, (2.0 * 2 * 4 * 4 * 2 * 2 * 8) ** 2 * X @ X.T / 4, rtol=1e-5)


def test_numbers_of_a_higher_precision_raise_that_of_the_kernel():
    with jax.enable_x64(True):
        net = stax.serial(*[stax.Dense(1, np.float64(1 + i / 10)) for i in range(8)])
        assert jax.jit(lambda x: net[2](x, None, "nngp"))(X).dtype == net[2](X, None, "nngp").dtype


@pytest.mark.parametrize("kind", ["numbers", "in any order"])
def test_size_of_the_trace_of_layers_that_differ(kind):
    sizes = [
        count(jaxpr(stax.serial(*[layer for i in range(n) for layer in pair(kind, i, n)])).jaxpr) for n in (12, 60, 240)
    ]
    assert sizes[0] == sizes[1] == sizes[2]


def pair(kind, i, n):
    return stax.Dense(4, 1 + i / n, 0.1), (stax.Erf, stax.Relu)[kind != "numbers" and i * i % 5 == 1]()


def test_metadata_after_a_loop():
    kernel = jax.jit(stax.serial(*blocks(8), stax.Dense(1))[2])(X)
    eager = stax.serial(*blocks(8), stax.Dense(1))[2](X)
    assert kernel.shape1 == eager.shape1 == (3, 1) and kernel.is_gaussian and not kernel.is_input
    assert bool(kernel.x1_is_x2)


def test_parameters_do_not_change_form():
    _, params = stax.serial(*blocks(7))[0](jax.random.PRNGKey(0), (-1, 4))
    assert len(params) == 14
    assert not np.array_equal(params[0][0], params[2][0])


def test_size_of_the_trace_does_not_grow_with_depth():
    sizes = [count(jaxpr(stax.serial(*blocks(n), stax.Dense(1))).jaxpr) for n in (6, 60, 600)]
    assert sizes[0] == sizes[1] == sizes[2]
    residual = [
        stax.serial(
            stax.Dense(4),
            *[
                stax.serial(
                    stax.FanOut(2),
                    stax.parallel(stax.serial(stax.Relu(), stax.Dense(4)), stax.Identity()),
                    stax.FanInSum(),
                )
                for _ in range(n)
            ],
        )
        for n in (6, 60)
    ]
    sizes = [count(jaxpr(net).jaxpr) for net in residual]
    assert sizes[0] == sizes[1]


def test_longer_periods_and_several_loops():
    period = [stax.Dense(4, 1.1), stax.Relu(), stax.Dense(4, 0.9, 0.1), stax.Erf()]
    net = stax.serial(*period * 6, stax.Dense(3), *[stax.Dense(3, 0.5, 0.1)] * 5)
    trace = jaxpr(net)
    assert count(trace.jaxpr, "scan") == 2
    expected = net[2](X, get="ntk")
    np.testing.assert_allclose(jax.jit(net[2], static_argnames="get")(X, get="ntk"), expected, rtol=1e-5)


def test_loops_over_nested_sequences():
    def inner():
        return stax.serial(*blocks(5), stax.Dense(4, 0.7))

    net = stax.serial(*[inner() for _ in range(5)])
    assert count(jaxpr(net).jaxpr, "scan") == 1, "nested sequences are one sequence"
    expected = net[2](X, get="ntk")
    np.testing.assert_allclose(jax.jit(net[2], static_argnames="get")(X, get="ntk"), expected, rtol=1e-4)


def test_hyperparameters_that_are_traced():
    def ntk(scale):
        return stax.serial(*[layer for _ in range(6) for layer in (stax.Dense(4, scale), stax.Relu())])[2](
            X, None, "ntk"
        )

    np.testing.assert_allclose(jax.jit(ntk)(1.2), ntk(1.2), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda scale: ntk(scale).sum()))(1.2)
    np.testing.assert_allclose(slope, (ntk(1.21).sum() - ntk(1.19).sum()) / 0.02, rtol=1e-2)


@pytest.mark.slow
def test_derivatives_through_loops(unrolled):
    def total():
        net = stax.serial(*blocks(6), stax.Dense(1))
        return jax.jit(jax.hessian(lambda x: net[2](x, jnp.asarray(X), "ntk").sum()))(X[:1])

    rolled = total()
    assert np.isfinite(rolled).all()
    np.testing.assert_allclose(rolled, unrolled(total), rtol=1e-3, atol=1e-4)


def test_masks_and_dropout_in_loops():
    x = X.copy()
    x[1] = 7.0
    net = stax.serial(*[layer for _ in range(6) for layer in (stax.Dense(4, 1.0, 0.1), stax.Erf(), stax.Dropout(0.8))])
    expected = net[2](x, mask_constant=7.0)
    kernel = jax.jit(lambda x: net[2](x, mask_constant=7.0))(x)
    for name in ("nngp", "ntk", "cov1", "mask1"):
        np.testing.assert_allclose(getattr(kernel, name), getattr(expected, name), rtol=1e-5)


# Costs are counted, not timed.


@pytest.fixture
def counted():
    """A layer that counts how often its shape is asked for and its kernel computed."""
    calls = {"init": 0, "kernel": 0}

    @stax.layer
    def Counted():
        def init_fn(rng, input_shape):
            calls["init"] += 1
            return input_shape, ()

        def kernel_fn(k):
            calls["kernel"] += 1
            return k

        return init_fn, (lambda params, x: x), kernel_fn

    return Counted, calls


def nested(layer, depth):
    net = layer()
    for _ in range(depth):
        net = stax.serial(net, layer())
    return net


def test_deep_nesting_costs_no_more_kernels_than_layers(counted):
    layer, calls = counted
    nested(layer, 30)[2](X)
    assert calls["kernel"] == 31
    assert calls["init"] <= 2 * 31  # the shapes of both batches


def test_deep_nesting_costs_no_more_shapes_than_layers(counted):
    layer, calls = counted
    stax.serial(*[layer() for _ in range(31)])[0](jax.random.PRNGKey(0), X.shape)
    flat = calls["init"]
    calls["init"] = 0
    nested(layer, 30)[0](jax.random.PRNGKey(0), X.shape)
    assert calls["init"] <= flat


def test_a_loop_traces_its_body_a_fixed_number_of_times(counted):
    layer, calls = counted
    net = stax.repeat(stax.serial(stax.Dense(4), layer()), 50)
    jaxpr(net)
    assert calls["kernel"] <= 4


@pytest.mark.parametrize("depth", [25, 100])
def test_deep_networks_of_different_layers_are_right_in_single_precision(depth):
    """The recursion of arcsines, by NumPy in double precision, with a weight variance for each layer."""
    scales = [1.2 + 0.3 * i / depth for i in range(depth + 1)]
    x = np.random.RandomState(1).normal(size=(20, 8)).astype(np.float32)
    layers = [layer for scale in scales[1:] for layer in (stax.Erf(), stax.Dense(1, scale, 0.1))]
    _, _, kernel_fn = stax.serial(stax.Dense(1, scales[0], 0.1), *layers)
    got = jax.jit(lambda x: kernel_fn(x, None, ("nngp", "ntk")))(x)

    k = scales[0] ** 2 * (x @ x.T.astype(np.float64)) / 8 + 0.01
    ntk = k
    for scale in scales[1:]:
        s = np.outer(1 + 2 * np.diag(k), 1 + 2 * np.diag(k))
        slope = 4 / np.pi / np.sqrt(s - 4 * k**2)
        k = scale**2 * 2 / np.pi * np.arcsin(2 * k / np.sqrt(s)) + 0.01
        ntk = k + scale**2 * slope * ntk
    for kernel, want in zip(got, (k, ntk), strict=True):
        np.testing.assert_allclose(kernel, want, rtol=0, atol=1e-5 * np.max(want))
