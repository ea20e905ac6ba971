"""The padding of a convolution, told from its windows and from what is done to positions before it."""

import dataclasses

import numpy as np

from neural_tangents.tracing._graph import Along, Linear, Node


class Untranslated(Exception):
    """A node is no layer of `stax`; says which one."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Filter shape, strides and padding of a convolution."""

    filter_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str


def window_of(node: Linear, spatial: list[int]) -> tuple[Node, Window]:
    """What a convolution is applied to, and its window, if it is a layer of `stax`.

    Zeros, or positions from the other end, that are put around the child before a convolution are part of its padding.

    Raises:
      Untranslated: its padding is another one, or it has dilations.
    """
    child: Node = node.child
    matrices: dict[int, np.ndarray] = {}
    while isinstance(child, Along) and child.axis in spatial and child.axis not in matrices:
        matrices[child.axis] = child.matrix
        child = child.child
    tables = []
    for axis in spatial:
        table = node.axes[axis]
        if axis in matrices:
            table = _composed(table, matrices[axis])
            if table is None:
                raise Untranslated("a convolution after a linear map of positions")
        tables.append((table, child.fin[axis]))
    shape = tuple(table.shape[1] for table, _ in tables)
    strides = tuple(_stride(table) for table, _ in tables)
    for padding in ("VALID", "SAME", "CIRCULAR"):
        if all(
            _matches(table, size, k, s, padding) for (table, size), k, s in zip(tables, shape, strides, strict=True)
        ):
            return child, Window(shape, strides, padding)
    raise Untranslated("a convolution with dilations, or with padding that no layer has")


def _composed(table: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
    """Windows over positions that were chosen from others, as windows over these."""
    if not np.all((matrix == 0) | (matrix == 1)) or np.any(matrix.sum(1) > 1):
        return None
    chosen = np.where(matrix.sum(1) == 1, matrix.argmax(1), -1)
    return np.where(table < 0, -1, chosen[np.clip(table, 0, None)])


def _stride(table: np.ndarray) -> int:
    """The step from one place of the window to the next."""
    for column in table.T:
        inner = np.flatnonzero(column >= 0)
        if len(inner) > 1 and inner[1] == inner[0] + 1 and column[inner[1]] > column[inner[0]]:
            return int(column[inner[1]] - column[inner[0]])
    return 1


def _matches(table: np.ndarray, size: int, kernel: int, stride: int, padding: str) -> bool:
    """Whether windows are those of a layer."""
    n_out = table.shape[0]
    expected = (size - kernel) // stride + 1 if padding == "VALID" else -(-size // stride)
    if n_out != expected:
        return False
    low = 0 if padding == "VALID" else max((n_out - 1) * stride + kernel - size, 0) // 2
    at = np.arange(n_out)[:, None] * stride + np.arange(kernel)[None] - low
    if padding == "CIRCULAR":
        return bool(np.array_equal(at % size, table))
    return bool(np.array_equal(np.where((at >= 0) & (at < size), at, -1), table))
