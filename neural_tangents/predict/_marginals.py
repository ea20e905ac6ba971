"""Means and variances of outputs, without their covariance."""

from typing import NamedTuple

import jax
from jax import numpy as jnp


class Marginals(NamedTuple):
    """The Gaussian of each output alone: what `compute_cov="diag"` asks for.

    Attributes:
      mean: the mean, of shape `y.shape`, after any axes of time.
      variance: the variance of each output, in the shape of `mean`; never negative.
    """

    mean: jax.Array
    variance: jax.Array

    @property
    def stddev(self) -> jax.Array:
        """The standard deviation of each output, in the shape of `mean`. Derivatives are 0 where it is 0."""
        return root(self.variance)


def root(variance: jax.Array) -> jax.Array:
    """The root; 0, with derivative 0, of a variance that is 0 or less."""
    positive = variance > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1)), 0)
