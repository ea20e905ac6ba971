"""Infinitely wide neural networks in JAX: their kernels, and inference with them.

Infinite networks     `stax`: layers, each with its kernels; `Kernel`: what they compute
Predictions           `predict`: Gaussian processes, and networks trained by gradient descent
Finite networks of    `empirical_ntk_fn`, `empirical_nngp_fn`, `empirical_kernel_fn`: their kernels;
any library           `empirical_ntk_vp_fn`, `empirical_ntk_operator_fn`: products with the NTK, without storing it;
                      `NtkImplementation`: ways to compute it; `linearize`, `taylor_expand`: networks near parameters
Large batches         `batch`: kernels in tiles, on several devices; `batching`: stores for long runs
No closed form        `monte_carlo_kernel_fn`: kernels averaged over draws of finite networks

`empirical` has all names for finite networks, `estimators` networks with the conventions of scikit-learn, `tracing`
kernels of functions of JAX arrays from any library, and `experimental` what is for models of TensorFlow.
"""

from typing import TYPE_CHECKING

from neural_tangents import batching, empirical, predict, stax
from neural_tangents._core import archived_library  # noqa: F401  # warns if it is installed too
from neural_tangents._core.kernel import Kernel
from neural_tangents.batching import batch
from neural_tangents.empirical import (
    NtkImplementation,
    empirical_kernel_fn,
    empirical_nngp_fn,
    empirical_ntk_fn,
    empirical_ntk_operator_fn,
    empirical_ntk_vp_fn,
    linearize,
    monte_carlo_kernel_fn,
    taylor_expand,
)

if not TYPE_CHECKING:  # type checkers find missing names by themselves
    from neural_tangents._core.missing_names import of_package as __getattr__  # noqa: F401
else:  # imported when first used
    from neural_tangents import estimators as estimators
    from neural_tangents import experimental as experimental
    from neural_tangents import tracing as tracing

__version__ = "0.7.0"

__all__ = [
    "Kernel",
    "NtkImplementation",
    "__version__",
    "batch",
    "batching",
    "empirical",
    "empirical_kernel_fn",
    "empirical_nngp_fn",
    "empirical_ntk_fn",
    "empirical_ntk_operator_fn",
    "empirical_ntk_vp_fn",
    "linearize",
    "monte_carlo_kernel_fn",
    "predict",
    "stax",
    "taylor_expand",
]
