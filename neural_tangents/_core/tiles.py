"""Kernels of large batches, one block of inputs at a time, and on several devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import PyTree


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How the kernel of two batches is cut up.

    Attributes:
      size: the largest number of inputs of a block, along their first axis; 0 for all.
      device_count: how many devices the rows of a block are spread over; -1 for as many as divide them evenly.
      store_on_device: whether finished blocks stay on the device.

    Raises:
      ValueError: numbers are out of range.
    """

    size: int
    device_count: int
    store_on_device: bool

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"Expected `batch_size` to be 0, for no batches, or positive; got {self.size}.")
        available = len(jax.devices())
        if not -1 <= self.device_count <= available:
            raise ValueError(
                f"Expected `device_count` from -1, for all devices, to {available}, the number of devices there are; "
                f"got {self.device_count}."
            )

    def kernel(self, fn: Callable[[PyTree, PyTree, int, int], PyTree], x1: PyTree, x2: PyTree) -> PyTree:
        """The kernel of two batches, `fn(part of x1, part of x2, number of the one, of the other)` joined.

        `fn` returns arrays whose first two axes are those of the inputs in the tile.
        """
        if self.size == 0:
            return self._stored(fn(*self._spread(x1, x2), 0, 0))
        rows = []
        for i, part1 in enumerate(self._cut(x1)):
            tiles = [self._stored(fn(*self._spread(part1, part2), i, j)) for j, part2 in enumerate(self._cut(x2))]
            rows.append(self._joined(tiles, 1))
        return self._joined(rows, 0)

    def keyword(self, value: Any, i: int, j: int) -> Any:
        """The part of a keyword argument for one tile: a pair of arrays is cut as the inputs are."""
        if not self.size or not (isinstance(value, tuple) and len(value) == 2):
            return value
        return tuple(
            jax.tree.map(lambda x: x[k * self.size : (k + 1) * self.size] if jnp.ndim(x) else x, part)  # noqa: B023
            for k, part in zip((i, j), value, strict=True)
        )

    def _cut(self, x: PyTree) -> list[PyTree]:
        n = batch_length(x)
        starts = range(0, max(n, 1), self.size)
        return [jax.tree.map(lambda leaf: leaf[start : start + self.size], x) for start in starts]  # noqa: B023

    def _stored(self, kernel: PyTree) -> PyTree:
        return kernel if self.store_on_device else jax.device_get(kernel)

    def _joined(self, tiles: list[PyTree], axis: int) -> PyTree:
        concatenate = jnp.concatenate if self.store_on_device else np.concatenate
        return jax.tree.map(lambda *leaves: concatenate(leaves, axis), *tiles)

    def _spread(self, x1: PyTree, x2: PyTree) -> tuple[PyTree, PyTree]:
        """Both batches, the first one with its rows on several devices."""
        if not is_concrete((x1, x2)):
            return x1, x2  # where they are is decided by whoever compiles the function
        count, n = self.device_count, batch_length(x1)
        if count == -1:
            count = max(d for d in range(1, len(jax.devices()) + 1) if n % d == 0)
        if count <= 1:
            return x1, x2
        if n % count:
            raise ValueError(
                f"Expected the {n} rows of a block to be divisible by `device_count={count}`. Choose another "
                "`batch_size` or `device_count`, or `device_count=-1`."
            )
        auto = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((count,), ("inputs",), axis_types=auto, devices=jax.devices()[:count])
        spread, copied = (jax.sharding.NamedSharding(mesh, jax.P(*spec)) for spec in (("inputs",), ()))
        return jax.device_put(x1, spread), jax.device_put(x2, copied)


def batch_length(x: PyTree) -> int:
    """The size of the first axis of all arrays of a tree.

    Raises:
      ValueError: they differ.
    """
    sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else None for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(f"Expected inputs of one size along their first axis, got {sorted(map(str, sizes))}.")
    return sizes.pop() or 0
