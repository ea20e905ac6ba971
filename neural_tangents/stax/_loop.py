"""Compiled loops over equal layers: compile time that does not grow with depth."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from neural_tangents.stax._spec import LayerSpec

# Fewer equal blocks are unrolled, which runs faster, as XLA then fuses some of them into one pass over memory.
_FEWEST_ROLLED = 5
_LONGEST_PERIOD = 16


def equal_form(x: Any, y: Any) -> bool:
    """Whether two pytrees have equal structure, static metadata, shapes and dtypes."""
    structure_x: Any = jax.tree.structure(x)
    return bool(structure_x == jax.tree.structure(y)) and all(
        np.shape(a) == np.shape(b) and jax.dtypes.result_type(a) == jax.dtypes.result_type(b)
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    )


def iterate(step: Callable[[Any], Any], x: Any, n: int) -> Any:
    """`step` applied `n` times, in a compiled loop where it is traced and its outputs keep the form of its inputs.

    The first application stays apart, as inputs of a network differ in form from what its layers return.
    """
    if n < _FEWEST_ROLLED:
        for _ in range(n):
            x = step(x)
        return x
    x = step(x)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))
    if traced and equal_form(x, jax.eval_shape(step, x)):
        return lax.scan(lambda carry, _: (step(carry), None), x, length=n - 1)[0]
    for _ in range(n - 1):
        x = step(x)
    return x


def periodic_runs(specs: Sequence[LayerSpec]) -> list[tuple[tuple[LayerSpec, ...], int]]:
    """Splits a sequence of layers into blocks and how often each is repeated, `(a b a b c) -> [((a b), 2), ((c), 1)]`.

    From left to right, the shortest block of layers that repeats often enough for a loop is taken.
    """
    runs: list[tuple[tuple[LayerSpec, ...], int]] = []
    start = 0
    while start < len(specs):
        for period in range(1, _LONGEST_PERIOD + 1):
            count = 1
            end = start + period
            while end + period <= len(specs) and _equal(specs[start : start + period], specs[end : end + period]):
                count, end = count + 1, end + period
            if count >= _FEWEST_ROLLED:
                break
        else:
            period, count = 1, 1
        runs.append((tuple(specs[start : start + period]), count))
        start += period * count
    return runs


def _equal(a: Sequence[LayerSpec], b: Sequence[LayerSpec]) -> bool:
    return all(x is y or (x.key is not None and x.key == y.key) for x, y in zip(a, b, strict=True))
