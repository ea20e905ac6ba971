"""Trains a wide network on handwritten digits, next to the closed form of what gradient descent does to its outputs.

The prediction needs the kernel (NTK) and the outputs of the network before training, and no gradient descent: under the
squared loss the outputs of a wide network obey a linear equation, whose solution is `nt.predict.gradient_descent_mse`.

    python examples/function_space.py --width 4096
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from datasets import digits

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 64, "number of training images")
flags.DEFINE_integer("test", 64, "number of test images")
flags.DEFINE_integer("width", 2048, "number of hidden units")
flags.DEFINE_integer("steps", 1000, "number of steps of gradient descent")
flags.DEFINE_float("rate", 0.1, "learning rate, relative to the largest stable one")

HEADER = """\
        training loss       difference of   test loss           difference of
  step  network  predicted  outputs (RMSE)  network  predicted  outputs (RMSE)"""
ROW = (
    "{step:6}  {train loss:7.4f}  {train predicted:9.4f}  {train rmse:<14.4f}"
    "  {test loss:7.4f}  {test predicted:9.4f}  {test rmse:.4f}"
)


def squared_loss(outputs, targets):
    """Returns the loss that `nt.predict.gradient_descent_mse` is about."""
    return 0.5 * jnp.mean((outputs - targets) ** 2)


def gradient_descent(f, x, y, learning_rate):
    """Returns a compiled function that takes `n` steps of training `f` from the parameters."""
    gradient_fn = jax.grad(lambda params: squared_loss(f(params, x), y))

    def step(_, params):
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient_fn(params))

    return jax.jit(lambda params, n: jax.lax.fori_loop(0, n, step, params))


def main(argv):
    """Runs the experiment and returns, for each reported step, a dictionary of the numbers printed."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    train, test = (tuple(map(jnp.asarray, pair)) for pair in digits(FLAGS.train, FLAGS.test))
    init_fn, apply_fn, _ = stax.serial(
        stax.Dense(FLAGS.width, W_std=1.5, b_std=0.05), stax.Erf(), stax.Dense(10, W_std=1.5, b_std=0.05)
    )
    _, params = init_fn(jax.random.key(0), train[0].shape)

    # With finitely many units, training on one output changes the others too: the kernel is of all pairs of outputs.
    ntk_fn = jax.jit(nt.empirical_ntk_fn(apply_fn, trace_axes=(), vmap_axes=0))
    k_train_train, k_test_train = ntk_fn(train[0], None, params), ntk_fn(test[0], train[0], params)
    learning_rate = FLAGS.rate * nt.predict.max_learning_rate(k_train_train)
    predict_fn = nt.predict.gradient_descent_mse(k_train_train, train[1], learning_rate, trace_axes=())
    before = [apply_fn(params, x) for x, _ in (train, test)]
    train_fn = gradient_descent(apply_fn, *train, learning_rate)

    print(f"{len(train[0])} training and {len(test[0])} test images, {FLAGS.width} hidden units of erf")
    print(HEADER)
    rows, done = [], 0
    for step in [0, *np.unique(np.geomspace(1, FLAGS.steps, 4).round().astype(int)).tolist()]:
        params, done = train_fn(params, step - done), step
        row = {"step": step}
        predictions = predict_fn(step, *before, k_test_train)
        for name, (x, y), predicted in zip(("train", "test"), (train, test), predictions, strict=True):
            outputs = apply_fn(params, x)
            row[f"{name} loss"] = float(squared_loss(outputs, y))
            row[f"{name} predicted"] = float(squared_loss(predicted, y))
            row[f"{name} rmse"] = float(jnp.sqrt(jnp.mean((outputs - predicted) ** 2)))
        rows.append(row)
        print(ROW.format(**row))
    return rows


if __name__ == "__main__":
    main(sys.argv)
