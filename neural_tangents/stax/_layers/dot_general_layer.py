"""`DotGeneral`: the dot product of activations with a constant."""

import dataclasses
from typing import Any, SupportsIndex

import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.axes import canonical_axis
from neural_tangents._core.dot_general import DimensionNumbers, Dot
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes
from neural_tangents.stax._spec import LayerSpec, Leaf


@public_layer
def DotGeneral(
    *,
    lhs: Any = None,
    rhs: Any = None,
    dimension_numbers: DimensionNumbers = (((), ()), ((), ())),
    precision: Any = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> LayerSpec:
    """Dot product of the inputs with a constant, as in `jax.lax.dot_general`, the same for all channels.

    With `c` the constant, and `p` the axes of the inputs that are contracted,

        y[n, ...] = sum_p x[n, p] c[p, ...],    nngp'[n, m, ...] = sum_{p, q} c[p, ...] nngp[n, m, p, q] c[q, ...],

    and likewise `ntk`. A number multiplies `nngp` and `ntk` by its square.

    Args:
      lhs: constant left operand, an array or a number; the inputs are the right one.
      rhs: constant right operand; the inputs are the left one. With neither of the two, outputs are the inputs.
      dimension_numbers: `((contracted axes of lhs, of rhs), (batch axes of lhs, of rhs))`, without the channel axis.
        The outputs have first the batch axes, then the other axes of `lhs`, then those of `rhs`.
      precision: precision of the product in `apply_fn`, as in `jax.lax.dot_general`.
      batch_axis: batch axis of the inputs. If it is contracted, the first axis of the outputs that does not hold
        channels is their batch axis.
      channel_axis: channel axis of the inputs. Where a call says `batch_axis=` or `channel_axis=`, that counts.

    Returns:
      A layer without parameters. An output is masked if every input that it depends on, with a weight other than zero,
      is masked.

    Raises:
      ValueError: both `lhs` and `rhs` are given; dimension numbers do not fit the inputs, or name the channel axis.

    Example:
      >>> mean_of_positions = stax.DotGeneral(rhs=jnp.ones(10) / 10, dimension_numbers=(((1,), (0,)), ((), ())))
      >>> difference = stax.DotGeneral(lhs=jnp.array([[1.0, -1.0]]), dimension_numbers=(((1,), (0,)), ((), ())))
    """
    if lhs is not None and rhs is not None:
        raise ValueError("DotGeneral has one constant operand, got both `lhs` and `rhs`. The inputs are the other one.")
    check_axes("DotGeneral", batch_axis=batch_axis, channel_axis=channel_axis)
    if not _are_dimension_numbers(dimension_numbers):
        raise TypeError(
            "DotGeneral needs axes `((contracted of lhs, of rhs), (batch of lhs, of rhs))` as `dimension_numbers`, "
            f"each a tuple, such as (((1,), (0,)), ((), ())); got {dimension_numbers!r}."
        )
    constant, is_lhs = (rhs, False) if lhs is None else (lhs, True)

    pairs = [pair[1 if is_lhs else 0] for pair in dimension_numbers]

    def dot(ndim: int) -> Dot:
        """Shapes and masks do not depend on which axis holds the channels, which calls may say (`channel_axis=1`)."""
        used = {canonical_axis(axis, ndim) for axes in pairs for axis in axes}
        free = [axis for axis in (channel_axis % ndim, *range(ndim)) if axis not in used]
        return Dot.of(ndim, batch_axis, free[0] if free else channel_axis, (constant,), is_lhs, dimension_numbers)

    def out_shape(shape: Shape) -> Shape:
        return shape if constant is None else dot(len(shape)).shape(shape, constant)

    def apply(params: Any, x: Array, **axes: Any) -> Array:
        return x if constant is None else dot_constant(x, constant, is_lhs, dimension_numbers, precision)

    def mask(mask: Array, shape: Shape) -> Any:
        return mask if constant is None else dot(len(shape)).mask(mask, shape, constant)

    def kernel(k: Kernel, **axes: Any) -> Kernel:
        return k.dot_general(constant, constant, is_lhs, dimension_numbers)

    # If the batch axis is contracted, another axis takes its place, and so covariances of its positions are needed too.
    # While the number of axes is unknown, an axis counted from the end may be any of those counted from the front.
    contracted = () if constant is None else pairs[0]
    mixes_batch = any(axis == batch_axis or (axis < 0) != (batch_axis < 0) for axis in contracted)
    return Leaf(
        "DotGeneral",
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        mask=mask,
        requirements=mixing_requirements(mixes_batch, bool(contracted), batch_axis, channel_axis),
        keywords=("batch_axis", "channel_axis"),
    ).spec()


def _are_dimension_numbers(value: Any) -> bool:
    try:
        (contracted_lhs, contracted_rhs), (batch_lhs, batch_rhs) = value
        axes = [*contracted_lhs, *contracted_rhs, *batch_lhs, *batch_rhs]
    except (TypeError, ValueError):
        return False
    return all(isinstance(axis, SupportsIndex) for axis in axes)


def dot_constant(
    x: Array, constant: Any, is_lhs: bool, dimension_numbers: DimensionNumbers, precision: Any = None
) -> Array:
    """`jax.lax.dot_general` of activations and a constant, whose types may differ and axes may be negative."""
    dtype = jnp.result_type(x, constant)
    lhs, rhs = jnp.asarray(x, dtype), jnp.asarray(constant, dtype)
    if is_lhs:
        lhs, rhs = rhs, lhs

    def counted(axes: Any, operand: Array) -> tuple[int, ...]:
        return tuple(canonical_axis(axis, operand.ndim) for axis in axes)

    contracting, batch = ((counted(left, lhs), counted(right, rhs)) for left, right in dimension_numbers)
    return lax.dot_general(lhs, rhs, (contracting, batch), precision=precision)


def mixing_requirements(batch: bool, spatial: bool, batch_axis: int, channel_axis: int) -> Requirements:
    """The requirements of a linear layer that mixes the inputs of a batch, or positions, or both."""
    axes = Requirements(
        diagonal_spatial=Diagonal(Bool.NO if spatial else Bool.YES, Bool.NO),
        batch_axis=batch_axis,
        channel_axis=channel_axis,
    )
    return dataclasses.replace(axes, diagonal_batch=False, independent_inputs=False) if batch else axes
