"""How well a Gaussian process explains its own training set."""

import math

import jax
from jax import numpy as jnp

from neural_tangents.predict._stored_system import System


def log_marginal_likelihood(system: System, y: jax.Array) -> jax.Array:
    """The density of columns `y` (`M x T`): the equation is that of `GaussianProcess.log_marginal_likelihood`."""
    quadratic = jnp.sum(y * system.solve(y))
    rows, columns = y.shape
    return -quadratic / 2 - columns / 2 * (system.log_determinant() + rows * math.log(2 * math.pi))
