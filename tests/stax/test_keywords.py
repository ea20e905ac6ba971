"""Keyword arguments reach the layers that take them, and one that nobody takes is a warning."""

import warnings

import jax
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents.stax import (
    Dense,
    Dropout,
    Erf,
    FanInSum,
    FanOut,
    Flatten,
    Identity,
    Relu,
    parallel,
    repeat,
    serial,
)
from neural_tangents.stax._keywords import Keywords

KEY = jax.random.PRNGKey(0)
X1, X2 = (np.random.RandomState(n).normal(size=(n, 3)).astype(np.float32) for n in (4, 2))


def by_name():
    def init_fn(rng, shape):
        return shape, ()

    def apply_fn(params, x, scale=1.0, unit="one"):
        return x * scale * (1.0 if unit == "one" else 2.0)

    def kernel_fn(k, scale=1.0, unit="one"):
        return k * scale * (1.0 if unit == "one" else 2.0)

    return init_fn, apply_fn, kernel_fn


def by_any():
    init_fn, apply_fn, kernel_fn = by_name()

    def picked(kwargs):
        return {name: kwargs[name] for name in ("scale", "unit") if name in kwargs}

    return (
        init_fn,
        lambda params, x, **kwargs: apply_fn(params, x, **picked(kwargs)),
        lambda k, **kwargs: kernel_fn(k, **picked(kwargs)),
    )


@stax.layer
def Named():
    return by_name()


@stax.layer
def Any():
    return by_any()


@stax.layer
def Pointwise():
    init_fn, apply_fn, kernel_fn = by_any()
    return init_fn, apply_fn, stax.requires(pointwise=True)(kernel_fn)


SCALING = {"name": Named(), "any": Any(), "triple by name": by_name(), "triple by any": by_any()}


def networks(layer, w):
    dense, out = Dense(5, W_std=w), Dense(1)
    return {
        "serial": serial(dense, layer, Relu(), out),
        "nested": serial(serial(dense, serial(layer, Erf())), out),
        "parallel": serial(FanOut(2), parallel(serial(dense, layer), Dense(5)), FanInSum(), Erf(), out),
        "repeat": serial(repeat(serial(Dense(3, W_std=w), layer, Erf()), 3), out),
        "loop": serial(*[Dense(3, W_std=w), layer, Erf()] * 6, out),
    }


@pytest.mark.parametrize("network", networks(Identity(), 1.0))
@pytest.mark.parametrize("layer", SCALING)
def test_keywords_reach_layers(layer, network):
    """The layer doubles what `scale` says, which is another variance of the weights before it."""
    got_net, want_net = networks(SCALING[layer], 1.5)[network], networks(Identity(), 1.5 * 1.4)[network]
    options, get = {"scale": 0.7, "unit": "two"}, ("nngp", "ntk")
    params = got_net[0](KEY, X1.shape)[1]
    want = jax.jit(lambda: (want_net[2](X1, X2, get), want_net[1](params, X1)))()
    traced = jax.jit(
        lambda s: (got_net[2](X1, X2, get, scale=s, unit="two"), got_net[1](params, X1, scale=s, unit="two"))
    )
    for got in (traced(0.7), traced(np.float32(0.7))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)
    np.testing.assert_allclose(got_net[2](X1, X2, "ntk", **options), want[0].ntk, rtol=1e-4)


@pytest.mark.slow
def test_keywords_through_finite_networks_and_batches():
    init_fn, apply_fn, kernel_fn = serial(Dense(7, 1.5), Any(), Relu(), Dense(1))
    _, apply_truth, kernel_truth = serial(Dense(7, 1.5), Identity(), Relu(), Dense(1))
    params, pair = init_fn(KEY, X1.shape)[1], (np.ones((4, 1), np.float32), np.full((2, 1), 2, np.float32))

    def scaled_by_hand(params, x):
        (w, b), *rest = params
        return apply_truth([(2 * w, b), *rest], x)

    np.testing.assert_allclose(
        nt.empirical_nngp_fn(apply_fn)(X1, X2, params, scale=pair, keys=[1, 2]),
        apply_truth(params, X1) @ scaled_by_hand(params, X2).T,
        rtol=1e-4,
    )
    estimates = [
        nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 3, batch_size)(X1, X2, "nngp", scale=pair)
        for batch_size in (0, 2)
    ]
    np.testing.assert_allclose(*estimates, rtol=1e-4)
    batched = nt.batch(kernel_fn, 2)
    np.testing.assert_allclose(
        batched(X1, X2, "ntk", scale=0.5, unit="two", keys="abc"), kernel_truth(X1, X2, "ntk"), rtol=1e-4
    )


def test_keywords_reach_streamed_layers(monkeypatch):
    monkeypatch.setattr("neural_tangents.stax._streaming.runs._MANY_ENTRIES", 1)
    x = np.random.RandomState(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
    conv, pool = stax.Conv(3, (2, 2), padding="SAME"), stax.GlobalAvgPool()
    got, want = (serial(conv, layer, Relu(), conv, pool)[2] for layer in (Pointwise(), Identity()))
    assert stax.explain(got, x, scale=0.7).stages[0].streamed
    np.testing.assert_allclose(got(x, None, "nngp", scale=0.7), 0.49 * want(x, None, "nngp"), rtol=1e-4)
    # Arrays may have an entry for each input or position, of which slabs have some only.
    scale = np.full((2, 2, 4, 4, 3, 3), 0.7, np.float32)
    convolution, rest, *_ = stax.explain(got, x, scale=scale, diagonal_batch=False).stages
    assert convolution.layers[0].startswith("Conv") and "arrays as keyword arguments, ['scale']" in convolution.reason
    assert not rest.streamed and rest.layers == ("Pointwise()",)
    jitted = jax.jit(lambda s: got(x, None, "nngp", scale=s, diagonal_batch=False))
    np.testing.assert_allclose(jitted(scale), 0.49 * want(x, None, "nngp"), rtol=1e-4)


def test_random_keys_reach_layers_and_not_kernels():
    init_fn, apply_fn, kernel_fn = serial(Dense(5), Dropout(0.5), Any(), Dense(1))
    params = init_fn(KEY, X1.shape)[1]
    assert not np.allclose(apply_fn(params, X1, rng=KEY, other=1), apply_fn(params, X1, rng=jax.random.PRNGKey(1)))
    np.testing.assert_array_equal(kernel_fn(X1, X2, "ntk", rng=KEY), kernel_fn(X1, X2, "ntk"))


NET = serial(Dense(3), Relu(), Flatten())
PARAMS = NET[0](KEY, X1.shape)[1]
UNKNOWN = {
    "kernel_fn": (lambda: NET[2](X1, diag_reg=1), r"^kernel_fn of serial .* nobody takes: \['diag_reg'\]\. Known are"),
    "apply_fn": (lambda: NET[1](PARAMS, X1, keys=1), r"^apply_fn of serial .* nobody takes: \['keys'\]\. Known are"),
    "axis of apply_fn": (lambda: NET[1](PARAMS, X1, channel_axis=1), r"\['channel_axis'\]"),
    "several": (lambda: NET[2](X1, b=1, a=2), r"\['a', 'b'\]"),
    "misspelt": (lambda: NET[2](X1, diagonal_spacial=True), "Did you mean 'diagonal_spatial' by 'diagonal_spacial'"),
    "misspelt mask": (lambda: NET[1](PARAMS, X1, mask_constnt=1), "Did you mean 'mask_constant' by 'mask_constnt'"),
    "misspelt, of a layer": (lambda: serial(Named())[2](X1, scal=1), "Did you mean 'scale' by 'scal'"),
    "misspelt, and taken": (lambda: serial(Any())[2](X1, diagonal_batc=True), "Did you mean 'diagonal_batch'"),
    "reassembled": (lambda: serial((NET[0], lambda p, x: x, NET[2]))[2](X1, diag_reg=1), "'diag_reg'"),
    "batch": (lambda: nt.batch(NET[2], 2)(X1, None, "nngp", diag_reg=1), "'diag_reg'"),
    "ensemble": (
        lambda: nt.predict.gradient_descent_mse_ensemble(NET[2], X1, X1, diag_regs=1)(x_test=X2, diag_regs=1),
        "'diag_regs'",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_keywords_are_warnings(name):
    call, text = UNKNOWN[name]
    with pytest.warns(UserWarning, match=text):
        call()


def test_one_warning_at_the_outermost_call():
    @stax.layer
    def Wrapped():
        init_fn, apply_fn, kernel_fn = Relu()
        return init_fn, (lambda p, x, **kwargs: apply_fn(p, x, **kwargs)), (lambda k, **kwargs: kernel_fn(k, **kwargs))

    net = serial(Dense(3), serial(Relu(), Dense(2)), Dense(1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = net[2](X1, X2, "ntk", diag_reg=1)
    assert len(caught) == 1 and caught[0].filename == __file__
    np.testing.assert_array_equal(value, net[2](X1, X2, "ntk"))
    inner = serial(Dense(3), Wrapped(), Dense(1))  # which takes all, and passes them on
    np.testing.assert_array_equal(inner[2](X1, X2, "nngp", diag_reg=1, batch_axis=0), inner[2](X1, X2, "nngp"))
    inner[1](inner[0](KEY, X1.shape)[1], X1, diag_reg=1, batch_axis=0)


def test_dot_general_takes_the_axes_of_a_call():
    x1, x2 = (np.random.RandomState(n).normal(size=(n, 5, 4)).astype(np.float32) for n in (3, 2))  # channels are axis 1
    c = np.random.RandomState(0).normal(size=(4, 6)).astype(np.float32)
    numbers = (((2,), (0,)), ((), ()))
    given, fixed = (
        stax.DotGeneral(rhs=c, dimension_numbers=numbers),
        stax.DotGeneral(rhs=c, dimension_numbers=numbers, channel_axis=1),
    )
    y1, y2 = x1 @ c, x2 @ c
    np.testing.assert_allclose(given[1]((), x1, channel_axis=1, batch_axis=0), y1, rtol=1e-5)
    for k in (given[2](x1, x2, channel_axis=1), serial(given, Identity())[2](x1, x2, channel_axis=1), fixed[2](x1, x2)):
        np.testing.assert_allclose(k.nngp, np.einsum("ncs,mct->nmst", y1, y2) / 5, rtol=1e-4, atol=1e-4)
        assert k.shape1 == y1.shape and k.channel_axis % 3 == 1
    assert given[0](KEY, x1.shape) == ((3, 5, 6), ())
    with pytest.raises(ValueError, match="without the channel axis"):
        given[2](x1, x2)


def test_algebra_of_keywords():
    named, everything = Keywords.of("a", "b"), Keywords(frozenset("c"), any=True)
    assert named.pick({"a": 1, "c": 2}) == {"a": 1} and everything.pick({"a": 1, "c": 2}) == {"a": 1, "c": 2}
    assert named | everything == Keywords(frozenset("abc"), any=True)
    assert named.without("a", "z") == Keywords.of("b")
    assert Keywords.of_function(lambda x, y, a, *, b=1, **kwargs: 0, 2) == Keywords(frozenset("ab"), any=True)
