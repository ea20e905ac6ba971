"""The NTK as the product of two Jacobians."""

import math
from collections.abc import Sequence

import jax

from neural_tangents._core.types import PyTree
from neural_tangents.empirical._jacobian import jacobian
from neural_tangents.empirical._output_axes import OutputAxes
from neural_tangents.empirical._samples import Samples, map_both


def jacobian_contraction(
    first: Samples, second: Samples, params: PyTree, axes: Sequence[OutputAxes]
) -> list[jax.Array]:
    """`Θ = J(x1) J(x2)ᵀ` of each output, by the contraction of both Jacobians, one leaf of the parameters at a time."""
    jacobians1, jacobians2 = map_both(lambda batch: _jacobians(batch, params), first, second)
    kernels = []
    for leaf, a in enumerate(axes):
        labels1 = (*first.labels(leaf, a.labels1), "parameters")
        labels2 = (*second.labels(leaf, a.labels2), "parameters")
        terms = [
            a.kernel([j1, a.of_second(j2)], [labels1, labels2])
            for j1, j2 in zip(jacobians1[leaf], jacobians2[leaf], strict=True)
        ]
        kernels.append(a.total(terms))
    return kernels


def _jacobians(batch: Samples, params: PyTree) -> list[list[jax.Array]]:
    """For each output and leaf of the parameters `(samples, *axes of one output, parameters of the leaf)`."""
    found = batch.map(lambda sample: jacobian(lambda p: batch.apply(p, sample), params))
    return [
        [j.reshape(j.shape[0], *batch.one_shape(leaf), math.prod(j.shape[2:])) for j in of_leaf]
        for leaf, of_leaf in enumerate(found)
    ]
