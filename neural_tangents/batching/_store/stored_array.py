"""A matrix in a store: read, written and checked tile by tile."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

from neural_tangents._core.tiling.grid import Blocks
from neural_tangents.batching._store.target import (
    delete_chunk,
    explained_write,
    has_chunk,
    new_array,
    old_array,
    plain_dtype,
    written_chunks,
)


class StoredArray:
    """A kernel that is kept in a store, with a row for each input of `x1` and a column for each of `x2`.

    `np.asarray` loads all of it, and slices of it some. It satisfies `StoredMatrix`.

    Attributes:
      shape: its shape, of both batches and of further axes.
      dtype: the type of its entries.
      tile_shape: rows and columns of a tile; the last ones may be smaller.
      label: where it is.
    """

    __array_ufunc__ = None  # arithmetic would load the matrix without a word

    def __init__(self, group: Any, name: str, label: str) -> None:
        self._group, self._name, self._array = group, name, old_array(group, name)
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype: np.dtype[Any] = jnp.dtype(self._array.attrs["dtype"])
        self.tile_shape: tuple[int, ...] = tuple(self._array.chunks[:2])
        self.label = f"{label}/{name}"
        self._blocks = tuple(Blocks.at_most(n, size) for n, size in zip(self.shape, self.tile_shape, strict=False))

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    def read(self, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Some rows and columns.

        Raises:
          ValueError: a tile is missing or damaged.
        """
        try:
            values = self._array[rows, columns]
        except ValueError as error:  # a checksum is wrong
            raise ValueError(self._describe_damage(rows, columns)) from error
        # A chunk that is not there reads as NaN, or as zeros if there is no NaN, without an error.
        if values.dtype.kind not in "fc" or np.isnan(values).any():
            self._check_written(rows, columns)
        return values.view(self.dtype)

    def write(self, rows: slice, columns: slice, values: np.ndarray[Any, Any]) -> None:
        """Writes one whole tile; a reader sees all of it or nothing.

        Raises:
          ValueError: it is not one whole tile.
          OSError: it cannot be written.
        """
        numbers = [span.start // size for span, size in zip((rows, columns), self.tile_shape, strict=True)]
        tile = tuple(blocks.span(number) for blocks, number in zip(self._blocks, numbers, strict=True))
        expected = (*(span.stop - span.start for span in tile), *self.shape[2:])
        if tile != (rows, columns) or np.shape(values) != expected:
            raise ValueError(
                f"Expected one whole tile of {self.label}, such as rows {tile[0].start}:{tile[0].stop} and columns "
                f"{tile[1].start}:{tile[1].stop} with values of shape {expected}; got rows {rows.start}:{rows.stop}, "
                f"columns {columns.start}:{columns.stop} and values of shape {np.shape(values)}."
            )
        advice = "Tiles written so far are kept: make room, or see to permissions, and continue."
        with explained_write(f"tile ({numbers[0]}, {numbers[1]}) of {self.label}", advice):
            self._array[rows, columns] = np.ascontiguousarray(values, self.dtype).view(plain_dtype(self.dtype))

    def has_tile(self, i: int, j: int) -> bool:
        """Whether a tile has been written."""
        return has_chunk(self._array, i, j)

    def tiles(self) -> set[tuple[int, int]]:
        """The tiles that have been written."""
        return written_chunks(self._array)

    def check_complete(self) -> None:
        """Looks whether all tiles have been written.

        Raises:
          ValueError: some are missing.
        """
        total, there = self._blocks[0].count * self._blocks[1].count, len(self.tiles())
        if there < total:
            raise ValueError(
                f"Expected a complete matrix, but {total - there} of {total} tiles are missing in {self.label}. "
                "Compute them by `fill()` of the store."
            )

    def remove_damaged(self) -> list[tuple[int, int]]:
        """Reads all tiles, and removes those that are damaged, whose numbers are returned."""
        found = [tile for tile in sorted(self.tiles()) if self._damage(*tile)]
        for tile in found:
            delete_chunk(self._array, *tile)
        return found

    def beside(self, name: str, shape: tuple[int, ...], tile_shape: tuple[int, ...], dtype: Any) -> "StoredArray":
        """Another matrix in the same store, made from this one and kept under a name; it is created if it is not there.

        Raises:
          ValueError: there is one of this name, but of another shape, tile or type.
          OSError: the store cannot be written to.
        """
        full = f"{self._name}.{name}"
        with explained_write(f"'{full}'", "Copy the store to where you may write."):
            new_array(self._group, full, tuple(shape), tuple(tile_shape), dtype)
        return StoredArray(self._group, full, self.label.removesuffix(f"/{self._name}"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError(f"{self.label} is not in memory: it cannot become an array without a copy.")
        self.check_complete()
        return self.read(slice(None), slice(None)).astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Some of it: numbers and slices of rows and columns, anything of further axes."""
        key = () if key is ... else key if isinstance(key, tuple) else (key,)
        keys = (*key, slice(None), slice(None))
        if not all(isinstance(k, slice | int | np.integer) for k in keys[:2]):
            raise TypeError(
                f"Expected integers or slices of rows and columns, got {key!r}. Load the matrix by `np.asarray`, or a "
                "part of it, and index that."
            )
        wanted = [np.asarray(np.arange(n)[k]) for n, k in zip(self.shape, keys, strict=False)][:2]
        spans = [
            slice(int(w.min(initial=n)), int(w.max(initial=-1)) + 1) for w, n in zip(wanted, self.shape, strict=False)
        ]
        part = self.read(*(span if span.start < span.stop else slice(0, 0) for span in spans))
        for axis, (numbers, span) in reversed(list(enumerate(zip(wanted, spans, strict=True)))):
            part = part.take(numbers - span.start if numbers.size else numbers, axis=axis)
        kept = sum(isinstance(k, slice) for k in keys[:2])
        return part[(slice(None),) * kept + key[2:]]

    def __repr__(self) -> str:
        return f"StoredArray('{self.label}', shape={self.shape}, dtype={self.dtype}, tile_shape={self.tile_shape})"

    def _within(self, rows: slice, columns: slice) -> list[tuple[int, int]]:
        """The tiles that some rows and columns are part of."""

        def blocks(span: slice, n: int, size: int) -> range:
            start, stop, _ = span.indices(n)
            return range(start // size, -(-stop // size) if stop > start else start // size)

        (n1, n2), (size1, size2) = self.shape[:2], self.tile_shape
        return list(itertools.product(blocks(rows, n1, size1), blocks(columns, n2, size2)))

    def _check_written(self, rows: slice, columns: slice) -> None:
        tiles = self._within(rows, columns)
        missing = [tile for tile in tiles if not self.has_tile(*tile)]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(tiles)} tiles that are to be read are missing in {self.label}, among them "
                f"{missing[0]}. Compute them by `fill()` of the store."
            )

    def _damage(self, i: int, j: int) -> str:
        """What is wrong with a tile; empty if nothing is."""
        try:
            self._array[tuple(blocks.span(number) for blocks, number in zip(self._blocks, (i, j), strict=True))]
        except ValueError as error:
            return str(error)
        return ""

    def _describe_damage(self, rows: slice, columns: slice) -> str:
        damaged = {tile: reason for tile in self._within(rows, columns) if (reason := self._damage(*tile))}
        return (
            f"Tiles {', '.join(map(str, damaged))} of {self.label} are damaged: {'; '.join(damaged.values())} Remove "
            "them by `open_store(...).remove_damaged()`, and compute them again by `fill()`."
        )
