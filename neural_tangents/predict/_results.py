"""What predictors return: Gaussians, and selections of them by name."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from neural_tangents._core.axes import unzip_axes, zip_flat
from neural_tangents._core.selection import canonical_get, select
from neural_tangents._core.types import Axes, Get
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._spectral import matmul


class Gaussian(NamedTuple):
    """A Gaussian over outputs of shape `y.shape`.

    Attributes:
      mean: the mean, of shape `y.shape`, after any axes of time.
      covariance: the covariance, of shape `zip(y.shape, y.shape)` without the pairs of `trace_axes`, after any axes of
        time. Along `trace_axes` the outputs are independent and share this covariance.
    """

    mean: jax.Array
    covariance: jax.Array

    def sample_posterior(self, key: jax.Array, n: int, trace_axes: Axes = (-1,)) -> jax.Array:
        """Draws outputs, `mean + covariance^{1/2} z` with standard normal `z`.

        Args:
          key: random key.
          n: number of draws.
          trace_axes: axes of outputs that the covariance lacks, the ones that the predictor was made with. Outputs are
            independent along them.

        Returns:
          `(n, *mean.shape)`. Negative eigenvalues of the covariance, which are rounding, count as 0.

        Raises:
          ValueError: mean and covariance do not fit `trace_axes`.
        """
        outputs = self._outputs(trace_axes)
        times = self.mean.shape[: self.mean.ndim - len(outputs.shape)]
        n_times, size = math.prod(times), math.prod(outputs.described_sizes)
        mean = self.mean.reshape(n_times, *outputs.shape)
        matrices = unzip_axes(self.covariance.reshape(n_times, *self.covariance.shape[len(times) :]), 1)
        matrices = matrices.reshape(n_times, size, size)

        def at_time(key: jax.Array, mean: jax.Array, matrix: jax.Array) -> jax.Array:
            values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
            columns = outputs.columns(mean)
            z = jax.random.normal(key, (n, *columns.shape), columns.dtype)
            steps = matmul(vectors, jnp.sqrt(jnp.maximum(values, 0))[None, :, None] * z)
            return outputs.from_columns(columns[None] + steps)

        draws = jax.vmap(at_time, out_axes=1)(jax.random.split(key, n_times), mean, matrices)
        return draws.reshape(n, *self.mean.shape)

    def _outputs(self, trace_axes: Axes) -> Outputs:
        """The outputs at one time: as many axes, after those of time, as make mean and covariance fit."""
        for ndim in range(self.mean.ndim + 1):
            shape = self.mean.shape[self.mean.ndim - ndim :]
            with contextlib.suppress(ValueError):  # there are too few axes for `trace_axes`
                outputs = Outputs.create(shape, trace_axes)
                sizes = outputs.described_sizes
                if self.covariance.shape == self.mean.shape[: self.mean.ndim - ndim] + zip_flat(sizes, sizes):
                    return outputs
        raise ValueError(
            f"Expected a covariance with two axes for each axis of the mean but `trace_axes={trace_axes!r}`, after any "
            f"axes of time; got shapes {self.mean.shape} of the mean and {self.covariance.shape} of the covariance. "
            "Pass the `trace_axes` that the predictor was made with."
        )


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


def with_methods(predict_fn: Callable[..., Any], **methods: Callable[..., Any]) -> Callable[..., Any]:
    """The predictor, with further functions of the same training set as attributes."""
    vars(predict_fn).update(methods)
    return predict_fn
