"""Products of the NTK of a finite network with vectors."""

from collections.abc import Callable
from typing import Any

import jax

from neural_tangents._core.types import PyTree
from neural_tangents.empirical._batches import check_parameters, split_arguments


def empirical_ntk_vp_fn(
    f: Callable[..., PyTree], x1: PyTree, x2: PyTree, params: PyTree, **kwargs: Any
) -> Callable[[PyTree], PyTree]:
    """Products of the NTK with vectors, without forming it.

    `Θ(x1, x2) v = J(x1) (J(x2)ᵀ v)`, by one backward and one forward pass, in the memory of these.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`.
      x1: inputs.
      x2: inputs; None stands for `x1`.
      params: parameters.
      **kwargs: keyword arguments of `f`; a pair has one for each batch.

    Returns:
      `vp_fn(v)`, with `v` like `f(params, x2)` and the product like `f(params, x1)`. Nothing is averaged over outputs;
      for that, see `empirical_ntk_operator_fn`.

    Raises:
      TypeError: parameters are not of real or complex type.
      ValueError: `x1` and `x2` do not match.
    """
    check_parameters(params)
    x2, kwargs1, kwargs2, _ = split_arguments(x1, x2, kwargs)

    def ntk_vp_fn(cotangents: PyTree) -> PyTree:
        _, pull = jax.vjp(lambda p: f(p, x2, **kwargs2), params)
        return jax.jvp(lambda p: f(p, x1, **kwargs1), (params,), pull(cotangents))[1]

    return ntk_vp_fn
