"""How large a tile may be: from the memory that small ones take when compiled."""

import math
from collections.abc import Callable

import jax

from neural_tangents._core.tiling.tile_function import TileFunction

_DEFAULT_BUDGET = 2**30
_FIRST_SIZE = 32
_LEAST_USE = 0.5  # of the budget; below it, a larger tile is looked for
_MOST_TRIALS = 5


def default_budget() -> int:
    """Half of the free memory of a device, if it tells; otherwise one GiB."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return _DEFAULT_BUDGET
    return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0)) // 2


def largest_tile(tile_of_size: Callable[[int], TileFunction], budget: int, largest: int) -> int:
    """The largest number of inputs in each block of a tile that takes at most `budget` bytes.

    The memory of a tile grows at most with the square of its size: so from a tile that fits, a larger one that fits
    can be told. What compiled programs say of their memory decides; nothing is ever run to see whether it fits.

    Args:
      tile_of_size: the kernel of a tile, by the largest number of inputs of each batch.
      budget: bytes that a tile may take, its arguments and results included.
      largest: the number of inputs of the larger batch.

    Raises:
      ValueError: a single pair of inputs takes more.
    """
    used = _Memory(tile_of_size)
    size = min(largest, _FIRST_SIZE)
    while used(size) > budget and size > 1:
        size = max(1, min(size // 2, int(size * math.sqrt(budget / used(size)))))
    if used(size) > budget:
        raise ValueError(
            f"Expected a `memory_budget` of at least {used(size)} bytes, which the kernel of a single pair of inputs "
            f"takes, got {budget}."
        )
    for _ in range(_MOST_TRIALS):
        if size >= largest or used(size) > _LEAST_USE * budget:
            break
        larger = min(largest, int(size * used.growth(size, budget)))
        while larger > size and used(larger) > budget:
            larger = size + (larger - size) // 2
        if larger <= size:
            break
        size = larger
    return size


class _Memory:
    """Bytes that the program of a tile takes, by the number of inputs in each block."""

    def __init__(self, tile_of_size: Callable[[int], TileFunction]) -> None:
        self._tile_of_size, self._known = tile_of_size, dict[int, int]()

    def __call__(self, size: int) -> int:
        if size not in self._known:
            self._known[size] = self._tile_of_size(size).memory()
        return self._known[size]

    def growth(self, size: int, budget: int) -> float:
        """By what factor a tile can be larger: memory is a power of its size, at most the second."""
        smaller = max((known for known in self._known if known < size), default=None)
        power = 2.0
        if smaller is not None:
            found = math.log(self(size) / self(smaller)) / math.log(size / smaller)
            power = min(2.0, max(0.5, 1.1 * found))
        return (budget / self(size)) ** (1 / power)
