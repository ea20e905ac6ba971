"""A train-train kernel in a store, for which `StoredSystem` takes the place of `TrainSystem`."""

import dataclasses
import functools
import hashlib
from typing import Any, NoReturn, TypeAlias

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.stored import Matrix, StoredMatrix
from neural_tangents.predict import _stored_algebra as algebra
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._regularised import contract
from neural_tangents.predict._solve import TrainSystem


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StoredSystem:
    """The matrix `K_λ = K + λ I + diag(noise)` of a train-train kernel in a store, with its Cholesky factor beside it.

    The factor is written when it is first needed, and serves all later processes too: its name tells what it is made
    from. Methods are those of `TrainSystem`, but for all that needs eigenvalues, and nothing can be traced.

    Attributes:
      kernel: the train-train kernel `K`.
      outputs: the outputs on the training set.
      dtype: the type of predictions.
      regularisation: what is added to the diagonal of `K`.
      in_float64: whether to factorise in float64, whatever `dtype`.
    """

    kernel: StoredMatrix
    outputs: Outputs
    dtype: Any
    regularisation: Regularisation
    in_float64: bool

    @property
    def unregularised(self) -> StoredMatrix:
        """`K`."""
        return self.kernel

    @property
    def matrix(self) -> NoReturn:
        """Raises `ValueError`: `K_λ` is not kept as a whole."""
        self._refuse("Predictions at finite times need its eigenvectors", "Pass `t=None`")

    spectrum = matrix

    @functools.cached_property
    def _factor(self) -> StoredMatrix:
        # The tiles on the diagonal tell one kernel from another, although many have the same diagonal.
        digest, parts = hashlib.sha256(), []
        for block in algebra.diagonal_blocks(self.kernel):
            digest.update(block.tobytes())
            parts.append(np.diagonal(block).astype(self.dtype))
        kept = np.concatenate(parts)
        added = algebra.on_host(self.regularisation.diagonal(jnp.asarray(kept), self.outputs))
        # LAPACK has no smaller type than float32.
        dtype = np.result_type("float64" if self.in_float64 else self.dtype, "float32")
        diagonal = (kept + added).astype(dtype)
        digest.update(diagonal.tobytes())
        side = algebra.cholesky_tile(self.kernel)
        name = f"cholesky-{dtype.name}-{side}-{digest.hexdigest()[:16]}"
        factor = self.kernel.beside(name, tuple(self.kernel.shape), (side, side), dtype)
        algebra.write_cholesky(self.kernel, diagonal, factor)
        return factor

    def solves_at(self, s: jax.Array | None) -> bool:
        """True for infinite times; raises `ValueError` for finite ones."""
        if s is None or np.all(np.isinf(algebra.on_host(s))):
            return True
        return self.matrix

    def solve(self, rhs: jax.Array) -> jax.Array:
        """`K_λ⁻¹ rhs`, for `rhs` of shape `M x R`."""
        known = algebra.on_host(rhs)
        return jnp.asarray(algebra.cholesky_solve(self._factor, known).astype(self.dtype))

    refined = solve  # each solution reads the factor

    def quadratic(self, a: jax.Array, diagonal: bool) -> jax.Array:
        """`aᵀ K_λ⁻¹ a`, or its diagonal."""
        half = jnp.asarray(algebra.cholesky_half_solve(self._factor, algebra.on_host(a)).astype(self.dtype))
        return contract(half, half, diagonal)

    def log_determinant(self) -> jax.Array:
        """`log det K_λ`."""
        return jnp.asarray(algebra.cholesky_log_determinant(self._factor), self.dtype)

    def inverse_blocks(self, rows: jax.Array) -> jax.Array:
        """The blocks of `K_λ⁻¹` in some rows and the same columns, `[G, R]` -> `[G, R, R]`."""
        return jnp.asarray(algebra.cholesky_inverse_blocks(self._factor, algebra.on_host(rows)).astype(self.dtype))

    def diagnostics(self) -> NoReturn:
        """Raises `ValueError`: there are no eigenvalues."""
        self._refuse("Diagnostics are its eigenvalues", "Take them from a part of it that can be loaded")

    def _refuse(self, reason: str, advice: str) -> NoReturn:
        raise ValueError(
            f"Expected a kernel in memory. {reason}, got the matrix {tuple(self.kernel.shape)} in {self.kernel.label}, "
            f"which is too large to be loaded, and of which there is a Cholesky factorisation only. {advice}, or an "
            f"array."
        )


System: TypeAlias = TrainSystem | StoredSystem


def train_system(
    kernel: Matrix, outputs: Outputs, dtype: Any, regularisation: Regularisation, in_float64: bool
) -> System:
    """The system of a train-train kernel, in memory or in its store."""
    if isinstance(kernel, StoredMatrix):
        return StoredSystem(kernel, outputs, dtype, regularisation, in_float64)
    return TrainSystem(kernel, outputs, dtype, regularisation, in_float64)
