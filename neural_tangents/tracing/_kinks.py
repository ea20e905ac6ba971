"""Where a function of one number is not smooth: jumps of the function and of its derivatives."""

from collections.abc import Callable

import numpy as np

_REACH, _STEP = 12.0, 1 / 64
_CLEAR = 8.0  # how many times larger a jump is than the changes beside it
MOST = 24


Entrywise = Callable[[np.ndarray], np.ndarray]


def kinks(fn: Entrywise, derivatives: tuple[Entrywise, ...]) -> tuple[float, ...]:
    """The places within 12 of 0 where a function or one of its derivatives jumps, in order, up to `MOST` of them.

    Args:
      fn: from arrays to arrays of double precision.
      derivatives: its derivatives, in order.
    """
    found: list[float] = [0.0]
    for f in (fn, *derivatives):
        found += [x for x in _jumps(f) if all(abs(x - y) > 1e-9 for y in found)]
    return tuple(sorted(found)[: MOST + 1])


def _jumps(f: Entrywise) -> list[float]:
    ends = np.arange(-_REACH - _STEP / 3, _REACH + _STEP, _STEP)
    with np.errstate(all="ignore"):
        change = np.abs(np.diff(f(ends)))
    change = np.where(np.isfinite(change), change, 0)
    beside = np.maximum(np.pad(change, (2, 0))[:-2], np.pad(change, (0, 2))[2:])
    at = np.flatnonzero(change > _CLEAR * beside + 1e-6)
    low, high, size = ends[at], ends[at + 1], change[at]
    for _ in range(60):
        middle = (low + high) / 2
        left = np.abs(f(middle) - f(low)) >= np.abs(f(high) - f(middle)) if len(at) else np.zeros(0, bool)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    sharp = np.abs(f(high) - f(low)) > size / 4 if len(at) else np.zeros(0, bool)
    places = np.where(np.abs(high - np.round(high, 9)) < 1e-12, np.round(high, 9), high)
    return [float(x) for x in places[sharp]]
