"""Recursive feature machines: kernels that learn which directions of the inputs matter."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neural_tangents.estimators._network_kernel import NetworkKernel
from neural_tangents.estimators._ridge import Ridge

# An error of standardised targets that is rounding.
_NOTHING = 1e-20


class Fit(NamedTuple):
    """Ridge regression with the kernel `K(M^½ x, M^½ x')`.

    Attributes:
      matrix: `M`, `(d, d)`; None for the identity.
      ridge: the decomposition of the kernel.
      noise: the ridge.
      error: the mean squared error of predictions of each point from all others.
    """

    matrix: np.ndarray | None
    ridge: Ridge
    noise: float
    error: float


def learn_features(
    fit: Callable[[np.ndarray | None], Fit],
    kernel: NetworkKernel,
    get: str,
    x: np.ndarray,
    y: np.ndarray,
    n_iterations: int,
) -> Fit:
    """The best by leaving one out of fits with `M = I`, and of `n_iterations` more with `M` of the fit before.

    Args:
      fit: ridge regression with some `M`.
      kernel: of the network.
      get: `'nngp'` or `'ntk'`.
      x: inputs, `(N, d)`.
      y: targets, `(N, T)`.
      n_iterations: how often `M` is learned.
    """
    best = last = fit(None)
    for _ in range(n_iterations):
        coefficients = last.ridge.solve(last.noise, y)
        matrix = gradient_outer_product(kernel, get, x, coefficients, last.ridge.weights, last.matrix)
        trace = np.trace(matrix)
        if not trace > 0 or last.error < _NOTHING:
            break  # of a constant, no direction matters
        last = fit(matrix * (len(matrix) / trace))
        best = min(best, last, key=lambda found: found.error)
    return best


def gradient_outer_product(
    kernel: NetworkKernel,
    get: str,
    x: np.ndarray,
    coefficients: np.ndarray,
    weights: np.ndarray,
    matrix: np.ndarray | None,
) -> np.ndarray:
    """The mean of `∇f(x_i) ∇f(x_i)ᵀ` over the training set and all outputs of `f(x) = K(M^½ x, M^½ x_train) c`.

    Args:
      kernel: of the network.
      get: `'nngp'` or `'ntk'`.
      x: training inputs, `(N, d)`.
      coefficients: `c`, `(N, T)`.
      weights: of the training points, `(N,)`.
      matrix: `M`; None for the identity.
    """
    total, done = np.zeros((x.shape[1], x.shape[1])), 0
    for gradients in kernel.gradients(x, x, coefficients, square_root(matrix, x.shape[1]), get):
        some = weights[done : done + len(gradients)]
        total += np.einsum("n,ntd,nte->de", some, gradients, gradients, optimize=True)
        done += len(gradients)
    return total / weights.sum()


def square_root(matrix: np.ndarray | None, size: int) -> np.ndarray:
    """`M^½`, symmetric; the identity for None."""
    if matrix is None:
        return np.eye(size)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
