"""Names for annotations, and those of `typing` that programs import from here."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Protocol, Tuple, TypeAlias, TypeVar, Union  # noqa: UP035

from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layer import ApplyFn, InitFn, InternalLayer, InternalLayerMasked, Layer
from neural_tangents._core.layer import KernelFn as AnalyticKernelFn
from neural_tangents._core.types import Axes, Get, NTTree, PyTree, Shapes
from neural_tangents.empirical._samples import VMapAxes
from neural_tangents.empirical._signatures import EstimatedKernels as MonteCarloKernelFn
from neural_tangents.empirical._signatures import KernelAtParams as EmpiricalKernelFn
from neural_tangents.empirical._signatures import KernelsAtParams as EmpiricalGetKernelFn

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_typing as __getattr__  # noqa: F401

__all__ = [
    "AnalyticKernelFn",
    "Any",
    "ApplyFn",
    "Axes",
    "Callable",
    "Dict",
    "EmpiricalGetKernelFn",
    "EmpiricalKernelFn",
    "Generator",
    "Get",
    "InitFn",
    "InternalLayer",
    "InternalLayerMasked",
    "Iterable",
    "KernelFn",
    "KernelOrInput",
    "Kernels",
    "Layer",
    "LayerKernelFn",
    "List",
    "MaskFn",
    "MonteCarloKernelFn",
    "NTTree",
    "NTTrees",
    "Optional",
    "Protocol",
    "PyTree",
    "Sequence",
    "Shapes",
    "Tuple",
    "TypeVar",
    "Union",
    "VMapAxes",
    "VMapAxisTriple",
]

T = TypeVar("T")

NTTrees: TypeAlias = list[NTTree[T]] | tuple[NTTree[T], ...]
Kernels: TypeAlias = list[Kernel] | tuple[Kernel, ...]
KernelOrInput: TypeAlias = NTTree[Kernel | Array]
KernelFn: TypeAlias = AnalyticKernelFn | EmpiricalGetKernelFn | MonteCarloKernelFn
LayerKernelFn: TypeAlias = Callable[..., Any]  # from kernels, or trees of them, and keyword arguments, to the same
MaskFn: TypeAlias = Callable[[Any, Shapes], Any]
VMapAxisTriple: TypeAlias = tuple[VMapAxes, VMapAxes, dict[str, VMapAxes]]
