"""A Gaussian over outputs: mean and covariance, variances, draws."""

import contextlib
import itertools
import math
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.axes import unzip_axes, zip_flat
from neural_tangents._core.types import Axes
from neural_tangents.predict._marginals import root
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import matmul


class Gaussian(NamedTuple):
    """A Gaussian over outputs of shape `y.shape`.

    Attributes:
      mean: the mean, of shape `y.shape`, after any axes of time.
      covariance: the covariance, of shape `zip(y.shape, y.shape)` without the pairs of `trace_axes`, after any axes of
        time. Along `trace_axes` the outputs are independent and share this covariance.
    """

    mean: jax.Array
    covariance: jax.Array

    @property
    def variance(self) -> jax.Array:
        """The variance of each output: the diagonal of `covariance`, in the shape of `mean`.

        Along `trace_axes`, outputs share their variances. A Gaussian does not know the `trace_axes` of its predictor:
        they are `(-1,)`, the default, if the shapes of mean and covariance allow it, and otherwise the only ones that
        the shapes allow.

        Raises:
          ValueError: the shapes allow for no `trace_axes`, or for several, but not for the default. Take the diagonal
            yourself, for example `jnp.einsum('nnoo->no', covariance)`.
        """
        outputs = self._outputs_by_shape()
        times = self.mean.ndim - len(outputs.shape)
        diagonal = self.covariance
        for _ in outputs.described:
            diagonal = jnp.diagonal(diagonal, axis1=times, axis2=times + 1)  # the diagonal becomes the last axis
        diagonal = jnp.expand_dims(diagonal, [times + axis for axis in outputs.traced])
        return jnp.broadcast_to(diagonal, self.mean.shape)

    @property
    def stddev(self) -> jax.Array:
        """The standard deviation of each output: the root of `variance`, in the shape of `mean`.

        A variance below 0, which is rounding, counts as 0. Derivatives are 0 there.

        Raises:
          ValueError: as for `variance`.
        """
        return root(self.variance)

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
          ValueError: mean and covariance do not fit `trace_axes`, or `n` is no integer >= 0.
          TypeError: `key` is no random key.
        """
        if not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"Expected `n`, the number of draws, to be an integer >= 0, got {n!r}.")
        if not hasattr(key, "dtype"):
            raise TypeError(f"Expected `key` to be a random key, got {key!r}. Pass for example jax.random.key(0).")
        outputs = self._outputs(trace_axes)
        times = self.mean.shape[: self.mean.ndim - len(outputs.shape)]
        n_times, size = math.prod(times), math.prod(outputs.described_sizes)
        dtype = jnp.promote_types(self.mean.dtype, "float32")  # there is no factorisation in half precision
        mean = self.mean.reshape(n_times, *outputs.shape).astype(dtype)
        matrices = unzip_axes(self.covariance.reshape(n_times, *self.covariance.shape[len(times) :]), 1)
        matrices = matrices.reshape(n_times, size, size).astype(dtype)

        def at_time(key: jax.Array, mean: jax.Array, matrix: jax.Array) -> jax.Array:
            values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
            columns = outputs.columns(mean)
            z = jax.random.normal(key, (n, *columns.shape), columns.dtype)
            steps = matmul(vectors, jnp.sqrt(jnp.maximum(values, 0))[None, :, None] * z)
            return outputs.from_columns(columns[None] + steps)

        draws = jax.vmap(at_time, out_axes=1)(jax.random.split(key, n_times), mean, matrices)
        return draws.reshape(n, *self.mean.shape).astype(self.mean.dtype)

    def _outputs(self, trace_axes: Axes) -> Outputs:
        """The outputs at one time: as many axes, after those of time, as make mean and covariance fit."""
        for ndim in range(self.mean.ndim + 1):
            with contextlib.suppress(ValueError):  # there are too few axes for `trace_axes`
                outputs = Outputs.create(self.mean.shape[self.mean.ndim - ndim :], trace_axes)
                if self._fits(outputs):
                    return outputs
        raise ValueError(
            f"Expected a covariance with two axes for each axis of the mean but `trace_axes={trace_axes!r}`, after any "
            f"axes of time; got {self._shapes()}. Pass the `trace_axes` that the predictor was made with."
        )

    def _outputs_by_shape(self) -> Outputs:
        """The outputs for the default `trace_axes`, or else for the only ones that fit."""
        with contextlib.suppress(ValueError):
            return self._outputs((-1,))
        fitting = [
            outputs
            for ndim in range(self.mean.ndim + 1)
            for n_traced in range(ndim + 1)
            for traced in itertools.combinations(range(ndim), n_traced)
            if self._fits(outputs := Outputs(self.mean.shape[self.mean.ndim - ndim :], traced))
        ]
        if len(fitting) == 1:
            return fitting[0]
        found = ", ".join(str(outputs.traced) for outputs in fitting) or "none"
        raise ValueError(
            f"Expected shapes that tell the `trace_axes`, got {self._shapes()}, which fit {found}. Take the diagonal "
            "of `covariance` yourself, for example jnp.einsum('nnoo->no', covariance)."
        )

    def _fits(self, outputs: Outputs) -> bool:
        times, sizes = self.mean.shape[: self.mean.ndim - len(outputs.shape)], outputs.described_sizes
        return self.covariance.shape == times + zip_flat(sizes, sizes)

    def _shapes(self) -> str:
        return f"shapes {self.mean.shape} of the mean and {self.covariance.shape} of the covariance"
