"""What enters a run: the two batches of inputs, and slabs of their covariances."""

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._streaming.offsets import OffsetAxis, OffsetKernel, joined_variances, taken

# With at most this many channels, products of inputs are added up in one pass: faster than many small matrix products.
_FEW_CHANNELS = 8


class Batch(NamedTuple):
    """One of the two batches.

    Attributes:
      numbers: numbers of its inputs, `(N,)`.
      variance: variances of its inputs, `(N, *sizes)`.
      mask: mask of its inputs, with the batch axis first, or None.
      inputs: the inputs themselves, `(N, C, *sizes)`, if they are those of the network; else None.
    """

    numbers: Array
    variance: Array
    mask: Array | None
    inputs: Array | None

    @classmethod
    def of(cls, k: Kernel, which: int, inputs: tuple[Any, Any]) -> "Batch":
        variance = k.cov1 if which == 1 or k.cov2 is None else k.cov2
        mask = k.mask1 if which == 1 else k.mask2
        if mask is not None:
            mask = jnp.moveaxis(mask, k.batch_axis, 0)
            mask = jnp.broadcast_to(mask, (len(variance), *mask.shape[1:]))
        x = inputs[0] if which == 1 or inputs[1] is None else inputs[1]
        return cls(jnp.arange(len(variance)), variance, mask, None if x is None else jnp.moveaxis(x, -1, 1))

    def joined(self, other: "Batch") -> "Batch":
        """The inputs of this batch, and those of another one after them."""
        masks = [x.mask for x in (self, other)]
        if any(mask is not None for mask in masks):
            like = next(mask for mask in masks if mask is not None)
            masks = [
                jnp.zeros((len(x.numbers), *like.shape[1:]), bool) if x.mask is None else x.mask for x in (self, other)
            ]
        return jax.tree.map(lambda *x: jnp.concatenate(x), self._replace(mask=masks[0]), other._replace(mask=masks[1]))


def slab_at(
    rows: tuple[Array, ...],
    axes: tuple[OffsetAxis, ...],
    covariances: tuple[Any, Any],
    like: Kernel,
    batches: tuple[Batch, Batch],
    paired: bool,
) -> OffsetKernel:
    """Some rows of the kernel that enters a run.

    Args:
      rows: numbers of the rows along each spatial axis.
      axes: the spatial axes.
      covariances: NNGP and NTK at the start of the run; None for those of inputs.
      like: a kernel with the other attributes.
      batches: both batches.
      paired: see `OffsetLayout`.
    """
    first, second = batches
    axis = like.batch_axis % len(like.shape1)

    def shape(batch: Batch) -> tuple[int, ...]:
        return (*like.shape1[:axis], len(batch.numbers), *like.shape1[axis + 1 :])

    def mask(batch: Batch) -> Any:
        return None if batch.mask is None else jnp.moveaxis(batch.mask, 0, axis)

    cov1, cov2 = joined_variances(first.variance, second.variance, paired, (first.mask, second.mask))
    empty = OffsetKernel(
        **{
            **like.asdict(),
            "cov1": cov1,
            "cov2": cov2,
            "shape1": shape(first),
            "shape2": shape(second),
            "mask1": mask(first),
            "mask2": mask(second),
        },
        rows=rows,
        numbers=(first.numbers, second.numbers),
        one_batch=like.cov2 is None,
        paired=paired,
    ).on(axes)

    nngp, ntk = (_rows_of(cov, empty) for cov in covariances)
    nngp = _products(first, second, empty) if nngp is None else nngp
    return empty.replace(nngp=nngp, ntk=like.ntk if ntk is None else ntk)


def _products(first: Batch, second: Batch, slab: OffsetKernel) -> Array:
    """Covariances of inputs in some rows, `(N1, N2, rows, length, ...)`."""
    one = taken(first.inputs, [p.first for p in slab.positions], 2)  # type: ignore[arg-type]
    two = taken(second.inputs, [p.second for p in slab.positions], 2)  # type: ignore[arg-type]
    if one.shape[1] > _FEW_CHANNELS:
        # All positions as one axis: of more axes than eight, XLA:CPU makes no product.
        flat = [x.reshape(*x.shape[:2], -1) for x in (one, two)]
        nngp = jnp.einsum("acp,acp->ap" if slab.paired else "acp,bcp->abp", *flat, precision=matmul_precision())
        nngp = nngp.reshape(len(one), -1, *one.shape[2:])
    else:
        pairs = (slab.layout.of_pairs(one[:, c], two[:, c]) for c in range(one.shape[1]))
        nngp = functools.reduce(operator.add, (first * second for first, second in pairs))
    return nngp / max(one.shape[1], 1) * slab.weight


def _rows_of(cov: Any, slab: OffsetKernel) -> Any:
    """Some rows of covariances of all pairs of positions, or of equal ones only: `(N1, N2, rows, length, ...)`."""
    if cov is None:
        return None
    firsts, seconds = [p.first for p in slab.positions], [p.second for p in slab.positions]
    if cov.ndim == 2 + len(firsts):
        return taken(cov, firsts, 2) * slab.weight
    pairs = [p * axis.size + q for p, q, axis in zip(firsts, seconds, slab.offset_axes, strict=True)]
    cov = cov.reshape(*cov.shape[:2], *(axis.size**2 for axis in slab.offset_axes))
    return taken(cov, pairs, 2) * slab.weight
