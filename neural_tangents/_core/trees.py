"""Network trees: nested lists and tuples (of exactly these types) of inputs, kernels, masks or shapes."""

import numbers
from collections.abc import Callable, Iterator
from typing import Any


def is_node(x: Any) -> bool:
    """Whether `x` is an inner node; named tuples and all other containers are leaves."""
    return type(x) in (list, tuple)


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Applies `fn` to each leaf of `tree` and the part of each of `rest` in the same place.

    `tree` alone says what is a leaf, so `rest` may hold shapes (tuples of integers). A `None` in `rest` where `tree`
    has a node stands for a whole subtree of `None`.

    Raises:
      ValueError: a tree in `rest` has a different number of branches.
    """
    if not is_node(tree):
        return fn(tree, *rest)
    columns = []
    for other in rest:
        if other is None:
            other = [None] * len(tree)
        if not isinstance(other, list | tuple) or len(other) != len(tree):
            raise ValueError(f"Expected a list or tuple of {len(tree)} branches, as in the first tree; got {other!r}.")
        columns.append(other)
    return type(tree)(tree_map(fn, *branch) for branch in zip(tree, *columns, strict=True))


def tree_leaves(tree: Any) -> Iterator[Any]:
    """The leaves of a network tree from left to right."""
    if is_node(tree):
        for branch in tree:
            yield from tree_leaves(branch)
    else:
        yield tree


def is_shape(x: Any) -> bool:
    """Whether `x` is one shape rather than a tree of shapes."""
    return isinstance(x, tuple) and all(isinstance(i, numbers.Integral) for i in x)
