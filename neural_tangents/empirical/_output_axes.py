"""What kernels keep of the axes of a network's outputs."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.axes import canonical_axes
from neural_tangents._core.tiling.traits import KernelTraits, OutputPairs
from neural_tangents._core.types import Axes, Shape
from neural_tangents.empirical._einsum import Label, Labels, contract


def check_axes(trace_axes: Axes, diagonal_axes: Axes, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both sets of axes of an output with `ndim` axes, counted from the front.

    Raises:
      TypeError: the sets overlap, or are not integers.
      ValueError: an axis is out of range.
    """
    found = []
    for name, axes in (("trace_axes", trace_axes), ("diagonal_axes", diagonal_axes)):
        try:
            found.append(canonical_axes(axes, ndim))
        except TypeError:
            raise TypeError(f"Expected `{name}` to be an integer or a tuple of integers, got {axes!r}.") from None
        except ValueError as error:
            raise ValueError(
                f"`{name}={axes!r}` does not fit an output of the network with {ndim} axes. {error} For outputs with "
                f"different numbers of axes, choose axes that all have, or `{name}=()`."
            ) from None
    traced, diagonal = found
    if overlap := set(traced) & set(diagonal):
        raise TypeError(
            f"`trace_axes` and `diagonal_axes` overlap in {sorted(overlap)}, for an output with {ndim} axes; got "
            f"trace_axes={trace_axes!r} and diagonal_axes={diagonal_axes!r}. Name each axis in at most one of them."
        )
    return traced, diagonal


@dataclasses.dataclass(frozen=True)
class OutputAxes:
    """One output of a network for two batches of inputs, and the axes of its kernel.

    Axes of both outputs carry labels. A traced or diagonal axis has the same label in both, any other has two.

    Attributes:
      shape1: shape of the output for the first batch.
      shape2: shape of the output for the second batch.
      traced: axes that the kernel averages over.
      diagonal: axes that the kernel has once, not as a pair.
      dtype: type of the kernel, and of the arithmetic that makes it.
      hermitian: whether arrays of the second batch are conjugated.
    """

    shape1: Shape
    shape2: Shape
    traced: tuple[int, ...]
    diagonal: tuple[int, ...]
    dtype: Any
    hermitian: bool = False

    @classmethod
    def create(
        cls,
        shape1: Shape,
        shape2: Shape,
        trace_axes: Axes,
        diagonal_axes: Axes,
        dtype: Any,
        hermitian: bool = False,
    ) -> "OutputAxes":
        if len(shape1) != len(shape2):
            raise ValueError(
                f"Expected outputs with equally many axes for x1 and x2, got shapes {shape1} and {shape2}. Pass two "
                "batches of inputs that differ in size only, each with its axis of samples."
            )
        axes = cls(tuple(shape1), tuple(shape2), *check_axes(trace_axes, diagonal_axes, len(shape1)), dtype, hermitian)
        for axis in sorted(axes.shared):
            if shape1[axis] != shape2[axis]:
                raise ValueError(
                    f"Axis {axis} is traced or diagonal, and so needs the same size for x1 and x2; outputs have shapes "
                    f"{shape1} and {shape2}. Leave it out of `trace_axes` and `diagonal_axes`, or pass batches of "
                    "equal size."
                )
        return axes

    @property
    def shared(self) -> set[int]:
        return {*self.traced, *self.diagonal}

    @property
    def labels1(self) -> Labels:
        """Labels of the axes of the first output."""
        return tuple(("output", axis, 1) for axis in range(len(self.shape1)))

    @property
    def labels2(self) -> Labels:
        """Labels of the axes of the second output."""
        return tuple(("output", axis, 1 if axis in self.shared else 2) for axis in range(len(self.shape2)))

    @property
    def kernel_labels(self) -> Labels:
        """Labels of the axes of the kernel, in the order of the outputs: pairs; one if diagonal; none if traced."""
        kept: list[Label] = []
        for axis, pair in enumerate(zip(self.labels1, self.labels2, strict=True)):
            kept += [] if axis in self.traced else pair[: 1 if axis in self.diagonal else 2]
        return tuple(kept)

    @property
    def kernel_shape(self) -> Shape:
        sizes = {
            **dict(zip(self.labels2, self.shape2, strict=True)),
            **dict(zip(self.labels1, self.shape1, strict=True)),
        }
        return tuple(sizes[label] for label in self.kernel_labels)

    def of_second(self, array: jax.Array) -> jax.Array:
        """An array of the second batch, as it enters the kernel."""
        return jnp.conj(array) if self.hermitian else array

    def total(self, kernels: Sequence[jax.Array]) -> jax.Array:
        """The sum of kernels; zeros if there are none."""
        return sum(kernels, jnp.zeros(self.kernel_shape, self.dtype))

    def kernel(self, arrays: Sequence[jax.Array], labels: Sequence[Labels]) -> jax.Array:
        """The kernel that is the product of arrays, averaged over traced axes."""
        total = contract([array.astype(self.dtype) for array in arrays], labels, self.kernel_labels)
        return total / max(1, math.prod(self.shape1[axis] for axis in self.traced))


def traits(trace_axes: Axes, diagonal_axes: Axes, name: str = "") -> KernelTraits:
    """What kernel functions of finite networks, which return the kernel `name`, say about themselves."""

    def of_array(kernel: Any) -> OutputPairs:
        """The pairs of a kernel. The number of its axes tells that of the outputs."""
        n_traced, n_diagonal = (len((axes,) if isinstance(axes, int) else axes) for axes in (trace_axes, diagonal_axes))
        ndim = (jnp.ndim(kernel) - n_diagonal) // 2 + n_traced + n_diagonal
        axes = OutputAxes.create((1,) * ndim, (1,) * ndim, trace_axes, diagonal_axes, None)
        place = {label: i for i, label in enumerate(axes.kernel_labels)}
        labels = zip(axes.labels1[1:], axes.labels2[1:], strict=True)
        pairs = tuple((place[a], place[b]) for a, b in labels if a != b)
        return OutputPairs(pairs if len(place) == jnp.ndim(kernel) else None)

    def of_results(results: Any, args: Any, kwargs: Any) -> Any:
        return jax.tree.map(of_array, results)

    return KernelTraits(of_results, keys_of_batches=True, name=name)
