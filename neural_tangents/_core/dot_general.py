"""Dot products of activations with a constant, as algebra on axes: shapes, masks and covariances of `y = x . c`.

Dimension numbers and the order of the axes of `y` are those of `jax.lax.dot_general`: first the axes that `x` and `c`
share ("batch" dimensions, not to be confused with the batch of inputs), then the free axes of the left operand, then
those of the right one.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.axes import canonical_axis
from neural_tangents._core.layout import Layout, Spatial
from neural_tangents._core.precision import matmul_precision
from neural_tangents._core.types import Shape

DimensionNumbers: TypeAlias = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


def axis_after_dot(axis: int, contracting: Sequence[int], batch: Sequence[int], lhs_ndim: int | None = None) -> int:
    """Where an axis of an operand of `jax.lax.dot_general` is in the result.

    Args:
      axis: axis of the operand, counted from the front.
      contracting: contracting dimensions of the operand.
      batch: batch dimensions of the operand.
      lhs_ndim: number of axes of the left operand if this one is the right operand; None if it is the left one.

    Returns:
      The axis of the result. For a contracted axis, where a free axis in its place would be.
    """
    if axis in batch:
        return list(batch).index(axis)
    free_before = axis - sum(a < axis for a in (*contracting, *batch))
    return free_before + (len(batch) if lhs_ndim is None else lhs_ndim - len(contracting))


@dataclasses.dataclass(frozen=True)
class Dot:
    """Which axes of activations `x` and a constant `c` are summed over, and which remain in the result.

    Each axis has a label. An axis of `x` is labelled by its number. An axis of `c` that is contracted with an axis of
    `x`, or shared with it, has the same label; free axes of `c` are labelled from `ndim` on. Where a constant is None,
    `x` stays as it is.

    Attributes:
      ndim: number of axes of `x`.
      batch_axis: batch axis of `x`.
      channel_axis: channel axis of `x`.
      constant: labels of the axes of `c`.
      result: labels of the axes of the result.
    """

    ndim: int
    batch_axis: int
    channel_axis: int
    constant: tuple[int, ...]
    result: tuple[int, ...]

    @classmethod
    def of(
        cls,
        ndim: int,
        batch_axis: int,
        channel_axis: int,
        constants: Sequence[Any],
        is_lhs: bool,
        dimension_numbers: DimensionNumbers,
    ) -> "Dot":
        """The dot products with given dimension numbers.

        Args:
          ndim: number of axes of `x`.
          batch_axis: batch axis of `x`.
          channel_axis: channel axis of `x`.
          constants: the constant of each batch: an array, a number or None; not all of them None.
          is_lhs: whether constants are left operands.
          dimension_numbers: as in `jax.lax.dot_general`.

        Raises:
          NotImplementedError: the constants differ in their number of axes.
          ValueError: dimension numbers do not fit the operands or name an axis twice; they contain the channel axis;
            or they change the axes of `x` where only some constants are None.
        """
        constant_ndim, *others = (np.ndim(constant) for constant in constants if constant is not None)
        if others and others[0] != constant_ndim:
            raise NotImplementedError(
                f"Expected constants with equally many axes, got {constant_ndim} and {others[0]}."
            )
        (x_contracted, c_contracted), (x_shared, c_shared) = (
            pair[::-1] if is_lhs else pair for pair in dimension_numbers
        )
        x_axes = [canonical_axis(axis, ndim) for axis in (*x_contracted, *x_shared)]
        c_axes = [canonical_axis(axis, constant_ndim) for axis in (*c_contracted, *c_shared)]
        paired = len(x_contracted) == len(c_contracted) and len(x_shared) == len(c_shared)
        if not paired or len(set(x_axes)) < len(x_axes) or len(set(c_axes)) < len(c_axes):
            raise ValueError(
                "Expected dimension numbers ((contracted of lhs, of rhs), (batch of lhs, of rhs)) that pair different "
                f"axes of both operands, got {dimension_numbers}. Name each axis at most once."
            )
        batch_axis, channel_axis = canonical_axis(batch_axis, ndim), canonical_axis(channel_axis, ndim)
        if channel_axis in x_axes:
            raise ValueError(
                f"Expected dimension numbers without the channel axis {channel_axis}, got {dimension_numbers}: kernels "
                "describe infinitely many channels. Use `Dense` to mix channels."
            )
        partner = dict(zip(c_axes, x_axes, strict=True))
        constant = tuple(partner.get(axis, ndim + axis) for axis in range(constant_ndim))
        x_free = [axis for axis in range(ndim) if axis not in x_axes]
        c_free = [label for label in constant if label >= ndim]
        result = (*x_axes[len(x_contracted) :], *(c_free + x_free if is_lhs else x_free + c_free))
        if any(c is None for c in constants) and result != tuple(range(ndim)):
            raise ValueError(
                f"Expected two constants, as dimension numbers {dimension_numbers} change the axes of activations; got "
                "one None, which would leave them unchanged. Pass an array for both."
            )
        return cls(ndim, batch_axis, channel_axis, constant, result)

    def check(self, layout: Layout) -> None:
        """Raises a `ValueError` if the kernel of the result does not follow from a kernel in the given layout."""
        contracted = [axis for axis in range(self.ndim) if axis not in self.result]
        if layout.spatial is Spatial.DIAGONAL and contracted:
            raise ValueError(
                f"Contracting axes {contracted} needs covariances of different positions, but the kernel holds those "
                "of equal positions only. Compute it with `diagonal_spatial=False`."
            )
        if layout.diagonal_batch and self.batch_axis in contracted:
            raise ValueError(
                f"Contracting the batch axis {self.batch_axis} needs covariances of different inputs of one batch, but "
                "the kernel holds variances only. Compute it with `diagonal_batch=False`."
            )
        if len(self.result) < 2:
            raise ValueError(
                f"Contracting axes {contracted} leaves only the channels, but kernels need a batch axis. "
                "Give the constant one more axis, of size 1 if need be."
            )

    @property
    def batch_axis_out(self) -> int:
        """Batch axis of the result; its first axis other than the channels if the batch axis is contracted."""
        if self.batch_axis in self.result:
            return self.result.index(self.batch_axis)
        return 1 if self.channel_axis_out == 0 else 0

    @property
    def channel_axis_out(self) -> int:
        """Channel axis of the result."""
        return self.result.index(self.channel_axis)

    def shape(self, shape: Shape, constant: Any) -> Shape:
        """Shape of the result; `-1` in the shape of `x` stands for an unknown size.

        Raises:
          ValueError: sizes of paired axes differ.
        """
        if constant is None:
            return shape
        sizes = dict(enumerate(shape))
        for label, size in zip(self.constant, np.shape(constant), strict=True):
            if sizes.setdefault(label, size) not in (size, -1):
                raise ValueError(
                    f"Expected equal sizes of axes that are contracted or batched, got {shape[label]} for axis {label} "
                    f"of activations of shape {shape}, and {size} for the constant of shape {np.shape(constant)}."
                )
            sizes[label] = size
        return tuple(sizes[label] for label in self.result)

    def mask(self, mask: Array | None, shape: Shape, constant: Any) -> Array | None:
        """Mask of the result: an entry is masked unless some entry that is not masked contributes to it.

        An entry does not contribute where its weight in the constant is zero.

        Args:
          mask: mask of `x`, True where masked, with axes of full size or of size 1.
          shape: shape of `x`.
          constant: the constant.
        """
        if mask is None or constant is None:
            return mask
        sizes = [shape[axis] if axis in self.constant else mask.shape[axis] for axis in range(self.ndim)]
        visible = (~jnp.broadcast_to(mask, sizes)).astype(jnp.float32)
        weight = (jnp.asarray(constant) != 0).astype(jnp.float32)
        return jnp.einsum(visible, tuple(range(self.ndim)), weight, self.constant, self.result) == 0

    def covariance(self, cov: Array, constants: Sequence[Any], layout: Layout, n_batch_axes: int) -> Array:
        """Covariance of `x1 . c1` and `x2 . c2`: `sum K[p, p'] c1[p, ...] c2[p', ...]` over contracted `p`, `p'`.

        Args:
          cov: covariance `K` of `x1` and `x2`.
          constants: `c1` and `c2`.
          layout: layout of the kernel of `cov`.
          n_batch_axes: number of batch axes of `cov`.
        """

        def copies(label: int) -> tuple[int, ...]:
            """Labels of the axes of the covariance that belong to one axis of the activations."""
            once = n_batch_axes == 1 if label == self.batch_axis else layout.spatial is Spatial.DIAGONAL
            return (label,) if once else (label, label + self.ndim + len(self.constant))

        def labels(axes: Sequence[int], batch_axis: int) -> list[int]:
            spatial = (axis for axis in axes if axis not in (batch_axis, self.channel_axis))
            return [copy for axis in (batch_axis, *spatial) for copy in copies(axis)]

        operands: list[Any] = [cov, labels(range(self.ndim), self.batch_axis)]
        for which, constant in zip((0, -1), constants, strict=True):
            if constant is not None:
                operands += [jnp.asarray(constant), [copies(label)[which] for label in self.constant]]
        out = labels(self.result, self.result[self.batch_axis_out])
        return jnp.einsum(*operands, out, precision=matmul_precision())


def same_constants(first: Any, second: Any) -> bool | Array:
    """Whether two constants are equal; `True` if they are the same object."""
    if first is second:
        return True
    if first is None or second is None or np.shape(first) != np.shape(second):
        return False
    return jnp.array_equal(first, second)
