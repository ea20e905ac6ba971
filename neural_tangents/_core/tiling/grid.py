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
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class TileSettings:
    """How large tiles are, and where they are computed and kept.

    Attributes:
      batch_size: the largest number of inputs in a block; 0 for as few tiles as there are devices.
      device_count: how many local devices compute tiles side by side; -1 for all, 0 for one.
      store_on_device: whether finished tiles stay on the first device; otherwise they go to the memory of the host.

    Raises:
      TypeError: `batch_size` or `device_count` is not an integer.
      ValueError: one of them is out of range.
    """

    batch_size: int = 0
    device_count: int = -1
    store_on_device: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "device_count"):
            number = getattr(self, name)
            try:
                index(number)
            except TypeError:
                raise TypeError(f"Expected `{name}` to be an integer, got {number!r}.") from None
        if self.batch_size < 0:
            raise ValueError(f"Expected `batch_size` to be positive, or 0 for no batches; got {self.batch_size}.")
        available = jax.local_device_count()
        if not -1 <= self.device_count <= available:
            raise ValueError(
                f"Expected `device_count` from -1, for all devices, to {available}, the number of devices there are; "
                f"got {self.device_count}."
            )

    @property
    def devices(self) -> list[Any]:
        """The devices that compute tiles."""
        count = jax.local_device_count() if self.device_count == -1 else max(1, self.device_count)
        return jax.local_devices()[:count]

    def grid(self, n1: int, n2: int, symmetric: bool) -> "Grid":
        """The tiles of the kernel of batches of `n1` and `n2` inputs."""
        blocks1, blocks2 = (self._blocks(n) for n in (n1, n2))
        return Grid(blocks1, blocks2, symmetric)

    def _blocks(self, n: int) -> "Blocks":
        largest = self.batch_size or -(-n // len(self.devices))
        return Blocks.at_most(n, max(1, largest))


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A batch of `n` inputs in blocks of `size` each.

    Attributes:
      n: number of inputs.
      size: number of inputs in each block; the last one is filled up by repeating its last input.
    """

    n: int
    size: int

    @classmethod
    def at_most(cls, n: int, largest: int) -> "Blocks":
        """As few blocks of at most `largest` inputs as there can be, and with as little to fill up as can be."""
        count = max(1, -(-n // largest))
        return cls(n, -(-n // count))

    @property
    def count(self) -> int:
        return max(1, -(-self.n // self.size)) if self.size else 1

    def span(self, block: int) -> slice:
        """The inputs of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.n))

    def filled(self, block: Any) -> Any:
        """The numbers of the inputs of a block (or of several blocks), filled up."""
        return np.minimum(np.asarray(block)[..., None] * self.size + np.arange(self.size), self.n - 1)


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
