"""Equal layers in a row are compiled once; nesting and depth cost no more than their layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax

X = np.random.RandomState(0).normal(size=(3, 4)).astype(np.float32)


def blocks(n, rolled=True):
    """Layers that are equal, or (in the last digit of a number that does nothing) all different."""
    return [
        layer
        for i in range(n)
        for layer in (stax.Dense(4, 1.3, 0.2), stax.ABRelu(0.1, 1.0, False if rolled else str(i)))
    ]


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


@pytest.mark.parametrize("n", [4, 5, 6, 12])
@pytest.mark.parametrize("get", [("nngp", "ntk"), ("nngp",)])
def test_loops_have_the_numbers_of_unrolled_layers(n, get):
    rolled = stax.serial(*blocks(n), stax.Dense(1))
    unrolled = stax.serial(*blocks(n, rolled=False), stax.Dense(1))
    assert count(jaxpr(rolled).jaxpr, "scan") == (n >= 5)
    assert count(jaxpr(unrolled).jaxpr, "scan") == 0
    for a, b in zip(*(jax.jit(lambda x, net=net: net[2](x, None, get))(X) for net in (rolled, unrolled)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_kernels_are_packed_into_complex_numbers_on_cpus_only(monkeypatch):
    net = stax.serial(*blocks(6), stax.Dense(1))
    packed, want = jaxpr(net), jax.jit(lambda x: net[2](x, None, ("nngp", "ntk")))(X)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plain, got = jaxpr(net), jax.jit(lambda x: net[2](x, None, ("nngp", "ntk")))(X)
    assert "c64" in str(packed) and "c64" not in str(plain)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


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


def test_loops_within_loops():
    def inner():
        return stax.serial(*blocks(5), stax.Dense(4, 0.7))

    net = stax.serial(*[inner() for _ in range(5)])
    assert count(jaxpr(net).jaxpr, "scan") >= 2
    expected = net[2](X, get="ntk")
    np.testing.assert_allclose(jax.jit(net[2], static_argnames="get")(X, get="ntk"), expected, rtol=1e-4)


def test_nearly_equal_layers_are_not_equal():
    different = [stax.Dense(4, 1 + i / 10) for i in range(6)]
    assert count(jaxpr(stax.serial(*different)).jaxpr, "scan") == 0
    expected = np.prod([(1 + i / 10) ** 2 for i in range(6)]) * X @ X.T / 4
    np.testing.assert_allclose(jax.jit(stax.serial(*different)[2])(X).nngp, expected, rtol=1e-5, atol=1e-5)


def test_hyperparameters_that_are_traced():
    def ntk(scale):
        return stax.serial(*[layer for _ in range(6) for layer in (stax.Dense(4, scale), stax.Relu())])[2](
            X, None, "ntk"
        )

    np.testing.assert_allclose(jax.jit(ntk)(1.2), ntk(1.2), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda scale: ntk(scale).sum()))(1.2)
    np.testing.assert_allclose(slope, (ntk(1.21).sum() - ntk(1.19).sum()) / 0.02, rtol=1e-2)


def test_derivatives_through_loops():
    def total(net):
        return jax.jit(jax.hessian(lambda x: net[2](x, jnp.asarray(X), "ntk").sum()))(X[:1])

    rolled, unrolled = (total(stax.serial(*blocks(6, rolled), stax.Dense(1))) for rolled in (True, False))
    assert np.isfinite(rolled).all()
    np.testing.assert_allclose(rolled, unrolled, rtol=1e-3, atol=1e-4)


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
