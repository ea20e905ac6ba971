"""Which parameters the entries of values depend on, for values that are made of parameters alone."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

Box = tuple[tuple[int, int], ...]

# Each entry of the result is one of the operand.
_RELABEL = {"reshape", "transpose", "squeeze", "rev", "copy", "copy_p", "expand_dims", "reduce_precision"}
# Each entry of the result is a function of one entry of the operand, provided that any other operand is constant.
_ELEMENTWISE = {
    *("neg", "exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "square", "integer_pow", "abs", "sign"),
    *("tanh", "logistic", "sin", "cos", "tan", "erf", "erfc", "erf_inv", "sinh", "cosh", "asinh", "atan"),
    *("add", "add_any", "sub", "mul", "div", "pow", "max", "min", "select_n"),
}


@dataclasses.dataclass(frozen=True)
class ParameterBoxes:
    """The parameters that a value depends on, as boxes: ranges `start:stop` along each axis of a leaf.

    Attributes:
      pieces: the leaves of the parameters, by number, each with the box of entries that the value may depend on.
      is_box: whether the value is exactly one such box, so that slices of it are smaller boxes.
      injective: whether each entry of the value depends on a single parameter, and no two entries on the same one.
      scaled: whether derivatives of entries with respect to their parameters may differ from 1.
    """

    pieces: frozenset[tuple[int, Box]]
    is_box: bool
    injective: bool
    scaled: bool

    @classmethod
    def parameter(cls, number: int, shape: Sequence[int]) -> "ParameterBoxes":
        return cls(frozenset({(number, tuple((0, size) for size in shape))}), True, True, False)

    def overlaps(self, other: "ParameterBoxes") -> bool:
        """Whether both may depend on one entry of the parameters."""
        return any(
            leaf == other_leaf and all(max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(box, other_box, strict=True))
            for leaf, box in self.pieces
            for other_leaf, other_box in other.pieces
        )


def boxes_of_results(eqn: Any, operands: Sequence[ParameterBoxes | None]) -> list[ParameterBoxes | None]:
    """The boxes of the results of an equation, from those of its operands; None is for constants."""
    found = _boxes_of_results(eqn, operands)
    return [
        boxes if jnp.issubdtype(var.aval.dtype, jnp.inexact) else None
        for boxes, var in zip(found, eqn.outvars, strict=True)
    ]


def _boxes_of_results(eqn: Any, operands: Sequence[ParameterBoxes | None]) -> list[ParameterBoxes | None]:
    known = [boxes for boxes in operands if boxes is not None]
    if not known:
        return [None] * len(eqn.outvars)
    name, n_out = eqn.primitive.name, len(eqn.outvars)
    sizes = [math.prod(var.aval.shape) for var in eqn.outvars]
    operand_avals = [atom.aval for atom, boxes in zip(eqn.invars, operands, strict=True) if boxes is not None]
    same_type = all(aval.dtype == eqn.outvars[0].aval.dtype for aval in operand_avals)
    if len(known) == 1 and known[0].injective:
        boxes, size = known[0], math.prod(operand_avals[0].shape)
        if name in _RELABEL or (name == "broadcast_in_dim" and sizes[0] == size):
            return [dataclasses.replace(boxes, is_box=False)]
        if name == "convert_element_type" and _is_rounding(operand_avals[0], eqn.outvars[0].aval):
            return [dataclasses.replace(boxes, is_box=False)]
        if name in _ELEMENTWISE and same_type and sizes[0] == size and not _is_complex(operand_avals[0]):
            return [dataclasses.replace(boxes, is_box=False, scaled=True)]
        if name in ("slice", "split", "unstack"):
            strided = any(stride != 1 for stride in eqn.params.get("strides") or ())
            return [_part(boxes, box, is_box=name != "unstack" and not strided) for box in _parts_taken(eqn)]
    if name in ("concatenate", "stack") and all(boxes.injective for boxes in known):
        if not any(a.overlaps(b) for i, a in enumerate(known) for b in known[:i]):
            return [_union(known, injective=True)]
    return [_union(known, injective=False)] * n_out


def _is_complex(aval: Any) -> bool:
    return aval.dtype.kind == "c"


def _is_rounding(before: Any, after: Any) -> bool:
    """Whether a conversion changes nothing but the precision of numbers."""
    return before.dtype == after.dtype or all(jnp.issubdtype(a.dtype, jnp.floating) for a in (before, after))


def _union(several: Sequence[ParameterBoxes], *, injective: bool) -> ParameterBoxes:
    pieces = frozenset().union(*(boxes.pieces for boxes in several))
    return ParameterBoxes(pieces, False, injective, any(boxes.scaled for boxes in several))


def _parts_taken(eqn: Any) -> list[Box]:
    """The parts of its operand that a `slice`, `split` or `unstack` takes."""
    shape = eqn.invars[0].aval.shape
    if eqn.primitive.name == "slice":
        return [tuple(zip(eqn.params["start_indices"], eqn.params["limit_indices"], strict=True))]
    found, start = [], 0
    for size in eqn.params.get("sizes") or [1] * len(eqn.outvars):
        box = [(0, length) for length in shape]
        box[eqn.params["axis"]] = (start, start + size)
        found.append(tuple(box))
        start += size
    return found


def _part(boxes: ParameterBoxes, box: Box, *, is_box: bool) -> ParameterBoxes:
    """The boxes of a part of a value; `is_box` says whether that part is itself a box."""
    if not boxes.is_box:
        return dataclasses.replace(boxes, is_box=False)
    ((leaf, outer),) = boxes.pieces
    inner = tuple((start + a, start + b) for (start, _), (a, b) in zip(outer, box, strict=True))
    return dataclasses.replace(boxes, pieces=frozenset({(leaf, inner)}), is_box=is_box)
