"""The NTK of a finite network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._arguments import check_parameters, fill_second, split_keywords
from neural_tangents.empirical._axes import OutputAxes
from neural_tangents.empirical._contraction import jacobian_contraction
from neural_tangents.empirical._cost import cheapest
from neural_tangents.empirical._implementation import NtkImplementation, canonical_implementation
from neural_tangents.empirical._samples import Samples, VMapAxes, samples
from neural_tangents.empirical._structured._kernel import structured_derivatives
from neural_tangents.empirical._vector_products import ntk_vector_products


def empirical_ntk_fn(
    f: Callable[..., PyTree],
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VMapAxes = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
) -> Callable[..., PyTree]:
    del _j_rules, _s_rules, _fwd
    chosen = canonical_implementation(implementation)

    def ntk_fn(x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> PyTree:
        first, second, one_batch = two_batches(f, x1, x2, params, kwargs, vmap_axes)
        axes = output_axes(first, second, trace_axes, diagonal_axes)
        algorithm = chosen
        if algorithm == NtkImplementation.AUTO:
            algorithm = cheapest(first, second, params, axes)
        if algorithm == NtkImplementation.STRUCTURED_DERIVATIVES and _is_mixed(first, params):
            algorithm = NtkImplementation.JACOBIAN_CONTRACTION
        if algorithm == NtkImplementation.NTK_VECTOR_PRODUCTS:
            kernels = ntk_vector_products(first, second, params, axes)
        elif algorithm == NtkImplementation.JACOBIAN_CONTRACTION:
            kernels = jacobian_contraction(first, second, params, axes, one_batch)
        else:
            kernels = structured_derivatives(first, second, params, axes, one_batch)
        return jax.tree.unflatten(first.structure, kernels)

    return ntk_fn


def two_batches(
    f: Callable[..., PyTree], x1: PyTree, x2: PyTree, params: PyTree, kwargs: Any, vmap_axes: VMapAxes
) -> tuple[Samples, Samples, bool]:
    """Both batches of inputs as samples, and whether all of the second is the first."""
    check_parameters(params)
    x2, one_batch = fill_second(x1, x2)
    kwargs1, kwargs2 = split_keywords(kwargs, x1, x2, one_batch)
    first = samples(f, params, x1, kwargs1, vmap_axes)
    one_batch = one_batch and all(kwargs1[name] is kwargs2[name] for name in kwargs1)
    second = first if one_batch else samples(f, params, x2, kwargs2, vmap_axes)
    if first.structure != second.structure:
        raise ValueError(
            f"Expected outputs of one structure for x1 and x2, got {first.structure} and {second.structure}."
        )
    return first, second, one_batch


def output_axes(first: Samples, second: Samples, trace_axes: Axes, diagonal_axes: Axes) -> list[OutputAxes]:
    """The axes of the kernel of each output."""
    return [
        OutputAxes.create(shape1, shape2, trace_axes, diagonal_axes)
        for shape1, shape2 in zip(first.shapes, second.shapes, strict=True)
    ]


def _is_mixed(batch: Samples, params: PyTree) -> bool:
    """Whether there are both real parameters and complex outputs."""
    outputs = jax.eval_shape(batch.apply, params, batch.one)
    real, complex_output = (
        [not jnp.issubdtype(jnp.result_type(p), jnp.complexfloating) for p in jax.tree.leaves(params)],
        [jnp.issubdtype(out.dtype, jnp.complexfloating) for out in outputs],
    )
    return any(real) and any(complex_output)
