"""Kernels of finite networks."""

from typing import TYPE_CHECKING

from neural_tangents.empirical import (
    NtkImplementation,
    empirical_kernel_fn,
    empirical_nngp_fn,
    empirical_ntk_fn,
    empirical_ntk_vp_fn,
    linearize,
    taylor_expand,
)

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_empirical as __getattr__  # noqa: F401

__all__ = [
    "DEFAULT_NTK_IMPLEMENTATION",
    "NtkImplementation",
    "empirical_kernel_fn",
    "empirical_nngp_fn",
    "empirical_ntk_fn",
    "empirical_ntk_vp_fn",
    "linearize",
    "taylor_expand",
]

DEFAULT_NTK_IMPLEMENTATION = NtkImplementation.AUTO
_DEFAULT_TESTING_NTK_IMPLEMENTATION = NtkImplementation.STRUCTURED_DERIVATIVES
_DEFAULT_NTK_FWD = None
_DEFAULT_NTK_J_RULES = True
_DEFAULT_NTK_S_RULES = True
