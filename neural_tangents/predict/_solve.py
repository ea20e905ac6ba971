"""The one place where a train-train kernel is checked, regularised and factorised."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from neural_tangents._core.concrete import kept_if_concrete
from neural_tangents.predict._factorise import Factors, eigenvalues, factorise, widened
from neural_tangents.predict._linear_system import LinearSystem
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._regularised import Regularised, diagonal
from neural_tangents.predict._spectral import Spectrum, decompose
from neural_tangents.predict._symmetry import check_symmetric


class Diagnostics(NamedTuple):
    """What is known of a train-train matrix `K_λ`, and what was done to invert it.

    Attributes:
      smallest_eigenvalue: of `K_λ`; negative if `K_λ` is not positive semi-definite.
      condition_number: the largest eigenvalue of `K_λ` over the smallest; infinite if that is not positive.
      jitter: what had to be added to the diagonal for a Cholesky factorisation; 0 if nothing.
      left_out: how many eigenvalues were left out, as they are negative, or zero up to rounding, and no small jitter
        helped; 0 if there is a Cholesky factorisation.
      smallest_variance: what rounding of the kernel may do to a variance near the training set, `ε λ_max` for the
        precision `ε` of the kernel and the largest eigenvalue of `K_λ`. A variance that is not well above this, such as
        one of 0, says no more than that it is small.
    """

    smallest_eigenvalue: jax.Array
    condition_number: jax.Array
    jitter: jax.Array
    left_out: jax.Array
    smallest_variance: jax.Array


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
      ValueError: the kernel is seen not to be symmetric.
    """

    kernel: jax.Array
    outputs: Outputs
    dtype: Any
    regularisation: Regularisation
    in_float64: bool

    def __post_init__(self) -> None:
        if not jnp.issubdtype(self.kernel.dtype, np.inexact):
            object.__setattr__(self, "kernel", self.kernel.astype(self.dtype))
        check_symmetric(self.kernel)

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainSystem, tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    @property
    def unregularised(self) -> jax.Array:
        """`K`, which is not copied unless it has to be rearranged."""
        return self.outputs.matrix(self.kernel.astype(self.dtype))

    @kept_if_concrete
    def matrix(self) -> Regularised:
        """`K_λ`."""
        diag_reg, absolute, noise = self.regularisation
        kept = diagonal(self.kernel).reshape(-1).astype(self.dtype)
        added = _added(kept, diag_reg, noise, bool(absolute), self.outputs)
        return Regularised(self.kernel, added, self.outputs)

    @kept_if_concrete
    def spectrum(self) -> Spectrum:
        """The eigendecomposition of `K_λ`."""
        with widened(self.in_float64):
            found = decompose(lax.stop_gradient(self.matrix), self._wide)
        return found if not self.in_float64 else jax.tree.map(lambda x: x.astype(self.dtype), found)

    @kept_if_concrete
    def _factors(self) -> Factors:
        with widened(self.in_float64):
            return factorise(self.matrix, self._wide)

    @property
    def _wide(self) -> Any:
        """The type to factorise in."""
        return np.dtype("float64") if self.in_float64 else self.dtype

    @property
    def linear(self) -> LinearSystem:
        """`K_λ` with its factors."""
        return LinearSystem(self.matrix, self._factors, self.in_float64)

    def solve(self, rhs: jax.Array) -> jax.Array:
        """`K_λ⁻¹ rhs`, for `rhs` of shape `M x R`."""
        return _solve(self.linear, rhs.astype(self.dtype))

    def refined(self, rhs: jax.Array) -> jax.Array:
        """The same after one step of iterative refinement."""
        return self.linear.refined(rhs.astype(self.dtype))

    def quadratic(self, a: jax.Array, diagonal: bool) -> jax.Array:
        """`aᵀ K_λ⁻¹ a`, or its diagonal."""
        return self.linear.quadratic(a.astype(self.dtype), diagonal)

    def solves_at(self, s: jax.Array | None) -> bool:
        """Whether predictions at times `s` take `solve`, and not `spectrum`."""
        return s is None

    def inverse_blocks(self, rows: jax.Array) -> jax.Array:
        """The blocks of `K_λ⁻¹` in some rows and the same columns, `[G, R]` -> `[G, R, R]`."""
        return _inverse_blocks(self.linear, rows)

    def log_determinant(self) -> jax.Array:
        """`log det K_λ`, of the eigenvalues that are not left out."""
        return self.linear.log_determinant()

    def diagnostics(self) -> Diagnostics:
        """What is known of `K_λ`."""
        with widened(self.in_float64):
            values = eigenvalues(self.matrix, self._wide)
            smallest, largest = values[0].astype(self.dtype), values[-1].astype(self.dtype)
            left_out = self._factors.left_out()
            jitter = self._factors.jitter.astype(self.dtype)
        condition = jnp.where(smallest > 0, largest / jnp.where(smallest > 0, smallest, 1), jnp.inf)
        eps = max(float(jnp.finfo(dtype).eps) for dtype in (self.kernel.dtype, self.dtype))
        return Diagnostics(smallest, condition, jitter, left_out, eps * largest)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _added(kept: jax.Array, diag_reg: Any, noise_variance: Any, absolute: bool, outputs: Outputs) -> jax.Array:
    """What is added to a diagonal, `[M]`."""
    return Regularisation(diag_reg, absolute, noise_variance).diagonal(kept, outputs)


@jax.jit
def _solve(linear: LinearSystem, rhs: jax.Array) -> jax.Array:
    return linear.solve(rhs)


@jax.jit
def _inverse_blocks(linear: LinearSystem, rows: jax.Array) -> jax.Array:
    return linear.inverse_blocks(rows)
