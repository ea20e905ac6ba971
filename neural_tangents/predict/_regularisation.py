"""What is added to the diagonal of a kernel before it is inverted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._arguments import as_array, check_scalar
from neural_tangents.predict._outputs import Outputs


class Regularisation(NamedTuple):
    """What is added to the diagonal of a train-train matrix `K`.

    Attributes:
      diag_reg: `λ`, a multiple of the identity.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself; otherwise `λ = diag_reg · tr(K) / M`.
      noise_variance: of each training point, or of all, in the units of `K`; None for none.
    """

    diag_reg: Any
    diag_reg_absolute_scale: bool
    noise_variance: Any

    def check(self, outputs: Outputs) -> None:
        """Raises an error if these are not numbers for such outputs, or are seen to be negative or NaN."""
        check_scalar(self.diag_reg, "diag_reg", "Pass noise of each training point as `noise_variance`.")
        if not isinstance(self.diag_reg_absolute_scale, bool | int | np.bool_):
            kind = type(self.diag_reg_absolute_scale).__name__
            raise TypeError(f"Expected `diag_reg_absolute_scale` to be True or False, got {kind}.")
        if is_concrete(self.diag_reg) and not self.diag_reg >= 0:
            raise ValueError(f"Expected `diag_reg` >= 0, got {self.diag_reg}. Pass 0 for no regularisation.")
        noise = self.noise_variance
        if noise is None:
            return
        noise = as_array(noise, "noise_variance", "Pass a number, or one for each training point.")
        if np.shape(noise) not in ((), outputs.shape[:1]):
            raise ValueError(
                f"Expected `noise_variance` to be a scalar, or one number for each training point, of shape "
                f"{outputs.shape[:1]}; got shape {np.shape(noise)}. Pass an array with one axis."
            )
        if np.shape(noise) and 0 in outputs.traced:
            raise ValueError(
                "Expected `noise_variance` to be a scalar, since axis 0 of `y_train`, that of training points, is one "
                "of the `trace_axes`: the kernels do not tell points apart. Pass one number."
            )
        if is_concrete(noise) and not np.all(np.asarray(noise) >= 0):
            raise ValueError(f"Expected `noise_variance` >= 0, got {np.asarray(noise)}. Pass None for no noise.")

    def diagonal(self, diagonal: jax.Array, outputs: Outputs) -> jax.Array:
        """What is added to the diagonal of `K`, given as `[M]` (of which the scale matters only if it is relative)."""
        shift = self.diag_reg if self.diag_reg_absolute_scale else self.diag_reg * jnp.sum(diagonal) / len(diagonal)
        shift = jnp.full(diagonal.shape, jnp.asarray(shift, diagonal.dtype))
        if self.noise_variance is None:
            return shift
        noise, sizes = jnp.asarray(self.noise_variance, diagonal.dtype), outputs.described_sizes
        noise = jnp.expand_dims(noise, tuple(range(noise.ndim, len(sizes))))
        return shift + jnp.broadcast_to(noise, sizes).reshape(-1)
