"""The NTK of a finite network."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._batches import output_axes, two_batches
from neural_tangents.empirical._contraction import jacobian_contraction
from neural_tangents.empirical._cost import TRAFFIC, arithmetic, has_primitive
from neural_tangents.empirical._implementation import NtkImplementation, canonical_implementation
from neural_tangents.empirical._output_axes import OutputAxes
from neural_tangents.empirical._samples import Samples, VMapAxes
from neural_tangents.empirical._structured.derivatives import structured_derivatives
from neural_tangents.empirical._vector_products import n_products, ntk_vector_products


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
    """The neural tangent kernel of a finite network.

    `Θ(x1, x2) = J(x1) J(x2)ᵀ`, with `J(x)` the Jacobian of `f(params, x)` with respect to all parameters; the mean over
    traced axes of the outputs.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`, with trees of arrays as parameters, inputs and outputs.
        Models of other libraries become such functions in a line or two, see docs/recipes.md.
      trace_axes: axes of the outputs that the kernel is averaged over, for networks in which it is nearly a multiple of
        the identity along them, as along units of a wide layer.
      diagonal_axes: axes of the outputs of which only equal entries are paired.
      vmap_axes: axes along which `f` acts on each sample alone, which saves a factor of their number. An integer, or a
        tree of integers that fits inputs and outputs; or a triple `(axes of inputs, axes of outputs, dictionary of axes
        of keyword arguments)`. `f` then sees samples one at a time, with axes of size 1. Leave out for networks with
        dependencies between samples, such as BatchNorm in training mode.
      implementation: see `NtkImplementation`.
      _j_rules: accepted for programs written for the archived library, as are `_s_rules` and `_fwd`. They chose between
        ways of differentiating single operations, which is done by what is known of each operation here.

    Returns:
      `ntk_fn(x1, x2, params, **kwargs)`. `x2` of None, or None in place of some of its arrays, stands for `x1`. For
      each output a kernel whose axes are those of the output in order, each paired `(size for x1, size for x2)`;
      diagonal ones once, traced ones not at all. So `(N1, N2)` by default for outputs `(N, O)`, and `(N1, N2, O, O)`
      with `trace_axes=()`. Of several outputs, each has its own kernel with itself.

      Of the keyword arguments of `f`, a pair `(a, b)` gives one to each batch. A single random key `rng` is used for
      both batches if they are equal, and split otherwise. With complex parameters, `f` is taken to be holomorphic, and
      `J(x2)` is transposed without conjugation.

      Compile it with `jax.jit(ntk_fn)`; it can also be vectorised and differentiated.

    Raises:
      KeyError: there is no such implementation.
      TypeError: parameters are not of real or complex type, or `trace_axes` and `diagonal_axes` overlap.
      ValueError: axes are out of range, or do not fit inputs, outputs or each other; `x1` and `x2` do not match.

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """
    del _j_rules, _s_rules, _fwd
    chosen = canonical_implementation(implementation)
    cheapest: dict[Any, NtkImplementation] = {}

    def ntk_fn(x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> PyTree:
        first, second = two_batches(f, x1, x2, params, kwargs, vmap_axes)
        axes = output_axes(first, second, params, trace_axes, diagonal_axes)
        algorithm = chosen
        if algorithm == NtkImplementation.AUTO:
            key = _shapes((x1, x2, params, kwargs))
            if key not in cheapest:
                cheapest[key] = _cheapest(first, second, params, axes)
            algorithm = cheapest[key]
        return jax.tree.unflatten(first.structure, _ALGORITHMS[algorithm](first, second, params, axes))

    return ntk_fn


def structured_or_dense(first: Samples, second: Samples, params: PyTree, axes: Sequence[OutputAxes]) -> list[jax.Array]:
    """The kernels by structured derivatives, or by Jacobians if there are both real parameters and complex outputs."""
    complex_outputs = any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in first.dtypes)
    if complex_outputs and not all(map(jnp.iscomplexobj, jax.tree.leaves(params))):
        return jacobian_contraction(first, second, params, axes)
    return structured_derivatives(first, second, params, axes)


_ALGORITHMS = {
    NtkImplementation.JACOBIAN_CONTRACTION: jacobian_contraction,
    NtkImplementation.NTK_VECTOR_PRODUCTS: ntk_vector_products,
    NtkImplementation.STRUCTURED_DERIVATIVES: structured_or_dense,
}


def _cheapest(first: Samples, second: Samples, params: PyTree, axes: Sequence[OutputAxes]) -> NtkImplementation:
    """The algorithm that takes the least arithmetic.

    Structured derivatives never take more of it than Jacobian contraction: they contract Jacobians where that is best.
    Products with vectors take a forward and a backward pass, and cotangents of all parameters, for each entry of the
    outputs of each pair of samples.
    """
    network = jax.make_jaxpr(first.apply)(params, first.one)
    if has_primitive(network, "custom_vjp_call"):  # it has no derivative in forward mode
        return NtkImplementation.STRUCTURED_DERIVATIVES

    def structured(data1: PyTree, data2: PyTree, params: PyTree) -> list[jax.Array]:
        batch1 = dataclasses.replace(first, data=data1)
        batch2 = batch1 if second is first else dataclasses.replace(second, data=data2)
        return structured_or_dense(batch1, batch2, params, axes)

    of_structure = arithmetic(jax.make_jaxpr(structured)(first.data, second.data, params))
    of_product = 2 * arithmetic(network) + TRAFFIC * sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))
    if of_product * sum(n_products(first, second, leaf, a) for leaf, a in enumerate(axes)) < of_structure:
        return NtkImplementation.NTK_VECTOR_PRODUCTS
    return NtkImplementation.STRUCTURED_DERIVATIVES


def _shapes(tree: PyTree) -> Any:
    """What decides on an algorithm: structures, shapes and types."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((jnp.shape(leaf), leaf.dtype) if hasattr(leaf, "dtype") else type(leaf) for leaf in leaves)
