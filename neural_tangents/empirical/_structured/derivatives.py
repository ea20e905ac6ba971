"""The NTK by structured derivatives."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.types import PyTree
from neural_tangents.empirical._contraction import jacobian_contraction
from neural_tangents.empirical._cost import equations
from neural_tangents.empirical._einsum import Labels, aligned, sizes_of
from neural_tangents.empirical._output_axes import OutputAxes
from neural_tangents.empirical._samples import Samples, map_both
from neural_tangents.empirical._structured.program import Program, trace
from neural_tangents.empirical._structured.uses import Plan, Use

_NOT_HOLOMORPHIC = {"real", "imag", "conj", "abs"}


def structured_derivatives(
    first: Samples, second: Samples, params: PyTree, axes: Sequence[OutputAxes]
) -> list[jax.Array]:
    """`Θ = J(x1) J(x2)ᵀ` of each output, as a sum over the uses of parameters in the network.

    The Jacobian with respect to one use of a parameter is a product of cotangents and of inputs of that step. The
    kernel is a contraction of the factors of both Jacobians, in the cheapest order. Parameters used more than once, or
    in an unknown way, go through a Jacobian as an array; so do all parameters if the network takes different steps for
    x1 and for x2, or if it computes with complex numbers and is not holomorphic: its cotangents do not multiply then.
    """
    leaves = jax.tree.leaves(params)
    plan1 = _plan(first, params)
    plan2 = plan1 if second is first else _plan(second, params)
    if plan1.signature != plan2.signature or not _multiplies(plan1.program, first, leaves):
        return jacobian_contraction(first, second, params, axes)
    slopes1, slopes2 = (_slopes(plan, leaves) for plan in (plan1, plan2))

    def uses(batch: Samples) -> list[Use]:
        plan = plan2 if batch is second else plan1
        prepared = plan.program.prepare(leaves)
        return batch.map(lambda sample: plan.uses(prepared, leaves, jax.tree.leaves(sample)))

    uses1, uses2 = map_both(uses, first, second)
    kernels = []
    for leaf, a in enumerate(axes):
        terms = [
            _kernel(first, second, leaf, a, use1, use2, s1, s2)
            for use1, use2, s1, s2 in zip(uses1, uses2, slopes1, slopes2, strict=True)
        ]
        kernels.append(a.total(terms))
    return kernels


def _plan(batch: Samples, params: PyTree) -> Plan:
    return Plan.create(trace(batch.apply, params, batch.one))


def _multiplies(program: Program, batch: Samples, leaves: list[Any]) -> bool:
    """Whether derivatives are products of complex numbers: of real networks, and of holomorphic ones."""
    every = list(equations(step.eqn for step in (*program.preparation, *program.steps)))
    types = [*batch.dtypes, *(jnp.result_type(leaf) for leaf in leaves)]
    types_inside = [var.aval.dtype for eqn in every for var in eqn.outvars if hasattr(var.aval, "dtype")]
    if not any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in (*types, *types_inside)):
        return True
    return all(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in types) and not any(
        eqn.primitive.name in _NOT_HOLOMORPHIC for eqn in every
    )


def _slopes(plan: Plan, leaves: list[Any]) -> list[Any]:
    """For each use, the derivative of each entry of its operand with respect to its parameter; None if all are 1."""
    scaled = [value for value in plan.structured if plan.program.boxes[value].scaled]

    def prepare(leaves: list[Any]) -> list[Any]:
        prepared = plan.program.prepare(leaves)
        return [prepared[value] for value in scaled]

    tangents = jax.jvp(prepare, (leaves,), ([jnp.ones_like(leaf) for leaf in leaves],))[1] if scaled else []
    slopes = dict(zip(scaled, tangents, strict=True))
    return [slopes.get(value) for value in plan.structured] + [None] * len(plan.jacobian_leaves)


def _kernel(
    first: Samples, second: Samples, leaf: int, a: OutputAxes, use1: Use, use2: Use, slopes1: Any, slopes2: Any
) -> jax.Array:
    """The part of the kernel of one output that is due to one use."""
    arrays: list[jax.Array] = []
    labels: list[Labels] = []
    sides = ((first, use1, a.labels1), (second, use2, a.labels2))
    for side, (batch, use, output_labels) in enumerate(sides):
        of_output = batch.labels(leaf, output_labels)
        cotangent = use.cotangents[leaf]
        shape = (cotangent.shape[0], *batch.one_shape(leaf), *cotangent.shape[2:])
        found = [cotangent.reshape(shape), *use.factors]
        arrays += map(a.of_second, found) if side else found
        labels += [(*of_output, *_of_side(use, side, use.labels))]
        labels += [(of_output[0], *_of_side(use, side, term)) for term in use.factor_labels]
    if slopes1 is not None:  # the operand is a function of parameters, entry by entry: the chain rule
        sizes = sizes_of([array.shape for array in arrays], labels)
        operand = _of_side(use1, 0, use1.operand_labels)
        arrays.append((slopes1 * a.of_second(slopes2)).reshape([sizes.get(label, 1) for label in operand]))
        labels.append(operand)
    if use1.index is not None and use2.index is not None:  # both sides have to have read the same entry
        first_labels = (first.labels(leaf, a.labels1)[0], *_of_side(use1, 0, use1.index_labels))
        second_labels = (second.labels(leaf, a.labels2)[0], *_of_side(use2, 1, use2.index_labels))
        every = tuple(dict.fromkeys((*first_labels, *second_labels)))
        places1, places2 = aligned(use1.index, first_labels, every), aligned(use2.index, second_labels, every)
        arrays.append((places1 == places2) & (places1 >= 0))
        labels.append(every)
    return a.kernel(arrays, labels)


def _of_side(use: Use, side: int, labels: Labels) -> Labels:
    """Labels of one side's use in a kernel; axes of the operand are shared by both sides, and so summed over."""
    return tuple(("operand", label) if label in use.operand_labels else (side, label) for label in labels)
