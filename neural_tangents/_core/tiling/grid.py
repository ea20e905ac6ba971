"""How the kernel of two batches is cut into tiles of equal size.

A kernel is a matrix with a row for each input of the first batch and a column for each of the second. Both batches are
cut into blocks of equal size, the last one filled up by repeating its last input, so that all tiles are computed by one
compiled program. Of one batch with itself, the tiles on and above the diagonal are enough:

              x[0:3]  x[3:6]  x[6:7], filled up
    x[0:3]      o       o       o
    x[3:6]              o       o
    x[6:7]                      o
"""

import dataclasses
import functools
from operator import index
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class TileSettings:
    """How large tiles are, and where they are computed and kept.

    Attributes:
      batch_size: the largest number of inputs in a block; 0 for as few tiles as there are devices; "auto" for the
        largest one that fits into memory.
      device_count: how many local devices compute tiles side by side; -1 for all, 0 for one.
      store_on_device: whether finished tiles stay on the first device; otherwise they go to the memory of the host.
      memory_budget: bytes that a tile may take if `batch_size` is "auto"; None for a default.

    Raises:
      TypeError: a number is not an integer.
      ValueError: one of them is out of range.
    """

    batch_size: int | Literal["auto"] = 0
    device_count: int = -1
    store_on_device: bool = True
    memory_budget: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size != "auto" and _integer("batch_size", self.batch_size, ' or "auto"') < 0:
            raise ValueError(
                f'Expected `batch_size` to be positive, 0 for no batches, or "auto"; got {self.batch_size}.'
            )
        available = jax.local_device_count()
        if not -1 <= _integer("device_count", self.device_count) <= available:
            raise ValueError(
                f"Expected `device_count` from -1, for all devices, to {available}, the number of devices there are; "
                f"got {self.device_count}."
            )
        if self.memory_budget is not None and _integer("memory_budget", self.memory_budget) < 1:
            raise ValueError(f"Expected `memory_budget` to be a positive number of bytes, got {self.memory_budget}.")

    @property
    def devices(self) -> list[Any]:
        """The devices that compute tiles."""
        count = jax.local_device_count() if self.device_count == -1 else max(1, self.device_count)
        return jax.local_devices()[:count]

    def grid(self, n1: int, n2: int, symmetric: bool) -> "Grid":
        """The tiles of the kernel of batches of `n1` and `n2` inputs, once `batch_size` is a number."""
        assert self.batch_size != "auto"
        largest = [max(1, self.batch_size or -(-n // len(self.devices))) for n in (n1, n2)]
        return Grid(Blocks.at_most(n1, largest[0]), Blocks.at_most(n2, largest[1]), symmetric)


def _integer(name: str, number: Any, alternative: str = "") -> int:
    try:
        return index(number)
    except TypeError:
        raise TypeError(f"Expected `{name}` to be an integer{alternative}, got {number!r}.") from None


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A batch of `n` inputs, cut into segments of equal length and these into blocks of `size` each.

    Attributes:
      n: number of inputs.
      size: number of inputs in each block; the last one of a segment is filled up by repeating its last input.
      segment: number of inputs in a segment, a divisor of `n`.
    """

    n: int
    size: int
    segment: int

    @classmethod
    def at_most(cls, n: int, largest: int, segment: int | None = None) -> "Blocks":
        """As few blocks of at most `largest` inputs as there can be, and with as little to fill up as can be."""
        segment = n if segment is None else segment
        count = max(1, -(-segment // largest))
        return cls(n, -(-segment // count), segment)

    @property
    def count(self) -> int:
        return self._per_segment * max(1, self.n // self.segment) if self.segment else 1

    def start(self, block: Any) -> Any:
        """The first input of a block, whose number may be traced."""
        return block // self._per_segment * self.segment + block % self._per_segment * self.size

    def span(self, block: int) -> slice:
        """The inputs of a block."""
        start = self.start(block)
        return slice(start, min(start + self.size, self._end(block)))

    def filled(self, block: Any) -> Any:
        """The numbers of the inputs of a block, filled up; its number may be traced."""
        xp = jnp if isinstance(block, jax.Array) else np
        return xp.minimum(self.start(block) + np.arange(self.size), self._end(block) - 1)

    @property
    def _per_segment(self) -> int:
        return max(1, -(-self.segment // self.size)) if self.size else 1

    def _end(self, block: Any) -> Any:
        """The end of the segment of a block."""
        return (block // self._per_segment + 1) * self.segment


@dataclasses.dataclass(frozen=True)
class Grid:
    """The tiles of a kernel.

    Attributes:
      rows: the blocks of the first batch.
      columns: the blocks of the second batch.
      symmetric: whether the tiles below the diagonal are mirror images of those above it.
    """

    rows: Blocks
    columns: Blocks
    symmetric: bool

    @functools.cached_property
    def tiles(self) -> list[tuple[int, int]]:
        """The tiles to compute, row by row."""
        first = (lambda i: i) if self.symmetric else (lambda i: 0)
        return [(i, j) for i in range(self.rows.count) for j in range(first(i), self.columns.count)]

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and columns of a tile."""
        return self.rows.size, self.columns.size
