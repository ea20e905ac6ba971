"""Signatures of the functions that public ones return, for type checkers.

Kernels are annotated as those of a network with one output. Kernels of several outputs are a tree of these.
"""

from collections.abc import Iterator
from typing import Any, Protocol, overload

from jax import Array

from neural_tangents._core.types import Get, PyTree


class KernelPair(Protocol):
    """A named tuple of both kernels, or a tree of such for several outputs."""

    @property
    def nngp(self) -> Array:
        """The NNGP kernel, `f(x1) f(x2)ᵀ`."""

    @property
    def ntk(self) -> Array:
        """The NTK, `J(x1) J(x2)ᵀ`."""

    def __getitem__(self, index: Any) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class KernelAtParams(Protocol):
    """One kernel: `(x1, x2, params, **kwargs) -> kernel`."""

    __name__: str

    def __call__(self, x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> Array: ...


class KernelsAtParams(Protocol):
    """Kernels by name: `(x1, x2, get, params, **kwargs) -> kernels`."""

    __name__: str

    @overload
    def __call__(self, x1: PyTree, x2: PyTree, get: str, params: PyTree, **kwargs: Any) -> Array: ...

    @overload
    def __call__(self, x1: PyTree, x2: PyTree, get: None, params: PyTree, **kwargs: Any) -> KernelPair: ...

    @overload
    def __call__(self, x1: PyTree, x2: PyTree, get: Get, params: PyTree, **kwargs: Any) -> Any: ...


class EstimatedKernels(Protocol):
    """Averages over draws of parameters: `(x1, x2, get=None, **apply_fn_kwargs) -> kernels`."""

    __name__: str

    @overload
    def __call__(self, x1: PyTree, x2: PyTree, get: None = None, **apply_fn_kwargs: Any) -> KernelPair: ...

    @overload
    def __call__(self, x1: PyTree, x2: PyTree, get: str, **apply_fn_kwargs: Any) -> Array: ...

    @overload
    def __call__(self, x1: PyTree, x2: PyTree, get: Get = None, **apply_fn_kwargs: Any) -> Any: ...


class SeveralEstimates(Protocol):
    """As `EstimatedKernels`, for several numbers of draws or with standard errors."""

    __name__: str

    def __call__(self, x1: PyTree, x2: PyTree, get: Get = None, **apply_fn_kwargs: Any) -> Any: ...
