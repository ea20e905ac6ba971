"""Matrices that are kept outside of memory, tile by tile: what the packages need to know of one another's."""

from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np


@runtime_checkable
class StoredMatrix(Protocol):
    """A matrix in a store: read and written tile by tile, never as a whole.

    Attributes:
      shape: its shape, `(N1, N2)`.
      dtype: the type of its entries.
      tile_shape: rows and columns of a tile; the last ones may be smaller.
      label: where it is, for messages.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    tile_shape: tuple[int, ...]
    label: str

    def read(self, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Some of the matrix.

        Raises:
          ValueError: a tile is missing or damaged.
        """
        ...

    def write(self, rows: slice, columns: slice, values: np.ndarray[Any, Any]) -> None:
        """Writes one whole tile; a reader sees all of it or nothing."""
        ...

    def has_tile(self, i: int, j: int) -> bool:
        """Whether a tile has been written."""
        ...

    def check_complete(self) -> None:
        """Raises `ValueError` if tiles are missing: it says how many of how many."""
        ...

    def beside(self, name: str, shape: tuple[int, ...], tile_shape: tuple[int, ...], dtype: Any) -> "StoredMatrix":
        """Another matrix in the same store, made from this one and kept under a name; it is created if it is not there.

        Raises:
          ValueError: there is one of this name, but of another shape, tile or type.
          OSError: the store cannot be written to.
        """
        ...


Matrix: TypeAlias = jax.Array | StoredMatrix  # in memory, or in a store
