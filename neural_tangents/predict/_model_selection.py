"""How well a Gaussian process explains its own training set: marginal likelihood, and leaving points out."""

import math

import jax
from jax import numpy as jnp

from neural_tangents._core.axes import zip_axes
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._stored_system import System


def log_marginal_likelihood(system: System, y: jax.Array) -> jax.Array:
    """The density of columns `y` (`M x T`): the equation is that of `GaussianProcess.log_marginal_likelihood`."""
    quadratic = jnp.sum(y * system.solve(y))
    rows, columns = y.shape
    return -quadratic / 2 - columns / 2 * (system.log_determinant() + rows * math.log(2 * math.pi))


def leave_one_out(system: System, outputs: Outputs, y: jax.Array) -> Gaussian:
    """What is predicted for each training point from all others, by the equations of `GaussianProcess.leave_one_out`.

    Args:
      system: of the training set.
      outputs: on the training set.
      y: targets as columns, `M x T`.
    """
    if 0 in outputs.traced:
        raise ValueError(
            "Expected kernels that tell training points apart, to leave out one: axis 0 of `y_train` is one of the "
            f"`trace_axes`, {outputs.traced}. Compute the kernel without it."
        )
    points = outputs.shape[0]
    covariance = jnp.linalg.inv(system.inverse_blocks(points))
    errors = covariance @ system.solve(y).reshape(*covariance.shape[:2], -1)
    mean = outputs.from_columns(y - errors.reshape(y.shape))
    return Gaussian(mean, zip_axes(covariance.reshape((points,) + outputs.described_sizes[1:] * 2), 1))
