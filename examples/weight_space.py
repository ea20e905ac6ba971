"""Trains a wide network on handwritten digits, next to its linearisation in the parameters.

Both start at the same parameters and are trained by the same full-batch gradient descent with momentum on the
cross-entropy. Wide networks hardly move in parameter space, so the two stay close, the closer the wider the network.

    python examples/weight_space.py --width 4096
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from datasets import digits

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 1000, "number of training images")
flags.DEFINE_integer("test", 797, "number of test images")
flags.DEFINE_integer("width", 1024, "number of hidden units")
flags.DEFINE_integer("steps", 100, "number of steps of gradient descent")
flags.DEFINE_float("learning_rate", 1.0, "learning rate")
flags.DEFINE_float("momentum", 0.9, "momentum")

HEADER = """\
        training loss    test loss        test accuracy    difference of
  step  network  linear  network  linear  network  linear  test outputs (RMSE)"""
ROW = (
    "{step:6}  {train loss network:7.4f}  {train loss linear:6.4f}  {test loss network:7.4f}  {test loss linear:6.4f}"
    "  {test accuracy network:7.2%}  {test accuracy linear:6.2%}  {rmse:.4f}"
)


def cross_entropy(outputs, labels):
    """Returns the mean over images of the negative logarithm of the probability of the right class."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1))


@functools.partial(jax.jit, static_argnums=0)
def evaluate(f, params, train, test):
    """Returns the test outputs of `f`, and a dictionary of losses and of how often the largest output is right."""
    fitted, outputs = (f(params, x) for x, _ in (train, test))
    return outputs, {
        "train loss": cross_entropy(fitted, train[1]),
        "test loss": cross_entropy(outputs, test[1]),
        "test accuracy": jnp.mean(outputs.argmax(axis=1) == test[1]),
    }


def momentum_descent(f, x, labels, learning_rate, momentum):
    """Returns a compiled function that takes `n` steps of training `f` from the state `(params, velocity)`."""
    gradient_fn = jax.grad(lambda params: cross_entropy(f(params, x), labels))

    def step(_, state):
        params, velocity = state
        velocity = jax.tree.map(lambda v, g: momentum * v - learning_rate * g, velocity, gradient_fn(params))
        return jax.tree.map(jnp.add, params, velocity), velocity

    return jax.jit(lambda state, n: jax.lax.fori_loop(0, n, step, state))


def main(argv):
    """Runs the experiment and returns, for each reported step, a dictionary of the numbers printed."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    train, test = ((jnp.asarray(x), jnp.asarray(y).argmax(axis=1)) for x, y in digits(FLAGS.train, FLAGS.test))
    init_fn, apply_fn, _ = stax.serial(
        stax.Dense(FLAGS.width, W_std=1.5, b_std=0.05), stax.Erf(), stax.Dense(10, W_std=1.5, b_std=0.05)
    )
    _, params = init_fn(jax.random.key(0), train[0].shape)

    models = {"network": apply_fn, "linear": nt.linearize(apply_fn, params)}
    train_fns = {name: momentum_descent(f, *train, FLAGS.learning_rate, FLAGS.momentum) for name, f in models.items()}
    states = dict.fromkeys(models, (params, jax.tree.map(jnp.zeros_like, params)))

    print(f"{len(train[0])} training and {len(test[0])} test images, {FLAGS.width} hidden units of erf")
    print(HEADER)
    rows, done = [], 0
    for step in [0, *np.unique(np.geomspace(1, FLAGS.steps, 5).round().astype(int)).tolist()]:
        row, outputs = {"step": step}, {}
        for name, f in models.items():
            states[name] = train_fns[name](states[name], step - done)
            outputs[name], numbers = evaluate(f, states[name][0], train, test)
            row |= {f"{kind} {name}": float(number) for kind, number in numbers.items()}
        row["rmse"] = float(jnp.sqrt(jnp.mean((outputs["network"] - outputs["linear"]) ** 2)))
        rows.append(row)
        print(ROW.format(**row))
        done = step
    return rows


if __name__ == "__main__":
    main(sys.argv)
