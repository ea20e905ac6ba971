"""Polynomials: by coefficients, monomials, and Hermite polynomials."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.numerics import as_floats
from neural_tangents.stax._nonlinearities.dual import Dual

Table = tuple[tuple[float, ...], ...]


def polynomial(coef: Sequence[float] | np.ndarray) -> Dual:
    """`f(x) = sum_i c_i x^i`.

    Expanded in Hermite polynomials of inputs of variance `q`, `f` has coefficients `t_l(q) q^(l/2)` with

        t_l(q) = sum_i c_{l+2i} (l + 2i)! / (2^i i! sqrt(l!)) q^i,

    and therefore `E[f(u) f(v)] = sum_l t_l(q1) t_l(q2) k^l`; `E[f'(u) f'(v)]` is its derivative in `k`.

    Source: Daniely et al., "Toward deeper understanding of neural networks" (2016), section 8.
    """
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
    """`f(x) = x^degree`; see `polynomial`."""
    return polynomial([0.0] * degree + [1.0])._replace(fn=lambda x: x**degree)


def hermite(degree: int) -> Dual:
    """`f = He_d / sqrt(d!)`, the orthonormal Hermite polynomial of degree `d` for inputs of unit variance.

    `E[f(u) f(v)] = k^d` and `E[f'(u) f'(v)] = d k^(d-1)`, if `q1 = q2 = 1`, which is not checked.

    Source: Daniely et al., "Toward deeper understanding of neural networks" (2016), section 4.
    """
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
