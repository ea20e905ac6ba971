"""The NNGP kernel of a finite network: products of its outputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.tiling.traits import with_traits
from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._batches import split_arguments
from neural_tangents.empirical._checks import check_function, evaluate
from neural_tangents.empirical._output_axes import OutputAxes, traits
from neural_tangents.empirical._signatures import KernelAtParams


def empirical_nngp_fn(
    f: Callable[..., PyTree], trace_axes: Axes = (-1,), diagonal_axes: Axes = (), *, hermitian: bool = False
) -> KernelAtParams:
    """The NNGP kernel of a finite network: products of its outputs.

    `K(x1, x2) = f(params, x1) f(params, x2)ᵀ`, the mean over traced axes of the outputs. Its average over random
    parameters is the covariance of outputs.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`, with trees of arrays as parameters, inputs and outputs.
      trace_axes: axes of the outputs that the kernel is averaged over.
      diagonal_axes: axes of the outputs along which only equal entries are paired.
      hermitian: whether to compute `f(params, x1) f(params, x2)ᴴ`, which is positive semi-definite for `x1 = x2`, also
        for complex outputs.

    Returns:
      `nngp_fn(x1, x2, params, **kwargs)`; see its own documentation, `help(nngp_fn)`. The axes of its kernels are those
      of `empirical_ntk_fn`: `(N1, N2)` for outputs `(N, O)` and default axes, `(N1, N2, O, O)` with `trace_axes=()`.

    Raises:
      TypeError: `f` is not a function.

    Source: Lee et al., "Deep Neural Networks as Gaussian Processes", 2018, https://arxiv.org/abs/1711.00165, for the
    kernel of infinite networks that this one is a sample of.
    """
    check_function(f, "empirical_nngp_fn(f)")

    @with_traits(traits(trace_axes, diagonal_axes, "nngp"))
    def nngp_fn(x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> PyTree:
        """The NNGP kernel of the network for two batches.

        `K(x1, x2) = f(params, x1) f(params, x2)ᵀ`, without conjugation unless `hermitian=True`.

        Args:
          x1: the first batch of inputs, such as `(N1, ...)`; an array or a tree of arrays.
          x2: the second batch, such as `(N2, ...)`. None, or None in place of some of its arrays, stands for `x1`.
          params: the parameters, a tree of arrays. They come last.
          **kwargs: keyword arguments of `f`. Of a pair `(a, b)`, `a` goes with `x1` and `b` with `x2`; all else goes
            with both. A single random key `rng` is used for both batches if they are equal, and split otherwise.

        Returns:
          The kernel, `(N1, N2)` for outputs `(N, O)` and default axes; one for each output if there are several.

        Raises:
          TypeError: outputs are not arrays, or `trace_axes` and `diagonal_axes` overlap.
          ValueError: `x1` and `x2` do not match; or axes are out of range, or do not fit the outputs.
        """
        x2, kwargs1, kwargs2, same = split_arguments(x1, x2, kwargs)
        outputs1 = evaluate(f, params, x1, kwargs1)
        outputs2 = outputs1 if same else evaluate(f, params, x2, kwargs2)

        def kernel(out1: jax.Array, out2: jax.Array) -> jax.Array:
            dtype = jnp.result_type(out1, out2)
            axes = OutputAxes.create(out1.shape, out2.shape, trace_axes, diagonal_axes, dtype, hermitian)
            return axes.kernel([out1, axes.of_second(out2)], [axes.labels1, axes.labels2])

        return jax.tree.map(kernel, outputs1, outputs2)

    return nngp_fn
