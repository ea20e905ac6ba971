"""Networks of vectors, evaluated for some pairs of inputs at a time.

What one layer passes on to the next then stays in the caches of a processor, and no arrays but results grow with both
batches. Of two batches, a block is some rows of their kernel. Of one batch, it is a square on or above the diagonal, as
those below it are transposes. Derivatives are those of rows, see `_pair_derivatives.py`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.compiled import separated
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.mesh_axes import scan
from neural_tangents._core.moving import moved, moving
from neural_tangents._core.trees import tree_map
from neural_tangents._core.two_ways import two_ways
from neural_tangents._core.types import Shape
from neural_tangents.stax._inputs import InputBatches, with_covariances
from neural_tangents.stax._pair_derivatives import of_pairs
from neural_tangents.stax._spec import Step
from neural_tangents.stax._streaming.run_geometry import RunGeometry, after_layer

# About how many pairs of inputs are evaluated at a time. Measured with networks of `benchmarks/cases.py` on two cores:
# in float64, a half of that, and twice as many, take longer by a tenth. Other devices need more to be busy.
_PAIRS = 2**19
_PAIRS_OF_DEVICES = 2**25
# How many times fewer where derivatives are computed, which need all layers of a block at a time.
FEWER = 4
# With fewer layers, all of them are fused into one pass over memory, unless they need small angles.
_LAYERS = 6
# With so many layers, the derivatives of many pairs are worth the time that it takes to compile them.
_LEAST = 3


def act_on_pairs(steps: Sequence[Step], k: Any) -> bool:
    """Whether there are many layers or pairs of vectors, and each layer acts on the kernel of each pair by itself."""
    if len(steps) < _LEAST or not are_vectors(k) or depend_on_equality(steps):
        return False
    if are_few(steps) and k.shape1[k.batch_axis] * k.shape2[k.batch_axis] < _PAIRS // FEWER:
        return False
    geometry: Any = RunGeometry.of(())
    try:
        for step in steps:
            geometry = after_layer(step.spec, geometry)
    except Exception:  # of a layer that mixes pairs, or that does not say what it does
        return False
    return True


def are_few(steps: Sequence[Step]) -> bool:
    """Whether there are few layers."""
    return len(steps) < _LAYERS


def are_vectors(k: Any) -> bool:
    """Whether these are inputs that are vectors, without masks, of which no covariances within a batch are needed."""
    return (
        isinstance(k, InputBatches)
        and len(k.shape1) == 2
        and 0 not in (k.shape1[k.batch_axis], k.shape2[k.batch_axis])
        and k.diagonal_batch
        and k.mask1 is k.mask2 is None
    )


def depend_on_equality(steps: Sequence[Step]) -> bool:
    """Whether a layer asks which inputs of both batches are the same."""
    return any(step.spec.requirements.get("use_dropout", False) for step in steps)


def in_blocks(fn: Callable[..., Any], k: InputBatches, *values: Any, few: bool = False) -> Any:
    """`fn(k, *values)`, kernels that have an entry for each pair of inputs, block by block.

    Args:
      fn: a function that depends on no traced values but its arguments.
      k: the inputs, and what is known of them.
      *values: pytrees that are the same for all blocks.
      few: whether these are few layers.
    """

    def only_values(k: InputBatches, *values: Any) -> Any:
        return _in_blocks(lambda part: fn(part, *values), k, None if few and not k.small_angles else _Blocks.of(k))

    def with_derivatives(k: InputBatches, *values: Any) -> Any:
        return _in_rows(fn, k, *values) if k.inputs2 is not None else _symmetric(fn, k, *values)

    return two_ways(only_values, with_derivatives, k, *values)


def _in_rows(fn: Callable[..., Any], k: InputBatches, *values: Any) -> Any:
    """`fn(k, *values)` of two batches, differentiated pair by pair, some rows at a time."""

    @jax.checkpoint  # derivatives evaluate rows again, as otherwise all of them would be kept
    def evaluate(part: InputBatches) -> Any:
        return of_pairs(fn, with_covariances(part), *values)

    blocks = _Blocks.of(k, FEWER)
    if blocks is None:
        return evaluate(k)
    # Not put into an array of all pairs: to differentiate that, jax would copy it for each block.
    parts = scan(lambda _, start: (None, evaluate(blocks.rows(start))), None, blocks.starts)[1]
    return tree_map(blocks.joined, parts)


def _symmetric(fn: Callable[..., Any], k: InputBatches, *values: Any) -> Any:
    """`fn(k, *values)` of one batch, whose derivative is that in the first of two equal batches, and its transpose."""
    traced, rest = separated((k, values), lambda x: not is_concrete(x))

    def of_first(first: Sequence[Any], second: Sequence[Any]) -> Any:
        (k, values), (k2, _) = rest.filled(first), rest.filled(second)
        found = _in_rows(fn, dataclasses.replace(k, inputs2=k2.inputs1), *values)
        return tree_map(lambda found: dataclasses.replace(found, x1_is_x2=None), found)

    def one_batch(found: Any) -> Any:
        return tree_map(lambda found: dataclasses.replace(found, cov2=None), found)

    @jax.custom_jvp
    def symmetric(*traced: Any) -> Any:
        return one_batch(of_first(traced, traced))

    def derivative(traced: Sequence[Any], changes: Sequence[Any]) -> tuple[Any, Any]:
        places = moving(changes)

        def of_moving(*some: Any) -> Any:
            return of_first(moved(traced, places, some), traced)

        # Both batches have the same numbers: each half of their change is half of that of the kernel.
        halves = [changes[i] if jnp.ndim(traced[i]) else changes[i] / 2 for i in places]
        found, change = jax.jvp(of_moving, [traced[i] for i in places], halves)
        return one_batch(found), tree_map(_with_transpose, change)

    symmetric.defjvp(derivative, symbolic_zeros=True)
    return tree_map(lambda found: dataclasses.replace(found, x1_is_x2=k.x1_is_x2), symmetric(*traced))


def _with_transpose(change: Kernel) -> Kernel:
    """The change of a symmetric kernel, from that of the first batch and of half of the numbers."""
    assert change.cov2 is not None
    pairs = {name: jax.tree.map(lambda x: x + x.T, getattr(change, name)) for name in ("nngp", "ntk", "distance")}
    return dataclasses.replace(change, cov1=change.cov1 + change.cov2, cov2=None, **pairs)


def _in_blocks(fn: Callable[[InputBatches], Any], k: InputBatches, blocks: "_Blocks | None") -> Any:
    """`fn(k)`, block by block; only values, as derivatives are those of `_in_rows`."""
    if blocks is None:
        return fn(k)

    def step(part: Callable[..., InputBatches], total: Any, start: Array) -> tuple[Any, None]:
        return tree_map(functools.partial(blocks.put, start), total, fn(part(start))), None

    def filled(total: Any, part: Callable[..., InputBatches], starts: np.ndarray) -> Any:
        return scan(functools.partial(step, part), total, starts)[0]

    one, starts = (blocks.rows, blocks.starts) if blocks.on_diagonal is None else (blocks.square, blocks.on_diagonal)
    total = tree_map(blocks.empty, jax.eval_shape(lambda: fn(one(starts[0]))))
    if blocks.on_diagonal is not None:  # first those above it: the last blocks may overlap, and the diagonal is exact
        total = filled(total, blocks.pair, blocks.starts)
    return filled(total, one, starts)


class _Blocks(NamedTuple):
    """How pairs of inputs are cut into blocks.

    Attributes:
      k: the inputs.
      sizes: how many inputs of both batches make a block.
      starts: for each block, the numbers of its first inputs; of a batch with itself, those above the diagonal.
      on_diagonal: the same, of blocks on the diagonal; None for two batches.
    """

    k: InputBatches
    sizes: tuple[int, int]
    starts: np.ndarray
    on_diagonal: np.ndarray | None

    @classmethod
    def of(cls, k: InputBatches, fewer: int = 1) -> "_Blocks | None":
        """The blocks of inputs, with a number of times fewer pairs; None if there are few."""
        pairs = _PAIRS // fewer if jax.default_backend() == "cpu" else _PAIRS_OF_DEVICES
        if k.inputs2 is not None:
            n2 = len(k.inputs2)
            firsts, size = _cut(len(k.inputs1), pairs // n2)
            return cls(k, (size, n2), np.array([(i, 0) for i in firsts]), None) if len(firsts) > 1 else None
        firsts, size = _cut(len(k.inputs1), math.isqrt(pairs // 2))  # fewer: those on the diagonal take longer
        if len(firsts) < 3:  # little is below the diagonal, and two programs take longer to compile
            return None
        above = np.array([(i, j) for i in firsts for j in firsts if i < j])
        return cls(k, (size, size), above, np.array([(i, i) for i in firsts]))

    def rows(self, start: Array) -> InputBatches:
        """Some rows of the kernel of two batches."""
        k = self.k
        assert k.inputs2 is not None
        first = start[0] if k.inputs1.shape == k.inputs2.shape else None
        return self._part(self._taken(start[0], 0), k.inputs2, x1_is_x2=k.x1_is_x2, first=first)

    def square(self, start: Array) -> InputBatches:
        """Some inputs of one batch, with themselves."""
        return self._part(self._taken(start[0], 0), None)

    def pair(self, start: Array) -> InputBatches:
        """Some inputs of one batch, with others of it."""
        return self._part(self._taken(start[0], 0), self._taken(start[1], 1), x1_is_x2=False)

    def _taken(self, start: Array, which: int) -> Array:
        return lax.dynamic_slice_in_dim(self.k.inputs1, start, self.sizes[which])

    def _part(self, inputs1: Array, inputs2: Array | None, **changes: Any) -> InputBatches:
        return dataclasses.replace(self._sized(self.k, self.sizes), inputs1=inputs1, inputs2=inputs2, **changes)

    def _sized(self, k: Any, sizes: Sequence[int]) -> Any:
        shapes = (with_size(shape, k.batch_axis, n) for shape, n in zip((k.shape1, k.shape2), sizes, strict=True))
        return dataclasses.replace(k, **dict(zip(("shape1", "shape2"), shapes, strict=True)))

    def joined(self, parts: Kernel) -> Kernel:
        """The kernel of all pairs, from those of all blocks of rows."""
        n = len(self.k.inputs1)
        assert parts.cov2 is not None

        def rows(x: Array) -> Array:
            if x.ndim == 1:  # one number for each block
                return x[0]
            count, size = x.shape[:2]
            new = n - (count - 1) * size  # in the last block
            if new == size:
                return x.reshape((n, *x.shape[2:]))
            return jnp.concatenate([x[:-1].reshape((n - new, *x.shape[2:])), x[-1, size - new :]])

        changed = {name: jax.tree.map(rows, getattr(parts, name)) for name in ("nngp", "ntk", "cov1", "distance")}
        whole = self._sized(parts, (n, self.sizes[1]))
        return dataclasses.replace(whole, cov2=parts.cov2[0], x1_is_x2=self.k.x1_is_x2, **changed)

    def empty(self, part: Kernel) -> Kernel:
        """The kernel of all pairs, to be filled, from the shapes and types of a block."""
        n = [len(x) for x in (self.k.inputs1, self.k.inputs1 if self.k.inputs2 is None else self.k.inputs2)]

        def zeros(like: Any, *shape: int) -> Any:
            return jax.tree.map(lambda x: jnp.zeros(shape if x.ndim else (), x.dtype), like)

        return dataclasses.replace(
            self._sized(part, n),
            **{name: zeros(getattr(part, name), *n) for name in ("nngp", "ntk", "distance")},
            cov1=zeros(part.cov1, n[0]),
            cov2=zeros(part.cov2, n[1]),
            x1_is_x2=self.k.x1_is_x2,
        )

    def put(self, start: Array, total: Kernel, part: Kernel) -> Kernel:
        """The kernel of all pairs, filled with a block, and with its transpose if it is above the diagonal."""
        i, j = start[0], start[1]
        below = total.cov2 is None and part.cov2 is not None

        def pairs(all_pairs: Any, some: Any) -> Any:
            def put(x: Array, y: Array) -> Array:
                if x.ndim == 0:
                    return x
                x = lax.dynamic_update_slice(x, y, (i, j))
                return lax.dynamic_update_slice(x, y.T, (j, i)) if below else x

            return jax.tree.map(put, all_pairs, some)

        return dataclasses.replace(
            total,
            **{name: pairs(getattr(total, name), getattr(part, name)) for name in ("nngp", "ntk", "distance")},
            cov1=total.cov1 if below else lax.dynamic_update_slice(total.cov1, part.cov1, (i,)),
            cov2=None if total.cov2 is None else part.cov2,
        )


def _cut(n: int, most: int) -> tuple[list[int], int]:
    """Where blocks of inputs begin, and their equal size; the last ones may overlap."""
    count = -(-n // max(1, most))
    size = -(-n // count)
    return [min(i * size, n - size) for i in range(count)], size


def with_size(shape: Shape, axis: int, size: int) -> Shape:
    """A shape with another size along an axis."""
    return tuple(size if i == axis % len(shape) else n for i, n in enumerate(shape))
