"""Helpers of layers: network trees, axes, selection of results."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.axes import canonical_axes, unzip_axes, zip_axes, zip_flat
from neural_tangents._core.dot_general import axis_after_dot
from neural_tangents._core.indexing import canonical_index as canonicalize_idx
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.selection import canonical_get, select
from neural_tangents._core.trees import is_node as is_list_or_tuple
from neural_tangents._core.trees import tree_leaves, tree_map
from neural_tangents._core.types import Axes, Get

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_helpers as __getattr__  # noqa: F401

__all__ = [
    "all_none",
    "axis_after_dot",
    "canonicalize_axis",
    "canonicalize_get",
    "canonicalize_idx",
    "get_namedtuple",
    "is_list_or_tuple",
    "is_nt_tree_of",
    "is_on_cpu",
    "make_2d",
    "mod",
    "nt_tree_fn",
    "size_at",
    "unzip_axes",
    "wraps",
    "zip_axes",
    "zip_flat",
]

wraps = functools.wraps


def is_nt_tree_of(x: Any, dtype: type | tuple[type, ...]) -> bool:
    """Whether all leaves of a network tree are of a type; a type of arrays stands for all of them."""
    types = dtype if isinstance(dtype, tuple) else (dtype,)
    if any(issubclass(t, np.ndarray | jax.Array) for t in types):
        types = (*types, np.ndarray, jax.Array)
    return all(isinstance(leaf, types) for leaf in tree_leaves(x))


def nt_tree_fn(
    nargs: int | None = None, tree_structure_argnum: int | None = None, reduce: Callable[[Any], Any] = lambda x: x
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function of leaves, so that it is applied to each leaf of network trees.

    Args:
      nargs: how many of its first arguments are trees; None for all.
      tree_structure_argnum: which of them says what is a leaf; None for the first.
      reduce: applied to the results of the branches of each node.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def of_trees(*args: Any, **kwargs: Any) -> Any:
            trees, rest = args[:nargs], args[nargs:] if nargs is not None else ()
            shape = trees[tree_structure_argnum or 0]
            if not is_list_or_tuple(shape):
                return fn(*args, **kwargs)
            branches = (
                of_trees(*[None if tree is None else tree[i] for tree in trees], *rest, **kwargs)
                for i in range(len(shape))
            )
            return reduce(type(shape)(branches))

        return of_trees

    return decorate


def all_none(x: Any, attr: str | None = None) -> bool:
    """Whether all leaves of a network tree, or one attribute of each, are None."""
    return all((leaf if attr is None else getattr(leaf, attr)) is None for leaf in tree_leaves(x))


def canonicalize_get(get: Get) -> tuple[bool, tuple[str, ...] | None]:
    """Whether `get` is None or a string, so that there is one result; and the names in lower case, or None."""
    return get is None or isinstance(get, str), canonical_get(get)


def get_namedtuple(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function with an argument `get`, so that it returns what `get` names.

    The function gets a tuple of names in lower case, or None. It returns results by name, in a dictionary or as
    attributes, or a network tree of such. From these, a string selects one result, and a tuple a named tuple; with
    None, they are returned as they are.

    Args:
      name: name of the type of the named tuples.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(fn)

        @functools.wraps(fn)
        def selected(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            get = bound.arguments["get"]
            names = bound.arguments["get"] = canonical_get(get)
            results = fn(*bound.args, **bound.kwargs)
            if names is None:
                return results

            def pick(result: Any) -> Any:
                by_name = result if isinstance(result, dict) else {n: getattr(result, n) for n in names}
                return select(by_name, get, name)

            return tree_map(pick, results)

        return selected

    return decorate


def canonicalize_axis(axis: Axes, x: Any) -> list[int]:
    """Axes of an array, a kernel or a number of axes, counted from the front, sorted, without repetitions."""
    if isinstance(x, Kernel):
        return list(canonical_axes(axis, len(x.shape1)))
    return list(canonical_axes(axis, x if isinstance(x, int) else np.ndim(x)))


def mod(axis: Axes, x: Any) -> list[int]:
    """Axes of an array, or of a number of axes, counted from the front, in their order."""
    ndim = x if isinstance(x, int) else np.ndim(x)
    return [i % ndim for i in ([axis] if isinstance(axis, int) else axis)]


def size_at(x: Any, axes: Iterable[int] | None = None) -> int:
    """The number of entries of an array, or of a shape, along some axes; None for all."""
    shape: Sequence[int] = x.shape if hasattr(x, "shape") else x
    return int(np.prod([shape[axis] for axis in (range(len(shape)) if axes is None else axes)], dtype=int))


def is_on_cpu(x: Any) -> bool:
    """Whether all arrays of a tree are in the memory of the host."""

    def leaf_is(leaf: Any) -> bool:
        return not isinstance(leaf, jax.Array) or all(device.platform == "cpu" for device in leaf.devices())

    return all(map(leaf_is, jax.tree.leaves(x)))


def make_2d(x: Any) -> Any:
    """An array of pairs of axes, `(X, X', Y, Y', ...)`, as a matrix `(X Y ..., X' Y' ...)`; None stays None."""
    if x is None:
        return None
    first = jnp.shape(x)[::2]
    return unzip_axes(x).reshape((int(np.prod(first, dtype=int)), -1))
