"""The NTK of a finite network."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.tiling.traits import with_traits
from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._batches import output_axes, shapes_of, two_batches
from neural_tangents.empirical._checks import check_function, forward_mode
from neural_tangents.empirical._contraction import jacobian_contraction
from neural_tangents.empirical._cost import TRAFFIC, arithmetic, has_primitive
from neural_tangents.empirical._implementation import NtkImplementation, canonical_implementation
from neural_tangents.empirical._output_axes import OutputAxes, traits
from neural_tangents.empirical._samples import Samples, VMapAxes
from neural_tangents.empirical._signatures import KernelAtParams
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
    *,
    hermitian: bool = False,
) -> KernelAtParams:
    """The neural tangent kernel of a finite network.

    `Θ(x1, x2) = J(x1) J(x2)ᵀ`, with `J(x)` the Jacobian of `f(params, x)` with respect to all parameters; the mean over
    traced axes of the outputs.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`, with trees of arrays as parameters, inputs and outputs.
        Models of other libraries become such functions in a line or two, see docs/recipes.md.
      trace_axes: axes of the outputs that the kernel is averaged over, for networks in which it is nearly a multiple of
        the identity along them, as it is along the units of a wide layer.
      diagonal_axes: axes of the outputs along which only equal entries are paired.
      vmap_axes: axes along which `f` acts on each sample alone, which saves a factor of their number. An integer, or a
        tree of integers that fits inputs and outputs; or a triple `(axes of inputs, axes of outputs, dictionary of axes
        of keyword arguments)`. `f` then sees samples one at a time, with axes of size 1. Leave it out for networks in
        which samples depend on each other, as they do in BatchNorm in training mode: outside of `jax.jit`, the first
        call compares outputs for two samples with those for each alone.
      implementation: the algorithm, a `NtkImplementation` or its number. The default is the one that takes the least
        arithmetic.
      _j_rules: has no effect; accepted for programs written for the archived library.
      _s_rules: has no effect, like `_j_rules`.
      _fwd: has no effect, like `_j_rules`. The three chose how single operations are differentiated; here that follows
        from what is known of each operation.
      hermitian: whether to compute `J(x1) J(x2)ᴴ`, which is positive semi-definite for `x1 = x2` (the quantum geometric
        tensor of wave functions), in place of `J(x1) J(x2)ᵀ`. Kernels of real networks are the same.

    Returns:
      `ntk_fn(x1, x2, params, **kwargs)`; see its own documentation, `help(ntk_fn)`. Compile it with `jax.jit(ntk_fn)`;
      it can also be vectorised and differentiated. For each output it returns a kernel whose axes are those of the
      output in order: a pair `(size for x1, size for x2)` for each, one axis for each diagonal one, none for a traced
      one. For outputs `(N, O)` that is `(N1, N2)` by default, and `(N1, N2, O, O)` with `trace_axes=()`.

    Raises:
      KeyError: there is no such implementation.
      TypeError: `f` is not a function.

    Example:
      >>> import jax.numpy as jnp
      >>> import neural_tangents as nt
      >>> def f(params, x):
      ...     return jnp.tanh(x @ params["w"]) @ params["v"]
      >>> params = {"w": jnp.eye(2), "v": jnp.ones((2, 1))}
      >>> x = jnp.asarray([[1.0, 0.0], [1.0, 1.0]])
      >>> ntk_fn = nt.empirical_ntk_fn(f)
      >>> print(ntk_fn(x, None, params).round(2))
      [[1.76 1.18]
       [1.18 1.87]]

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """
    del _j_rules, _s_rules, _fwd
    check_function(f, "empirical_ntk_fn(f)")
    chosen = canonical_implementation(implementation)
    cheapest: dict[Any, NtkImplementation] = {}
    checked: set[Any] = set()

    @with_traits(traits(trace_axes, diagonal_axes, "ntk"))
    def ntk_fn(x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> PyTree:
        """The neural tangent kernel of the network for two batches.

        `Θ(x1, x2) = J(x1) J(x2)ᵀ`, with `J(x)` the Jacobian of `f(params, x)` with respect to all parameters; with
        `hermitian=True`, `J(x1) J(x2)ᴴ`. Complex outputs are taken to be holomorphic in complex parameters, and the
        derivative of a real output by a complex parameter `x + i y` is `∂f/∂x - i ∂f/∂y`, as for `jax.grad`. For a
        network that is neither, make the real and the imaginary parts of its parameters parameters of their own.

        Args:
          x1: the first batch of inputs, such as `(N1, ...)`; an array or a tree of arrays.
          x2: the second batch, such as `(N2, ...)`. None, or None in place of some of its arrays, stands for `x1`.
          params: the parameters, a tree of real or complex arrays. They come last.
          **kwargs: keyword arguments of `f`. Of a pair `(a, b)`, `a` goes with `x1` and `b` with `x2`; all else goes
            with both. A single random key `rng` is used for both batches if they are equal, and split otherwise.

        Returns:
          The kernel, `(N1, N2)` for outputs `(N, O)` and default axes; see `empirical_ntk_fn` for others. Of several
          outputs, each has its own kernel with itself.

        Raises:
          TypeError: parameters or outputs are not of real or complex type, or `trace_axes` and `diagonal_axes` overlap.
          ValueError: `x1` and `x2` do not match; axes are out of range, or do not fit inputs, outputs or each other; or
            the network does not act on each sample alone along `vmap_axes`.
        """
        first, second, params = two_batches(f, x1, x2, params, kwargs, vmap_axes, checked)
        axes = output_axes(first, second, params, trace_axes, diagonal_axes, hermitian)
        algorithm = chosen
        if algorithm == NtkImplementation.AUTO:
            key = shapes_of((x1, x2, params, kwargs))
            if key not in cheapest:
                cheapest[key] = _cheapest(first, second, params, axes)
            algorithm = cheapest[key]
        with forward_mode("Choose another `implementation`, such as `NtkImplementation.AUTO`."):
            return jax.tree.unflatten(first.structure, _ALGORITHMS[algorithm](first, second, params, axes))

    return ntk_fn


_ALGORITHMS = {
    NtkImplementation.JACOBIAN_CONTRACTION: jacobian_contraction,
    NtkImplementation.NTK_VECTOR_PRODUCTS: ntk_vector_products,
    NtkImplementation.STRUCTURED_DERIVATIVES: structured_derivatives,
}


def _cheapest(first: Samples, second: Samples, params: PyTree, axes: Sequence[OutputAxes]) -> NtkImplementation:
    """The algorithm that takes the least arithmetic.

    Structured derivatives never take more of it than Jacobian contraction, since they contract Jacobians where that is
    best; so they are traced, which takes longer than all else here, only if Jacobian contraction might take more than
    products with vectors. These take, for each entry of the outputs of each pair of samples, a forward and a backward
    pass, and cotangents of all parameters.
    """
    network = jax.make_jaxpr(first.apply)(params, first.one)
    if has_primitive(network, "custom_vjp_call"):  # it has no derivative in forward mode
        return NtkImplementation.STRUCTURED_DERIVATIVES

    size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))
    forward, n_vectors = arithmetic(network), [n_products(first, second, leaf, a) for leaf, a in enumerate(axes)]
    of_products = (2 * forward + TRAFFIC * size) * sum(n_vectors)
    if _of_jacobians(first, second, forward, size, n_vectors) <= of_products:
        return NtkImplementation.STRUCTURED_DERIVATIVES

    def structured(data1: PyTree, data2: PyTree, params: PyTree) -> list[jax.Array]:
        batch1 = dataclasses.replace(first, data=data1)
        batch2 = batch1 if second is first else dataclasses.replace(second, data=data2)
        return structured_derivatives(batch1, batch2, params, axes)

    of_structure = arithmetic(jax.make_jaxpr(structured)(first.data, second.data, params))
    if of_products < of_structure:
        return NtkImplementation.NTK_VECTOR_PRODUCTS
    return NtkImplementation.STRUCTURED_DERIVATIVES


def _of_jacobians(first: Samples, second: Samples, forward: float, size: int, n_vectors: Sequence[int]) -> float:
    """How long Jacobian contraction takes, from a forward pass of one sample, and the number of parameters.

    A Jacobian takes a backward pass, or two forward passes, for each entry of the outputs of each sample.
    """
    batches = [first] if second is first else [first, second]
    outputs = range(len(n_vectors))
    rows = sum(batch.n_samples * math.prod(batch.one_shape(leaf)) for batch in batches for leaf in outputs)
    products = sum(n * math.prod(first.one_shape(leaf)) for leaf, n in enumerate(n_vectors)) * size
    return forward * sum(batch.n_samples for batch in batches) + rows * (2 * forward + TRAFFIC * size) + products
