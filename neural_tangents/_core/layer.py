"""A layer as a type: three functions, and what each of them takes and returns."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.masking import MaskedArray
from neural_tangents._core.types import PyTree, Shape

Inputs: TypeAlias = Array | np.ndarray[Any, Any] | MaskedArray

# Factories decorated with `stax.layer` and `stax.supports_masking` return functions of any signature, with names of
# arguments that users choose; signatures are inspected when a layer is made.
InternalLayer: TypeAlias = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]
InternalLayerMasked: TypeAlias = (
    InternalLayer | tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]
)

CovarianceName: TypeAlias = Literal["nngp", "ntk", "cov1"]

# `str` would be simpler, but then type checkers would accept misspelt names.
KernelName: TypeAlias = (
    CovarianceName
    | Literal["cov2", "x1_is_x2", "is_gaussian", "is_reversed", "is_input", "diagonal_batch", "diagonal_spatial"]
    | Literal["shape1", "shape2", "batch_axis", "channel_axis", "mask1", "mask2"]
)


class ApplyOptions(TypedDict, total=False):
    """Keyword arguments of every `apply_fn`.

    Attributes:
      rng: random key, for networks with `Dropout`.
      pattern: aggregation pattern, for networks with `Aggregate`.
      mask_constant: inputs equal to this number are masked.
    """

    rng: Array | None
    pattern: Any
    mask_constant: ArrayLike | None


class KernelOptions(TypedDict, total=False):
    """Keyword arguments of every `kernel_fn`; a wrapper can take them all by `**options: Unpack[KernelOptions]`.

    Attributes:
      pattern: pair of aggregation patterns, one for each batch, for networks with `Aggregate`.
      mask_constant: inputs equal to this number are masked.
      diagonal_batch: whether `cov1` and `cov2` hold only the variances of each input; None: if possible.
      diagonal_spatial: whether to compute covariances of equal positions only; None: if possible.
      memory_budget: about how many bytes a network of convolutions and pools may take; None for a default.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs; None treats all axes but the batch as channels.
      eps: inputs that differ by less count as the same.
      rng: ignored, since kernels are not random.
    """

    pattern: Any
    mask_constant: ArrayLike | None
    diagonal_batch: bool | None
    diagonal_spatial: bool | None
    memory_budget: int | None
    batch_axis: int
    channel_axis: int | None
    eps: float | None
    rng: Array | None


# A catch-all `**keywords: Any` would accept further keyword arguments of users' layers, but also every misspelt one.
# Misspellings are common and such layers are rare, so whoever writes one annotates the network's functions with `Any`.
# In the same way, these types take it that a single input has a single output: kernels of networks that end in several
# branches are annotated by hand. For trees of inputs, no type can say what the outputs are.


class InitFn(Protocol):
    """Draws parameters: `(rng, input_shape) -> (output_shape, params)`; -1 stands for an unknown batch size."""

    @overload
    def __call__(self, rng: Array, input_shape: tuple[int | None, ...]) -> tuple[Shape, PyTree]: ...

    @overload
    def __call__(self, rng: Array, input_shape: list[Any] | tuple[Any, ...]) -> tuple[Any, PyTree]: ...


class ApplyFn(Protocol):
    """Applies a finite network: `(params, inputs, **keywords) -> outputs`."""

    @overload
    def __call__(
        self, params: PyTree, inputs: Array | np.ndarray[Any, Any], *, rng: Array | None = None, pattern: Any = None
    ) -> Array: ...

    @overload
    def __call__(self, params: PyTree, inputs: PyTree, **options: Unpack[ApplyOptions]) -> PyTree: ...


class KernelFn(Protocol):
    """Kernels of an infinite network: `(x1, x2, get, **keywords)` gives a `Kernel`, an array or a named tuple."""

    @overload
    def __call__(
        self,
        x1_or_kernel: Inputs | Kernel,
        x2: Inputs | None = None,
        get: None = None,
        **options: Unpack[KernelOptions],
    ) -> Kernel: ...

    @overload
    def __call__(
        self,
        x1_or_kernel: Inputs | Kernel,
        x2: Inputs | None = None,
        *,
        get: CovarianceName,
        **options: Unpack[KernelOptions],
    ) -> Array: ...

    @overload
    def __call__(
        self, x1_or_kernel: Inputs | Kernel, x2: Inputs | None, get: CovarianceName, **options: Unpack[KernelOptions]
    ) -> Array: ...

    @overload
    def __call__(
        self,
        x1_or_kernel: Inputs | Kernel | list[Any] | tuple[Any, ...],
        x2: Inputs | list[Any] | tuple[Any, ...] | None = None,
        get: None | KernelName | tuple[KernelName, ...] | list[KernelName] = None,
        **options: Unpack[KernelOptions],
    ) -> Any: ...


class Layer(NamedTuple):
    """The triple that is a layer or a network.

    Attributes:
      init_fn: `(rng, input_shape) -> (output_shape, params)` draws parameters of the finite network.
      apply_fn: `(params, inputs, **keywords) -> outputs` applies it.
      kernel_fn: `(x1, x2, get, **keywords)` gives the kernels of the infinite network.
    """

    init_fn: InitFn
    apply_fn: ApplyFn
    kernel_fn: KernelFn

    def __repr__(self) -> str:
        spec = getattr(self.kernel_fn, "spec", None)
        return tuple.__repr__(self) if spec is None else str(spec)
