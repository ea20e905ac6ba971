"""Computes kernels of handwritten digits tile by tile into a folder, and predicts from there.

The kernels of an infinitely wide convolutional network for all training images go to a store. End this script at any
time and start it again: it goes on from the tiles that are there. Several processes may share the work:

    python examples/big_kernels.py --folder kernels --share 0,2 &
    python examples/big_kernels.py --folder kernels --share 1,2

The one that finds the store complete predicts the test images. Without `--share`, one process does everything. The
folder stays; the same command once more only predicts.
"""

import sys
import time

import numpy as np
from absl import app, flags
from datasets import digits

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", "digits-kernels", "where the store is, or will be")
flags.DEFINE_integer("train", 1000, "number of training images")
flags.DEFINE_integer("tile", 128, "largest number of images along each side of a tile")
flags.DEFINE_string("share", None, "k,n: compute share k = 0, ..., n - 1 of the tiles only")
flags.DEFINE_float("diag_reg", 1e-3, "noise variance, relative to the mean variance")

KERNELS = {"nngp": "Bayesian (NNGP)", "ntk": "trained by gradient descent (NTK)"}


def infinite_network():
    """Returns the kernel function of a network with two convolutions."""
    block = [stax.Conv(1, (3, 3), padding="SAME", W_std=1.5, b_std=0.05), stax.Relu()]
    _, _, kernel_fn = stax.serial(*block, *block, stax.Flatten(), stax.Dense(1, W_std=1.5, b_std=0.05))
    return kernel_fn


def share(text):
    """Returns `(k, n)` from the text "k,n", and None from None."""
    if text is None:
        return None
    k, n = map(int, text.split(","))
    return k, n


def main(argv):
    """Runs the experiment and returns the test accuracy of each kernel, or None while other processes are at work."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x_train, y_train), (x_test, y_test) = digits(FLAGS.train)
    x_train, x_test = (x.reshape(-1, 8, 8, 1).astype("float32") for x in (x_train, x_test))
    names = tuple(KERNELS)
    kernel_fn = nt.batch(infinite_network(), FLAGS.tile, store_on_device=False)
    print(f"all tiles: {kernel_fn.estimate(x_train, None, names)}")

    store = kernel_fn.store(FLAGS.folder, x_train, None, names)
    todo, start = len(store.missing()), time.perf_counter()
    store.fill(share=share(FLAGS.share))
    print(f"{time.perf_counter() - start:.1f} s, {todo} tiles were missing before")
    print(store)
    if store.missing():
        print("the rest is for other processes")
        return None

    predict_fn = nt.predict.gp_inference(store, y_train, diag_reg=FLAGS.diag_reg)
    test_train = kernel_fn(x_test, x_train, names)  # in tiles too, but in memory
    accuracies = {}
    for name, mean in predict_fn(names, test_train)._asdict().items():
        accuracies[name] = float(np.mean(mean.argmax(axis=1) == y_test.argmax(axis=1)))
        print(f"{KERNELS[name]:34} test accuracy {accuracies[name]:.2%}")
    return accuracies


if __name__ == "__main__":
    main(sys.argv)
