"""Products of several arrays with named axes, in the cheapest order."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.precision import matmul_precision
from neural_tangents.empirical._cost import TRAFFIC

Label = Any  # hashable
Labels = tuple[Label, ...]
Path = tuple[tuple[int, int], ...]


def contract(arrays: Sequence[jax.Array], labels: Sequence[Labels], output: Labels) -> jax.Array:
    """The product of arrays with labelled axes, summed over all labels that are not in `output`.

    A label that no array has is a new axis of size 1. Arrays are multiplied two at a time, in the order of `plan`.
    """
    terms = [(array, term) for array, term in zip(arrays, labels, strict=True)]
    sizes = sizes_of([array.shape for array in arrays], labels)
    _, path = plan(tuple(labels), tuple(label for label in output if label in sizes), tuple(sizes.items()))
    for i, j in path:
        second, first = terms.pop(j), terms.pop(i)
        terms.append(_product([first, second], _needed([term for _, term in terms], output)))
    present = [label for label in output if label in sizes]
    array = _product([terms[0]], set(present))
    result = jnp.transpose(array[0], [array[1].index(label) for label in present])
    return jnp.expand_dims(result, [axis for axis, label in enumerate(output) if label not in sizes])


def sizes_of(shapes: Sequence[Sequence[int]], labels: Sequence[Labels]) -> dict[Label, int]:
    """The size of each label."""
    sizes: dict[Label, int] = {}
    for shape, term in zip(shapes, labels, strict=True):
        for label, size in zip(term, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ValueError(f"Axis {label!r} has sizes {sizes[label]} and {size}.")
    return sizes


@functools.cache
def plan(labels: tuple[Labels, ...], output: Labels, sizes: tuple[tuple[Label, int], ...]) -> tuple[float, Path]:
    """The cost of the cheapest order of multiplications, and that order, as pairs `i < j` of terms.

    The two terms are taken out of the list of terms, and their product is appended. The cost counts multiplications and
    numbers moved, and so keeps intermediate results small, too.
    """
    return _cheapest(tuple(frozenset(term) for term in labels), frozenset(output), dict(sizes))


def _cheapest(
    terms: tuple[frozenset[Label], ...], output: frozenset[Label], sizes: Mapping[Label, int]
) -> tuple[float, Path]:
    if len(terms) == 1:
        return (0.0 if terms[0] == output else TRAFFIC * _size(terms[0], sizes)), ()
    best: tuple[float, Path] = (math.inf, ())
    for i, j, rest, product in _pairs(terms, output):
        moved = _size(terms[i], sizes) + _size(terms[j], sizes) + _size(product, sizes)
        cost = _size(terms[i] | terms[j], sizes) + TRAFFIC * moved
        if cost < best[0]:
            later, path = _cheapest((*rest, product), output, sizes)
            best = min(best, (cost + later, ((i, j), *path)))
    return best


def _pairs(
    terms: tuple[frozenset[Label], ...], output: frozenset[Label]
) -> Iterator[tuple[int, int, tuple[frozenset[Label], ...], frozenset[Label]]]:
    """All choices of two terms: their numbers, the other terms, and the labels of their product."""
    for j in range(1, len(terms)):
        for i in range(j):
            rest = tuple(term for number, term in enumerate(terms) if number not in (i, j))
            yield i, j, rest, (terms[i] | terms[j]) & output.union(*rest)


def _needed(others: Sequence[Labels], output: Labels) -> set[Label]:
    return set(output).union(*others)


def _size(labels: frozenset[Label], sizes: Mapping[Label, int]) -> float:
    return float(math.prod(sizes[label] for label in labels))


def _product(terms: Sequence[tuple[jax.Array, Labels]], needed: set[Label]) -> tuple[jax.Array, Labels]:
    """The product of one or two terms, summed over labels that are not needed any more."""
    numbers: dict[Label, int] = {}
    for _, term in terms:
        for label in term:
            numbers.setdefault(label, len(numbers))
    kept = tuple(label for label in numbers if label in needed)
    operands = [item for array, term in terms for item in (array, [numbers[label] for label in term])]
    array = jnp.einsum(*operands, [numbers[label] for label in kept], precision=matmul_precision())
    return array, kept
