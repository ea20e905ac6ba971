"""The largest learning rate at which gradient descent converges."""

import math
from typing import Any

import jax
from jax import numpy as jnp

from neural_tangents._core.axes import unzip_axes
from neural_tangents.predict._arguments import as_kernel


def max_learning_rate(
    ntk_train_train: Any, y_train_size: Any = None, momentum: Any = 0.0, eps: float = 1e-12
) -> jax.Array:
    """The largest stable learning rate of full-batch gradient descent on the mean squared loss.

    For the loss `½ mean((f - y)²)` of a wide or linearised network and the largest eigenvalue `λ_max` of `Θ_dd`,

        η_max = 2 (1 + momentum) y_train_size / (λ_max + eps).

    Args:
      ntk_train_train: `Θ_dd`, `[M, M]`, or interleaved, of shape `zip(y_train.shape, y_train.shape)` without the pairs
        of `trace_axes`.
      y_train_size: the number of entries of `y_train`; None for `M`, which is right for `trace_axes=()` only.
      momentum: the momentum of heavy-ball gradient descent; 0 for gradient descent.
      eps: keeps the result finite for a kernel of zeros.

    Returns:
      A scalar.

    Raises:
      ValueError: `ntk_train_train` is not a kernel of a set with itself.
    """
    kernel = as_kernel(ntk_train_train, "ntk_train_train")
    if kernel.ndim == 0 or kernel.ndim % 2 or kernel.shape[::2] != kernel.shape[1::2] or not kernel.size:
        raise ValueError(
            f"Expected `ntk_train_train` to be a square matrix, or to have axes in pairs of equal length, got shape "
            f"{kernel.shape}. Pass the kernel of the training set with itself."
        )
    side = math.prod(kernel.shape[::2])
    matrix = unzip_axes(kernel.astype(jnp.result_type(kernel, float))).reshape(side, side)
    largest = jnp.linalg.eigvalsh(matrix)[-1]
    return 2 * (1 + momentum) * (side if y_train_size is None else y_train_size) / (largest + eps)
