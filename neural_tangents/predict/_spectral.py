"""Functions of a symmetric matrix through its eigendecomposition, with derivatives that survive equal eigenvalues.

For `K = V diag(λ) Vᵀ` and a scalar function `f`, `f(K) = V diag(f(λ)) Vᵀ`. This is smooth in `K`, although `V` is not
where eigenvalues coincide (duplicated training points, symmetric data): differentiating `V` gives NaN there, and noise
nearby. The derivative is therefore taken in closed form (Daletskii and Krein),

    D f(K)[dK] = V (F ∘ (Vᵀ dK V)) Vᵀ,    F_ij = f[λ_i, λ_j] = (f(λ_i) - f(λ_j)) / (λ_i - λ_j),

where the divided difference `f[a, b]` is written without cancellation and equals `f'(a)` for `a = b`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from neural_tangents.predict._regularised import Regularised, contract, matmul, moves


class Spectrum(NamedTuple):
    """Eigenvalues `[M]`, of which negative ones (rounding, for a kernel) are set to 0, and eigenvectors `[M, M]`."""

    values: jax.Array
    vectors: jax.Array


@functools.partial(jax.jit, static_argnums=1)
def decompose(matrix: Regularised, dtype: Any) -> Spectrum:
    """The spectrum of a positive semi-definite matrix, computed in some type."""
    vectors, values = lax.linalg.eigh(matrix.dense(dtype), symmetrize_input=False)
    return Spectrum(jnp.maximum(values, 0), vectors)


# Scalar functions of an eigenvalue λ >= 0 and a time s >= 0. Where s = ∞ and λ = 0, nothing is ever learned.


class SpectralFunction(NamedTuple):
    """A function `f(λ, s)`, its divided difference `f[a, b](s)` in `λ`, and its derivative in `s`."""

    value: Callable[[jax.Array, jax.Array], jax.Array]
    difference: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    rate: Callable[[jax.Array, jax.Array], jax.Array]


def _elapsed(lam: jax.Array, s: jax.Array) -> jax.Array:
    """`λ s`, with `0 · ∞ = 0`."""
    return jnp.where(lam > 0, jnp.where(lam > 0, lam, 1) * s, 0)


def _decay(lam: jax.Array, s: jax.Array) -> jax.Array:
    """`e^{-λs}`."""
    return jnp.exp(-_elapsed(lam, s))


def _change(lam: jax.Array, s: jax.Array) -> jax.Array:
    """`e^{-λs} - 1`."""
    return jnp.expm1(-_elapsed(lam, s))


def _response(lam: jax.Array, s: jax.Array) -> jax.Array:
    """`(1 - e^{-λs}) / λ`, which is `s` at `λ = 0`, or 0 if also `s = ∞`: the limit is that of the pseudo-inverse."""
    x = _elapsed(lam, s)
    return jnp.where(x > 0, -jnp.expm1(-x) / jnp.where(x > 0, lam, 1), jnp.where(jnp.isinf(s), 0, s))


def _kept(lam: jax.Array, s: jax.Array) -> jax.Array:
    """`λ e^{-λs}`."""
    return lam * _decay(lam, s)


def _decay_difference(a: jax.Array, b: jax.Array, s: jax.Array) -> jax.Array:
    """`(e^{-as} - e^{-bs}) / (a - b)`."""
    return -_decay(jnp.minimum(a, b), s) * _response(jnp.abs(a - b), s)


def _response_difference(a: jax.Array, b: jax.Array, s: jax.Array) -> jax.Array:
    """`((1 - e^{-as}) / a - (1 - e^{-bs}) / b) / (a - b)`."""
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    # The product rule of divided differences for λ · response(λ) = 1 - e^{-λs}. It cancels for small λs, where the
    # power series of response(λ) / s = Σ_k (-λs)^k / (k+1)! takes over.
    small = _elapsed(high, s) < 0.1
    quotient = -(_response(low, s) + _decay_difference(a, b, s)) / jnp.where(small, 1, high)
    finite = jnp.where(jnp.isinf(s), 0, s)
    x, y = (jnp.where(small, lam, 0) * finite for lam in (low, high))
    series, power_difference, power = jnp.zeros_like(x), jnp.ones_like(x), y
    for k in range(1, 10):
        series += (-1) ** k / math.factorial(k + 1) * power_difference  # that is (x^k - y^k) / (x - y)
        power_difference, power = x * power_difference + power, y * power
    return jnp.where(small, finite**2 * series, quotient)


def _kept_difference(a: jax.Array, b: jax.Array, s: jax.Array) -> jax.Array:
    """`(a e^{-as} - b e^{-bs}) / (a - b)`, by the product rule of divided differences."""
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    return low * _decay_difference(low, high, s) + _decay(high, s)


DECAY = SpectralFunction(_decay, _decay_difference, lambda lam, s: -lam * _decay(lam, s))
CHANGE = SpectralFunction(_change, _decay_difference, lambda lam, s: -lam * _decay(lam, s))
KEPT = SpectralFunction(_kept, _kept_difference, lambda lam, s: -jnp.square(lam) * _decay(lam, s))
RESPONSE = SpectralFunction(_response, _response_difference, _decay)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 6))
def bilinear(
    f: SpectralFunction,
    spectrum: Spectrum,
    matrix: Regularised,
    s: jax.Array,
    left: jax.Array | None,
    right: jax.Array | None,
    diagonal: bool = False,
) -> jax.Array:
    """Returns `leftᵀ f(K, s) right`, or its diagonal.

    Args:
      f: the scalar function.
      spectrum: the decomposition of `matrix`. It supplies values only: derivatives in `K` flow through `matrix`.
      matrix: `K`.
      s: a scalar.
      left: `[M, L]`; None for the identity.
      right: `[M, R]`; None for the identity.
      diagonal: whether to compute the diagonal only, for `L = R`.
    """
    a, b = _coordinates(spectrum, left), _coordinates(spectrum, right)
    return contract(a, f.value(spectrum.values, s)[:, None] * b, diagonal)


def _bilinear_jvp(
    f: SpectralFunction, diagonal: bool, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, Any]:
    spectrum, matrix, s, left, right = primals
    _, d_matrix, d_s, d_left, d_right = tangents
    lam, vectors = spectrum
    out = bilinear(f, *primals, diagonal)
    a, b = _coordinates(spectrum, left), _coordinates(spectrum, right)
    d_out = jnp.zeros_like(out)
    if moves(d_matrix.kernel):
        change = matmul(matmul(vectors.T, d_matrix.unregularised(lam.dtype)), vectors)
        d_out += contract(a, matmul(_differences(f, lam, s) * (change + change.T) / 2, b), diagonal)
    if moves(d_matrix.added):
        change = matmul(vectors.T, d_matrix.added[:, None] * vectors)
        d_out += contract(a, matmul(_differences(f, lam, s) * change, b), diagonal)
    if moves(d_s):
        d_out += d_s * contract(a, f.rate(lam, s)[:, None] * b, diagonal)
    if moves(d_left):
        d_out += bilinear(f, spectrum, matrix, s, d_left, right, diagonal)
    if moves(d_right):
        d_out += bilinear(f, spectrum, matrix, s, left, d_right, diagonal)
    return out, d_out


bilinear.defjvp(_bilinear_jvp, symbolic_zeros=True)


def _differences(f: SpectralFunction, lam: jax.Array, s: jax.Array) -> jax.Array:
    """`f[λ_i, λ_j]`, `[M, M]`."""
    return f.difference(lam[:, None], lam[None, :], s)


def _coordinates(spectrum: Spectrum, columns: jax.Array | None) -> jax.Array:
    """`Vᵀ columns`."""
    return spectrum.vectors.T if columns is None else matmul(spectrum.vectors.T, columns)
