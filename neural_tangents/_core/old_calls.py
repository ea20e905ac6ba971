"""Errors for calls in the form of former releases, which say what to write instead."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def present_form(
    usage: str,
    keywords: Mapping[str, str] | None = None,
    misplaced: Callable[[Mapping[str, Any]], str | None] = lambda arguments: None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function so that calls in an old form raise a `TypeError`.

    Args:
      usage: the present form of calls.
      keywords: what to do in place of old keyword arguments, by name.
      misplaced: `arguments by name -> what is wrong with them`, or None.
    """

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        names = list(inspect.signature(fn).parameters)

        @functools.wraps(fn)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            old = [
                f"`{name}` is not one of its arguments. {text}"
                for name, text in (keywords or {}).items()
                if name in kwargs
            ]
            found = misplaced({**dict(zip(names, args, strict=False)), **kwargs})
            if old or found:
                raise TypeError(f"{fn.__name__}: {' '.join([*old, found or ''])} The present form is\n{usage}.")
            return fn(*args, **kwargs)

        return call

    return decorate


def no_scalar(name: str, advice: str) -> Callable[[Mapping[str, Any]], str | None]:
    """Says of an argument that should be a number, traced or not, if it is an array."""

    def misplaced(arguments: Mapping[str, Any]) -> str | None:
        value = arguments.get(name, 0.0)
        shape = np.shape(value) if type(value) in (list, tuple) else getattr(value, "shape", ())
        return f"Expected `{name}` to be a number, got an array of shape {shape}. {advice}" if shape != () else None

    return misplaced


_NO_CHOICE = "It is not needed: leave it out."
_LAYER_ARGUMENTS = {
    "do_backprop": f"{_NO_CHOICE} Derivatives are right everywhere.",
    "do_stabilize": f"{_NO_CHOICE} Kernels are stable.",
    "W_init": f"{_NO_CHOICE} Weights are drawn from a Gaussian, of standard deviation `W_std`.",
    "b_init": f"{_NO_CHOICE} Biases are drawn from a Gaussian, of standard deviation `b_std`.",
    "spec": "Say `batch_axis` and `channel_axis`, or `dimension_numbers` of convolutions.",
    "fixed": "It is `linear_scaling` now.",
    "marginalization": f"{_NO_CHOICE} Each layer knows which covariances it needs.",
}


def check_layer_arguments(layer: str, signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    """Raises a `TypeError` if a layer does not have an argument, which says what took its place."""
    parameters = signature.parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for name in given:
        if name not in parameters:
            spelt = {parameter.lower(): parameter for parameter in parameters}
            close = [spelt[match] for match in difflib.get_close_matches(name.lower(), spelt, 1, 0.75)]
            advice = _LAYER_ARGUMENTS.get(name) or (f"Did you mean `{close[0]}`?" if close else "")
            known = ", ".join(parameters) or "none"
            raise TypeError(f"{layer} got an unexpected keyword argument '{name}'. {advice} It takes {known}.")
