"""Predictions by name: which are asked for with `get`, and what is returned."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, TypeVar

import jax
from jax import numpy as jnp

from neural_tangents._core.selection import canonical_get, select
from neural_tangents._core.types import Get
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._marginals import Marginals
from neural_tangents.predict._outputs import Outputs

Prediction = TypeVar("Prediction", covariant=True)

# `get` for several predictions, which are returned as `Gaussians`.
Names: TypeAlias = tuple[str, ...] | list[str] | None


class Gaussians(Protocol[Prediction]):
    """Several predictions: a named tuple of those that `get` named, in its order; for `get=None`, `nngp` and `ntk`."""

    @property
    def nngp(self) -> Prediction:
        """The prediction of Bayesian networks, or of ensembles of which the readout layer is trained."""

    @property
    def ntk(self) -> Prediction:
        """The prediction of ensembles of which all parameters are trained."""

    @property
    def ntkgp(self) -> Prediction:
        """The prediction of the Gaussian process whose covariance is the NTK."""

    def __iter__(self) -> Iterator[Prediction]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Prediction:
        """The prediction with this number, in the order of `get`."""


def requested(get: Get, known: tuple[str, ...], error: type[Exception]) -> tuple[str, ...]:
    """The lower-case names in `get` (None: `('nngp', 'ntk')`); raises `error` for one that is not among `known`."""
    if hasattr(get, "shape") or hasattr(get, "nngp") or hasattr(get, "ntk"):
        raise TypeError(
            f"Expected `get` to name predictions among {known}, got {type(get).__name__}. Pass kernels and inputs of "
            f"the test set by name: predict_fn(get='ntk', k_test_train=...) or predict_fn(x_test=...)."
        )
    names = canonical_get(get) or ("nngp", "ntk")
    for name in names:
        if name not in known:
            raise error(f"Expected `get` to name predictions among {known}, got {name!r}.")
    return names


def one_requested(get: str, known: tuple[str, ...], error: type[Exception]) -> str:
    """The same for one name; raises `ValueError` for several."""
    names = requested(get, known, error)
    if len(names) > 1:
        raise ValueError(f"Expected `get` to be one of {known}, got {get!r}. Ask for one at a time.")
    return names[0]


def gaussians(get: Get, names: tuple[str, ...], predict: Callable[[str], Any]) -> Any:
    """`predict(name)` bare if `get` is a string, otherwise a named tuple `Gaussians` of them all."""
    return select({name: predict(name) for name in names}, get if isinstance(get, str) else names, "Gaussians")


def as_prediction(outputs: Outputs, dtype: Any, columns: jax.Array, covariance: jax.Array | None) -> Any:
    """The mean from `M x T` columns; with an `M x M` covariance a `Gaussian`, with its diagonal `Marginals`.

    Times stay leading axes.
    """
    mean = outputs.from_columns(columns).astype(dtype)
    if covariance is not None and covariance.ndim < columns.ndim:
        variance = jnp.broadcast_to(covariance[..., None], columns.shape)
        return Marginals(mean, outputs.from_columns(variance).astype(dtype))
    return mean if covariance is None else Gaussian(mean, outputs.covariance(covariance).astype(dtype))
