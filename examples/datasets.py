"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels, with 10 classes."""

import numpy as np
from sklearn.datasets import load_digits


def digits(n_train, n_test=None):
    """Returns a training set and a test set of digits, in their own order; the test set is the rest, or `n_test` of it.

    Each is a pair of inputs, (n, 64), from 0 to 1, and targets, (n, 10), 0.9 for the right class and -0.1 for others.
    """
    data = load_digits()
    x, y = data.data / data.data.max(), np.eye(10)[data.target] - 0.1
    train, test = slice(n_train), slice(n_train, None if n_test is None else n_train + n_test)
    return (x[train], y[train]), (x[test], y[test])
