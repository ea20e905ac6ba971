"""How predictors print: their settings and the sizes of their arrays, but no numbers in arrays."""

from typing import Any

import numpy as np

from neural_tangents._core.concrete import is_concrete


def describe(predictor: Any, **facts: Any) -> str:
    """`Name(fact=value, ...)`, with an array as `float32[5,2]` and a function as its name."""
    return f"{type(predictor).__name__}({', '.join(f'{name}={_short(value)}' for name, value in facts.items())})"


def _short(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if value is None or isinstance(value, bool | str | tuple):
        return repr(value)
    if not hasattr(value, "dtype"):
        value = np.asarray(value)
    if value.ndim == 0 and is_concrete(value):
        return f"{value.item():.4g}"
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"
