"""Kernels by name, from what users pass: a `Kernel`, a named tuple or an array."""

from collections.abc import Mapping
from typing import Any

from neural_tangents._core.stored import Matrix
from neural_tangents.predict._arguments import as_array_or_stored

# The key of a kernel given as an array: that of whichever name is asked for.
_UNNAMED = ""


def kernels_by_name(kernels: Any, label: str) -> dict[str, Matrix]:
    """The kernels by name that a `Kernel` or a named tuple has, or one kernel, which has no name."""
    if hasattr(kernels, "nngp") or hasattr(kernels, "ntk"):
        found = {name: getattr(kernels, name, None) for name in ("nngp", "ntk")}
    else:
        found = {_UNNAMED: kernels}
    advice = "Pass kernels that were computed, such as kernel_fn(x1, x2, ('nngp', 'ntk'))."
    return {
        name: as_array_or_stored(kernel, f"{label}.{name}" if name else label, advice)
        for name, kernel in found.items()
        if kernel is not None or name == _UNNAMED
    }


def needed_kernels(
    given: Mapping[str, Any], needed: tuple[str, ...], names: tuple[str, ...], label: str
) -> dict[str, Any]:
    """The needed ones of the given kernels; raises `ValueError` if one is not there."""
    if _UNNAMED in given and len(needed) == 1:
        return {needed[0]: given[_UNNAMED]}
    missing = [name for name in needed if name not in given]
    if missing:
        got = "one array, which stands for a single kernel" if _UNNAMED in given else f"{tuple(given)}"
        raise ValueError(
            f"Predictions {names} need the kernels {needed} in `{label}`, got {got}. Pass a `Kernel` or a named tuple "
            f"with the fields {needed}, such as kernel_fn(x1, x2, {needed}), or ask for other predictions with `get`."
        )
    return {name: given[name] for name in needed}
