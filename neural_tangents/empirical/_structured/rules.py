"""Derivatives of single operations with respect to one operand, as products of arrays with named axes.

For an operation `y = op(.., w, ..)`, whose other operands are data, the cotangent of `w` is

    w̄[operand labels] = sum over all other labels of pull(ȳ)[labels] · Π factors[factor labels]

so that neither `∂y/∂w` nor `∂f/∂w` has to be formed. An operation without a rule is differentiated by jax.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents._compat import bind
from neural_tangents.empirical._einsum import Labels


@dataclasses.dataclass(frozen=True)
class Derivative:
    """How a cotangent of an operand follows from that of the result.

    Attributes:
      pull: a linear map that is applied to the cotangent of the result first.
      labels: labels of the axes of what `pull` returns.
      factors: arrays of data.
      factor_labels: for each factor, labels of its axes.
      operand_labels: labels of the axes of the operand, in the order of its shape, which `reshape` may merge.
      index: for operations that read entries of their operand at places: for each entry of the result along
        `index_labels`, the place along the axis `"index"` of the operand that it was read at; negative if it was not
        read. None for other operations.
      index_labels: labels of the axes of `index`.
    """

    pull: Callable[[jax.Array], jax.Array]
    labels: Labels
    factors: tuple[jax.Array, ...]
    factor_labels: tuple[Labels, ...]
    operand_labels: Labels
    index: jax.Array | None = None
    index_labels: Labels = ()


def derivative(step: Any, position: int, operands: Sequence[Any], allow_index: bool) -> Derivative | None:
    """The derivative of a step with respect to the operand at a position, or None if there is no rule for it.

    `allow_index` says whether it may have an `index`.
    """
    name = step.eqn.primitive.name
    rule = RULES.get(name) or (READING_RULES.get(name) if allow_index else None)
    return None if rule is None else rule(step, position, operands)


def _dot_general(step: Any, position: int, operands: Sequence[Any]) -> Derivative:
    contracting, batch = step.eqn.params["dimension_numbers"]
    labels: list[Labels] = []
    for side in (0, 1):
        named: dict[int, Any] = {axis: ("batch", i) for i, axis in enumerate(batch[side])}
        named.update({axis: ("contracting", i) for i, axis in enumerate(contracting[side])})
        labels.append(tuple(named.get(axis, ("free", side, axis)) for axis in range(operands[side].ndim)))
    free = tuple(label for term in labels for label in term if label[0] == "free")
    result = (*(("batch", i) for i in range(len(batch[0]))), *free)
    other = 1 - position
    return Derivative(_same, result, (operands[other],), (labels[other],), labels[position])


def _conv(step: Any, position: int, operands: Sequence[Any]) -> Derivative | None:
    """With respect to the filters: the product of the cotangent with all windows of the input.

    Axes stay in the order that the operation has them in, which is the one that they have in memory.
    """
    eqn = step.eqn
    if position != 1 or eqn.params["batch_group_count"] != 1:
        return None
    lhs, rhs = operands
    _, rhs_spec, out_spec = eqn.params["dimension_numbers"]
    positions, windows = ([(name, i) for i in range(rhs.ndim - 2)] for name in ("position", "window"))

    def in_groups(x: jax.Array, axis: int) -> jax.Array:
        """The axis of features as two: groups, and those of each."""
        groups = eqn.params["feature_group_count"]
        return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])

    x, x_labels = _windows(step, lhs, rhs)
    feature = x_labels.index("in")
    x, x_labels = in_groups(x, feature), (*x_labels[:feature], "group", *x_labels[feature:])
    y_labels = _in_place(out_spec, [("input",), ("group", "out"), *((label,) for label in positions)])
    operand_labels = _in_place(rhs_spec, [("group", "out"), ("in",), *((label,) for label in windows)])
    return Derivative(lambda y: in_groups(y, out_spec[1]), y_labels, (x,), (x_labels,), operand_labels)


def _windows(step: Any, lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, Labels]:
    """All windows of the input of a convolution, with entries of a window next to the features; and labels of axes."""
    params, out_shape = step.eqn.params, step.eqn.outvars[0].aval.shape
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    labels = list(_in_place(lhs_spec, [("input",), ("in",), *((("position", i),) for i in range(lhs.ndim - 2))]))
    widths = [(0, 0, 0)] * lhs.ndim
    for axis, (low, high), holes in zip(lhs_spec[2:], params["padding"], params["lhs_dilation"], strict=True):
        widths[axis] = (low, high, holes - 1)
    x = lax.pad(lhs, jnp.zeros((), lhs.dtype), widths)
    for i, (stride, dilation) in enumerate(zip(params["window_strides"], params["rhs_dilation"], strict=True)):
        axis, place = labels.index(("position", i)), labels.index("in")
        starts = np.arange(out_shape[out_spec[2 + i]]) * stride
        places = starts[:, None] + np.arange(rhs.shape[rhs_spec[2 + i]]) * dilation
        x = jnp.moveaxis(jnp.take(x, places, axis, mode="clip"), axis + 1, place)
        labels.insert(place, ("window", i))
    return x, tuple(labels)


def _in_place(spec: Sequence[int], labels: Sequence[Labels]) -> Labels:
    """The labels of the axes `spec`, in the order of the axes."""
    return tuple(
        label for _, of_axis in sorted(zip(spec, labels, strict=True), key=lambda pair: pair[0]) for label in of_axis
    )


def _elementwise(step: Any, position: int, operands: Sequence[Any]) -> Derivative | None:
    """Each entry of the result depends on one entry of the operand.

    An operand of size 1 along some axis, or of shape (), is used again for each entry of the result along that axis.
    """
    operand, name = operands[position], step.eqn.primitive.name
    if name == "select_n" and position == 0:  # which of the others is chosen: it has no derivative
        return None
    shape = step.eqn.outvars[0].aval.shape
    labels = tuple(("axis", axis) for axis in range(len(shape)))
    operand_labels = tuple(
        label if size == full else ("repeated", *label)
        for label, size, full in zip(labels, operand.shape, shape, strict=operand.ndim > 0)
    )
    if name in ("add", "add_any", "sub"):
        return Derivative(jnp.negative if name == "sub" and position == 1 else _same, labels, (), (), operand_labels)

    def of_operand(w: jax.Array) -> jax.Array:
        return bind(step.jaxpr, step.eqn, [*operands[:position], w, *operands[position + 1 :]])[0]

    _, slopes = jax.jvp(of_operand, (operand,), (jnp.ones_like(operand),))
    return Derivative(_same, labels, (slopes,), (labels,), operand_labels)


def _concatenate(step: Any, position: int, operands: Sequence[Any]) -> Derivative:
    axis, operand = step.eqn.params["dimension"], operands[position]
    start = sum(x.shape[axis] for x in operands[:position])
    labels = tuple(("axis", i) for i in range(operand.ndim))

    def pull(y: jax.Array) -> jax.Array:
        return lax.slice_in_dim(y, start, start + operand.shape[axis], axis=axis)

    return Derivative(pull, labels, (), (), labels)


def _stack(step: Any, position: int, operands: Sequence[Any]) -> Derivative:
    labels = tuple(("axis", i) for i in range(operands[position].ndim))

    def pull(y: jax.Array) -> jax.Array:
        return lax.index_in_dim(y, position, step.eqn.params["axis"], keepdims=False)

    return Derivative(pull, labels, (), (), labels)


def _gather(step: Any, position: int, operands: Sequence[Any]) -> Derivative | None:
    if position != 0:
        return None
    eqn = step.eqn
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    operand, places = operands
    dropped = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [axis for axis in range(operand.ndim) if axis not in dropped]
    full_axes = {
        axis: result_axis
        for axis, result_axis in zip(kept, sorted(numbers.offset_dims), strict=True)
        if sizes[axis] == operand.shape[axis] and axis not in numbers.start_index_map
    }

    def read(numbered: jax.Array, sizes: Sequence[int]) -> jax.Array:
        mode = eqn.params["mode"]
        return lax.gather(numbered, places, numbers, sizes, mode=mode, fill_value=-1)

    return _reading(read, operand.shape, sizes, full_axes, eqn.outvars[0].aval.ndim)


def _dynamic_slice(step: Any, position: int, operands: Sequence[Any]) -> Derivative | None:
    if position != 0:
        return None
    operand, *starts = operands
    sizes = step.eqn.params["slice_sizes"]
    full_axes = {axis: axis for axis, size in enumerate(sizes) if size == operand.shape[axis]}
    return _reading(lambda x, sizes: lax.dynamic_slice(x, starts, sizes), operand.shape, sizes, full_axes, len(sizes))


def _reading(
    read: Callable[[jax.Array, Sequence[int]], jax.Array],
    shape: Sequence[int],
    sizes: Sequence[int],
    full_axes: dict[int, int],
    ndim: int,
) -> Derivative:
    """The derivative of an operation that reads entries of its operand at places.

    The places are found by applying the operation to an array of consecutive numbers. `full_axes` maps each axis of the
    operand that is read in full to the axis of the result that it becomes; all others are numbered together.
    """
    numbered_shape = [1 if axis in full_axes else size for axis, size in enumerate(shape)]
    numbered = np.arange(np.prod(numbered_shape, dtype=int), dtype=np.int32).reshape(numbered_shape)
    index = read(jnp.asarray(numbered), [1 if axis in full_axes else size for axis, size in enumerate(sizes)])
    names: dict[int, Any] = {result_axis: ("axis", axis) for axis, result_axis in full_axes.items()}
    labels = tuple(names.get(axis, ("result", axis)) for axis in range(ndim))
    return Derivative(
        pull=_same,
        labels=labels,
        factors=(),
        factor_labels=(),
        operand_labels=("index", *(("axis", axis) for axis in full_axes)),
        index=jnp.squeeze(index, tuple(full_axes.values())),
        index_labels=tuple(label for axis, label in enumerate(labels) if axis not in names),
    )


def _same(x: jax.Array) -> jax.Array:
    return x


Rule = Callable[[Any, int, Sequence[Any]], Derivative | None]  # `(step, position, operands)`; None if it does not apply

RULES: dict[str, Rule] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _conv,
    "concatenate": _concatenate,
    "stack": _stack,
    **dict.fromkeys(
        ("add", "add_any", "sub", "mul", "div", "pow", "max", "min", "atan2", "rem", "select_n"), _elementwise
    ),
}

# Rules with an `index`, which not all users of a derivative can deal with.
READING_RULES: dict[str, Rule] = {"gather": _gather, "dynamic_slice": _dynamic_slice}
