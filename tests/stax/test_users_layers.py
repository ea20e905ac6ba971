"""Layers of users that break rules: no optimisation raises, or returns other numbers, where the plain path does not.

The plain path evaluates one layer after the other, whatever they do.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.stax import Conv, Dense, GlobalAvgPool, Relu, _blocks, _compiled_runs, serial
from neural_tangents.stax._streaming.runs import Next

X = np.random.RandomState(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
COVARIANCES = ("nngp", "ntk", "cov1", "cov2")


def users_layer(kernel_fn, out_shape=lambda shape: shape, **requirements):
    @stax.layer
    def Users():
        def init_fn(rng, shape):
            return out_shape(shape), ()

        return init_fn, lambda params, x: jnp.zeros(out_shape(x.shape)), stax.requires(**requirements)(kernel_fn)

    return Users()


def mapped(fn, **changes):
    return lambda k: k.map_covariances(fn).replace(**changes)


def position_mean(cov, n):
    return cov.mean(tuple(range(n, cov.ndim)))


def first_axis_mean(cov, n):
    return cov.mean((n, n + 1))


def counted(k):
    """Takes all pairs of positions for granted, as an entry for each pair of inputs."""
    assert k.nngp.ndim == 6 and k.nngp.shape[2] == k.nngp.shape[3]
    return k * 2.0


FULL = dict(diagonal_spatial=False)
LAYERS = {
    "stale channels": users_layer(mapped(position_mean), lambda shape: (shape[0], shape[-1]), **FULL),
    "no channels": users_layer(mapped(position_mean, channel_axis=-1), lambda shape: shape[:1], **FULL),
    "stale shape": users_layer(mapped(position_mean), **FULL),
    "an axis less": users_layer(mapped(first_axis_mean), lambda shape: (shape[0], *shape[2:]), **FULL),
    "an axis less, stale shape": users_layer(mapped(first_axis_mean), **FULL),
    "an axis more": users_layer(mapped(lambda cov, n: cov[..., None, None]), lambda s: (*s[:3], 1, s[3]), **FULL),
    "an axis more, stale shape": users_layer(mapped(lambda cov, n: cov[..., None, None]), **FULL),
    "cropped, stale shape": users_layer(mapped(lambda cov, n: cov[..., :2, :2]), **FULL),
    "transposed": users_layer(lambda k: k.transpose((1, 0)), lambda s: (s[0], s[2], s[1], s[3]), **FULL),
    "transposed, stale shape": users_layer(lambda k: k.transpose((1, 0)), **FULL),
    "reversed": users_layer(lambda k: k.reverse(), lambda s: (s[0], s[2], s[1], s[3]), **FULL),
    "reversed, stale shape": users_layer(lambda k: k.reverse(), **FULL),
    "stale flag": users_layer(lambda k: k.map_covariances(k.layout.diagonal), **FULL),
    "no NTK": users_layer(lambda k: k.replace(ntk=None), **FULL),
    "half precision": users_layer(mapped(lambda cov, n: cov.astype(jnp.bfloat16)), **FULL),
    "pointwise, all pairs": users_layer(counted, pointwise=True, **FULL),
    "pointwise, not": users_layer(mapped(first_axis_mean), lambda s: (s[0], *s[2:]), pointwise=True, **FULL),
    "pointwise, other types": users_layer(mapped(lambda cov, n: cov.astype(jnp.bfloat16)), pointwise=True),
    "pointwise, values": users_layer(lambda k: k * (2.0 if k.nngp.max() > 0 else 1.0), pointwise=True),
    "pointwise, one batch": users_layer(lambda k: k * (2.0 if k.x1_is_x2 else 1.0), pointwise=True),
}
CONV = [Conv(2, (3, 3), padding="SAME", W_std=1.3, b_std=0.1), Relu()]
TAILS = {
    "dense": [Dense(2), Relu()],
    "deep": [Relu(), users_layer(lambda k: (k * 2.0).replace(is_gaussian=True))] * 6,
    "pool": [*CONV, GlobalAvgPool()],
}
CASES = [(name, True) for name in LAYERS] + [(name, False) for name in ("stale channels", "pointwise, one batch")]


def plain(monkeypatch):
    monkeypatch.setattr(_compiled_runs, "find_run", lambda steps, *_: Next(len(steps), None, ""))
    monkeypatch.setattr(_compiled_runs, "_known", lambda *_: False)
    for module in (_blocks, _compiled_runs):
        monkeypatch.setattr(module, "fewest", lambda kernels: 1000)


def outcome(*layers, jit):
    def covariances(x):
        k = serial(*layers)[2](x, None)
        return [getattr(k, name) for name in COVARIANCES]

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The layers from .* could not be evaluated slab by slab")
            return (jax.jit if jit else lambda fn: fn)(covariances)(X)
    except Exception as error:
        return error


@pytest.mark.slow
@pytest.mark.parametrize(("first", "jit"), CASES, ids=str)
def test_optimisations_do_as_the_plain_path(first, jit, monkeypatch):
    monkeypatch.setattr("neural_tangents.stax._streaming.runs._MANY_ENTRIES", 1)
    networks = {name: [CONV[0], LAYERS[first], *tail] for name, tail in TAILS.items()}
    found = {name: outcome(*layers, jit=jit) for name, layers in networks.items()}
    plain(monkeypatch)
    n_computed = 0
    for name, layers in networks.items():
        want, got = outcome(*layers, jit=jit), found[name]
        if isinstance(want, Exception):
            assert type(got) is type(want) and str(got) == str(want), name
            continue
        assert not isinstance(got, Exception), (name, got)
        n_computed += 1
        for a, b in zip(got, want, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                assert a.shape == b.shape
                rtol = 0.1 if jnp.bfloat16 in (a.dtype, b.dtype) else 2e-4
                np.testing.assert_allclose(*(np.asarray(c, float) for c in (a, b)), rtol=rtol, atol=1e-5)
    assert n_computed or first in ("stale flag", "pointwise, values")  # which nobody can compute


def variances_of(k):
    """Those that belong to each entry of `nngp`."""
    cov2 = k.cov1 if k.cov2 is None else k.cov2
    return k.layout.spread(k.layout.variance(k.cov1), k.layout.variance(cov2))


def correlations(k):
    q1, q2 = variances_of(k)
    one = [None if cov is None else jnp.ones_like(cov) for cov in (k.cov1, k.cov2)]
    return k.replace(nngp=k.nngp / jnp.sqrt(q1 * q2), cov1=one[0], cov2=one[1])


def as_shapes_say(k):
    assert k.cov1.shape[0] == k.shape1[k.batch_axis] and variances_of(k)[1].ndim == k.nngp.ndim
    assert k.cov2 is None or k.cov2.shape[0] == k.shape2[k.batch_axis]
    return k * 2.0


def second_scaled(k):
    return k.replace(nngp=2 * k.nngp, cov2=None if k.cov2 is None else 4 * k.cov2)


def of_formula(k):
    """A layer inside of a layer, both of which divide by variances."""
    squares = stax.Elementwise(
        nngp_fn=lambda k, q1, q2: k**2 / (q1 * q2) + k, d_nngp_fn=lambda k, q1, q2: 2 * k / (q1 * q2) + 1
    )
    return correlations(squares[2](k.replace(is_gaussian=True)))


POINTWISE = {
    "formula of a formula": of_formula,
    "divides by variances": correlations,
    "checks shapes": as_shapes_say,
    "scales the second batch": second_scaled,
    "infinite at zero": lambda k: k.replace(nngp=k.nngp + 1e-3 / k.nngp),
    "own NTK": lambda k: k.replace(ntk=0.5 * k.nngp),
    "logarithm of variances": lambda k: k.replace(nngp=k.nngp * jnp.log(jnp.multiply(*variances_of(k)))),
}


def assert_streamed_as_at_once(layers, twice, monkeypatch):
    """Values, and derivatives inside and outside of `jit`."""
    x1 = X.astype(float)
    x2 = None if twice else np.random.RandomState(1).normal(size=(3, 4, 3, 2))
    kernel_fn = serial(*layers)[2]

    def outputs(x1):
        return kernel_fn(x1, x2, ("nngp", "ntk"))

    def total(x1):
        return outputs(x1).ntk.sum()

    found = {}
    with jax.enable_x64(True):
        for many in (0, 2**40):
            monkeypatch.setattr("neural_tangents.stax._streaming.runs._MANY_ENTRIES", many)
            monkeypatch.setattr(_compiled_runs, "_SHARED", _compiled_runs.Programs())
            assert stax.explain(kernel_fn, X, x2).stages[0].streamed == (many == 0)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found[many] = outputs(x1), jax.grad(total)(x1), jax.jit(jax.grad(total))(x1)
    for got, want in zip(*map(jax.tree.leaves, found.values()), strict=True):
        assert np.all(np.isfinite(want))
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_layers_may_use_variances(name, twice, monkeypatch):
    layers = [*CONV, users_layer(POINTWISE[name], pointwise=True), Conv(2, (3, 3), padding="SAME"), GlobalAvgPool()]
    assert_streamed_as_at_once(layers, twice, monkeypatch)


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("join", [stax.FanInSum, stax.FanInProd])
def test_pointwise_layer_in_one_branch(join, twice, monkeypatch):
    doubled = users_layer(lambda k: k * 2.0, pointwise=True)
    branches = [stax.FanOut(2), stax.parallel(serial(doubled, CONV[0]), CONV[0]), join()]
    assert_streamed_as_at_once([CONV[0], *branches, GlobalAvgPool()], twice, monkeypatch)


FORMULAS = {
    "root": lambda k, q1, q2: jnp.sqrt(jnp.abs(k)),
    "logarithm": lambda k, q1, q2: jnp.log(jnp.abs(k)),
    "power": lambda k, q1, q2: jnp.abs(k) ** 1.5,
    "correlation": lambda k, q1, q2: jnp.arcsin(0.99 * k / jnp.sqrt(q1 * q2)),
}


@pytest.mark.filterwarnings("ignore:`Elementwise` differentiates")
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_may_be_infinite_at_zero(name, monkeypatch):
    layers = [CONV[0], stax.Elementwise(nngp_fn=FORMULAS[name]), *CONV, GlobalAvgPool()]
    assert_streamed_as_at_once(layers, False, monkeypatch)


@pytest.mark.filterwarnings("ignore:The kernel of `ElementwiseNumerical` is approximate")
def test_functions_may_be_infinite_at_zero(monkeypatch):
    numerical = stax.ElementwiseNumerical(lambda x: jnp.log(jnp.abs(x)), 4)
    assert_streamed_as_at_once([CONV[0], numerical, *CONV, GlobalAvgPool()], False, monkeypatch)


@pytest.mark.parametrize("twice", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_nonlinearities_by_tables(twice, monkeypatch):
    """For some inputs of the first batch at a time, of which there are more than there are blocks."""
    monkeypatch.setattr("neural_tangents.stax._nonlinearities.angle_series._BLOCK", 16)
    layers = [CONV[0], stax.Nonlinearity(jnp.tanh), CONV[0], stax.Softplus(), GlobalAvgPool()]
    assert_streamed_as_at_once(layers, twice, monkeypatch)


def test_numbers_of_low_precision_do_not_lower_that_of_formulas():
    slope = np.float32(0.3)
    with jax.enable_x64(True):
        got, want = (
            serial(CONV[0], stax.ABRelu(a, 2.0), CONV[0], stax.Abs(), GlobalAvgPool())[2](X.astype(float), None, "ntk")
            for a in (slope, float(slope))
        )
    np.testing.assert_array_equal(got, want)
