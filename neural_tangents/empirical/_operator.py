"""The NTK of a finite network as a linear operator."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from neural_tangents._core.mesh_axes import scan
from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents._core.tiling.traits import KernelTraits, with_traits
from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._batches import output_axes, two_batches
from neural_tangents.empirical._checks import check_function, complex_of, noted
from neural_tangents.empirical._in_blocks import in_blocks
from neural_tangents.empirical._output_axes import OutputAxes
from neural_tangents.empirical._samples import VMapAxes
from neural_tangents.empirical._structured.derivatives import structured_derivatives
from neural_tangents.empirical._vp import vector_products


class NtkOperator(NamedTuple):
    """An NTK that is not stored.

    Attributes:
      matvec: `v -> K v`. `v` is like `f(params, x2)` and `K v` like `f(params, x1)`, both without the traced axes.
      diagonal: `() -> ` the entries of `K` of each input and output with itself, like `f(params, x1)` without the
        traced axes.
      trace: `() -> ` their sum, for each output.
    """

    matvec: Callable[[PyTree], PyTree]
    diagonal: Callable[[], PyTree]
    trace: Callable[[], PyTree]


class OperatorFn(Protocol):
    """The operator of two batches: `(x1, x2, params, **kwargs) -> NtkOperator`."""

    __name__: str

    def __call__(self, x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> NtkOperator: ...


def empirical_ntk_operator_fn(
    f: Callable[..., PyTree],
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VMapAxes = None,
    *,
    hermitian: bool = False,
) -> OperatorFn:
    """The kernel of `empirical_ntk_fn` as an operator, for batches whose kernel would not fit into memory.

    `(K v)[i, d] = mean_t sum_j Θ[i t d, j t d] v[j, d]` with `t` along traced, `d` along diagonal and `i`, `j` along
    all other axes of the outputs.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`, with trees of arrays as parameters, inputs and outputs.
      trace_axes: axes of the outputs that the kernel is averaged over.
      diagonal_axes: axes of the outputs along which only equal entries are paired.
      vmap_axes: axes along which `f` acts on each sample alone, which makes `diagonal` and `trace` cheaper; see
        `empirical_ntk_fn`. Products do not need it.
      hermitian: whether the kernel is `J(x1) J(x2)ᴴ`, which is positive semi-definite for `x1 = x2`, also for complex
        networks.

    Returns:
      `operator_fn(x1, x2, params, **kwargs)`, which returns an `NtkOperator`; see its own documentation,
      `help(operator_fn)`.

    Raises:
      TypeError: `f` is not a function.

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """
    check_function(f, "empirical_ntk_operator_fn(f)")
    return _operator_fn(f, trace_axes, diagonal_axes, vmap_axes, hermitian, TileSettings(device_count=0))


def _operator_fn(
    f: Callable[..., PyTree],
    trace_axes: Axes,
    diagonal_axes: Axes,
    vmap_axes: VMapAxes,
    hermitian: bool,
    settings: TileSettings,
) -> OperatorFn:
    """The function that makes operators, whose products take batches block by block."""
    network = in_blocks(f, settings)
    checked: set[Any] = set()

    with_tiles = functools.partial(_operator_fn, f, trace_axes, diagonal_axes, vmap_axes, hermitian)

    @with_traits(KernelTraits(with_tiles=with_tiles))
    def operator_fn(x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> NtkOperator:
        """The neural tangent kernel of the network for two batches, as an operator.

        `(K v)[i, d] = mean_t sum_j Θ[i t d, j t d] v[j, d]` with `Θ(x1, x2) = J(x1) J(x2)ᵀ`, and `t` along traced, `d`
        along diagonal and `i`, `j` along all other axes of the outputs.

        Args:
          x1: the first batch of inputs, such as `(N1, ...)`; an array or a tree of arrays.
          x2: the second batch, such as `(N2, ...)`. None, or None in place of some of its arrays, stands for `x1`.
          params: the parameters, a tree of real or complex arrays. They come last.
          **kwargs: keyword arguments of `f`. Of a pair `(a, b)`, `a` goes with `x1` and `b` with `x2`; all else goes
            with both. A single random key `rng` is used for both batches if they are equal, and split otherwise.

        Returns:
          An `NtkOperator`. `matvec(v)` takes a forward and a backward pass through the network for each entry along
          traced and diagonal axes, and memory for one of them. `diagonal()` and `trace()` take a backward pass for each
          output.

        Raises:
          TypeError: parameters or outputs are not of real or complex type, or `trace_axes` and `diagonal_axes` overlap.
          ValueError: `x1` and `x2` do not match; axes are out of range, or do not fit; `v` is not like the outputs for
            x2 without traced axes; outputs for x1 and x2 have different shapes, in `diagonal` and `trace`.
        """
        first, second, params = two_batches(f, x1, x2, params, kwargs, vmap_axes, checked)
        product = vector_products(network, x1, x2, params, kwargs, hermitian)
        axes = output_axes(first, second, params, trace_axes, diagonal_axes, hermitian)

        def matvec(v: PyTree) -> PyTree:
            """`K v`, for `v` like the outputs for x2 without traced axes."""
            with noted(lambda: f"Expected a tree of vectors like the outputs for x2, {second.structure}."):
                vectors = second.structure.flatten_up_to(v)
            zeros = [jnp.zeros(shape, dtype) for shape, dtype in zip(second.shapes, second.dtypes, strict=True)]

            def of_output(leaf: int) -> jax.Array:
                def vp(cotangent: jax.Array) -> jax.Array:
                    every = [cotangent if i == leaf else zero for i, zero in enumerate(zeros)]
                    return jax.tree.leaves(product(jax.tree.unflatten(second.structure, every)))[leaf]

                dtype = second.dtypes[leaf]
                is_complex = jnp.iscomplexobj(vectors[leaf])
                return _product(vp, axes[leaf], jnp.asarray(vectors[leaf], complex_of(dtype) if is_complex else dtype))

            return jax.tree.unflatten(first.structure, [of_output(leaf) for leaf in range(len(axes))])

        def diagonal() -> PyTree:
            """The entries of `K` of each input and output with itself."""
            rest = [tuple(axis for axis in range(len(a.shape1)) if axis not in a.traced) for a in axes]
            equal = [
                OutputAxes.create(a.shape1, a.shape2, a.traced, d, a.dtype, hermitian)
                for a, d in zip(axes, rest, strict=True)
            ]
            return jax.tree.unflatten(first.structure, structured_derivatives(first, second, params, equal))

        def trace() -> PyTree:
            """The sum of the diagonal, for each output."""
            return jax.tree.map(jnp.sum, diagonal())

        return NtkOperator(matvec, diagonal, trace)

    return operator_fn


def _product(vp: Callable[[jax.Array], jax.Array], a: OutputAxes, v: jax.Array) -> jax.Array:
    """The product with one output, by one product of the whole NTK for each place along traced and diagonal axes."""
    shape1, shape2 = (
        tuple(n for axis, n in enumerate(shape) if axis not in a.traced) for shape in (a.shape1, a.shape2)
    )
    if v.shape != shape2:
        raise ValueError(
            f"Expected a vector of shape {shape2}, that of the outputs for x2, {a.shape2}, without the traced axes "
            f"{a.traced}; got {v.shape}."
        )
    dtype = complex_of(v.dtype) if jnp.issubdtype(a.dtype, jnp.complexfloating) else v.dtype
    shared = sorted(a.shared)
    sizes = [a.shape1[axis] for axis in shared]
    if math.prod(sizes) == 0:
        return jnp.zeros(shape1, dtype)
    spread = jnp.expand_dims(v, a.traced)

    def mask(place: jax.Array, ndim: int) -> jax.Array:
        """1 at one place along shared axes, 0 elsewhere."""
        ones = jnp.ones((1,) * ndim, bool)
        for axis, i in zip(shared, jnp.unravel_index(place, sizes), strict=True):
            here = jnp.arange(a.shape1[axis]) == i
            ones = ones & here.reshape([-1 if k == axis else 1 for k in range(ndim)])
        return ones

    def add(total: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        found = vp(jnp.broadcast_to(jnp.where(mask(place, v.ndim + len(a.traced)), spread, 0), a.shape2))
        found = jnp.where(mask(place, found.ndim), found.astype(dtype), 0)
        return total + jnp.sum(found, axis=a.traced), None

    total, _ = scan(add, jnp.zeros(shape1, dtype), jnp.arange(math.prod(sizes)))
    return total / max(1, math.prod(a.shape1[axis] for axis in a.traced))
