"""Classifies handwritten digits by infinitely wide convolutional networks, with pooling and with flattening.

Both networks have the same convolutions. `Flatten` reads out each position with weights of its own, so the kernel only
compares equal positions; `GlobalAvgPool` averages over positions, so it compares all of them, and moving a digit by a
pixel changes little. Kernels are computed in tiles by `nt.batch`.

    python examples/infinite_cnn.py --train 200 --depth 3
"""

import sys
import time

import numpy as np
from absl import app, flags
from datasets import digits

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 100, "number of training images")
flags.DEFINE_integer("test", 200, "number of test images")
flags.DEFINE_integer("depth", 2, "number of convolutions")
flags.DEFINE_integer("tile", 50, "largest number of images along each side of a tile")
flags.DEFINE_float("diag_reg", 1e-3, "noise variance, relative to the mean variance")

READOUTS = {"flattened": stax.Flatten, "pooled": stax.GlobalAvgPool}


def infinite_network(depth, readout):
    """Returns the kernel function of a network of `depth` convolutions, and a readout from all positions."""
    block = [stax.Conv(1, (3, 3), padding="SAME", W_std=1.4, b_std=0.1), stax.Relu()]
    _, _, kernel_fn = stax.serial(*block * depth, READOUTS[readout](), stax.Dense(1))
    return kernel_fn


def moved(images):
    """Returns images of digits moved by one pixel to the left; what leaves on one side is empty on the other."""
    return np.pad(images[:, :, 1:], [(0, 0), (0, 0), (0, 1), (0, 0)])


def main(argv):
    """Runs the experiment and returns, for each readout, the accuracy on test images as they are, and on moved ones."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x_train, y_train), (x_test, y_test) = digits(FLAGS.train, FLAGS.test)
    x_train, x_test = (x.reshape(-1, 8, 8, 1).astype("float32") for x in (x_train, x_test))
    labels = y_test.argmax(axis=1)
    print(f"{len(x_train)} training and {len(x_test)} test images, {FLAGS.depth} infinitely wide convolutions")
    print("  readout    as they are  moved    seconds")
    accuracies = {}
    for readout in READOUTS:
        start = time.perf_counter()
        kernel_fn = nt.batch(infinite_network(FLAGS.depth, readout), FLAGS.tile)
        predict_fn = nt.predict.gp_inference(kernel_fn(x_train, None, "ntk"), y_train, diag_reg=FLAGS.diag_reg)
        of_readout = []
        for images in (x_test, moved(x_test)):
            mean = predict_fn("ntk", kernel_fn(images, x_train, "ntk"))
            of_readout.append(float(np.mean(np.argmax(mean, axis=1) == labels)))
        accuracies[readout] = tuple(of_readout)
        still, shifted = of_readout
        print(f"  {readout:10} {still:10.1%} {shifted:8.1%} {time.perf_counter() - start:9.1f}")
    return accuracies


if __name__ == "__main__":
    main(sys.argv)
