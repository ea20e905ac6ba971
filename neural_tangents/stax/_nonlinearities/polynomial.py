"""Polynomials: by coefficients, monomials, and Hermite polynomials."""

import functools
import math
import warnings
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.numerics import as_floats
from neural_tangents.stax._hyperparameters import degree_of
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec

Table = tuple[tuple[float, ...], ...]


@public_nonlinearity
def Monomial(degree: int) -> LayerSpec:
    """Power, `f(x) = x^degree`.

    `K` is the moment `E[u^d v^d]` for `d = degree`:

        d = 0, 1, 2, 3, ...:    K = 1,  k,  2 k^2 + p,  6 k^3 + 9 k p,  ...

    Args:
      degree: the exponent, 0 to 5.

    Raises:
      NotImplementedError: any other `degree`; `Polynomial` has no bound.

    Source: Isserlis, "On a Formula for the Product-Moment Coefficient", 1918.
    """
    return nonlinearity("Monomial", monomial(degree_of("Monomial", degree, 5)))


@public_nonlinearity
def Polynomial(coef: Sequence[float]) -> LayerSpec:
    """Polynomial, `f(x) = sum_i coef[i] x^i`.

    With `c_i = coef[i]`, and `t_l` the coefficients of `f` in Hermite polynomials for inputs of variance `q`,

        K = sum_l t_l(q1) t_l(q2) k^l,    t_l(q) = sum_i c_(l+2i) (l + 2i)! / (2^i i! sqrt(l!)) q^i.

    Args:
      coef: coefficients in ascending order of the power; none for `f = 0`.

    Raises:
      ValueError: `coef` is not a sequence of numbers.

    Source: Daniely et al., "Toward Deeper Understanding of Neural Networks", 2016, https://arxiv.org/abs/1602.05897.
    """
    if np.ndim(coef) != 1:
        raise ValueError(f"Polynomial needs a sequence of numbers as `coef`, got an array of shape {np.shape(coef)}.")
    return nonlinearity("Polynomial", polynomial(coef))


@public_nonlinearity
def Hermite(degree: int) -> LayerSpec:
    """Hermite polynomial, `f = He_degree / sqrt(degree!)`, orthonormal for inputs of unit variance.

        K = k^degree,    K' = degree k^(degree - 1),

    which is right only if `q1 = q2 = 1`. This is not checked.

    Args:
      degree: degree of the polynomial, 0 or more.

    Raises:
      NotImplementedError: `degree` is not a whole number, or negative.

    Warns:
      UserWarning: always, about this assumption.

    Source: Daniely et al., "Toward Deeper Understanding of Neural Networks", 2016, https://arxiv.org/abs/1602.05897.
    """
    degree = degree_of("Hermite", degree)
    warnings.warn(
        "The kernel of `Hermite` assumes inputs of unit variance and does not check it. Normalize them, e.g. by "
        "`LayerNorm`, or use `Polynomial`.",
        stacklevel=3,
    )
    return nonlinearity("Hermite", hermite(degree))


def polynomial(coef: Sequence[float] | np.ndarray) -> Dual:
    """The record of `Polynomial`."""
    coef = [float(c) for c in np.asarray(coef, np.float64).ravel()]
    table = _hermite_table(coef)

    def fn(x: Array) -> Array:
        return jnp.polyval(jnp.asarray(coef[::-1] or [0.0], jnp.result_type(x, float)), x)

    return Dual(
        fn=fn,
        pair_moments=lambda k, q1, q2: _moments(table, k, q1, q2),
        variance=lambda q: _moments(table, q, q, q)[0],
    )


def monomial(degree: int) -> Dual:
    """The record of `Monomial`."""
    return polynomial([0.0] * degree + [1.0])._replace(fn=lambda x: x**degree)


def hermite(degree: int) -> Dual:
    """The record of `Hermite`."""
    power_series = np.polynomial.hermite_e.herme2poly([0.0] * degree + [1.0]) / math.sqrt(math.factorial(degree))
    return Dual(
        fn=polynomial(power_series).fn,
        pair_moments=functools.partial(_hermite_moments, degree),
        variance=lambda q: as_floats(q)[0] ** degree,
    )


def _hermite_table(coef: Sequence[float]) -> Table:
    """Row `l` holds the coefficients of `t_l`, in ascending order."""
    table = []
    for order in range(len(coef)):
        row = []
        for i, c in enumerate(coef[order::2]):
            # A quotient of integers: factorials overflow before their ratio does.
            ratio = math.factorial(order + 2 * i) // (math.factorial(order) * 2**i * math.factorial(i))
            row.append(c * ratio * math.sqrt(math.factorial(order)) if c else 0.0)
        table.append(tuple(row))
    return tuple(table)


@functools.partial(jax.jit, static_argnums=0)
def _moments(table: Table, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    nngp, slope = jnp.zeros_like(k), jnp.zeros_like(k)
    # Horner's rule for the sum and its derivative.
    for row in reversed(table):
        slope = slope * k + nngp
        nngp = nngp * k
        if any(row):
            nngp = nngp + _polyval(row, q1) * _polyval(row, q2)
    return nngp, slope


def _polyval(row: Sequence[float], q: Array) -> Array:
    result = jnp.zeros_like(q)
    for c in reversed(row):
        result = result * q + c
    return result


@functools.partial(jax.jit, static_argnums=0)
def _hermite_moments(degree: int, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    k, q1, q2 = as_floats(k, q1, q2)
    if degree == 0:
        return jnp.ones_like(k), jnp.zeros_like(k)
    return k**degree, degree * k ** (degree - 1)
