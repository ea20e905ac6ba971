"""Every nonlinearity that has no closed form, against nested quadrature of its function."""

import jax
import jax.numpy as jnp
import nested_truth as truth
import numpy as np
import pytest
from dual_cases import SERIES
from sweeps import mostly_slow

from neural_tangents import stax


@pytest.mark.parametrize("name", mostly_slow(SERIES, ["tanh"]))
def test_moments(name):
    """The second moment of functions with kinks depends on small angles, of which single precision knows less."""
    case = SERIES[name]
    truths = [truth.moment(g, case.kinks) for g in (case.f, case.df)]
    at_zero = float(case.f(np.zeros(())))
    variances = np.append(at_zero**2, np.diagonal(truths[0][:, :, -1]))
    for dtype, tolerances in (
        (np.float64, (1e-9, 1e-9)),
        (np.float32, (1e-6, 2.5e-5 if case.kinks or name == "own" else 5e-6)),
    ):
        with jax.enable_x64(dtype == np.float64):
            computed = jax.jit(case.dual.moments)(*(jnp.asarray(x, dtype) for x in truth.grid()))
            variance = case.dual.variance(jnp.asarray(np.append(0, truth.VARIANCES), dtype))
        for got, want, tolerance in zip(computed, truths, tolerances, strict=True):
            assert got.dtype == variance.dtype == dtype
            assert np.max(np.abs(np.asarray(got, np.float64) - want) / truth.scale(want)) < tolerance
        np.testing.assert_allclose(variance, variances, rtol=tolerances[0], atol=1e-12)
    # The moment with a constant is the product of the means, and that with an uncorrelated input is that of the means.
    dual, q = case.dual, truth.VARIANCES[1]
    assert dual.vanishes == (at_zero == 0)
    for q1, q2 in ((0, q), (q, 0)):
        nngp, k_dot = dual.moments(*(jnp.full((1, 1), x, np.float32) for x in (0, q1, q2)))
        mean = np.sqrt(truths[0][1, 1, 3])
        np.testing.assert_allclose(np.abs(nngp), abs(at_zero) * mean, rtol=2e-6, atol=2e-6)
        assert jnp.isfinite(k_dot).all()


def test_extremes_of_log_cosh():
    with jax.enable_x64(True):
        x = jnp.asarray([1e-8, 1e-3, 0.999, 1.001, 800.0])
        want = np.asarray([5e-17, 0.5e-6 - 1e-12 / 12, *np.log(np.cosh([0.999, 1.001])), 800 - np.log(2)])
        fn = SERIES["log cosh"].dual.fn
        np.testing.assert_allclose(fn(x), want, rtol=1e-12)
        np.testing.assert_allclose(jax.vmap(jax.grad(fn))(x), np.tanh(x), rtol=1e-12)


def test_arguments():
    with pytest.raises(TypeError, match=r"is traced\. Make the layer outside of `jit` and `grad`"):
        jax.grad(lambda alpha: stax.Elu(alpha)[1]((), jnp.ones(1)).sum())(1.0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        stax.Squareplus(-1)
    assert stax.Elu(1)[2].spec.form.key == stax.Elu(1.0)[2].spec.form.key


@pytest.mark.slow
def test_finite_network():
    """One wide network: the mean of products over 4,096 hidden units."""
    x = np.random.RandomState(0).normal(size=(3, 5))
    for layer in (stax.Tanh(), stax.Selu(), stax.HardTanh()):
        net = stax.serial(stax.Dense(4096, 1.5, 0.2), layer)
        _, params = net[0](jax.random.key(1), x.shape)
        y = np.asarray(net[1](params, x))
        exact = np.asarray(net[2](x, None, "nngp"))
        assert np.max(np.abs(y @ y.T / 4096 - exact)) < 5 * np.max(exact) * np.sqrt(2 / 4096)


@pytest.mark.parametrize("name", ["Tanh", "HardTanh"])
def test_small_angles_in_single_precision(name):
    """At an angle that covariances of float32 know to four digits, and variances for which derivatives need it."""
    angle = 0.0045
    x1, x2 = 20 * np.array([[0.8, 0.6]]), 20 * np.array([[np.cos(angle), np.sin(angle)]])
    x2 = x2 @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    kernel_fn = stax.serial(stax.Dense(1), getattr(stax, name)())[2]
    single = float(kernel_fn(x1.astype(np.float32), x2.astype(np.float32), "ntk")[0, 0]) / (x1 @ x2.T / 2)
    with jax.enable_x64(True):
        double, largest = (np.asarray(kernel_fn(x1, x, "ntk")) / (x1 @ x.T / 2) for x in (x2, x1))
    assert abs(single - double) < 2e-6 * largest
