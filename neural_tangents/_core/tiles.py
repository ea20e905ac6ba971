"""Kernels of large batches, tile by tile: cutting batches into blocks, spreading rows over devices, joining results.

The kernel of two batches is a matrix with a row for each input of the first and a column for each of the second. It is
computed one tile at a time, from a block of rows and a block of columns, so that memory is bounded by that of a tile:

              x2[0:3]  x2[3:5]
    x1[0:3]    3 x 3    3 x 2
    x1[3:4]    1 x 3    1 x 2
"""

import dataclasses
from collections.abc import Callable
from operator import index
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import PyTree


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How the kernel of two batches is cut into tiles, and where these are computed and kept.

    Attributes:
      size: the largest number of inputs in a block; 0 for a single tile.
      device_count: how many devices the rows of a tile are spread over; -1 for as many as divide them evenly.
      store_on_device: whether finished tiles stay on the device; otherwise they go to the memory of the host.

    Raises:
      TypeError: `size` or `device_count` is not an integer.
      ValueError: one of them is out of range.
    """

    size: int
    device_count: int
    store_on_device: bool

    def __post_init__(self) -> None:
        for name, number in (("batch_size", self.size), ("device_count", self.device_count)):
            try:
                index(number)
            except TypeError:
                raise TypeError(f"Expected `{name}` to be an integer, got {number!r}.") from None
        if self.size < 0:
            raise ValueError(f"Expected `batch_size` to be positive, or 0 for no batches; got {self.size}.")
        available = len(jax.devices())
        if not -1 <= self.device_count <= available:
            raise ValueError(
                f"Expected `device_count` from -1, for all devices, to {available}, the number of devices there are; "
                f"got {self.device_count}."
            )

    def kernel(self, fn: Callable[[PyTree, PyTree, int, int], PyTree], x1: PyTree, x2: PyTree) -> PyTree:
        """The kernel of two batches, joined from tiles.

        Args:
          fn: the kernel of one tile, `(block of x1, block of x2, i, j) -> arrays` with `i`, `j` the numbers of the
            blocks. The first two axes of each array are those of the inputs of both blocks.
          x1: the first batch, a tree of arrays with inputs along their first axes.
          x2: the second batch.

        Returns:
          The arrays of `fn`, for all inputs; NumPy arrays if they are not stored on the device.

        Raises:
          ValueError: the rows of a tile cannot be spread evenly, or arrays of a batch have different lengths.
        """
        if self.size == 0:
            return self._tile(fn, x1, x2, 0, 0)
        rows = []
        for i, block1 in enumerate(self._blocks(x1)):
            tiles = [self._tile(fn, block1, block2, i, j) for j, block2 in enumerate(self._blocks(x2))]
            rows.append(self._joined(tiles, 1))
        return self._joined(rows, 0)

    def keyword(self, value: Any, i: int, j: int) -> Any:
        """The part of a keyword argument for tile `(i, j)`: the arrays of a pair are cut like the two batches."""
        if self.size and isinstance(value, tuple) and len(value) == 2:
            return self._block(value[0], i), self._block(value[1], j)
        return value

    def _blocks(self, x: PyTree) -> list[PyTree]:
        n_blocks = max(1, -(-batch_length(x) // self.size))  # an empty batch is one empty block
        return [self._block(x, i) for i in range(n_blocks)]

    def _block(self, x: PyTree, i: int) -> PyTree:
        """The `i`-th block of a batch; the last one may be smaller. Scalars go to every block."""
        rows = slice(i * self.size, (i + 1) * self.size)
        return jax.tree.map(lambda leaf: leaf[rows] if jnp.ndim(leaf) else leaf, x)

    def _tile(
        self, fn: Callable[[PyTree, PyTree, int, int], PyTree], block1: PyTree, block2: PyTree, i: int, j: int
    ) -> PyTree:
        tile = fn(*self._spread(block1, block2), i, j)
        return tile if self.store_on_device else jax.device_get(tile)

    def _joined(self, tiles: list[PyTree], axis: int) -> PyTree:
        concatenate = jnp.concatenate if self.store_on_device else np.concatenate
        return jax.tree.map(lambda *leaves: concatenate(leaves, axis), *tiles)

    def _spread(self, x1: PyTree, x2: PyTree) -> tuple[PyTree, PyTree]:
        """Both batches: the rows of the first spread over the devices, the second copied to each."""
        if not is_concrete((x1, x2)):
            return x1, x2  # under `jit`, its caller decides where arrays are
        count, n = self.device_count, batch_length(x1)
        if count == -1:
            count = max(d for d in range(1, len(jax.devices()) + 1) if n % d == 0)
        if count <= 1:
            return x1, x2
        if n % count:
            raise ValueError(
                f"Expected the {n} rows of a tile to be divisible by `device_count={count}`. Choose another "
                "`batch_size` or `device_count`, or `device_count=-1`."
            )
        auto = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((count,), ("inputs",), axis_types=auto, devices=jax.devices()[:count])
        spread, copied = (jax.sharding.NamedSharding(mesh, jax.P(*spec)) for spec in (("inputs",), ()))
        return jax.device_put(x1, spread), jax.device_put(x2, copied)


def batch_length(x: PyTree) -> int:
    """The number of inputs of a batch: the size of the first axis of its arrays.

    Raises:
      ValueError: arrays have different sizes or no axes, or there are none.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
    if not shapes or not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            "Expected inputs to be arrays of equal size along their first axis, got "
            f"{f'arrays of shapes {shapes}' if shapes else 'no arrays'}."
        )
    return shapes[0][0]
