"""Nonlinearities that are recognised by their values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neural_tangents import stax, tracing
from neural_tangents.tracing import LiftError
from neural_tangents.tracing._recognised import activation


@pytest.mark.parametrize(
    ("f", "layer"),
    [
        (jax.nn.relu, stax.Relu()),
        (lambda x: x * (x > 0), stax.Relu()),
        (lambda x: jnp.where(x >= 0, x, 0.2 * x), stax.LeakyRelu(0.2)),
        (jnp.abs, stax.Abs()),
        (lambda x: 2 * jax.lax.erf(3 * x) + 1, stax.Erf(2.0, 3.0, 1.0)),
        (lambda x: jax.nn.gelu(x, approximate=False), stax.Gelu()),
        (lambda x: 2 * jnp.sin(x / 2 + 1), stax.Sin(2.0, 0.5, 1.0)),
        (lambda x: jnp.cos(3 * x), stax.Cos(1.0, 3.0)),
        (lambda x: x**3 - x, stax.Polynomial([0, -1, 0, 1])),
        (lambda x: jnp.maximum(x, 0) ** 2, stax.RectifiedMonomial(2)),
        (lambda x: (x > 0) * 1.0, stax.RectifiedMonomial(0)),
        (lambda x: 3 * jnp.exp(x / 4), stax.Exp(3.0, 0.25)),
        (lambda x: jnp.exp(-(x**2)), stax.Gaussian()),
        (jnp.sign, stax.Sign()),
    ],
)
def test_recognises(f, layer):
    kernel_fn, want_fn = (stax.serial(stax.Dense(1), phi)[2] for phi in (activation(f).layer, layer))
    x = jnp.asarray(np.random.RandomState(0).normal(size=(3, 4)), jnp.float32)
    assert not repr(activation(f).layer).startswith("Elementwise")
    for got, want in zip(kernel_fn(x, None, ("nngp", "ntk")), want_fn(x, None, ("nngp", "ntk")), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("f", "layer"),
    [
        (jnp.tanh, "Tanh()"),
        (jax.nn.sigmoid, "Sigmoid()"),
        (lambda x: x / (1 + jnp.exp(-x)), "Silu()"),
        (jax.nn.softplus, "Softplus()"),
        (jax.nn.mish, "Mish()"),
        (jax.nn.selu, "Selu()"),
        (jax.nn.soft_sign, "Softsign()"),
        (lambda x: jnp.log(jnp.cosh(x)), "LogCosh()"),
        (jax.nn.hard_tanh, "HardTanh()"),
        (jax.nn.relu6, "Relu6()"),
        (lambda x: jax.nn.elu(x, 0.3), "Elu(alpha=0.3)"),
        (jax.nn.squareplus, "Squareplus(b=4.0)"),
    ],
)
def test_names(f, layer):
    phi = activation(f)
    assert repr(phi.layer) == layer and phi.accuracy == f"{layer}: relative errors below 1e-9"


@pytest.mark.parametrize("f", [jax.nn.gelu, lambda x: 1.001 * jnp.tanh(x), lambda x: jnp.maximum(x, 0.1)])
def test_others_have_no_name(f):
    assert repr(activation(f).layer).startswith("Nonlinearity(")


@pytest.mark.slow
def test_linear_between_kinks():
    phi = activation(jax.nn.hard_sigmoid)
    assert phi.accuracy == "a function that is linear between kinks at -3, 0, 3: relative errors below 1e-9"
    k = jnp.linspace(-2, 2, 5)
    got = stax.serial(stax.Dense(1), phi.layer)[2](jnp.ones((1, 1)), k[:, None], ("nngp", "ntk"))
    # f(u) = 1/2 + hard_tanh(u / 3) / 2
    tanh = stax.serial(stax.Dense(1, 1 / 3), stax.HardTanh())[2](jnp.ones((1, 1)), k[:, None], ("nngp", "ntk"))
    np.testing.assert_allclose(got.nngp, 0.25 + tanh.nngp / 4, rtol=1e-5)
    np.testing.assert_allclose(got.ntk, tanh.ntk / 4, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_says_how_accurate_others_are():
    assert float(activation(jax.nn.gelu).accuracy.split()[-1]) < 1e-8
    assert activation(jax.nn.hard_silu).accuracy == "a function that is smooth between kinks at -3, 0, 3"


@pytest.mark.slow
def test_jumps_away_from_zero_are_met_exactly():
    def shrink(x):
        return jnp.where(jnp.abs(x) > 0.5, x, 0.0)

    structs = {"u": jax.ShapeDtypeStruct((3, 9), jnp.float32), "v": jax.ShapeDtypeStruct((9, 1), jnp.float32)}
    x = jnp.array([[0.3, -0.6, 0.3], [0.3, 0.5, 1.0]])
    net = tracing.lift(lambda p, x: shrink(x @ p["u"]) @ p["v"], structs, x, distribution=lambda _, s: 1 / s[0])
    assert "By quadrature, " in net.describe()
    q = np.sum(np.asarray(x) ** 2, 1) / 3
    cut = 0.5 / np.sqrt(q)
    # E[u^2; |u| > 1 / 2]
    expected = q * (2 * cut * stats.norm.pdf(cut) + 2 * stats.norm.sf(cut))
    np.testing.assert_allclose(np.diag(net.kernel_fn(x, None, "nngp")), expected, rtol=1e-5)


def test_divisors_are_guarded_at_zero():
    """`where(x == 0, 1, x)` is not `x`."""
    phi = activation(lambda x: jnp.where(x == 0, 1, x))
    assert phi.linear is None and activation(lambda x: x).linear == (1, 0)


@pytest.mark.parametrize("f", [jnp.reciprocal, jnp.log, lambda x: jnp.log(jnp.abs(x)), lambda x: jnp.sqrt(x)])
def test_refuses_what_is_not_finite(f):
    with pytest.raises(LiftError, match="not finite"):
        _ = activation(f).layer


@pytest.mark.parametrize("f", [jnp.cosh, lambda x: x * jnp.exp(x)])
def test_refuses_what_grows_fast(f):
    with pytest.raises(LiftError, match="grows too fast"):
        _ = activation(f).layer


def test_equal_functions_are_one():
    assert activation(jnp.tanh) is activation(lambda x: 1 * jnp.tanh(x))
    assert activation(lambda x: x > 0) is not activation(lambda x: (x > 0) * 1.0)
    assert activation(jnp.tanh).times(2.0) is activation(lambda x: 2 * jnp.tanh(x))


def test_linear():
    assert activation(lambda x: 3 * x - 0.5).linear == (3, -0.5)
    assert activation(jnp.sin).linear is None and activation(lambda x: x != x).linear is None
