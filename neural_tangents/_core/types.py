"""Names for annotations: what flows through networks, and how axes and results are selected."""

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

PyTree: TypeAlias = Any
Axes: TypeAlias = int | Sequence[int]
Shape: TypeAlias = tuple[int, ...]

# A "network tree" is a list or tuple of network trees, or a leaf. Named tuples and other containers are leaves.
NTTree: TypeAlias = list["NTTree[T]"] | tuple["NTTree[T]", ...] | T
Shapes: TypeAlias = NTTree[Shape]

Get: TypeAlias = None | str | tuple[str, ...] | list[str]
