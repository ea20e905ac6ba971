"""Both kernels of a finite network."""

import enum
from collections.abc import Callable
from typing import Any

import jax

from neural_tangents._core.selection import canonical_get, check_names, select
from neural_tangents._core.tiling.traits import with_traits
from neural_tangents._core.types import Axes, Get, PyTree
from neural_tangents.empirical._checks import check_function, noted
from neural_tangents.empirical._implementation import NtkImplementation
from neural_tangents.empirical._nngp import empirical_nngp_fn
from neural_tangents.empirical._ntk import empirical_ntk_fn
from neural_tangents.empirical._output_axes import traits
from neural_tangents.empirical._samples import VMapAxes
from neural_tangents.empirical._signatures import KernelsAtParams


class _Required(enum.Enum):
    """Marks required arguments, for which a `ValueError` is raised if they are missing."""

    REQUIRED = enum.auto()

    def __repr__(self) -> str:
        return "<required>"


_REQUIRED: Any = _Required.REQUIRED


def empirical_kernel_fn(
    f: Callable[..., PyTree],
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VMapAxes = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
    *,
    hermitian: bool = False,
) -> KernelsAtParams:
    """The NNGP kernel and the NTK of a finite network, by one function.

    `K(x1, x2) = f(params, x1) f(params, x2)ᵀ` and `Θ(x1, x2) = J(x1) J(x2)ᵀ`, with `J(x)` the Jacobian of
    `f(params, x)` with respect to all parameters; the mean over traced axes of the outputs.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`, with trees of arrays as parameters, inputs and outputs.
      trace_axes: axes of the outputs that both kernels are averaged over.
      diagonal_axes: axes of the outputs along which only equal entries are paired.
      vmap_axes: axes along which `f` acts on each sample alone, which makes the NTK cheaper; see `empirical_ntk_fn`.
      implementation: the algorithm for the NTK, a `NtkImplementation` or its number.
      _j_rules: has no effect; accepted for programs written for the archived library.
      _s_rules: has no effect, like `_j_rules`.
      _fwd: has no effect, like `_j_rules`.
      hermitian: whether to compute `f(x1) f(x2)ᴴ` and `J(x1) J(x2)ᴴ`, which are positive semi-definite for `x1 = x2`,
        also for complex networks.

    Returns:
      `kernel_fn(x1, x2, get, params, **kwargs)`; see its own documentation, `help(kernel_fn)`. The axes of its kernels
      are those of `empirical_ntk_fn`.

    Raises:
      KeyError: there is no such implementation.
      TypeError: `f` is not a function.

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """
    del _j_rules, _s_rules, _fwd
    check_function(f, "empirical_kernel_fn(f)")
    kernel_fns = {
        "nngp": empirical_nngp_fn(f, trace_axes, diagonal_axes, hermitian=hermitian),
        "ntk": empirical_ntk_fn(f, trace_axes, diagonal_axes, vmap_axes, implementation, hermitian=hermitian),
    }

    @with_traits(traits(trace_axes, diagonal_axes))
    def kernel_fn(x1: PyTree, x2: PyTree, get: Get = _REQUIRED, params: PyTree = _REQUIRED, **kwargs: Any) -> Any:
        """The NNGP kernel, the NTK, or both, of the network for two batches.

        `K(x1, x2) = f(params, x1) f(params, x2)ᵀ` and `Θ(x1, x2) = J(x1) J(x2)ᵀ`, with `J(x)` the Jacobian of
        `f(params, x)` with respect to all parameters.

        Args:
          x1: the first batch of inputs, such as `(N1, ...)`; an array or a tree of arrays.
          x2: the second batch, such as `(N2, ...)`. None, or None in place of some of its arrays, stands for `x1`.
          get: `"nngp"` or `"ntk"`; a tuple of names; or None for both.
          params: the parameters, a tree of real or complex arrays. They come last.
          **kwargs: keyword arguments of `f`. Of a pair `(a, b)`, `a` goes with `x1` and `b` with `x2`; all else goes
            with both. A single random key `rng` is used for both batches if they are equal, and split otherwise.

        Returns:
          For a name, the kernel, `(N1, N2)` for outputs `(N, O)` and default axes. Otherwise a named tuple
          `EmpiricalKernel` of kernels, in the order of `get`. If there are several outputs, each has its own.

        Raises:
          KeyError: `get` has an unknown name.
          TypeError: `get` is of another type; parameters or outputs are not of real or complex type.
          ValueError: `get` or `params` is missing; `x1` and `x2` do not match; axes do not fit.
        """
        if get is _REQUIRED or params is _REQUIRED:
            raise ValueError(
                "Expected `kernel_fn(x1, x2, get, params)`, with `get` of 'nngp', 'ntk', a tuple of these, or None for "
                "both; `get` or `params` is missing."
            )
        with noted(lambda: "The order of arguments is `kernel_fn(x1, x2, get, params)`."):
            names = canonical_get(get)
        check_names(names, kernel_fns)
        names = names or tuple(kernel_fns)
        found = [kernel_fns[name](x1, x2, params, **kwargs) for name in names]

        def selected(*kernels: Any) -> Any:
            return select(dict(zip(names, kernels, strict=True)), get or names, "EmpiricalKernel")

        return jax.tree.map(selected, *found)

    return kernel_fn
