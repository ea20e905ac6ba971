"""Both kernels of a finite network."""

from collections.abc import Callable
from typing import Any

import jax

from neural_tangents._core.selection import canonical_get, check_names, select
from neural_tangents._core.types import Axes, Get, PyTree
from neural_tangents.empirical._implementation import NtkImplementation
from neural_tangents.empirical._nngp import empirical_nngp_fn
from neural_tangents.empirical._ntk import empirical_ntk_fn
from neural_tangents.empirical._samples import VMapAxes

_MISSING: Any = object()


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
    """The NNGP kernel and the NTK of a finite network, by one function.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`.
      trace_axes: see `empirical_ntk_fn`; so are all other arguments, those after `diagonal_axes` of the NTK only.

    Returns:
      `kernel_fn(x1, x2, get, params, **kwargs)`. `get` is `'nngp'` or `'ntk'`, for an array, several names, for a named
      tuple `EmpiricalKernel` in their order, or None for both; of several outputs, each has its own.

    Raises:
      ValueError: `get` is missing.
      KeyError: it has an unknown name. See `empirical_ntk_fn` for all else.
    """
    kernel_fns = {
        "nngp": empirical_nngp_fn(f, trace_axes, diagonal_axes),
        "ntk": empirical_ntk_fn(f, trace_axes, diagonal_axes, vmap_axes, implementation, _j_rules, _s_rules, _fwd),
    }

    def kernel_fn(x1: PyTree, x2: PyTree, get: Get = _MISSING, params: PyTree = _MISSING, **kwargs: Any) -> PyTree:
        if get is _MISSING or params is _MISSING:
            raise ValueError(
                "Expected `kernel_fn(x1, x2, get, params)`, with `get` of 'nngp', 'ntk', a tuple of these, or None for "
                "both; `get` or `params` is missing."
            )
        names = canonical_get(get)
        check_names(names, kernel_fns)
        names = names or tuple(kernel_fns)
        found = [kernel_fns[name](x1, x2, params, **kwargs) for name in names]

        def selected(*kernels: Any) -> Any:
            return select(dict(zip(names, kernels, strict=True)), get or names, "EmpiricalKernel")

        return jax.tree.map(selected, *found)

    return kernel_fn
