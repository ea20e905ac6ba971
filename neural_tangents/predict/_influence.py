"""What each training point, or a group of them, contributes to predictions on a test set and to their loss."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.typing import ArrayLike

from neural_tangents._core.types import Shape
from neural_tangents.predict._arguments import as_array
from neural_tangents.predict._left_out import LeftOut
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._posterior import HeldOutKernels
from neural_tangents.predict._regularised import matmul
from neural_tangents.predict._stored_algebra import product
from neural_tangents.predict._stored_system import System


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("mean", "_weights", "_errors"),
    meta_fields=("_groups", "_outputs"),
)
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Influence:
    """What training points, or groups of them, contribute to predictions: with them minus without them.

    Made by the method `influence` of a predictor, which has the equations. A pytree.

    Attributes:
      mean: the prediction on the test set from all training points.
    """

    mean: jax.Array
    _weights: jax.Array  # `[K_λ⁻¹ K_dt]_S` of each group, `[G, R, N]`
    _errors: jax.Array  # `[G, R, T]`
    _groups: Shape  # axes that number them
    _outputs: Outputs  # on the test set

    @classmethod
    def create(
        cls, name: str, system: System, train: Outputs, test: HeldOutKernels, y: jax.Array, groups: Any, dtype: Any
    ) -> "Influence":
        """The influence by the kernel with this name, for targets as columns, `M x T`."""
        y = y.astype(system.dtype)
        left_out = LeftOut.create(system, train, y, groups)
        weights = system.solve(test.k_dt(name).astype(system.dtype))
        mean = test.outputs.from_columns(product(test.k_td[name], system.solve(y))).astype(dtype)
        return cls(mean, weights[left_out.rows], left_out.errors, left_out.shape[:-1], test.outputs)

    @property
    def on_predictions(self) -> jax.Array:
        """The change of predictions, `f - f_without`, of shape `(N, *mean.shape)`, or `(..., *mean.shape)` for groups.

        It takes as much memory as predictions for each point that is left out. `mean - on_predictions[i]` is what is
        predicted without point `i`.
        """
        change = matmul(jnp.swapaxes(self._weights, 1, 2), self._errors)
        return self._outputs.from_columns(change.reshape(*self._groups, *change.shape[1:])).astype(self.mean.dtype)

    def on_loss(self, y_test: ArrayLike) -> jax.Array:
        """The change of the loss on the test set, `L(f) - L(f_without)` with `L(f) = ½ mean((f - y_test)²)`.

        Memory does not grow with the product of the numbers of training points and of outputs on the test set.

        Args:
          y_test: targets on the test set, of the shape of `mean`.

        Returns:
          One number for each training point, `(N,)`, or for each group, `(...)`. Above 0, predictions would be better
          without it.

        Raises:
          ValueError: `y_test` has another shape, or entries that are not finite.
          TypeError: `y_test` is not made of numbers.
        """
        y_test = as_array(y_test, "y_test", "Encode classes as numbers, as those of the training set.")
        if y_test.shape != self.mean.shape:
            raise ValueError(
                f"Expected `y_test` of shape {self.mean.shape}, that of predictions, got {y_test.shape}. Pass targets "
                "of the test set."
            )
        residual = self._outputs.columns((self.mean - y_test).astype(self._errors.dtype))
        along = matmul(self._weights, residual)
        squares = matmul(matmul(self._weights, jnp.swapaxes(self._weights, 1, 2)), self._errors)
        change = jnp.sum(self._errors * (along - squares / 2), axis=(1, 2)) / self._outputs.size
        return change.reshape(self._groups).astype(self.mean.dtype)

    def __repr__(self) -> str:
        return f"Influence(mean={np.dtype(self.mean.dtype)}{list(self.mean.shape)}, groups={self._groups})"
