"""What predictors return: Gaussians, and selections of them by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from neural_tangents._core.outputs import canonical_get, select
from neural_tangents._core.types import Get
from neural_tangents.predict._outputs import Outputs


class Gaussian(NamedTuple):
    """A Gaussian over outputs of shape `y.shape`.

    Attributes:
      mean: the mean, of shape `y.shape`, after any axes of time.
      covariance: the covariance, of shape `zip(y.shape, y.shape)` without the pairs of `trace_axes`, after any axes of
        time. Along `trace_axes` the outputs are independent and share this covariance.
    """

    mean: jax.Array
    covariance: jax.Array


def requested(get: Get, known: tuple[str, ...], error: type[Exception]) -> tuple[str, ...]:
    """The lower-case names in `get` (None: `('nngp', 'ntk')`); raises `error` for one that is not among `known`."""
    names = canonical_get(get) or ("nngp", "ntk")
    for name in names:
        if name not in known:
            raise error(f"Expected `get` to name predictions among {known}, got {name!r}.")
    return names


def gaussians(get: Get, names: tuple[str, ...], predict: Callable[[str], Any]) -> Any:
    """`predict(name)` bare if `get` is a string, otherwise a named tuple `Gaussians` of them all."""
    return select({name: predict(name) for name in names}, get if isinstance(get, str) else names, "Gaussians")


def as_prediction(outputs: Outputs, mean: jax.Array, covariance: jax.Array | None) -> Any:
    """The mean from `M x T` columns, or a `Gaussian` if there is an `M x M` covariance; times stay leading axes."""
    mean = outputs.from_columns(mean)
    return mean if covariance is None else Gaussian(mean, outputs.covariance(covariance))
