"""`Aggregate`: sums over the neighbours of each node of a graph."""

import enum
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.axes import canonical_axis
from neural_tangents._core.concrete import known_values
from neural_tangents._core.dot_general import same_constants
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.precision import matmul_precision
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Axes
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes, check_function, integer, integers
from neural_tangents.stax._spec import LayerSpec, Leaf


class AggregateImplementation(enum.Enum):
    """How the graphs of `Aggregate` are given. The layer also takes the names as strings.

    Attributes:
      DENSE: as adjacency matrices.
      SPARSE: as lists of edges.
    """

    DENSE = "DENSE"
    SPARSE = "SPARSE"


def _identity(pattern: Any) -> Any:
    return pattern


@public_layer
def Aggregate(
    aggregate_axis: Axes | None = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    to_dense: Callable[[Any], Any] | None = _identity,
    implementation: str | AggregateImplementation = AggregateImplementation.DENSE.value,
) -> LayerSpec:
    """Sums over the neighbours of each node of a graph, one graph for each input: the step of a graph network.

    Nodes are positions along the aggregated axes. With the weight `p[n, i, j]` of the edge from `i` to `j` in the graph
    of input `n`,

        y[n, j] = sum_i p[n, i, j] x[n, i],    nngp'[n, m, j, l] = sum_{i, k} p1[n, i, j] nngp[n, m, i, k] p2[m, k, l],

    and likewise `ntk`. The graphs are the keyword argument `pattern` of `apply_fn(params, x, pattern=pattern)` and of
    `kernel_fn(x1, x2, pattern=(pattern1, pattern2))`, also if `x2` is None. None stands for edges from each node to
    itself only: outputs are the inputs. A pattern is, with `X, Y, ...` the sizes of the aggregated axes,

        'DENSE':   weights `(N, X, Y, ..., X, Y, ...)`, from the first node to the second;
        'SPARSE':  integers `(N, n_edges, n_axes, 2)`, or `(N, n_edges, 2)` for one axis: along each aggregated axis,
                   the coordinates of the node that an edge comes from, and of the one it goes to. Edges have weight
                   one; repeated ones add. An edge with a negative coordinate is left out, so that graphs with different
                   numbers of edges can share an array.

    With `V` nodes and `E` edges, 'DENSE' takes time `O(V^2)` in the finite network and `O(V^3)` per pair of inputs in
    the infinite one, 'SPARSE' `O(V + E)` and `O(V^2 + E V)`.

    Args:
      aggregate_axis: spatial axis or axes, in any order; None stands for all of them. In patterns they have the
        order that they have in the inputs.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.
      to_dense: for 'DENSE', a function that turns what is given as `pattern` into the weights above; None for none.
      implementation: `'DENSE'` or `'SPARSE'`, also as a member of `AggregateImplementation`.

    Returns:
      A layer without parameters. Masks stay as they are; masked nodes add nothing.

    Raises:
      ValueError: an unknown implementation; axes that are not spatial, or named twice; `pattern` is not a pair or was
        left out in `kernel_fn`; its shape does not fit; known coordinates that are too large.
      TypeError: coordinates that are not integers.
      NotImplementedError: one of the two patterns is None, and the other one not.

    Source: Kipf & Welling, "Semi-Supervised Classification with Graph Convolutional Networks", 2017,
    https://arxiv.org/abs/1609.02907; for the kernel, Du et al., "Graph Neural Tangent Kernel", 2019,
    https://arxiv.org/abs/1905.13192.
    """
    form = _implementation(implementation)
    check_axes("Aggregate", batch_axis=batch_axis, channel_axis=channel_axis)
    if isinstance(aggregate_axis, Iterable):
        integers("Aggregate", "aggregate_axis", aggregate_axis, least=None, where="axis to act on")
    elif aggregate_axis is not None:
        integer("Aggregate", "aggregate_axis", aggregate_axis, least=None)
    check_function("Aggregate", "to_dense", to_dense, optional=True)
    if form is AggregateImplementation.SPARSE:
        warnings.warn(
            "Edges with a negative coordinate in `pattern` are left out: they do not count from the end, as negative "
            "indices of arrays do.",
            UserWarning,
            stacklevel=3,
        )

    def dense(pattern: Any, x_shape: Sequence[int], batch: int, axes: Sequence[int]) -> Any:
        pattern = jnp.asarray(pattern if to_dense is None else to_dense(pattern))
        return _checked_weights(pattern, x_shape, batch, axes)

    prepare, total = (dense, dense_sum) if form is AggregateImplementation.DENSE else (_checked_edges, sparse_sum)

    def apply(params: Any, x: Array, pattern: Any = None) -> Array:
        if pattern is None:
            return x
        batch, axes = _axes(x.ndim, batch_axis, channel_axis, aggregate_axis)
        return total(x, prepare(pattern, x.shape, batch, axes), batch, axes)

    def kernel(k: Kernel, pattern: Any = None) -> Kernel:
        pattern1, pattern2 = _pair(pattern)
        if pattern1 is None:
            return k
        batch, axes = _axes(len(k.shape1), k.batch_axis, k.channel_axis, aggregate_axis)
        sums1 = prepare(pattern1, k.shape1, batch, axes)
        sums2 = sums1 if pattern2 is pattern1 else prepare(pattern2, k.shape2, batch, axes)
        spatial = [axis for axis in range(len(k.shape1)) if axis not in (batch, k.channel_axis % len(k.shape1))]
        return aggregate_kernel(k, total, sums1, sums2, [spatial.index(axis) for axis in axes])

    return Leaf(
        "Aggregate",
        apply=apply,
        kernel=kernel,
        remask=True,
        requirements=Requirements(
            batch_axis=batch_axis, channel_axis=channel_axis, diagonal_spatial=Diagonal(Bool.NO, Bool.NO)
        ),
        keywords=("pattern",),
    ).spec()


Sum = Callable[..., Array]


def dense_sum(x: Array, weights: Array, batch: int, axes: Sequence[int], precision: Any = None) -> Array:
    """`y[n, j] = sum_i x[n, i] p[n, i, j]`, where `i` and `j` are positions along some axes of `x`.

    Args:
      x: activations, or a covariance; all other axes are left as they are.
      weights: `p`, `(N, *sizes, *sizes)`.
      batch: axis of `x` for `n`.
      axes: axes of `x` for `i`, and of the result for `j`.
      precision: precision of the product.
    """
    labels = list(range(x.ndim))
    heads = {axis: x.ndim + i for i, axis in enumerate(axes)}
    out = [heads.get(axis, axis) for axis in labels]
    return jnp.einsum(x, labels, weights, [batch, *axes, *heads.values()], out, precision=precision)


def sparse_sum(x: Array, edges: Array, batch: int, axes: Sequence[int], precision: Any = None) -> Array:
    """`y[n, j]`, the sum of `x[n, i]` over edges from `i` to `j`, where these are positions along some axes of `x`.

    Args:
      x: activations, or a covariance; all other axes are left as they are.
      edges: integers `(N, n_edges, n_axes, 2)`; see `Aggregate`.
      batch: axis of `x` for `n`.
      axes: axes of `x` for `i`, and of the result for `j`.
      precision: ignored: nothing is multiplied.
    """
    front = tuple(range(1 + len(axes)))
    x = jnp.moveaxis(x, (batch, *axes), front)
    sizes = x.shape[1 : len(front)]
    present = jnp.ones(edges.shape[:2], bool)
    nodes = jnp.zeros((*edges.shape[:2], 2), jnp.int32)  # numbered along all of the axes
    for axis, size in enumerate(sizes):
        coordinates = edges[:, :, axis].astype(jnp.int32)
        present &= jnp.all((coordinates >= 0) & (coordinates < size), axis=-1)
        nodes = nodes * size + coordinates
    n_nodes = math.prod(sizes)
    tails = jnp.where(present, nodes[..., 0], 0)
    heads = jnp.where(present, nodes[..., 1], n_nodes)  # a sum that is dropped
    flat = x.reshape((x.shape[0], n_nodes, *x.shape[len(front) :]))

    def of_one(x: Array, tails: Array, heads: Array) -> Array:
        return jax.ops.segment_sum(x[tails], heads, n_nodes)

    return jnp.moveaxis(jax.vmap(of_one)(flat, tails, heads).reshape(x.shape), front, (batch, *axes))


def aggregate_kernel(k: Kernel, total: Sum, sums1: Array, sums2: Array, positions: Sequence[int]) -> Kernel:
    """The kernel after both copies of the aggregated axes are summed over.

    Args:
      k: a kernel.
      total: `dense_sum` or `sparse_sum`.
      sums1: graphs of the first batch, the second argument of `total`.
      sums2: graphs of the second batch.
      positions: which of the spatial axes are aggregated.
    """
    if k.diagonal_spatial and positions:
        raise ValueError(
            "Aggregate needs covariances of different positions, but the kernel holds those of equal positions only. "
            "Compute it with `diagonal_spatial=False`."
        )

    def covariance(cov: Any, first: Array, second: Array, n_batch: int = 2) -> Any:
        if cov is None or cov.ndim == 0:
            return cov
        for copy, graphs in enumerate((first, second)):
            axes = [n_batch + 2 * position + copy for position in positions]
            cov = total(cov, graphs, copy if n_batch == 2 else 0, axes, matmul_precision())
        return cov

    own, same = 1 if k.diagonal_batch else 2, same_constants(sums1, sums2)
    cov2 = k.cov1 if k.cov2 is None and same is not True else k.cov2
    return k.replace(
        nngp=covariance(k.nngp, sums1, sums2),
        ntk=covariance(k.ntk, sums1, sums2),
        cov1=covariance(k.cov1, sums1, sums1, own),
        cov2=covariance(cov2, sums2, sums2, own),
        x1_is_x2=k.x1_is_x2 if same is True else jnp.asarray(k.x1_is_x2) & same,
    )


def _implementation(implementation: Any) -> AggregateImplementation:
    try:
        return AggregateImplementation(implementation)
    except ValueError:
        names = [form.value for form in AggregateImplementation]
        raise ValueError(f"Aggregate: `implementation` must be one of {names}, got {implementation!r}.") from None


def _axes(ndim: int, batch_axis: int, channel_axis: int, aggregate_axis: Any) -> tuple[int, tuple[int, ...]]:
    """The batch axis and the aggregated axes, counted from the front, the latter in increasing order."""
    batch, channel = canonical_axis(batch_axis, ndim), canonical_axis(channel_axis, ndim)
    spatial = tuple(axis for axis in range(ndim) if axis not in (batch, channel))
    if aggregate_axis is None:
        return batch, spatial
    given: Iterable[int] = aggregate_axis if isinstance(aggregate_axis, Iterable) else (aggregate_axis,)
    axes = tuple(sorted(canonical_axis(axis, ndim) for axis in given))
    if len(set(axes)) < len(axes) or not set(axes) <= set(spatial):
        raise ValueError(
            f"`aggregate_axis` must name different spatial axes of inputs with {ndim} axes, batch axis {batch} and "
            f"channel axis {channel}; got {aggregate_axis}. Choose among {spatial}."
        )
    return batch, axes


def _pair(pattern: Any) -> tuple[Any, Any]:
    advice = "pass `kernel_fn(x1, x2, pattern=(pattern1, pattern2))`, also if `x2` is None, or `(None, None)`"
    if pattern is None:
        raise ValueError(f"Aggregate needs the graphs of both batches of inputs: {advice} to aggregate nothing.")
    if not isinstance(pattern, tuple | list) or len(pattern) != 2:
        got = f"{len(pattern)} of them" if isinstance(pattern, tuple | list) else f"a single {type(pattern).__name__}"
        raise ValueError(f"Aggregate needs a pair of patterns, got {got}: {advice} to aggregate nothing.")
    if (pattern[0] is None) != (pattern[1] is None):
        raise NotImplementedError(
            "Aggregate with a pattern for one batch, and None for the other one, is not implemented. For edges from "
            "each node to itself, pass identity matrices, or such edges."
        )
    return pattern[0], pattern[1]


def _checked_weights(weights: Array, shape: Sequence[int], batch: int, axes: Sequence[int]) -> Array:
    sizes = tuple(shape[axis] for axis in axes)
    expected = (shape[batch], *sizes, *sizes)
    if weights.shape != expected:
        raise ValueError(
            f"Expected a pattern of shape {expected}, weights for each input (axis {batch}) between positions along "
            f"axes {tuple(axes)} of inputs of shape {tuple(shape)}; got shape {weights.shape}."
        )
    return weights


def _checked_edges(edges: Any, shape: Sequence[int], batch: int, axes: Sequence[int]) -> Array:
    known, edges = known_values(edges), jnp.asarray(edges)
    if len(axes) == 1 and edges.ndim == 3:
        edges = edges[:, :, None]
    if edges.ndim != 4 or (edges.shape[0], *edges.shape[2:]) != (shape[batch], len(axes), 2):
        short = f" or ({shape[batch]}, n_edges, 2)" if len(axes) == 1 else ""
        raise ValueError(
            f"Expected a pattern of shape ({shape[batch]}, n_edges, {len(axes)}, 2){short}, coordinates of two nodes "
            f"along axes {tuple(axes)} of inputs of shape {tuple(shape)}; got shape {jnp.shape(edges)}."
        )
    if not jnp.issubdtype(edges.dtype, jnp.integer):
        raise TypeError(f"Expected integers as coordinates of nodes in `pattern`, got {edges.dtype}.")
    sizes = [shape[axis] for axis in axes]
    if known is not None:
        known = known.reshape((-1, len(axes), 2))
        too_large = (known >= np.asarray(sizes, int)[:, None]).any((1, 2)) & (known >= 0).all((1, 2))
        if too_large.any():
            raise ValueError(
                f"Expected coordinates less than {sizes} along axes {tuple(axes)} of inputs of shape {tuple(shape)}, "
                f"got an edge with {known[too_large][0].tolist()} in `pattern`. Count nodes from zero."
            )
    return edges
