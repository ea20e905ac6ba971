"""The one place where a train-train kernel is regularised and factorised."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._spectral import Spectrum, decompose


def is_concrete(tree: Any) -> bool:
    """Whether all values are known, that is, none is traced by a transformation such as `jit` or `grad`."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


class kept_if_concrete:
    """A `functools.cached_property` that keeps only concrete values.

    What follows from concrete arrays is evaluated at once, even while a caller is being traced, and kept. What follows
    from a tracer is computed again at each use, and so never outlives the trace that it belongs to.
    """

    def __init__(self, compute: Callable[[Any], Any]):
        self._compute = compute
        functools.update_wrapper(self, compute)  # type: ignore[arg-type]

    def __get__(self, owner: Any, owner_type: type | None = None) -> Any:
        with jax.ensure_compile_time_eval():
            value = self._compute(owner)
        if is_concrete(value):
            owner.__dict__[self._compute.__name__] = value  # an instance attribute: found before this descriptor
        return value


class TrainSystem:
    """The matrix `K_λ = K + λ I` (`M x M`) of one train-train kernel, with each factorisation done at most once.

    `λ = diag_reg` if `absolute`, otherwise `diag_reg · tr(K) / M`. Predictors reach `K_λ` through `solve`, and through
    `spectrum` at finite times, so that any other way to solve or to decompose has its place here.
    """

    def __init__(self, kernel: jax.Array, outputs: Outputs, dtype: Any, diag_reg: Any, absolute: bool):
        self._kernel = kernel
        self._outputs = outputs
        self.dtype = dtype
        self._diag_reg = diag_reg
        self._absolute = absolute

    @kept_if_concrete
    def unregularised(self) -> jax.Array:
        """`K`."""
        return self._outputs.matrix(self._kernel.astype(self.dtype))

    @kept_if_concrete
    def matrix(self) -> jax.Array:
        """`K_λ`."""
        return _regularise(self.unregularised, self._diag_reg, self._absolute)

    @kept_if_concrete
    def spectrum(self) -> Spectrum:
        """The eigendecomposition of `K_λ`."""
        return decompose(self.matrix)

    @kept_if_concrete
    def _cholesky(self) -> jax.Array:
        return _cholesky_factor(self.matrix)

    def solve(self, rhs: jax.Array) -> jax.Array:
        """`K_λ⁻¹ rhs`, for `rhs` of shape `M x R`."""
        return jax.scipy.linalg.cho_solve((self._cholesky, True), rhs)


def check_diag_reg(diag_reg: Any) -> None:
    """Raises `ValueError` if `diag_reg` is not a scalar, or is seen to be negative or NaN."""
    if np.shape(diag_reg) != ():
        raise ValueError(f"Expected `diag_reg` to be a scalar, got shape {np.shape(diag_reg)}.")
    if is_concrete(diag_reg) and not diag_reg >= 0:
        raise ValueError(f"Expected `diag_reg` >= 0, got {diag_reg}. Pass 0. for no regularisation.")


@functools.partial(jax.jit, static_argnums=2)
def _regularise(matrix: jax.Array, diag_reg: Any, absolute: bool) -> jax.Array:
    # A kernel is symmetric up to rounding. Different factorisations read different halves, and must see one matrix.
    matrix = (matrix + matrix.T) / 2
    shift = diag_reg if absolute else diag_reg * jnp.trace(matrix) / matrix.shape[0]
    return matrix + jnp.asarray(shift, matrix.dtype) * jnp.eye(matrix.shape[0], dtype=matrix.dtype)


@jax.jit
def _cholesky_factor(matrix: jax.Array) -> jax.Array:
    return jax.scipy.linalg.cho_factor(matrix, lower=True)[0]
