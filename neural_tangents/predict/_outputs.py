"""How kernels of outputs with several axes are read as matrices."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.axes import canonical_axes, unzip_axes, zip_axes, zip_flat
from neural_tangents._core.stored import Matrix
from neural_tangents._core.types import Axes, Shape
from neural_tangents.predict._finite import check_finite


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The shape of outputs, and which of their axes kernels describe.

    A kernel is interleaved, `zip(y1.shape, y2.shape)` without the pairs of `trace_axes`, and means `Θ ⊗ I` along
    `trace_axes`. With `M` the product of the sizes that it describes and `T` of the traced ones, outputs are read as
    `M x T` columns and kernels as `M1 x M2` matrices, so that the identity is never formed.
    """

    shape: Shape
    traced: tuple[int, ...]

    @classmethod
    def create(cls, shape: Sequence[int], trace_axes: Axes) -> "Outputs":
        """Raises `ValueError` if `trace_axes` are not axes of `shape`, and `TypeError` if they are not integers."""
        try:
            return cls(tuple(shape), canonical_axes(trace_axes, len(shape)))
        except TypeError as error:
            raise TypeError(
                f"Expected `trace_axes` to be an integer or a sequence of integers, got {trace_axes!r}. Pass () "
                "for none."
            ) from error
        except ValueError as error:
            error.add_note(f"This is about `trace_axes={trace_axes!r}`, for outputs of shape {tuple(shape)}.")
            raise

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def described(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.traced)

    @property
    def described_sizes(self) -> Shape:
        return tuple(self.shape[axis] for axis in self.described)

    def check(self, kernel: Matrix, name: str) -> None:
        """Raises `ValueError` if `kernel` is not one of these outputs with themselves."""
        expected = zip_flat(self.described_sizes, self.described_sizes)
        if kernel.shape != expected:
            raise ValueError(self._mismatch(kernel, name, str(expected)))

    def check_points(self) -> None:
        """Raises `ValueError` if kernels do not tell points apart, so that none can be left out."""
        if 0 in self.traced:
            raise ValueError(
                "Expected kernels that tell training points apart, to leave out some: axis 0 of `y_train` is one of "
                f"the `trace_axes`, {self.traced}. Compute the kernel without it."
            )

    def held_out(self, k_test_train: Matrix, name: str) -> "Outputs":
        """The outputs on the test set, whose described sizes `k_test_train` tells; checks its other sizes."""
        n = len(self.described)
        if len(k_test_train.shape) != 2 * n or k_test_train.shape[1::2] != self.described_sizes:
            expected = zip_flat([f"test{axis}" for axis in self.described], [str(i) for i in self.described_sizes])
            raise ValueError(self._mismatch(k_test_train, name, f"({', '.join(expected)})"))
        sizes = dict(zip(self.described, k_test_train.shape[::2], strict=True))
        return Outputs(tuple(sizes.get(axis, size) for axis, size in enumerate(self.shape)), self.traced)

    def _mismatch(self, kernel: Matrix, name: str, expected: str) -> str:
        if len(self.shape) == 1 and self.traced and len(kernel.shape) == 2:
            return (
                f"Expected {name} to be a scalar, since `trace_axes={self.traced}` is the only axis of targets of "
                f"shape {self.shape}, got shape {kernel.shape}. Pass targets with an axis of outputs, "
                f"`y_train[:, None]`, or `trace_axes=()`."
            )
        return (
            f"Expected {name} of shape {expected} for outputs of shape {self.shape} with trace_axes={self.traced} "
            f"(their sizes in interleaved pairs, without trace_axes), got shape {kernel.shape}. Pass kernels and "
            f"outputs of the same data, and the `trace_axes` that the kernel was computed with (`()` if none)."
        )

    def matrix(self, kernel: jax.Array) -> jax.Array:
        """Interleaved kernel -> `M1 x M2` matrix."""
        return unzip_axes(kernel).reshape(math.prod(kernel.shape[::2]), math.prod(kernel.shape[1::2]))

    def covariance(self, matrix: jax.Array) -> jax.Array:
        """`M x M` matrix, after any leading axes -> interleaved kernel of these outputs, after the same axes."""
        lead = matrix.shape[:-2]
        return zip_axes(matrix.reshape(lead + self.described_sizes * 2), len(lead))

    def columns(self, y: jax.Array) -> jax.Array:
        """Outputs -> `M x T` columns."""
        sizes = [math.prod(self.shape[axis] for axis in axes) for axes in (self.described, self.traced)]
        return jnp.transpose(y, self.described + self.traced).reshape(sizes)

    def from_columns(self, columns: jax.Array) -> jax.Array:
        """`M x T` columns, after any leading axes -> outputs, after the same axes."""
        lead, order = columns.shape[:-2], self.described + self.traced
        y = columns.reshape(lead + tuple(self.shape[axis] for axis in order))
        return jnp.transpose(y, (*range(len(lead)), *(len(lead) + order.index(axis) for axis in range(len(order)))))

    def initial(self, y: Any, name: str, dtype: Any) -> jax.Array:
        """Initial outputs, given in full or as a scalar -> `M x T` columns."""
        if np.shape(y) not in ((), self.shape):
            raise ValueError(
                f"Expected `{name}` to be a scalar or of shape {self.shape}, got shape {np.shape(y)}. "
                "Pass the outputs of the network before training."
            )
        check_finite(y, name)
        return self.columns(jnp.broadcast_to(jnp.asarray(y, dtype), self.shape))
