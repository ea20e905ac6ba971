"""Trains infinitely wide fully-connected networks on handwritten digits, exactly, and shows how sure they are.

The data are the 1,797 images of 8 x 8 pixels that come with scikit-learn, in their own order: the first 1,000 train,
the rest test. Two limits are computed: the Bayesian network (NNGP), and the ensemble of networks trained to
convergence by gradient descent (NTK). Both give a Gaussian for every output on every test image.

    python examples/infinite_fcn.py --depth 3 --plot digits.png
"""

import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from datasets import digits
from matplotlib.figure import Figure

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 1000, "number of training images")
flags.DEFINE_integer("depth", 3, "number of hidden layers")
flags.DEFINE_float("diag_reg", 1e-4, "noise variance, relative to the mean variance")
flags.DEFINE_string("plot", str(Path(__file__).with_suffix(".png")), "where the plot goes")

KERNELS = {"nngp": "Bayesian (NNGP)", "ntk": "trained by gradient descent (NTK)"}


def infinite_network(depth):
    """Returns the kernel function of a network with `depth` hidden layers."""
    hidden = [layer for _ in range(depth) for layer in (stax.Dense(1, W_std=1.5, b_std=0.05), stax.Erf())]
    _, _, kernel_fn = stax.serial(*hidden, stax.Dense(1, W_std=1.5, b_std=0.05))
    return jax.jit(kernel_fn, static_argnames="get")


def plot_predictions(path, images, labels, predictions):
    """Draws four test digits with their predicted scores, and how often the sure and the unsure predictions are right.

    `predictions[name]` is a pair: the mean scores, (n, 10), and the standard deviation of each image's scores, (n,).
    """
    figure = Figure(figsize=(14, 5), layout="constrained")
    grid = figure.add_gridspec(2, 6, height_ratios=[1, 2])
    ranking = np.argsort(predictions["nngp"][1])
    ranks = {"surest": 0, "median": len(labels) // 2, "second least sure": -2, "least sure": -1}
    for column, (title, rank) in enumerate(ranks.items()):
        i = ranking[rank]
        image, scores = (figure.add_subplot(grid[row, column]) for row in range(2))
        image.imshow(images[i], cmap="gray_r")
        image.set(xticks=[], yticks=[], title=f"a {labels[i]}, {title}")
        for name, offset in [("nngp", -0.15), ("ntk", 0.15)]:
            mean, std = predictions[name]
            scores.errorbar(np.arange(10) + offset, mean[i], yerr=2 * std[i], fmt=".", capsize=2, label=name.upper())
        scores.axhline(0.0, color="gray", linewidth=0.5)
        scores.set(xticks=range(10), ylim=(-1.0, 1.6), xlabel="digit", ylabel="" if column else "score, 2 std. dev.")
    scores.legend()

    panel = figure.add_subplot(grid[:, 4:])
    for name, (mean, std) in predictions.items():
        groups = np.array_split(np.argsort(std), 8)
        right = mean.argmax(axis=1) == labels
        panel.plot([std[g].mean() for g in groups], [100 * right[g].mean() for g in groups], "o-", label=KERNELS[name])
    panel.set(title="eighths of the test set, surest first", xlabel="predicted std. dev.", ylabel="test accuracy, %")
    panel.legend()
    figure.savefig(path, dpi=120)


def main(argv):
    """Runs the experiment and returns the test accuracy of each kernel."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x_train, y_train), (x_test, y_test) = digits(FLAGS.train)
    labels = y_test.argmax(axis=1)

    accuracies, predictions = {}, {}
    print(f"{len(x_train)} training and {len(x_test)} test images, {FLAGS.depth} infinitely wide hidden layers of erf")
    with jax.enable_x64(True):
        for name, title in KERNELS.items():
            start = time.perf_counter()
            predict_fn = nt.predict.gradient_descent_mse_ensemble(
                infinite_network(FLAGS.depth), x_train, y_train, diag_reg=FLAGS.diag_reg
            )
            mean, covariance = map(np.asarray, predict_fn(x_test=x_test, get=name, compute_cov=True))
            seconds = time.perf_counter() - start
            predictions[name] = mean, np.sqrt(np.diag(covariance))
            accuracies[name] = float(np.mean(mean.argmax(axis=1) == labels))
            loss = 0.5 * np.mean((mean - y_test) ** 2)
            print(f"{title:34} test accuracy {accuracies[name]:.2%}, loss {loss:.5f}, {seconds:.1f} s")
    plot_predictions(FLAGS.plot, x_test.reshape(-1, 8, 8), labels, predictions)
    print(f"plot: {FLAGS.plot}")
    return accuracies


if __name__ == "__main__":
    main(sys.argv)
