"""Values that are known, and values that are being traced by a transformation such as `jit` or `grad`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def is_concrete(tree: Any) -> bool:
    """Whether all values are known, that is, none is traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def known_values(x: Any) -> np.ndarray | None:
    """The values of an array; None if it is traced."""
    return np.asarray(x) if is_concrete(x) else None


class kept_if_concrete:
    """A `functools.cached_property` of a dataclass that keeps only concrete values.

    A value of an owner whose fields are concrete is evaluated at once, even while a caller is being traced, and kept.
    One that depends on a tracer is computed again at each use, so that it never outlives its trace.
    """

    def __init__(self, compute: Callable[[Any], Any]):
        self._compute = compute
        functools.update_wrapper(self, compute)  # type: ignore[arg-type]

    def __get__(self, owner: Any, owner_type: type | None = None) -> Any:
        if not is_concrete([getattr(owner, field.name) for field in dataclasses.fields(owner)]):
            return self._compute(owner)
        # Not `jax.ensure_compile_time_eval`: in functions that are compiled on the way it would evaluate constants,
        # such as the mask of a triangle, and leave them in jax's caches for ever.
        with jax.core.eval_context():
            value = self._compute(owner)
        owner.__dict__[self._compute.__name__] = value  # an instance attribute: found before this descriptor
        return value
