"""The NNGP kernel of a finite network: products of its outputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._batches import split_arguments
from neural_tangents.empirical._output_axes import OutputAxes


def empirical_nngp_fn(
    f: Callable[..., PyTree], trace_axes: Axes = (-1,), diagonal_axes: Axes = ()
) -> Callable[..., PyTree]:
    """The NNGP kernel of a finite network: products of its outputs.

    `K(x1, x2) = f(params, x1) f(params, x2)ᵀ`, the mean over traced axes of the outputs. Its average over random
    parameters is the covariance of outputs.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`.
      trace_axes: see `empirical_ntk_fn`; so are `diagonal_axes`, and the axes of the kernel.

    Returns:
      `nngp_fn(x1, x2, params, **kwargs)`.

    Raises:
      TypeError: `trace_axes` and `diagonal_axes` overlap.
      ValueError: axes are out of range, or sizes do not match.
    """

    def nngp_fn(x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any) -> PyTree:
        x2, kwargs1, kwargs2, same = split_arguments(x1, x2, kwargs)
        outputs1 = f(params, x1, **kwargs1)
        outputs2 = outputs1 if same else f(params, x2, **kwargs2)

        def kernel(out1: Any, out2: Any) -> jax.Array:
            axes = OutputAxes.create(
                jnp.shape(out1), jnp.shape(out2), trace_axes, diagonal_axes, jnp.result_type(out1, out2)
            )
            return axes.kernel([jnp.asarray(out1), jnp.asarray(out2)], [axes.labels1, axes.labels2])

        return jax.tree.map(kernel, outputs1, outputs2)

    return nngp_fn
