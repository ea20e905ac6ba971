"""The largest learning rate at which gradient descent converges."""

import math
from typing import Any

import jax
from jax import numpy as jnp

from neural_tangents._core.axes import unzip_axes
from neural_tangents._core.old_calls import present_form
from neural_tangents.predict._arguments import as_kernel, check_scalar, common_dtype, working_dtype


@present_form(
    "max_learning_rate(ntk_train_train, y_train_size, momentum, eps)",
    {"num_outputs": "Pass `y_train_size=y_train.size`.", "y_train": "Pass `y_train_size=y_train.size`."},
)
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
      momentum: the momentum of heavy-ball gradient descent, from 0 to 1; 0 for gradient descent.
      eps: keeps the result finite for a kernel of zeros.

    Returns:
      A scalar.

    Raises:
      ValueError: `ntk_train_train` is not a kernel of a set with itself, another argument is no scalar, or one is seen
        not to be finite.
      TypeError: an argument is not made of numbers.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Computational Mathematics
    and Mathematical Physics 4(5), 1964, https://doi.org/10.1016/0041-5553(64)90137-5: heavy-ball steps on a quadratic
    loss of which the Hessian has eigenvalues from 0 to `L` converge for `η < 2 (1 + momentum) / L`, here with
    `L = λ_max / y_train_size`. Without momentum, Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models
    Under Gradient Descent", 2019, https://arxiv.org/abs/1902.06720.
    """
    kernel = as_kernel(ntk_train_train, "ntk_train_train")
    check_scalar(1 if y_train_size is None else y_train_size, "y_train_size", "Pass `y_train.size`.")
    check_scalar(momentum, "momentum")
    if kernel.ndim == 0 or kernel.ndim % 2 or kernel.shape[::2] != kernel.shape[1::2] or not kernel.size:
        raise ValueError(
            f"Expected `ntk_train_train` to be a square matrix, or to have axes in pairs of equal length, got shape "
            f"{kernel.shape}. Pass the kernel of the training set with itself."
        )
    side = math.prod(kernel.shape[::2])
    dtype = common_dtype(kernel)
    matrix = unzip_axes(kernel.astype(working_dtype(dtype))).reshape(side, side)
    largest = jnp.linalg.eigvalsh(matrix)[-1]
    rate = 2 * (1 + momentum) * (side if y_train_size is None else y_train_size) / (largest + eps)
    return rate.astype(dtype)
