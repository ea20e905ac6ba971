"""The results of a kernel function: which axes of each array belong to which batch, and how tiles of it are joined."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.tiling.call_form import Cut
from neural_tangents._core.tiling.grid import Grid
from neural_tangents._core.tiling.traits import OutputPairs
from neural_tangents._core.types import PyTree, Shape

# Numbers of inputs that both blocks grow by, to see which axes of results grow with which.
MORE_ROWS, MORE_COLUMNS = 3, 5


class NotInTiles(ValueError, NotImplementedError):
    """The results of a kernel function cannot be joined from tiles."""


@dataclasses.dataclass(frozen=True)
class ResultTree:
    """The tree that a kernel function returned, with its arrays taken out.

    Attributes:
      structure: the structure of the tree.
      paths: the place of each leaf.
      constants: each leaf that is no array; None in place of arrays.
      is_array: which leaves are arrays.
      in_kernel: which leaves belong to a `Kernel`.
      pairs: `OutputPairs` of each leaf.
    """

    structure: Any
    paths: tuple[Any, ...]
    constants: tuple[Any, ...]
    is_array: tuple[bool, ...]
    in_kernel: tuple[bool, ...]
    pairs: tuple[OutputPairs, ...]

    @classmethod
    def of(cls, results: PyTree, pairs: Callable[[], PyTree] | None = None) -> tuple["ResultTree", list[Any]]:
        """The tree of some results, and their arrays; `pairs` is asked for `OutputPairs` that nothing else tells.

        Raises:
          TypeError: there is something that is neither an array nor a number, a string or a boolean.
        """
        if isinstance(results, Iterator):
            raise TypeError(_not_arrays(results))
        with_paths, structure = jax.tree_util.tree_flatten_with_path(results)
        leaves = [leaf for _, leaf in with_paths]
        is_array = tuple(isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves)
        for leaf, there in zip(leaves, is_array, strict=True):
            if not there and not isinstance(leaf, bool | int | float | complex | str):
                raise TypeError(_not_arrays(leaf))
        in_kernel: list[bool] = []
        known: list[OutputPairs] = []
        for node in jax.tree.leaves(results, is_leaf=lambda node: isinstance(node, Kernel)):
            parts = jax.tree.leaves(node)
            in_kernel += [isinstance(node, Kernel)] * len(parts)
            if isinstance(node, Kernel):
                known += [
                    OutputPairs(()) if node.diagonal_spatial else OutputPairs.adjacent(jnp.ndim(x)) for x in parts
                ]
            else:
                known += [OutputPairs(None if jnp.ndim(node) > 2 else ())]
        if pairs is not None and OutputPairs(None) in known:
            known = jax.tree.leaves(pairs(), is_leaf=lambda leaf: isinstance(leaf, OutputPairs))
        constants = tuple(None if there else leaf for leaf, there in zip(leaves, is_array, strict=True))
        tree = cls(structure, tuple(p for p, _ in with_paths), constants, is_array, tuple(in_kernel), tuple(known))
        return tree, [leaf for leaf, there in zip(leaves, is_array, strict=True) if there]

    def of_arrays(self, values: Sequence[Any]) -> list[Any]:
        """The values, of all leaves, of those that are arrays."""
        return [value for value, there in zip(values, self.is_array, strict=True) if there]

    def restored(self, arrays: dict[Any, Any]) -> PyTree:
        """The results, from their arrays by path."""
        leaves = [
            arrays[path] if there else constant
            for path, there, constant in zip(self.paths, self.is_array, self.constants, strict=True)
        ]
        return jax.tree.unflatten(self.structure, leaves)


@dataclasses.dataclass(frozen=True)
class Result:
    """One array among the results.

    Attributes:
      path: its place in the tree of results.
      cut: along which axes the inputs of each batch lie.
      shape: its shape for whole batches.
      dtype: its type.
      mirror: the order of axes that exchanges the batches; None if it is not known.
      in_kernel: whether it belongs to a `Kernel`.
      must_agree: whether tiles of one row, or of one column, have to hold the same values.
    """

    path: Any
    cut: Cut
    shape: Shape
    dtype: Any
    mirror: tuple[int, ...] | None
    in_kernel: bool
    must_agree: bool

    @property
    def is_matrix(self) -> bool:
        """Whether there is an axis for each batch."""
        return bool(self.cut.rows and self.cut.columns)

    def per_axis(self, of_row: Any, of_column: Any, other: Any = 0) -> list[Any]:
        """A list with one value for axes of the first batch, one for those of the second, and one for others."""
        return [
            of_row if axis in self.cut.rows else of_column if axis in self.cut.columns else other
            for axis in range(len(self.shape))
        ]

    def belongs_to(self, i: int, j: int, symmetric: bool) -> bool:
        """Whether tile `(i, j)` is where this array, or its part, is taken from."""
        if self.is_matrix:
            return True
        if self.cut.rows:
            return j == (i if symmetric else 0)
        return i == 0 if self.cut.columns else i == j == 0


def read_results(
    tree: ResultTree,
    tile: Sequence[jax.ShapeDtypeStruct],
    larger: dict[Any, jax.ShapeDtypeStruct],
    grid: Grid,
    single_batch_allowed: bool,
) -> list[Result]:
    """What the shapes of a tile, and of a larger one, tell about each array.

    Args:
      tree: the results of a tile.
      tile: shapes of its arrays.
      larger: shapes of arrays with `MORE_ROWS` and `MORE_COLUMNS` added to its inputs, by path.
      grid: the tiles.
      single_batch_allowed: whether an array may have axes of one batch only without being part of a `Kernel`.

    Raises:
      NotInTiles: an array has no axis, or several, of a batch, or other numbers of inputs than the tile.
    """
    columns = zip(
        tree.of_arrays(tree.paths),
        tree.of_arrays(tree.in_kernel),
        tree.of_arrays(tree.pairs),
        tile,
        strict=True,
    )
    found = []
    for path, in_kernel, pairs, small in columns:
        cut = _cut(path, small.shape, larger.get(path, small).shape)  # a flag may be a constant for other sizes
        is_flag = small.dtype == bool and single_batch_allowed
        if not in_kernel and cut.is_whole and not is_flag or cut.resized(small.shape, *grid.sizes) != small.shape:
            raise NotInTiles(_no_batch_axes(path, small.shape))
        shape = cut.resized(small.shape, grid.rows.n, grid.columns.n)
        must_agree = not (in_kernel or single_batch_allowed)
        found.append(Result(path, cut, shape, small.dtype, _mirror(cut, small, pairs), in_kernel, must_agree))
    return found


def _cut(path: Any, small: Shape, large: Shape) -> Cut:
    if len(small) != len(large):
        raise NotInTiles(_no_batch_axes(path, small))
    grown = [b - a for a, b in zip(small, large, strict=True)]
    if set(grown) - {0, MORE_ROWS, MORE_COLUMNS}:
        raise NotInTiles(_no_batch_axes(path, small))
    rows, columns = (tuple(a for a, g in enumerate(grown) if g == more) for more in (MORE_ROWS, MORE_COLUMNS))
    if len(rows) > 1 or len(columns) > 1:
        raise NotInTiles(
            f"Expected each array{_place(path)} to have at most one axis for the inputs of each batch, got an array of "
            f"shape {small} for a tile, with several. Tiles do not hold covariances of all inputs of one batch: leave "
            "out `diagonal_batch=False`, or ask for other results with `get`, such as 'nngp' or 'ntk'."
        )
    return Cut(rows, columns)


def _mirror(cut: Cut, tile: jax.ShapeDtypeStruct, pairs: OutputPairs) -> tuple[int, ...] | None:
    """The order of axes that exchanges the batches."""
    if not (cut.rows and cut.columns) or pairs.pairs is None or jnp.issubdtype(tile.dtype, jnp.complexfloating):
        return None  # kernels of complex networks may be symmetric or Hermitian
    order = list(range(len(tile.shape)))
    for a, b in ((cut.rows[0], cut.columns[0]), *pairs.pairs):
        order[a], order[b] = order[b], order[a]
    return tuple(order)


def sums_over_a_batch(result: Result) -> str:
    """What is wrong with an array that should depend on one batch only."""
    return (
        f"Expected the kernel function to return kernels, got an array of shape {result.shape} which has no axis for "
        f"the inputs of {'x2' if result.cut.rows else 'x1'}, but depends on them. Sums over a batch, such as products "
        "with vectors, cannot be joined from tiles: return the kernel instead."
    )


def _not_arrays(found: Any) -> str:
    return (
        f"Expected the kernel function to return arrays, got {type(found).__name__}. Wrap a function `(x1, x2, ...)` "
        "that returns a kernel, or a tree of kernels."
    )


def _place(path: Any) -> str:
    return f" at {jax.tree_util.keystr(path)} of the results" if path else ""


def _no_batch_axes(path: Any, shape: Shape) -> str:
    return (
        "Expected the kernel function to return arrays with one axis for the inputs of x1, and one for those of x2, "
        f"got an array{_place(path)} of shape {shape} for a tile, which does not have an entry for each of them. Tiles "
        "cannot be joined if the batch axis of outputs is in `trace_axes` or `diagonal_axes`, or is not the axis along "
        "which inputs are cut, which is the first of inputs and outputs, and of `vmap_axes`."
    )
