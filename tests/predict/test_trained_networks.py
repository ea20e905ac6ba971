"""Predictions for ensembles against ensembles of wide finite networks, trained, and with kernels of other origins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import neural_tangents as nt
from neural_tangents import predict, stax

INIT_FN, APPLY_FN, KERNEL_FN = stax.serial(stax.Dense(512, 1.5, 0.1), stax.Erf(), stax.Dense(1, 1.5, 0.1))
MEMBERS, STEPS, RATE = 1000, 200, 0.05


def inputs(n, seed):
    return jax.random.normal(jax.random.key(seed), (n, 4))


def train_ensemble(members_fn, x, y, x_test, compiler_options):
    """Outputs on both sets, `(members, N)`, after gradient descent on all parameters or the readout."""

    def loss(trained, fixed):
        return jnp.mean((members_fn(trained, fixed, x) - y) ** 2) / 2

    def member(key):
        trained, fixed = members_fn.split(INIT_FN(key, x.shape)[1])

        def step(_, trained):
            return jax.tree.map(lambda p, g: p - RATE * g, trained, jax.grad(loss)(trained, fixed))

        trained = lax.fori_loop(0, STEPS, step, trained)
        return members_fn(trained, fixed, x)[:, 0], members_fn(trained, fixed, x_test)[:, 0]

    train = jax.jit(lambda keys: lax.map(member, keys, batch_size=100), compiler_options=compiler_options)
    return train(jax.random.split(jax.random.key(3), MEMBERS))


class AllParameters:
    """The network, of which all parameters are trained: its dynamics are those of the NTK."""

    def split(self, params):
        return params, ()

    def __call__(self, trained, fixed, x):
        return APPLY_FN(trained, x)


class Readout:
    """The network, of which the last layer is trained: its dynamics are those of the NNGP kernel."""

    def split(self, params):
        return params[-1:], params[:-1]

    def __call__(self, trained, fixed, x):
        return APPLY_FN([*fixed, *trained], x)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "members_fn"), [("ntk", AllParameters()), ("nngp", Readout())])
def test_mean_and_covariance_of_a_thousand_trained_networks(name, members_fn, optimised):
    x, x_test = inputs(4, 1), inputs(3, 2)
    y = jnp.sin(2 * x[:, :1])
    predict_fn = predict.gradient_descent_mse_ensemble(KERNEL_FN, x, y, learning_rate=RATE)
    for outputs, where in zip(train_ensemble(members_fn, x, y, x_test, optimised), (None, x_test), strict=True):
        mean, covariance = predict_fn(t=float(STEPS), x_test=where, get=name, compute_cov=True)
        outputs = np.asarray(outputs, "float64")
        found_mean, found = outputs.mean(0), np.cov(outputs.T)
        # Finite steps and width shift results by about 1 %; the rest is the error of 1,000 draws.
        variances = np.diag(covariance)
        mean_error = np.sqrt(variances / MEMBERS)
        assert np.all(np.abs(found_mean - mean[:, 0]) < 4 * mean_error + 0.02)
        error = np.sqrt((np.outer(variances, variances) + np.asarray(covariance) ** 2) / MEMBERS)
        assert np.all(np.abs(found - covariance) < 4 * error + 0.02 * np.max(variances))
        assert np.max(np.abs(found)) > 10 * np.max(np.abs(found - covariance))


@pytest.mark.slow
@pytest.mark.parametrize("trace_axes", [(-1,), ()])
@pytest.mark.parametrize("origin", ["empirical", "monte carlo"])
def test_kernels_of_finite_networks(origin, trace_axes):
    """Predictors take any kernel function, with keyword arguments and random keys, as they take arrays."""
    init_fn, apply_fn, _ = stax.serial(stax.Dense(16), stax.Relu(), stax.Dense(2))
    x, x_test = inputs(4, 4), inputs(3, 5)
    y = jax.random.normal(jax.random.key(6), (4, 2))
    if origin == "monte carlo":
        kernel_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(7), 20, trace_axes=trace_axes)
    else:
        params = init_fn(jax.random.key(7), x.shape)[1]

        def scaled(params, x, scale):
            return apply_fn(params, x) * scale

        empirical = nt.empirical_kernel_fn(scaled, trace_axes)

        def kernel_fn(x1, x2, get, scale=1.0):
            return empirical(x1, x2, get, params, scale=scale)

    options = {"diag_reg": 0.1, "diag_reg_absolute_scale": True, "trace_axes": trace_axes}
    keywords = {} if origin == "monte carlo" else {"scale": 0.7}
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, **options, **keywords)
    found = predict_fn(x_test=x_test, get=("nngp", "ntk"), compute_cov=True, **keywords)
    names = ("nngp", "ntk")
    train, test_train = kernel_fn(x, None, names, **keywords), kernel_fn(x_test, x, names, **keywords)
    test_test = kernel_fn(x_test, None, names, **keywords)
    expected = predict.gp_inference(train, y, **options)(names, test_train, test_test)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), found, expected)
    mse = predict.gradient_descent_mse(train.ntk, y, **options)(None, None, 0.0, test_train.ntk)
    np.testing.assert_allclose(found.ntk.mean, mse, rtol=2e-3, atol=2e-4)
    finite = predict_fn(jnp.asarray([[1.0, 1e6]]), x_test, "ntk", **keywords)
    assert finite.shape == (1, 2, 3, 2)
    np.testing.assert_allclose(finite[0, 1], mse, rtol=1e-2, atol=1e-3)
