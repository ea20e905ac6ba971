"""A matrix in a store, as predictors see it: a dictionary of tiles that counts what is read and written."""

import numpy as np

from neural_tangents._core.stored import StoredMatrix


class TileStore:
    """A `StoredMatrix` in memory, with tiles by their numbers `(i, j)`."""

    def __init__(self, shape, tile_shape, dtype, label="a store"):
        self.shape, self.tile_shape, self.dtype, self.label = shape, tile_shape, np.dtype(dtype), label
        self.tiles = {}
        self.others = {}
        self.bytes_read = self.writes = 0

    def _tiles(self, rows, columns):
        """Numbers of the tiles of which a range has some, with the slices of tile and range that are the same."""
        ranges = []
        for part, size, side in zip((rows, columns), self.shape, self.tile_shape, strict=True):
            assert 0 <= part.start < part.stop <= size and part.step is None
            numbers = range(part.start // side, -(-part.stop // side))
            edges = [(i, max(part.start, i * side), min(part.stop, (i + 1) * side)) for i in numbers]
            ranges.append(
                [(i, slice(a - i * side, b - i * side), slice(a - part.start, b - part.start)) for i, a, b in edges]
            )
        return [((i, j), (a, c), (b, d)) for i, a, b in ranges[0] for j, c, d in ranges[1]]

    def read(self, rows, columns):
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        for number, of_tile, of_range in self._tiles(rows, columns):
            if number not in self.tiles:
                raise ValueError(f"Expected tile {number} in {self.label}, got none.")
            out[of_range] = self.tiles[number][of_tile]
        self.bytes_read += out.nbytes
        return out

    def write(self, rows, columns, values):
        ((number, _, _),) = self._tiles(rows, columns)
        assert values.dtype == self.dtype and values.flags.c_contiguous
        assert all(
            part.start == i * side and part.stop == min(size, part.start + side)
            for i, part, side, size in zip(number, (rows, columns), self.tile_shape, self.shape, strict=True)
        )
        self.tiles[number] = values.copy()
        self.writes += 1

    def has_tile(self, i, j):
        return (i, j) in self.tiles

    def check_complete(self):
        count = int(np.prod([-(-size // side) for size, side in zip(self.shape, self.tile_shape, strict=True)]))
        if len(self.tiles) < count:
            raise ValueError(f"Expected {count} tiles in {self.label}, got {len(self.tiles)}. Fill it first.")

    def beside(self, name, shape, tile_shape, dtype):
        other = self.others.setdefault(name, TileStore(shape, tile_shape, dtype, f"{self.label}/{name}"))
        if (other.shape, other.tile_shape, other.dtype) != (shape, tile_shape, np.dtype(dtype)):
            raise ValueError(f"Expected {name} to have shape {shape}, got {other.shape}.")
        return other


assert isinstance(TileStore((1, 1), (1, 1), "float32"), StoredMatrix)


def stored(matrix, tile=7, columns=None):
    """A matrix in a store, with tiles of so many rows and columns."""
    matrix = np.asarray(matrix)
    store = TileStore(matrix.shape, (tile, columns or tile), matrix.dtype)
    for i in range(0, matrix.shape[0], store.tile_shape[0]):
        for j in range(0, matrix.shape[1], store.tile_shape[1]):
            rows, cols = (
                slice(a, min(a + s, n)) for a, s, n in zip((i, j), store.tile_shape, matrix.shape, strict=True)
            )
            store.write(rows, cols, np.ascontiguousarray(matrix[rows, cols]))
    store.writes = 0
    return store
