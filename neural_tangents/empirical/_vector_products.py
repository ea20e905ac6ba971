"""The NTK by products with vectors, without Jacobians."""

import math
from collections.abc import Callable, Sequence

import jax
from jax import lax

from neural_tangents._core.types import PyTree
from neural_tangents.empirical._complex_products import conjugate, product
from neural_tangents.empirical._jacobian import row, unit_cotangents, vjp_of_leaves
from neural_tangents.empirical._output_axes import OutputAxes
from neural_tangents.empirical._samples import Samples


def ntk_vector_products(first: Samples, second: Samples, params: PyTree, axes: Sequence[OutputAxes]) -> list[jax.Array]:
    """`Θ = J(x1) J(x2)ᵀ` of each output, by products with all unit vectors, for one sample of x2 at a time."""
    return [_kernel(first, second, params, a, leaf) for leaf, a in enumerate(axes)]


def n_products(first: Samples, second: Samples, leaf: int, a: OutputAxes) -> int:
    """How many products the kernel of one output takes: one for each pair of samples and entry of the output for x2."""
    labels1, labels2 = first.labels(leaf, a.labels1), second.labels(leaf, a.labels2)
    pairs = first.n_samples * (1 if labels1[0] == labels2[0] and first.mapped else second.n_samples)
    return pairs * math.prod(second.one_shape(leaf))


def _kernel(first: Samples, second: Samples, params: PyTree, a: OutputAxes, leaf: int) -> jax.Array:
    labels1, labels2 = first.labels(leaf, a.labels1), second.labels(leaf, a.labels2)
    shape1, shape2 = first.one_shape(leaf), second.one_shape(leaf)

    def of_pair(sample1: PyTree, sample2: PyTree) -> jax.Array:
        """`(*axes of an output for x2, *axes of one for x1)`."""
        columns = _columns(
            lambda p: first.apply(p, sample1), lambda p: second.apply(p, sample2), params, leaf, a.hermitian
        )
        return columns.reshape(*shape2, *shape1)

    if labels1[0] == labels2[0]:  # the kernel of each sample with the one in its place
        products = first.map(lambda data: of_pair(*data), (first.data, second.data))
        return a.kernel([products], [(labels1[0], *labels2[1:], *labels1[1:])])
    products = lax.map(lambda sample2: first.map(lambda sample1: of_pair(sample1, sample2)), second.data)
    return a.kernel([products], [(labels2[0], labels1[0], *labels2[1:], *labels1[1:])])


def _columns(
    f1: Callable[[PyTree], list[jax.Array]],
    f2: Callable[[PyTree], list[jax.Array]],
    params: PyTree,
    leaf: int,
    hermitian: bool,
) -> jax.Array:
    """Products of the NTK with the unit vectors of one output of `f2`, `(size of that output, *output of f1)`."""
    outputs, pull = vjp_of_leaves(f2, params)
    out, push = jax.linearize(lambda p: f1(p)[leaf], params)
    leaves, structure = jax.tree.flatten(params)

    def column(unit: jax.Array) -> jax.Array:
        """The product of the Jacobian of `f1` with one row of that of `f2`."""
        of_row = row(pull, outputs, leaf, unit)
        of_row = conjugate(of_row) if hermitian else of_row
        return product(lambda tangents: [push(jax.tree.unflatten(structure, tangents))], leaves, [out], of_row)[0]

    return jax.vmap(column)(unit_cotangents(outputs[leaf]))
