"""The one place where a train-train kernel is checked, regularised and factorised."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete, kept_if_concrete
from neural_tangents.predict._factorise import Factors, factorise, log_determinant, solve, widened
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._spectral import Spectrum, decompose

# A kernel may differ from its transpose by this much of its largest entry: more than rounding in any type does.
_ASYMMETRY = 1e-2


class Diagnostics(NamedTuple):
    """What is known of a train-train matrix `K_λ`, and what was done to invert it.

    Attributes:
      smallest_eigenvalue: of `K_λ`; negative if `K_λ` is not positive semi-definite.
      condition_number: the largest eigenvalue of `K_λ` over the smallest; infinite if that is not positive.
      jitter: what had to be added to the diagonal for a Cholesky factorisation; 0 if nothing.
      left_out: how many eigenvalues were left out, as they are negative, or zero up to rounding, and no small jitter
        helped; 0 if there is a Cholesky factorisation.
    """

    smallest_eigenvalue: jax.Array
    condition_number: jax.Array
    jitter: jax.Array
    left_out: jax.Array


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainSystem:
    """The matrix `K_λ = K + λ I + diag(noise)` (`M x M`) of one train-train kernel, factorised at most once.

    Predictors reach `K_λ` through `solve` and `log_determinant`, and through `spectrum` at finite times, so that any
    other way to solve or to decompose has its place here. Pickled without the factors: they are computed anew.

    Attributes:
      kernel: the interleaved train-train kernel `K`.
      outputs: the outputs on the training set.
      dtype: the type of predictions.
      regularisation: what is added to the diagonal of `K`.
      in_float64: whether to factorise in float64, whatever `dtype`.

    Raises:
      ValueError: the kernel is seen to have entries that are not finite, or not to be symmetric.
    """

    kernel: jax.Array
    outputs: Outputs
    dtype: Any
    regularisation: Regularisation
    in_float64: bool

    def __post_init__(self) -> None:
        if is_concrete(self.kernel):
            _check_entries(self.kernel, self.outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainSystem, tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    @kept_if_concrete
    def unregularised(self) -> jax.Array:
        """`K`."""
        return self.outputs.matrix(self.kernel.astype(self.dtype))

    @kept_if_concrete
    def matrix(self) -> jax.Array:
        """`K_λ`."""
        # A kernel is symmetric up to rounding. Different factorisations read different halves, and must see one matrix.
        symmetric = (self.unregularised + self.unregularised.T) / 2
        return symmetric + jnp.diag(self.regularisation.diagonal(jnp.diagonal(symmetric), self.outputs))

    @kept_if_concrete
    def spectrum(self) -> Spectrum:
        """The eigendecomposition of `K_λ`."""
        with widened(self.in_float64) as wide:
            return jax.tree.map(lambda x: x.astype(self.dtype), decompose(wide(self.matrix)))

    @kept_if_concrete
    def _factors(self) -> Factors:
        with widened(self.in_float64) as wide:
            return factorise(lax.stop_gradient(wide(self.matrix)))

    def solve(self, rhs: jax.Array) -> jax.Array:
        """`K_λ⁻¹ rhs`, for `rhs` of shape `M x R`."""
        return solve(self.matrix, self._factors, rhs, self.in_float64)

    def solves_at(self, s: jax.Array | None) -> bool:
        """Whether predictions at times `s` take `solve`, and not `spectrum`."""
        return s is None

    def inverse_blocks(self, points: int) -> jax.Array:
        """The diagonal blocks of `K_λ⁻¹`, one for each of so many points: `[points, M / points, M / points]`."""
        size = len(self.matrix) // max(1, points)
        inverse = self.solve(jnp.eye(len(self.matrix), dtype=self.dtype)).reshape(points, size, points, size)
        return jnp.moveaxis(jnp.diagonal(inverse, axis1=0, axis2=2), -1, 0)

    def log_determinant(self) -> jax.Array:
        """`log det K_λ`, of the eigenvalues that are not left out."""
        return log_determinant(self.matrix, self._factors, self.in_float64)

    def diagnostics(self) -> Diagnostics:
        """What is known of `K_λ`."""
        with widened(self.in_float64) as wide:
            values = jnp.linalg.eigvalsh(wide(self.matrix))
            smallest, largest = values[0].astype(self.dtype), values[-1].astype(self.dtype)
            left_out = jnp.where(self._factors.is_cholesky, 0, jnp.sum(self._factors.values == 0))
            jitter = self._factors.jitter.astype(self.dtype)
        condition = jnp.where(smallest > 0, largest / jnp.where(smallest > 0, smallest, 1), jnp.inf)
        return Diagnostics(smallest, condition, jitter, left_out)


def _check_entries(kernel: jax.Array, outputs: Outputs) -> None:
    """Raises `ValueError` if a train-train kernel is not finite, or far from symmetric."""
    matrix = np.asarray(outputs.matrix(kernel))
    wrong = int(np.sum(~np.isfinite(matrix)))
    if wrong:
        raise ValueError(
            f"Expected a train-train kernel of finite numbers, got {wrong} of {matrix.size} entries that are NaN or "
            "infinite. Look for them in the inputs, and for overflow in deep networks with large weights; float64 has "
            "a larger range."
        )
    largest, difference = (float(np.max(np.abs(m), initial=0)) for m in (matrix, matrix - matrix.T))
    if difference > _ASYMMETRY * largest:
        raise ValueError(
            "Expected a symmetric train-train kernel, got one that differs from its transpose by up to "
            f"{difference:.3g}, with entries up to {largest:.3g}. Pass the kernel of the training set with itself, in "
            "the same order."
        )
