"""Data classes that are pytrees."""

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import jax

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_dataclasses as __getattr__  # noqa: F401

__all__ = ["dataclass", "field"]

C = TypeVar("C", bound=type)


def field(pytree_node: bool = True, **kwargs: Any) -> Any:
    """A field of a data class; without `pytree_node`, it is no part of the pytree but of its structure."""
    return dataclasses.field(metadata={"pytree_node": pytree_node}, **kwargs)


def dataclass(cls: C) -> C:
    """A frozen data class that is a pytree, with methods `replace(**changes)`, `asdict()` and `astuple()`."""
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(made)
    data = [f.name for f in fields if f.metadata.get("pytree_node", True)]
    jax.tree_util.register_dataclass(made, data, [f.name for f in fields if f.name not in data])
    made.replace = dataclasses.replace
    made.asdict = lambda self: {f.name: getattr(self, f.name) for f in fields}
    made.astuple = lambda self: tuple(getattr(self, f.name) for f in fields)
    return made
