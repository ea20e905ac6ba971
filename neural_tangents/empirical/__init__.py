"""Kernels of finite networks: any function `f(params, x)` of jax, whatever library it was written with.

Kernels of two batches of inputs
  `empirical_ntk_fn`            the neural tangent kernel `Θ(x1, x2) = J(x1) J(x2)ᵀ` of the Jacobians of `f`
  `empirical_nngp_fn`           the NNGP kernel `K(x1, x2) = f(x1) f(x2)ᵀ`
  `empirical_kernel_fn`         either of them by name, or both
  `NtkImplementation`           the algorithms for the NTK; by default the cheapest one is chosen

An NTK too large to store
  `empirical_ntk_vp_fn`         its products with vectors
  `empirical_ntk_operator_fn`   the same averaged over outputs, with diagonal and trace: an `NtkOperator`

Infinite networks, estimated by finite ones
  `monte_carlo_kernel_fn`       averages of kernels over random parameters; with standard errors, `Estimate`

Training in function space
  `linearize`                   the network, linear in its parameters
  `taylor_expand`               its Taylor polynomial of any degree in the parameters

docs/recipes.md shows how models of Flax, Equinox and Haiku become such functions.
"""

from neural_tangents.empirical._implementation import NtkImplementation
from neural_tangents.empirical._linearize import linearize, taylor_expand
from neural_tangents.empirical._monte_carlo import Estimate, monte_carlo_kernel_fn
from neural_tangents.empirical._nngp import empirical_nngp_fn
from neural_tangents.empirical._nngp_and_ntk import empirical_kernel_fn
from neural_tangents.empirical._ntk import empirical_ntk_fn
from neural_tangents.empirical._operator import NtkOperator, empirical_ntk_operator_fn
from neural_tangents.empirical._vp import empirical_ntk_vp_fn

__all__ = [
    "Estimate",
    "NtkImplementation",
    "NtkOperator",
    "empirical_kernel_fn",
    "empirical_nngp_fn",
    "empirical_ntk_fn",
    "empirical_ntk_operator_fn",
    "empirical_ntk_vp_fn",
    "linearize",
    "monte_carlo_kernel_fn",
    "taylor_expand",
]
