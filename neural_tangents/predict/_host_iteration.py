"""Conjugate gradients without compilation, for products that the host computes."""

import math
from collections.abc import Callable

import jax
from jax import numpy as jnp

from neural_tangents.predict._preconditioner import Preconditioner


def iterate(
    matvec: Callable[[jax.Array], jax.Array],
    preconditioner: Preconditioner | None,
    rhs: jax.Array,
    tolerance: float,
    max_iterations: int,
) -> tuple[jax.Array, int]:
    """Solves a linear system with a symmetric positive definite matrix `A`, for all columns together.

    A loop in Python, since a callback from a compiled program to one that itself computes with jax can wait for ever.

    Args:
      matvec: `v -> A v`, for `v` of the shape of `rhs`.
      preconditioner: of `A`; None for none.
      rhs: `[M, T]`, one vector of a system with the matrix `A ⊗ I`.
      tolerance: the norm of the residual that is kept up to date, below which iterations end.
      max_iterations: how many there may be.

    Returns:
      The solution, and the number of iterations. They end early once `A` is seen not to be positive definite, or a
      number not to be finite: look at the residual.
    """
    precondition = (lambda v: v) if preconditioner is None else preconditioner.solve
    x, residual = jnp.zeros_like(rhs), rhs
    z = direction = precondition(residual)
    slope = jnp.vdot(residual, z)
    for iteration in range(max_iterations):
        if not float(jnp.linalg.norm(residual)) > tolerance:
            return x, iteration
        image = matvec(direction)
        curvature = jnp.vdot(direction, image)
        if not 0 < float(curvature) < math.inf:
            return x, iteration
        step = slope / curvature
        x, residual = x + step * direction, residual - step * image
        z = precondition(residual)
        slope, previous = jnp.vdot(residual, z), slope
        direction = z + slope / previous * direction
    return x, max_iterations
