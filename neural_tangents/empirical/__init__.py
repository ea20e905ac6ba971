"""Kernels and linearizations of finite networks."""

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
