"""Which of several Gaussian numbers is the largest."""

import numpy as np
from scipy.special import log_ndtr, ndtr

# Nodes of the quadrature. Of 10 classes or fewer it is right to about 1e-7, and of two, there is a closed form.
_NODES = 48


def probabilities_of_largest(mean: np.ndarray, stddev: np.ndarray) -> np.ndarray:
    """The probability that each of `C` independent Gaussian numbers is the largest.

    For numbers with means `m_c` and one standard deviation `σ`, by Gauss-Hermite quadrature of

        p_c = E Π_{k ≠ c} Φ(z + (m_c - m_k) / σ),    z ~ N(0, 1).

    Args:
      mean: `m`, `(n, C)`.
      stddev: `σ`, `(n,)`.

    Returns:
      `(n, C)`, with rows that add up to 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = mean / stddev[:, None]
        is_certain = ~np.all(np.isfinite(scaled), axis=1)
    scaled[is_certain] = 0
    if mean.shape[1] == 2:
        second = ndtr((scaled[:, 1] - scaled[:, 0]) / np.sqrt(2))
        found = np.stack([ndtr((scaled[:, 0] - scaled[:, 1]) / np.sqrt(2)), second], axis=1)
    else:
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        found = np.empty(mean.shape)
        for c in range(mean.shape[1]):
            others = np.delete(scaled, c, axis=1)
            exponents = log_ndtr(nodes[:, None, None] + scaled[None, :, c, None] - others).sum(axis=2)
            found[:, c] = weights @ np.exp(exponents)
        found = np.maximum(found, np.finfo(float).tiny)
        found /= found.sum(axis=1, keepdims=True)
    found[is_certain] = np.eye(mean.shape[1])[np.argmax(mean[is_certain], axis=1)]
    return found
