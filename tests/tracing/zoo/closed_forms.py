"""Kernels written out: pairs of NNGP and NTK of all inputs at all positions, and what layers do to them.

For networks that no chain of layers describes. Weights are in `ntk` parameterization: they move at the rate of their
variance.
"""

from typing import NamedTuple

import numpy as np


class Pair(NamedTuple):
    """Covariance and tangent kernel, both `[N, N]`, of one channel of a layer."""

    nngp: np.ndarray
    ntk: np.ndarray

    def __add__(self, other):
        return Pair(self.nngp + other.nngp, self.ntk + other.ntk)

    def __rmul__(self, factor):
        return Pair(factor * self.nngp, factor * self.ntk)

    def __mul__(self, other):
        """The product of independent channels."""
        return Pair(self.nngp * other.nngp, self.ntk * other.nngp + self.nngp * other.ntk)

    def mapped(self, matrix):
        """After a linear map of positions."""
        return Pair(matrix @ self.nngp @ matrix.T, matrix @ self.ntk @ matrix.T)


def inputs(x):
    """Of inputs `[N, ..., C]`, at all positions."""
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return Pair(x @ x.T / x.shape[1], np.zeros((len(x), len(x))))


def dense(pair, w=1.0, b=0.0):
    """New weights of variance `w / C`, and a bias of variance `b`."""
    return Pair(w * pair.nngp + b, w * pair.ntk + w * pair.nngp + b)


def new(nngp):
    """Parameters that are added, or their products with known numbers, of this covariance."""
    return Pair(nngp, nngp)


def relu(pair):
    norms = np.sqrt(np.outer(np.diag(pair.nngp), np.diag(pair.nngp)))
    angle = np.arccos(np.clip(pair.nngp / np.maximum(norms, 1e-300), -1, 1))
    nngp = norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return Pair(nngp, pair.ntk * (np.pi - angle) / (2 * np.pi))


def erf(pair):
    k, q = pair.nngp, 1 + 2 * np.diag(pair.nngp)
    slope = 4 / np.pi / np.sqrt(np.outer(q, q) - 4 * k**2)
    return Pair(2 / np.pi * np.arcsin(2 * k / np.sqrt(np.outer(q, q))), pair.ntk * slope)


def numerical(f, df):
    """Any function, by sums on a fine grid: `E[f(u) g(u)]`, where `g(u) = E[f(v) | u]` is a smoothed `f`."""

    def moment(f, q1, q2, k):
        deviation = np.sqrt(max(q1, q2))
        y, step = np.linspace(-14 * deviation, 14 * deviation, 2**14, retstep=True, endpoint=False)
        frequencies = 2 * np.pi * np.fft.rfftfreq(len(y), step)
        smoothing = np.exp(-max(q2 - k**2 / q1, 0.0) * frequencies**2 / 2)
        smooth = np.fft.irfft(np.fft.rfft(1.0 * f(y)) * smoothing)
        density = np.exp(-(y**2) / (2 * q1)) / np.sqrt(2 * np.pi * q1) * step
        return np.sum(density * f(y) * np.interp(k / q1 * y, y, smooth))

    def layer(pair):
        nngp, slope = np.zeros_like(pair.nngp), np.zeros_like(pair.ntk)
        for i, j in zip(*np.triu_indices(len(nngp)), strict=True):
            numbers = pair.nngp[i, i], pair.nngp[j, j], pair.nngp[i, j]
            nngp[i, j] = nngp[j, i] = moment(f, *numbers)
            slope[i, j] = slope[j, i] = moment(df, *numbers)
        return Pair(nngp, pair.ntk * slope)

    return layer


def mean_positions(pair, positions):
    """The mean over the positions of each input."""
    n = len(pair.nngp) // positions
    return pair.mapped(np.kron(np.eye(n), np.full((1, positions), 1 / positions)))


def at(pair, positions, position):
    """One position of each input."""
    n = len(pair.nngp) // positions
    return pair.mapped(np.kron(np.eye(n), np.eye(positions)[[position]]))


def window(pair, positions, places):
    """A convolution: the mean over a filter of which `places[p]` are the positions that it sees from `p`, or None."""
    n = len(pair.nngp) // positions
    shifts = np.zeros((len(places[0]), len(places), positions))
    for p, seen in enumerate(places):
        for d, q in enumerate(seen):
            if q is not None:
                shifts[d, p, q] = 1
    parts = [pair.mapped(np.kron(np.eye(n), shift)) for shift in shifts]
    return Pair(sum(p.nngp for p in parts) / len(parts), sum(p.ntk for p in parts) / len(parts))
