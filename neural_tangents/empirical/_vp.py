"""Products of the NTK of a finite network with vectors."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.mesh_axes import inside_shard_map, varying_like
from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents._core.tiling.traits import KernelTraits, with_traits
from neural_tangents._core.types import PyTree
from neural_tangents.empirical._batches import split_arguments
from neural_tangents.empirical._checks import check_function, check_parameters, check_vector, evaluate, forward_mode
from neural_tangents.empirical._complex_products import conjugate, product, product_with_transpose
from neural_tangents.empirical._in_blocks import in_blocks


def _in_tiles(settings: TileSettings) -> Callable[..., Callable[[PyTree], PyTree]]:
    """`empirical_ntk_vp_fn` of networks that take batches block by block."""
    return lambda f, *args, **kwargs: empirical_ntk_vp_fn(in_blocks(f, settings), *args, **kwargs)


@with_traits(KernelTraits(with_tiles=_in_tiles))
def empirical_ntk_vp_fn(
    f: Callable[..., PyTree], x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any
) -> Callable[[PyTree], PyTree]:
    """Products of the NTK with vectors, without forming it.

    `Θ(x1, x2) v = J(x1) (J(x2)ᵀ v)`, by one backward and one forward pass, in the memory of these.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`, with trees of arrays as parameters, inputs and outputs.
      x1: the first batch of inputs, an array or a tree of arrays.
      x2: the second batch; None, or None in place of some of its arrays, stands for `x1`.
      params: the parameters, a tree of real or complex arrays. They come last.
      **kwargs: keyword arguments of `f`; of a pair, each batch gets one.

    Returns:
      `ntk_vp_fn(v)`, with `v` like `f(params, x2)` and the product like `f(params, x1)`. Nothing is averaged over
      outputs; for that, see `empirical_ntk_operator_fn`.

    Raises:
      TypeError: `f` is not a function, or parameters are not of real or complex type.
      ValueError: `x1` and `x2` do not match.

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """
    check_function(f, "empirical_ntk_vp_fn(f, x1, x2, params)")
    return vector_products(f, x1, x2, params, kwargs)


def vector_products(
    f: Callable[..., PyTree], x1: PyTree, x2: PyTree, params: PyTree, kwargs: Mapping[str, Any], hermitian: bool = False
) -> Callable[[PyTree], PyTree]:
    """See `empirical_ntk_vp_fn`. If `hermitian`, products with `J(x1) J(x2)ᴴ`."""
    check_parameters(params)
    x2, kwargs1, kwargs2, _ = split_arguments(x1, x2, kwargs)

    def first(params: PyTree) -> PyTree:
        return evaluate(f, params, x1, kwargs1)

    def second(params: PyTree) -> PyTree:
        return evaluate(f, params, x2, kwargs2)

    if inside_shard_map():  # derivatives are those of the outputs of one device, as in `two_batches`
        params = varying_like(params, [jax.eval_shape(network, params) for network in (first, second)])
    leaves, structure = jax.tree.flatten(params)

    def ntk_vp_fn(v: PyTree) -> PyTree:
        """The product of the NTK with a vector.

        `Θ(x1, x2) v = J(x1) (J(x2)ᵀ v)`, with `J(x)` the Jacobian of `f(params, x)` with respect to all parameters.

        Args:
          v: the vector, with the tree, shapes and types of `f(params, x2)`. It may be complex where that is real.

        Returns:
          The product, with the tree, shapes and types of `f(params, x1)`; complex if the kernel or `v` is.

        Raises:
          TypeError: the network has no derivative in forward mode.
          ValueError: `v` is not like the outputs for x2.
        """
        outputs, vjp = jax.vjp(second, params)
        check_vector(v, outputs)
        outputs, of_outputs = jax.tree.flatten(outputs)

        def pull(cotangents: list[Any]) -> list[Any]:
            cotangents = [
                varying_like(a, out) if jnp.issubdtype(out.dtype, jnp.inexact) else a
                for a, out in zip(cotangents, outputs, strict=True)
            ]
            return jax.tree.leaves(vjp(jax.tree.unflatten(of_outputs, cotangents))[0])

        def push(tangents: list[Any]) -> list[Any]:
            return jax.tree.leaves(jax.jvp(first, (params,), (jax.tree.unflatten(structure, tangents),))[1])

        vectors = jax.tree.leaves(v)
        transposed = product_with_transpose(pull, outputs, conjugate(vectors) if hermitian else vectors)
        transposed = conjugate(transposed) if hermitian else transposed
        with forward_mode("Write it with `jax.custom_jvp`, or use `empirical_ntk_fn`."):
            return jax.tree.unflatten(of_outputs, product(push, leaves, outputs, transposed))

    return ntk_vp_fn
