"""Right uses of predictors: type checkers accept all of them, and they run."""

from typing import assert_type

import jax
import jax.numpy as jnp

import neural_tangents as nt
from neural_tangents import predict, stax

kernel_fn = stax.serial(stax.Dense(16), stax.Erf(), stax.Dense(1)).kernel_fn
key1, key2, key3 = jax.random.split(jax.random.key(1), 3)
x_train, x_test = jax.random.normal(key1, (4, 3)), jax.random.normal(key2, (2, 3))
y_train = jnp.sin(jnp.sum(x_train, axis=1, keepdims=True))

k_train_train = kernel_fn(x_train, None, ("nngp", "ntk"))
k_test_train = kernel_fn(x_test, x_train, ("nngp", "ntk"))
k_test_test = kernel_fn(x_test, None, "nngp")
ntk = kernel_fn(x_train, None, "ntk")

# Gaussian processes.

process = nt.predict.gp_inference(k_train_train, y_train, diag_reg=1e-3, noise_variance=0.1)
assert_type(process("ntk", k_test_train), jax.Array)
posterior = process(get="ntk", k_test_train=k_test_train, k_test_test=k_test_test)
assert_type(posterior, predict.Gaussian)
assert posterior.mean.shape == posterior.variance.shape == posterior.stddev.shape == (2, 1)
assert_type(posterior.covariance, jax.Array)
assert posterior.sample_posterior(key3, 5).shape == (5, 2, 1)
mean, covariance = posterior
both = process(k_test_train=k_test_train, k_test_test=k_test_test)
assert both.nngp.stddev.shape == both.ntk.stddev.shape == (2, 1)
for prediction in both:
    assert_type(prediction.variance, jax.Array)
assert process(("nngp", "ntk"), k_test_train).ntk.shape == (2, 1)

assert_type(process.diagnostics()["ntk"].condition_number, jax.Array)
assert_type(process.log_marginal_likelihood(), jax.Array)
assert process.leave_one_out(get="ntkgp").mean.shape == (4, 1)

# Gradient descent.

ensemble = predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, diag_reg=1e-4, diagonal_batch=True)
assert_type(ensemble(x_test=x_test, get="ntk"), jax.Array)
assert_type(ensemble(t=100.0, x_test=x_test, get="ntk", compute_cov=True), predict.Gaussian)
assert ensemble(x_test=x_test, compute_cov=True).nngp.stddev.shape == (2, 1)
assert ensemble(x_test=x_test, get=("nngp", "ntk")).ntk.shape == (2, 1)

flow = predict.gradient_descent_mse(ntk, y_train, learning_rate=0.5)
assert_type(flow(1.0), jax.Array)
train, test = flow(1.0, 0.0, 0.0, k_test_train.ntk)
assert test.shape == (2, 1)


def squared_loss(fx: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((fx - y) ** 2) / 2


by_momentum = predict.gradient_descent(squared_loss, ntk, y_train, momentum=0.9)
state = by_momentum(1.0, predict.ODEState(y_train))
assert_type(state, predict.ODEState)
assert_type(predict.max_learning_rate(ntk, y_train.size), jax.Array)
