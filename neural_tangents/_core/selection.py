"""Selection of results by `get=`."""

import collections
import functools
import reprlib
from collections.abc import Iterable
from typing import Any

from neural_tangents._core.types import Get


def canonical_get(get: Get) -> tuple[str, ...] | None:
    """The requested names in lower case, or None for everything.

    Raises:
      ValueError: `get` is empty or has duplicates.
      TypeError: `get` is neither None, a string, nor a tuple or list of strings.
    """
    if get is None:
        return None
    names = (get,) if isinstance(get, str) else get
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"`get` must be None, a string, or a tuple or list of strings, got {reprlib.repr(get)}.")
    if not names or "" in names:
        raise ValueError("`get` is empty. Give at least one name, for example 'nngp', or None for everything.")
    names = tuple(name.lower() for name in names)
    if len(set(names)) < len(names):
        raise ValueError(f"`get` has duplicates: {get!r}. Name each result once.")
    return names


def check_names(names: tuple[str, ...] | None, known: Iterable[str]) -> None:
    """Raises a `KeyError` if a name is not a known one."""
    known = sorted(known)
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise KeyError(f"Unknown `get`: {unknown}. Known names: {known}.")


# What `help` says of the fields of results; other names are attributes of a `Kernel`, which explains them.
_FIELDS = {
    "nngp": "The result for the NNGP kernel: the kernel itself, or a prediction of the Bayesian network.",
    "ntk": "The result for the NTK: the kernel itself, or a prediction of the network trained by gradient descent.",
    "ntkgp": "The result for the NTK as the covariance of a Gaussian process.",
}


@functools.cache
def result_type(type_name: str, names: tuple[str, ...]) -> Any:
    """The named tuple type for some results. One type per selection, as results of equal type must be equal pytrees."""
    fields: Any = collections.namedtuple(type_name, names)  # type: ignore[misc]
    for name in names:
        getattr(fields, name).__doc__ = _FIELDS.get(name, f"The attribute `{name}` of `neural_tangents.Kernel`.")
    attributes = {"__slots__": (), "__reduce__": _saved, "__doc__": "Results by name, in the order of `get`."}
    return type(type_name, (fields,), attributes)


def _saved(result: Any) -> tuple[Any, ...]:
    """What `pickle` saves of a result: no module has its type under its name, so the names of fields are saved."""
    return _loaded, (type(result).__name__, result._fields, tuple(result))


def _loaded(type_name: str, names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """Inverse of `_saved`."""
    return result_type(type_name, names)(*values)


def select(results: dict[str, Any], get: Get, type_name: str) -> Any:
    """The result named by a string, or a named tuple of those named by a tuple or list, in its order."""
    names = canonical_get(get)
    assert names is not None
    if isinstance(get, str):
        return results[names[0]]
    return result_type(type_name, names)(*(results[name] for name in names))
