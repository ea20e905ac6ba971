"""Trains a wide network on handwritten digits, next to the closed form of what gradient descent does to its outputs.

The prediction needs the kernel (NTK) and the outputs of the network before training, and no gradient descent: under the
squared loss the outputs of a wide network obey a linear equation, whose solution is `nt.predict.gradient_descent_mse`.

    python examples/function_space.py --width 4096
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from datasets import digits

import neural_tangents as nt
from neural_tangents import stax

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


def main(argv=None):
    """Runs the experiment and returns, for each reported step, a dictionary of the numbers printed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", type=int, default=64, help="number of training images")
    parser.add_argument("--test", type=int, default=64, help="number of test images")
    parser.add_argument("--width", type=int, default=2048, help="number of hidden units")
    parser.add_argument("--steps", type=int, default=1000, help="number of steps of gradient descent")
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate, relative to the largest stable one")
    args = parser.parse_args(argv)

    train, test = (tuple(map(jnp.asarray, pair)) for pair in digits(args.train, args.test))
    init_fn, apply_fn, _ = stax.serial(
        stax.Dense(args.width, W_std=1.5, b_std=0.05), stax.Erf(), stax.Dense(10, W_std=1.5, b_std=0.05)
    )
    _, params = init_fn(jax.random.key(0), train[0].shape)

    # With finitely many units, training on one output changes the others too: the kernel is of all pairs of outputs.
    ntk_fn = jax.jit(nt.empirical_ntk_fn(apply_fn, trace_axes=(), vmap_axes=0))
    k_train_train, k_test_train = ntk_fn(train[0], None, params), ntk_fn(test[0], train[0], params)
    learning_rate = args.rate * nt.predict.max_learning_rate(k_train_train)
    predict_fn = nt.predict.gradient_descent_mse(k_train_train, train[1], learning_rate, trace_axes=())
    before = [apply_fn(params, x) for x, _ in (train, test)]
    train_fn = gradient_descent(apply_fn, *train, learning_rate)

    print(f"{len(train[0])} training and {len(test[0])} test images, {args.width} hidden units of erf")
    print(HEADER)
    rows, done = [], 0
    for step in [0, *np.unique(np.geomspace(1, args.steps, 4).round().astype(int)).tolist()]:
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
    main()
