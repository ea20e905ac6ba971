"""Layers with several inputs or outputs."""

from typing import TYPE_CHECKING

from neural_tangents.stax import FanInConcat, FanInProd, FanInSum, FanOut

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_branching as __getattr__  # noqa: F401

__all__ = ["FanInConcat", "FanInProd", "FanInSum", "FanOut"]
