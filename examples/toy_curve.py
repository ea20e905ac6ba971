"""Draws what an infinitely wide network believes about a curve: before data, after data, and while it is trained.

Left: outputs of random networks, and the band of two standard deviations that they stay in. Middle: the Bayesian
network, that is, the same networks given five points. Right: the ensemble of networks that gradient descent trains on
these points, at three times. The picture in the README is made by

    python examples/toy_curve.py --plot docs/toy_curve.png
"""

import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_string("plot", str(Path(__file__).with_suffix(".png")), "where the plot goes")
flags.DEFINE_integer("points", 200, "where the curve is evaluated")

TIMES = {"t = 0": 0.0, "t = 1": 1.0, "trained": None}


def infinite_network():
    """Returns the kernel function of a network with two hidden layers."""
    hidden = [stax.Dense(1, W_std=2.0, b_std=1.4), stax.Erf()] * 2
    _, _, kernel_fn = stax.serial(*hidden, stax.Dense(1, W_std=1.5, b_std=0.2))
    return kernel_fn


def curve(x):
    """Returns the function that is learned."""
    return np.sin(2.5 * x) * np.exp(-0.2 * x)


def draws(mean, covariance, n, seed=0):
    """Returns `n` functions of a Gaussian process, `(points, n)`."""
    values, vectors = np.linalg.eigh(covariance)
    noise = np.random.default_rng(seed).normal(size=(len(mean), n))
    return mean + vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * noise)


def main(argv):
    """Draws the picture and returns the mean and the standard deviation of each prediction, both `(points,)`."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    x = np.linspace(-2, 2, FLAGS.points)[:, None]
    x_train = np.array([-1.5, -1.1, -0.3, 0.6, 1.3])[:, None]
    y_train = curve(x_train)

    with jax.enable_x64(True):
        kernel_fn = infinite_network()
        predict_fn = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, diag_reg=1e-6)
        gaussians = {"prior": (np.zeros_like(x), kernel_fn(x, None, "nngp"))}
        gaussians["posterior"] = predict_fn(x_test=x, get="nngp", compute_cov=True)
        for name, t in TIMES.items():
            gaussians[name] = predict_fn(t=t, x_test=x, get="ntk", compute_cov=True)

    gaussians = {name: tuple(map(np.asarray, gaussian)) for name, gaussian in gaussians.items()}
    moments = {name: (mean[:, 0], np.sqrt(np.diag(covariance))) for name, (mean, covariance) in gaussians.items()}
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    titles = "prior: random networks", "posterior: Bayesian networks", "training by gradient descent"
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="input")
    panels[0].set(ylabel="output", ylim=(-3.2, 3.2))
    for panel, name in zip(panels, ("prior", "posterior"), strict=False):
        panel.plot(x, draws(*gaussians[name], 5), linewidth=0.8, color="tab:blue", alpha=0.6)
    shown = [(0, "prior", "tab:blue"), (1, "posterior", "tab:blue")]
    shown += [(2, name, color) for name, color in zip(TIMES, ("tab:gray", "tab:orange", "tab:green"), strict=True)]
    for column, name, color in shown:
        mean, std = moments[name]
        panels[column].fill_between(x[:, 0], mean - 2 * std, mean + 2 * std, color=color, alpha=0.2, linewidth=0)
        panels[column].plot(x, mean, color=color, label=name if column == 2 else "mean, 2 std. dev.")
    for panel in panels[1:]:
        panel.plot(x, curve(x), "k--", linewidth=0.8, label="truth")
        panel.plot(x_train, y_train, "k.", markersize=8)
        panel.legend(loc="lower left", fontsize=8)
    figure.savefig(FLAGS.plot, dpi=110)
    print(f"plot: {FLAGS.plot}")
    return moments


if __name__ == "__main__":
    main(sys.argv)
