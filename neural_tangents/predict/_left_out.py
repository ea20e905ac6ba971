"""Groups of training points that are left out, from the factors of the whole training set."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import Shape
from neural_tangents.predict._arguments import as_array
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import matmul
from neural_tangents.predict._stored_system import System


class LeftOut(NamedTuple):
    """Groups of training points, of which each is left out by itself.

    With the block `B = [K_λ⁻¹]_SS` of the outputs of a group `S`, all other points predict them with the covariance
    `B⁻¹`, noise included, and the errors `y_S - f_S = B⁻¹ [K_λ⁻¹ y]_S`.

    Attributes:
      shape: of the array of groups: axes that number groups, and last, that of the points of a group.
      rows: of `K_λ`, `[G, R]`.
      covariance: `B⁻¹`, `[G, R, R]`.
      errors: `[G, R, T]`.
    """

    shape: Shape
    rows: jax.Array
    covariance: jax.Array
    errors: jax.Array

    @classmethod
    def create(cls, system: System, outputs: Outputs, y: jax.Array, groups: Any) -> "LeftOut":
        """Leaves out each group of points, `[..., S]`, or each point if `groups` is None, `[N, 1]`.

        Args:
          system: of the training set.
          outputs: on the training set.
          y: targets as columns, `M x T`.
          groups: numbers of points.

        Raises:
          ValueError: kernels do not tell points apart, or groups are seen not to be groups of different points.
          TypeError: `groups` has entries that are not integers.
        """
        outputs.check_points()
        points = outputs.shape[0]
        numbers = jnp.arange(points)[:, None] if groups is None else _as_groups(groups, points)
        count, each = math.prod(numbers.shape[:-1]), len(y) // max(1, points)  # groups; rows of a point
        rows = numbers.reshape(count, numbers.shape[-1], 1) * each + jnp.arange(each)[None, None]
        rows = rows.reshape(count, numbers.shape[-1] * each)
        covariance = jnp.linalg.inv(system.inverse_blocks(rows))
        return cls(numbers.shape, rows, covariance, matmul(covariance, system.solve(y)[rows]))

    def predictions(self, outputs: Outputs, y: jax.Array) -> Gaussian:
        """What is predicted for each group from all other points, `[..., S, ...]`."""
        *lead, points = self.shape
        of_group = dataclasses.replace(outputs, shape=(points, *outputs.shape[1:]))
        mean, covariance = (x.reshape(*lead, *x.shape[1:]) for x in (y[self.rows] - self.errors, self.covariance))
        return Gaussian(of_group.from_columns(mean), of_group.covariance(covariance))


def _as_groups(groups: Any, points: int) -> jax.Array:
    """Converts groups of so many points, given by their numbers, to an array."""
    array = as_array(groups, "groups", "Pass numbers of training points, such as [[0, 1], [2, 3]].")
    if not jnp.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"Expected `groups` to be numbers of training points, which are integers, got {array.dtype}. Of a mask, "
            f"pass jnp.nonzero(mask)[0]."
        )
    if not array.ndim or not array.shape[-1]:
        raise ValueError(
            f"Expected `groups` of shape (..., S), with the numbers of S >= 1 points along the last axis, got shape "
            f"{array.shape}. Pass [i] for one point, and [[0], [1], ...] for one at a time."
        )
    if is_concrete(array):
        known = np.asarray(array).reshape(math.prod(array.shape[:-1]), -1)
        if known.size and not (known.min() >= 0 and known.max() < points):
            raise ValueError(
                f"Expected `groups` of numbers from 0 to {points - 1}, got {known.min()} to {known.max()}."
            )
        if np.any(np.diff(np.sort(known)) == 0):
            raise ValueError("Expected each of the `groups` to consist of different points, got one twice in a group.")
    return array
