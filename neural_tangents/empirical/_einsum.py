"""Products of several arrays with named axes, in the cheapest order."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from neural_tangents._core.precision import matmul_precision
from neural_tangents.empirical._cost import TRAFFIC

Label = Any  # hashable
Labels = tuple[Label, ...]
Path = tuple[tuple[int, int], ...]
Term = tuple[jax.Array, Labels]


def contract(arrays: Sequence[jax.Array], labels: Sequence[Labels], output: Labels) -> jax.Array:
    """The product of arrays with labelled axes, summed over all labels that are not in `output`.

    A label that no array has is a new axis of size 1. Arrays are multiplied two at a time, in the order of `plan`.
    """
    terms = list(zip(arrays, labels, strict=True))
    sizes = sizes_of([array.shape for array in arrays], labels)
    _, path = plan(tuple(labels), tuple(label for label in output if label in sizes), tuple(sizes.items()))
    for i, j in path:
        second, first = terms.pop(j), terms.pop(i)
        terms.append(_product(first, second, _needed([term for _, term in terms], output)))
    return aligned(*_summed(*terms[0], set(output)), output)


def aligned(array: jax.Array, labels: Labels, output: Labels) -> jax.Array:
    """An array with its axes in the order of `output`, and new axes of size 1 for labels that it does not have."""
    array = jnp.transpose(array, [labels.index(label) for label in output if label in labels])
    return jnp.expand_dims(array, [axis for axis, label in enumerate(output) if label not in labels])


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


def _product(first: Term, second: Term, needed: set[Label]) -> Term:
    """The product of two terms, summed over labels that are not needed any more.

    Labels of a product of matrices: those that both terms have, then the others of the first, then those of the second.
    So no axes are moved after the multiplication, which would take as long as the multiplication of thin matrices. A
    matrix times a vector, for each entry of shared labels, is multiplied and summed as the matrix lies in memory.
    """
    x, of_x = _summed(*first, needed.union(second[1]))
    y, of_y = _summed(*second, needed.union(first[1]))
    sizes = sizes_of([x.shape, y.shape], [of_x, of_y])
    shared = tuple(label for label in of_x if label in of_y and label in needed)
    contracted = tuple(label for label in of_x if label in of_y and label not in needed)
    rest_x, rest_y = (tuple(label for label in term if label not in (*shared, *contracted)) for term in (of_x, of_y))
    n_shared, n_x, n_y = (math.prod(sizes[label] for label in term) for term in (shared, rest_x, rest_y))
    if not contracted or (n_shared > 1 and min(n_x, n_y) == 1 < max(n_x, n_y)):
        every = tuple(dict.fromkeys((*of_x, *of_y) if n_x > n_y else (*of_y, *of_x)))
        return _summed(aligned(x, of_x, every) * aligned(y, of_y, every), every, needed)
    kept = (*shared, *rest_x, *rest_y)
    x, axis_x = _as_matrices(x, of_x, shared, contracted)
    y, axis_y = _as_matrices(y, of_y, shared, contracted)
    batch = tuple(range(x.ndim - 2))
    x, y = (z.astype(jnp.promote_types(x.dtype, y.dtype)) for z in (x, y))
    matrices = lax.dot_general(x, y, (((axis_x,), (axis_y,)), (batch, batch)), precision=matmul_precision())
    return matrices.reshape([sizes[label] for label in kept]), kept


def _as_matrices(array: jax.Array, labels: Labels, shared: Labels, contracted: Labels) -> tuple[jax.Array, int]:
    """An array as a matrix, or as a stack of matrices for entries of shared labels; and the axis to sum over.

    It is the last one if the last label is summed over, so that the innermost axis in memory stays where it is.
    """
    free = tuple(label for label in labels if label not in (*shared, *contracted))
    groups = (shared, free, contracted) if labels[-1] in contracted else (shared, contracted, free)
    array = jnp.transpose(array, [labels.index(label) for group in groups for label in group])
    sizes = iter(array.shape)
    stack, *matrix = (math.prod(next(sizes) for _ in group) for group in groups)
    array = array.reshape([stack, *matrix] if stack != 1 else matrix)
    return array, array.ndim - (1 if groups[-1] == contracted else 2)


def _summed(array: jax.Array, labels: Labels, needed: set[Label]) -> Term:
    """A term, summed over labels that are not needed; of axes with equal labels, the diagonal."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    kept = tuple(label for label in numbers if label in needed)
    if kept == labels:
        return array, kept
    return jnp.einsum(array, [numbers[label] for label in labels], [numbers[label] for label in kept]), kept
