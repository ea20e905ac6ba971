"""Learns the weight and bias variances of an infinite network, and the noise, by gradient.

The network regresses noisy values of a function of two variables. Its kernel is differentiable in `W_std` and `b_std`,
so the log marginal likelihood of the training set is ascended in these and in the noise variance, all three on a
logarithmic scale. Leave-one-out predictions say, without a test set, how much better predictions become.

    python examples/hyperparameters.py --steps 60
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 100, "number of training points")
flags.DEFINE_integer("steps", 100, "number of steps of gradient ascent")

TRUE_NOISE = 0.1  # standard deviation


def data(n, seed=0):
    """Returns `n` points of the plane and noisy values of a function there."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 2))
    y = np.sin(2 * x[:, :1]) + np.cos(x[:, 1:]) + TRUE_NOISE * random.normal(size=(n, 1))
    return x, y


def inference(log_values, x, y):
    """Returns the predictor for the logarithms of `W_std`, `b_std` and the noise variance, and its kernel function."""
    w_std, b_std, noise = jnp.exp(log_values)
    hidden = [layer for _ in range(2) for layer in (stax.Dense(1, w_std, b_std), stax.Erf())]
    _, _, kernel_fn = stax.serial(*hidden, stax.Dense(1, w_std, b_std))
    return nt.predict.gp_inference(kernel_fn(x, None, "nngp"), y, noise_variance=noise), kernel_fn


def loss(log_values, x, y):
    """Returns minus the log marginal likelihood for each training point."""
    predict_fn, _ = inference(log_values, x, y)
    return -predict_fn.log_marginal_likelihood() / len(y)


def leave_one_out_error(log_values, x, y):
    """Returns the root mean square error of predictions of each training point from all others."""
    predict_fn, _ = inference(log_values, x, y)
    return jnp.sqrt(jnp.mean((predict_fn.leave_one_out().mean - y) ** 2))


def test_error(log_values, x, y, x_test, y_test):
    """Returns the root mean square error of predictions of the test set."""
    predict_fn, kernel_fn = inference(log_values, x, y)
    return jnp.sqrt(jnp.mean((predict_fn("nngp", kernel_fn(x_test, x, "nngp")) - y_test) ** 2))


def main(argv):
    """Runs the experiment and returns losses, test errors, and the noise that was learned."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    with jax.enable_x64(True):
        train, test = data(FLAGS.train), data(500, seed=1)
        value_and_grad = jax.jit(jax.value_and_grad(loss))
        log_values = jnp.log(jnp.asarray([1.0, 0.1, 0.1]))
        velocity, losses, errors = jnp.zeros(3), [], []
        print("  step  loss     leave-one-out error  test error  W_std  b_std  noise (standard deviation)")
        for step in range(FLAGS.steps + 1):
            value, gradient = value_and_grad(log_values, *train)
            losses.append(float(value))
            if step in (0, FLAGS.steps // 10, FLAGS.steps):
                errors.append(float(test_error(log_values, *train, *test)))
                w_std, b_std, noise = np.exp(log_values)
                print(f"{step:6d}  {value:7.4f}  {leave_one_out_error(log_values, *train):19.4f}  {errors[-1]:10.4f}"
                      f"  {w_std:5.2f}  {b_std:5.2f}  {noise**0.5:.3f}")  # fmt: skip
            velocity = 0.9 * velocity - 0.1 * gradient
            log_values = log_values + velocity
    print(f"the noise had standard deviation {TRUE_NOISE}")
    return losses, errors, float(noise**0.5)


if __name__ == "__main__":
    main(sys.argv)
