"""Windows written out as matrices of zeros and ones, and what filters and pooling make of covariances by them."""

import jax
import numpy as np
from jax import lax

from neural_tangents.stax import Padding


def quickly(function, *args):
    """A function in one compilation that takes little time."""
    return jax.jit(function)(*args)


def selections(n, size, stride, padding):
    """`s[d, i, p]` is 1 where entry `d` of window `i` stands at position `p` of an image of size `n`, else 0."""
    padding = Padding(padding).value
    before = lax.padtype_to_pads((n,), (size,), (stride,), "VALID" if padding == "VALID" else "SAME")[0][0]
    count = (n - size) // stride + 1 if padding == "VALID" else -(-n // stride)
    s = np.zeros((size, count, n))
    for d, i in np.ndindex(size, count):
        p = stride * i - before + d
        p = p % n if padding == "CIRCULAR" else p
        if 0 <= p < n:
            s[d, i, p] += 1
    return s


def spreads(n, size, stride, padding):
    """`s[d, p, i]` is 1 where entry `d` of a transposed window at position `i` of an image reaches position `p`."""
    if Padding(padding) is not Padding.VALID:
        return selections(n * stride, size, stride, padding).swapaxes(1, 2)
    s = np.zeros((size, n * stride + max(size - stride, 0), n))
    for d, i in np.ndindex(size, n):
        s[d, stride * i + d, i] = 1
    return s


def _on_pairs(cov, axis, subscripts, *matrices):
    moved = np.moveaxis(cov, (axis, axis + 1), (-2, -1))
    return np.moveaxis(np.einsum(subscripts, *matrices, moved), (-2, -1), (axis, axis + 1))


def shared(cov, n_batch, sets):
    """What a filter with independent weights makes of a covariance with all pairs of positions."""
    for i, s in enumerate(sets):
        cov = _on_pairs(cov, n_batch + 2 * i, "dip,djq,...pq->...ij", s, s) / len(s)
    return cov


def pooled(cov, n_batch, matrices):
    """What matrices that act on the positions of activations make of their covariance."""
    for i, m in enumerate(matrices):
        cov = _on_pairs(cov, n_batch + 2 * i, "ip,jq,...pq->...ij", m, m)
    return cov


def diagonal(cov, n_batch):
    """The pairs of equal positions."""
    for axis in range(n_batch, (cov.ndim + n_batch) // 2):
        cov = np.moveaxis(np.diagonal(cov, axis1=axis, axis2=axis + 1), -1, axis)
    return cov


def only_diagonal(cov, n_batch):
    """A covariance with zeros in place of all pairs of different positions."""
    cov = np.array(cov)
    for axis in range(n_batch, cov.ndim, 2):
        shape = [cov.shape[a] if a in (axis, axis + 1) else 1 for a in range(cov.ndim)]
        cov = cov * np.eye(cov.shape[axis]).reshape(shape)
    return cov


def random_covariance(seed, n_batch, *sizes):
    """A covariance of 2 and 3 inputs, or of 2 with themselves, that is not symmetric in its positions."""
    shape = (2, 3)[:n_batch] + tuple(n for n in sizes for _ in range(2))
    return np.random.RandomState(seed).normal(size=shape)
