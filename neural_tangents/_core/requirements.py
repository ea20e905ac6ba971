"""What a network needs of its input kernel, determined before any array exists.

Each layer states its `Requirements`: `a >> b` are those of `a` followed by `b`, and `a & b` those of `a` beside `b`.
"""

import dataclasses
import enum
import warnings
from typing import Any

from frozendict import frozendict


class Bool(enum.IntEnum):
    """Logic with a third value between no and yes.

    Attributes:
      NO: no.
      MAYBE: yes, on a condition that `Diagonal` states.
      YES: yes.
    """

    NO = 0
    MAYBE = 1
    YES = 2

    def __and__(self, other: Any) -> "Bool":
        """Whether both hold: the smaller one."""
        return Bool(min(self, other))

    __rand__ = __and__


@dataclasses.dataclass(frozen=True)
class Diagonal:
    """Whether covariances between different positions can be left out.

    Attributes:
      input: whether the covariances of each position with itself are enough as inputs of the layer (or network): YES;
        MAYBE, if all others are zero; or NO.
      output: whether they are enough for everything from this layer on: YES; MAYBE, so far, but a later layer may need
        the others; or NO.
    """

    input: Bool = Bool.YES
    output: Bool = Bool.NO

    def __rshift__(self, other: "Diagonal") -> "Diagonal":
        """The requirements of this layer followed by `other`."""
        if self.output == Bool.YES:
            return self
        if self.output > Bool.NO and other.input > Bool.NO:
            needed = self.input
        elif self.output == Bool.NO and other.input < Bool.YES:
            needed = Bool.NO
        else:
            needed = self.input & other.input
        return Diagonal(needed, other.output)

    def __lshift__(self, other: "Diagonal") -> "Diagonal":
        """The requirements of `other` followed by this layer."""
        return other >> self

    def __and__(self, other: "Diagonal") -> "Diagonal":
        """The requirements of two branches of one input."""
        return Diagonal(self.input & other.input, self.output & other.output)

    def __bool__(self) -> bool:
        """Whether a whole network that requires this needs covariances of equal positions only."""
        return self.input == Bool.YES and self.output > Bool.NO


class _Unstated(enum.Enum):
    UNSTATED = enum.auto()


_UNSTATED: Any = _Unstated.UNSTATED


@dataclasses.dataclass(frozen=True)
class Requirements:
    """What a layer needs of its input; an absent attribute states nothing.

    Attributes:
      diagonal_batch: False if the covariances of different inputs of one batch (off-diagonal `cov1`) are needed.
      diagonal_spatial: see `Diagonal`.
      batch_axis: axis of the activations that holds the batch.
      channel_axis: axis that holds the channels; None if the layer treats all non-batch axes alike.
      use_dropout: whether dropout is used.
      small_angles: True if angles between inputs are needed that are lost in the rounding error of covariances.
      independent_inputs: False if activations of an input depend on the other inputs of its batch.
    """

    diagonal_batch: bool = _UNSTATED
    diagonal_spatial: Diagonal = _UNSTATED
    batch_axis: int = _UNSTATED
    channel_axis: int | None = _UNSTATED
    use_dropout: bool = _UNSTATED
    independent_inputs: bool = _UNSTATED
    small_angles: bool = _UNSTATED

    @classmethod
    def of(cls, **requirements: Any) -> "Requirements":
        """The requirements with the given attributes; `diagonal_spatial` may be a boolean.

        Raises:
          NotImplementedError: a name is not one of the attributes.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(requirements.keys() - known)
        if unknown:
            raise NotImplementedError(f"Unknown requirements {unknown}. A layer can require {sorted(known)}.")
        spatial = requirements.get("diagonal_spatial")
        if isinstance(spatial, bool):
            requirements["diagonal_spatial"] = Diagonal(*[Bool.YES if spatial else Bool.NO] * 2)
        return cls(**requirements)

    def get(self, name: str, default: Any) -> Any:
        """The attribute, or `default` where it is not stated."""
        value = getattr(self, name)
        return default if value is _UNSTATED else value

    def stated(self) -> frozendict:
        """The attributes that are stated, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return frozendict({name: value for name, value in values.items() if value is not _UNSTATED})

    def __rshift__(self, other: "Requirements") -> "Requirements":
        """The requirements of this layer followed by `other`: the first one's axes count."""
        return self._combine(other, lambda a, b: a >> b, lambda name, a, b: a)

    def __and__(self, other: "Requirements") -> "Requirements":
        """The requirements of two branches of one input.

        A branch that states nothing about positions, such as `Identity`, passes on all correlations of its input.
        """
        if (self.diagonal_spatial is _UNSTATED) != (other.diagonal_spatial is _UNSTATED):
            free = Diagonal(Bool.YES, Bool.NO)
            return dataclasses.replace(self, diagonal_spatial=self.get("diagonal_spatial", free)) & dataclasses.replace(
                other, diagonal_spatial=other.get("diagonal_spatial", free)
            )
        return self._combine(other, lambda a, b: a & b, _first_of_branches)

    def _combine(self, other: "Requirements", combine_diagonal: Any, combine_axis: Any) -> "Requirements":
        merged = {**other.stated(), **self.stated()}
        for name in self.stated().keys() & other.stated().keys():
            a, b = getattr(self, name), getattr(other, name)
            if name == "diagonal_spatial":
                merged[name] = combine_diagonal(a, b)
            elif name in ("diagonal_batch", "independent_inputs"):
                merged[name] = a and b
            elif name == "small_angles":
                merged[name] = a or b
            elif name == "use_dropout":
                if a != b:
                    raise ValueError(f"Layers disagree on `use_dropout`: {a} and {b}. All must have the same.")
            else:
                merged[name] = combine_axis(name, a, b)
        return Requirements(**merged)


def _first_of_branches(name: str, a: int | None, b: int | None) -> int | None:
    if a != b:
        same_sign = None not in (a, b) and (a < 0) == (b < 0)  # type: ignore[operator]
        warnings.warn(
            f"Parallel branches have different `{name}`: {a} and {b}. "
            + ("These are different axes: " if same_sign else "Unless both name the same axis of the inputs, ")
            + f"the kernel will be wrong; {a} is used. Give all branches the same `{name}`.",
            UserWarning,
            stacklevel=2,
        )
    return a
