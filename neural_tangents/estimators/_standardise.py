"""Inputs and targets as the networks get them: equal inputs merged, centred, and scaled."""

from typing import NamedTuple

import numpy as np


class Affine(NamedTuple):
    """The map `a -> (a - offset) / scale` of the last axis.

    Attributes:
      offset: what is subtracted.
      scale: what is divided by.
    """

    offset: np.ndarray
    scale: np.ndarray

    @classmethod
    def standardising(cls, a: np.ndarray, weights: np.ndarray, centre: bool = True, scale: bool = True) -> "Affine":
        """The map after which entries along the last axis have mean 0 and variance 1.

        Args:
          a: `(N, ..., C)`.
          weights: of rows, `(N,)`.
          centre: whether to subtract the mean.
          scale: whether to divide by the standard deviation, where there is one: not of constants.
        """
        offset, deviation = np.zeros(a.shape[-1]), np.ones(a.shape[-1])
        if centre or scale:
            axes = tuple(range(a.ndim - 1))
            share = weights / weights.sum() / (a[0, ..., 0].size if len(a) else 1)
            share = share.reshape(-1, *[1] * (a.ndim - 1))
            least, largest = a.min(axes), a.max(axes)
            size = np.maximum(np.abs(least), np.abs(largest))
            unit = np.where(size > 0, size, 1.0)  # squares in other units may overflow
            mean = np.where(least == largest, least, unit * np.sum(share * (a / unit), axes))
            spread = unit * np.sqrt(np.sum(share * ((a - mean) / unit) ** 2, axes))
            if centre:
                offset = mean
            if scale:
                is_constant = spread <= 10 * np.finfo(a.dtype).eps * size
                deviation = np.where(is_constant, 1.0, spread)
        return cls(offset, deviation)

    def __call__(self, a: np.ndarray) -> np.ndarray:
        return (a - self.offset) / self.scale

    def inverse(self, a: np.ndarray) -> np.ndarray:
        """The values that are mapped to `a`."""
        return a * self.scale + self.offset


def distinct(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of positive weight, each once, with the mean of their targets and the sum of their weights.

    For noise of variance `λ / w_i`, predictions from these are those from all.

    Args:
      x: inputs, `(N, ...)`.
      y: targets, `(N, T)`.
      weights: `(N,)`, not negative.
    """
    has_weight = weights > 0
    x, y, weights = x[has_weight], y[has_weight], weights[has_weight]
    first, group = _groups(x)
    if len(first) == len(x):
        return x, y, weights
    total = np.bincount(group, weights)
    mean = np.stack([np.bincount(group, weights * column) / total for column in y.T], axis=1)
    return x[first], mean, total


def spread_of_equal(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, int, int]:
    """How far targets at equal inputs are from their mean, which shows the noise whatever the function is.

    For noise of variance `v / w_i`, the sum of `w_i (y_i - ȳ)²` over `m` targets at one input is `(m - 1) v` on
    average. Rows with equal targets, too, count as one, with the sum of their weights.

    Args:
      x: inputs, `(N, ...)`.
      y: targets, `(N, T)`.
      weights: `(N,)`, not negative.

    Returns:
      The sums of squares over all inputs, `(T,)`, the sum of `m - 1`, and how many inputs have one target.
    """
    x, y, weights = x[weights > 0], y[weights > 0], weights[weights > 0]
    first, group = _groups(x)
    rows, y, weights = distinct(np.concatenate([group[:, None], y], axis=1), y, weights)
    group = rows[:, 0].astype(int)
    total = np.bincount(group, weights)
    mean = np.stack([np.bincount(group, weights * column) / total for column in y.T], axis=1)
    single = int(np.sum(np.bincount(group) == 1))
    return weights @ (y - mean[group]) ** 2, len(rows) - len(first), single


def _groups(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of the different rows is first, in this order, and the number of the group of each row."""
    _, first, group = np.unique(x.reshape(len(x), -1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[group.reshape(-1)]
