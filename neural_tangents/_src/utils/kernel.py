"""`Kernel`."""

from typing import TYPE_CHECKING

from neural_tangents._core.kernel import Kernel

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_kernel as __getattr__  # noqa: F401

__all__ = ["Kernel"]
