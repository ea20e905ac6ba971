"""Finds wrong labels among handwritten digits, without training anything again.

Some of the digits that come with scikit-learn get a wrong label on purpose. The ensemble of infinite networks that
gradient descent trains on all of them tells which labels these are, in two ways. By leaving one out: would the label of
an image be predicted from all other images? And by influence: would predictions of a test set, whose labels are right,
be better without the image? Both are closed forms in one factorisation of the kernel.

    python examples/wrong_labels.py --plot wrong_labels.png
"""

import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from datasets import digits
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 1000, "number of training images")
flags.DEFINE_float("wrong", 0.05, "fraction of them that get a wrong label")
flags.DEFINE_float("diag_reg", 0.1, "noise variance, relative to the mean variance")
flags.DEFINE_integer("seed", 0, "of the choice of wrong labels")
flags.DEFINE_string("plot", str(Path(__file__).with_suffix(".png")), "where the plot goes")


def spoiled(y, fraction, seed):
    """Returns targets of which a fraction is moved to another class, and which of them."""
    random = np.random.default_rng(seed)
    is_wrong = np.zeros(len(y), bool)
    is_wrong[random.choice(len(y), round(fraction * len(y)), replace=False)] = True
    moved = np.stack([np.roll(row, random.integers(1, 10)) for row in y])
    return np.where(is_wrong[:, None], moved, y), is_wrong


def margins(scores, labels):
    """Returns by how much the score of each label exceeds the best of the other ones."""
    own = np.arange(len(labels)), labels
    others = scores.copy()
    others[own] = -np.inf
    return scores[own] - others.max(axis=1)


def plot_worst(path, images, labels, scores, is_wrong, suspicion):
    """Draws the most suspicious images, with their label and what all other images make of them."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    worst = np.argsort(-suspicion)[:32]
    for axis, i in zip(figure.subplots(4, 8).flat, worst, strict=True):
        axis.imshow(images[i], cmap="gray_r")
        color = "tab:red" if is_wrong[i] else "black"
        axis.set_title(f"labelled {labels[i]}, is it {scores[i].argmax()}?", color=color, fontsize=9)
        axis.set(xticks=[], yticks=[])
    figure.suptitle("the most suspicious training images; in red, those with a wrong label")
    figure.savefig(path, dpi=120)


def main(argv):
    """Runs the experiment and returns the area under the ROC curve by each of the two ways."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x, y), (x_test, y_test) = digits(FLAGS.train)
    y, is_wrong = spoiled(y, FLAGS.wrong, FLAGS.seed)
    labels = y.argmax(axis=1)

    hidden = [layer for _ in range(2) for layer in (stax.Dense(1, W_std=1.5, b_std=0.05), stax.Relu())]
    _, _, kernel_fn = stax.serial(*hidden, stax.Dense(1))
    kernel_fn = jax.jit(kernel_fn, static_argnames="get")
    with jax.enable_x64(True):
        predict_fn = nt.predict.gp_inference(kernel_fn(x, None, "ntk"), y, FLAGS.diag_reg)
        scores = np.asarray(predict_fn.leave_one_out("ntkgp").mean)
        influence = predict_fn.influence(kernel_fn(x_test, x, "ntk"), "ntk")
        suspicion = {"leave one out": -margins(scores, labels), "influence": np.asarray(influence.on_loss(y_test))}

    print(f"{len(x)} training images, {is_wrong.sum()} of them with a wrong label; {len(x_test)} test images")
    found = {}
    for name, values in suspicion.items():
        found[name] = float(roc_auc_score(is_wrong, values))
        first = is_wrong[np.argsort(-values)[: is_wrong.sum()]].mean()
        print(f"{name:14} area under the ROC curve {found[name]:.4f}, {first:.0%} of the first are wrong")
    plot_worst(FLAGS.plot, x.reshape(-1, 8, 8), labels, scores, is_wrong, suspicion["leave one out"])
    print(f"plot: {FLAGS.plot}")
    return found


if __name__ == "__main__":
    main(sys.argv)
