"""Kernels of networks that are plain JAX functions, whatever library they were written with.

`LiftError`  what is raised for a network whose infinite-width limit has no closed form, or is not known here
"""

from neural_tangents.tracing._errors import LiftError

__all__ = ["LiftError"]
