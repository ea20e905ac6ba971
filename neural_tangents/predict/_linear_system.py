"""A regularised matrix with its factors: solutions, quadratic forms and determinants that can be differentiated."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from neural_tangents.predict._factorise import Factors, widened
from neural_tangents.predict._regularised import Regularised, contract, matmul, moves

_COLUMNS = 256  # of an inverse, at a time


@functools.partial(jax.tree_util.register_dataclass, data_fields=("matrix", "factors"), meta_fields=("in_float64",))
@dataclasses.dataclass(frozen=True, eq=False)
class LinearSystem:
    """A matrix `K_λ` that is factorised: values come from the factors, and derivatives through the matrix.

    Attributes:
      matrix: `K_λ`.
      factors: of `K_λ`, or of `K_λ` with some jitter, which then is meant in its place.
      in_float64: whether the factors are in float64, and used in it.
    """

    matrix: Regularised
    factors: Factors
    in_float64: bool

    def solve(self, rhs: jax.Array) -> jax.Array:
        """`K_λ⁻¹ rhs`, `[M, R]`, with derivatives of any order."""
        return lax.custom_linear_solve(self._jittered(rhs).times, rhs, lambda _, b: self._solve(b), symmetric=True)

    def refined(self, rhs: jax.Array) -> jax.Array:
        """The same after one step of iterative refinement, `x + K_λ⁻¹ (rhs - K_λ x)`."""
        x = self.solve(rhs)
        return x + self.solve(rhs - self._jittered(rhs).times(x))

    def quadratic(self, a: jax.Array, diagonal: bool) -> jax.Array:
        """`aᵀ K_λ⁻¹ a`, `[R, R]`, or its diagonal, `[R]`, as squares `‖L⁻¹ a‖²`, with derivatives of any order."""
        return _quadratic(self, a, diagonal)

    def log_determinant(self) -> jax.Array:
        """`log det K_λ`, of the eigenvalues that are not left out, with derivatives of any order."""
        return _log_determinant(self)

    def inverse_blocks(self, rows: jax.Array) -> jax.Array:
        """The blocks of `K_λ⁻¹` in some rows and the same columns, `[G, R]` -> `[G, R, R]`, a few at a time."""
        count, size = rows.shape
        at_once = max(1, min(count, _COLUMNS // size))

        def some(rows: jax.Array) -> jax.Array:
            unit = jax.nn.one_hot(rows.reshape(-1), len(self.matrix.added), axis=0, dtype=self.matrix.added.dtype)
            found = self.quadratic(unit, False).reshape(at_once, size, at_once, size)
            return jnp.moveaxis(jnp.diagonal(found, axis1=0, axis2=2), -1, 0)

        padded = jnp.concatenate([rows, jnp.zeros((-count % at_once, size), rows.dtype)])
        return lax.map(some, padded.reshape(-1, at_once, size)).reshape(-1, size, size)[:count]

    def _solve(self, rhs: jax.Array) -> jax.Array:
        with widened(self.in_float64) as wide:
            return self.factors.solve(wide(rhs)).astype(rhs.dtype)

    def _jittered(self, rhs: jax.Array) -> Regularised:
        return self.matrix.plus(lax.stop_gradient(self.factors.jitter.astype(rhs.dtype)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _quadratic(system: LinearSystem, a: jax.Array, diagonal: bool) -> jax.Array:
    with widened(system.in_float64) as wide:
        half = system.factors.half_solve(wide(a))
        return contract(half, half, diagonal).astype(a.dtype)


def _quadratic_jvp(diagonal: bool, primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    (system, a), (d_system, d_a) = primals, tangents
    out, weights, change = _quadratic(system, a, diagonal), system.solve(a), d_system.matrix
    d_out = jnp.zeros_like(out)
    if moves(d_a):
        half = contract(d_a, weights, diagonal)
        d_out += half + half.T
    if moves(change.kernel):
        k = change.unregularised(weights.dtype)
        d_out -= contract(weights, (matmul(k, weights) + matmul(k.T, weights)) / 2, diagonal)
    if moves(change.added):
        d_out -= contract(weights, change.added.astype(weights.dtype)[:, None] * weights, diagonal)
    return out, d_out


_quadratic.defjvp(_quadratic_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _log_determinant(system: LinearSystem) -> jax.Array:
    with widened(system.in_float64):
        return system.factors.log_determinant().astype(system.matrix.added.dtype)


@_log_determinant.defjvp
def _log_determinant_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[jax.Array, jax.Array]:
    (system,), (d_system,) = primals, tangents
    change = system.solve(d_system.matrix.dense(system.matrix.added.dtype))
    return _log_determinant(system), jnp.trace(change)
