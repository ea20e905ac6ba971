"""Kernels of networks that are functions of JAX arrays, from any library: `lift`.

`lift` traces a function `apply_fn(params, x)` and returns a `Lifted` triple `(init_fn, apply_fn, kernel_fn)`. A network
that has no kernel at infinite width, or is not understood, is a `LiftError`.
"""

from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._lift import lift
from neural_tangents.tracing._lifted import Lifted

__all__ = ["LiftError", "Lifted", "lift"]
