"""Names for annotations: what flows through networks, and the functions a network is made of."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from jax import Array

T = TypeVar("T")

PyTree: TypeAlias = Any
Axes: TypeAlias = int | Sequence[int]
Shape: TypeAlias = tuple[int, ...]

# A "network tree" is a list or tuple of network trees, or a leaf. Named tuples and other containers are leaves.
NTTree: TypeAlias = list["NTTree[T]"] | tuple["NTTree[T]", ...] | T
Shapes: TypeAlias = NTTree[Shape]

Get: TypeAlias = None | str | tuple[str, ...] | list[str]


class InitFn(Protocol):
    """Draws parameters: `(rng, input_shape) -> (output_shape, params)`; `-1` stands for an unknown batch size."""

    __name__: str

    def __call__(self, rng: Array, input_shape: Shapes) -> tuple[Shapes, PyTree]: ...


class ApplyFn(Protocol):
    """Applies a finite network: `(params, inputs, **keywords) -> outputs`."""

    __name__: str

    def __call__(self, params: PyTree, inputs: PyTree, **kwargs: Any) -> PyTree: ...


class KernelFn(Protocol):
    """Computes kernels of two batches: `(x1, x2, get, **keywords) -> Kernel, array or named tuple`."""

    __name__: str

    def __call__(self, x1_or_kernel: Any, x2: Any = None, get: Get = None, **kwargs: Any) -> Any: ...
