"""What an entry of the zoo is: a network of some framework, and the truth that its kernel is compared with.

A network that is written with `stax` has the truth by the same layers of `stax`; others have it by `closed_forms`, and
networks without a kernel by words of the error.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from neural_tangents import stax

RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(5, 5)).astype(np.float32)
IMAGES = RNG.normal(size=(4, 5, 6, 2)).astype(np.float32)
SEQUENCES = RNG.normal(size=(4, 4, 3)).astype(np.float32)
TOKENS = RNG.randint(0, 6, (4, 4)).astype(np.int32)
WIDTH = 16

# Frameworks begin biases with zeros: these are no part of the NNGP, and move with `standard` parameterization.
Dense = partial(stax.Dense, b_std=0.0)
Conv = partial(stax.Conv, b_std=0.0)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network `apply(params, x)`.

    Attributes:
      apply, init: the network; `init(key)` draws parameters.
      x: inputs of two batches in one array.
      truth: from the name of the parameterization to a triple of `stax`, or to a function of all inputs that gives both
        kernels; or words of the error.
      options: keyword arguments of `lift`.
      parameterizations: those that the truth has.
      rtol: how well both agree, relative to the largest entry.
    """

    apply: Callable[[Any, Any], Any]
    init: Callable[[Any], Any]
    x: np.ndarray
    truth: Callable[[str], Any] | str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameterizations: tuple[str, ...] = ("ntk", "standard")
    rtol: float = 2e-5


def weights_only(path: str) -> bool:
    """Whether a leaf is a matrix, not the scale or shift of a normalisation: `stax` has none of these."""
    return not any(name in path for name in ("scale", "offset", "Norm", "norm"))


@stax.layer
def Scaled(factor: float) -> Any:
    """Multiplies by a number that is not trained."""
    return lambda rng, shape: (shape, ()), lambda params, x, **_: factor * x, lambda k, **_: k * factor


def numerical(function: Callable[[Any], Any], degree: int = 60) -> Any:
    """A nonlinearity by quadrature."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stax.ElementwiseNumerical(function, deg=degree)
