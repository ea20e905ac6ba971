"""Modules of layers, and what layers are written with."""

from typing import TYPE_CHECKING

from neural_tangents._src.stax import branching, combinators, elementwise, linear, requirements

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_stax as __getattr__  # noqa: F401

__all__ = ["branching", "combinators", "elementwise", "linear", "requirements"]
