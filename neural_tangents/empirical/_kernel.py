"""Both kernels of a finite network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from neural_tangents._core.outputs import canonical_get, check_names, select
from neural_tangents._core.types import Axes, Get, PyTree
from neural_tangents.empirical._implementation import NtkImplementation
from neural_tangents.empirical._nngp import empirical_nngp_fn
from neural_tangents.empirical._ntk import empirical_ntk_fn
from neural_tangents.empirical._samples import VMapAxes


def empirical_kernel_fn(
    f: Callable[..., PyTree],
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VMapAxes = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
) -> Callable[..., PyTree]:
    kernel_fns = {
        "nngp": empirical_nngp_fn(f, trace_axes, diagonal_axes),
        "ntk": empirical_ntk_fn(f, trace_axes, diagonal_axes, vmap_axes, implementation, _j_rules, _s_rules, _fwd),
    }

    def kernel_fn(x1: PyTree, x2: PyTree, get: Get, params: PyTree, **kwargs: Any) -> PyTree:
        names = canonical_get(get)
        check_names(names, kernel_fns)
        names = names or tuple(kernel_fns)
        found = [kernel_fns[name](x1, x2, params, **kwargs) for name in names]
        return jax.tree.map(lambda *kernels: select(dict(zip(names, kernels)), get or names, "EmpiricalKernel"), *found)

    return kernel_fn
