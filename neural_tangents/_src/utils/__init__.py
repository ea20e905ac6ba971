"""Modules of what layers and kernels share."""

from typing import TYPE_CHECKING

from neural_tangents._src.utils import dataclasses, kernel, typing, utils

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_utils as __getattr__  # noqa: F401

__all__ = ["dataclasses", "kernel", "typing", "utils"]
