"""Means and covariances of networks trained by gradient flow on the squared loss for a finite time.

All on matrices (`M` training and `N` test rows, `T` columns of independent outputs) and for any shape of times, which
become leading axes. Where the prior covariance of the test set is given by its diagonal, `[N]`, a covariance is too.
`s = τ / n` is the time per entry of `y_train`, `K` a regularised train-train matrix with its `spectrum`, and
`E = e^{-K s}`.
"""

import functools
import math
from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp

from neural_tangents._core.stored import Matrix
from neural_tangents.predict._regularised import Regularised, contract, matmul, with_diagonal
from neural_tangents.predict._spectral import CHANGE, DECAY, KEPT, RESPONSE, Spectrum, bilinear
from neural_tangents.predict._stored_algebra import product

# Times are taken together while their intermediate results stay below this many numbers (256 MB in float64): large
# matrix products are far faster than many small ones.
_NUMBERS_AT_ONCE = 2**25


def over_times(f: Callable[[jax.Array], jax.Array], s: jax.Array, numbers: int) -> jax.Array:
    """`f` at every time in `s`; to evaluate it at one of them takes memory for about this many `numbers`."""
    if s.ndim == 0:
        return f(s)
    times = s.reshape(-1)
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, numbers))
    out = jax.vmap(f)(times) if times.size <= at_once else lax.map(f, times, batch_size=at_once)
    return out.reshape(s.shape + out.shape[1:])


def _numbers(spectrum: Spectrum) -> int:
    return math.prod(spectrum.vectors.shape)


@jax.jit
def mean_train(s: jax.Array, spectrum: Spectrum, k_dd: Regularised, f0: jax.Array, y: jax.Array) -> jax.Array:
    """`f0 + (E - I)(f0 - y)`: `[..., M, T]`."""
    return over_times(lambda s: f0 + bilinear(CHANGE, spectrum, k_dd, s, None, f0 - y), s, math.prod(y.shape))


@jax.jit
def mean_test(
    s: jax.Array,
    spectrum: Spectrum,
    k_dd: Regularised,
    k_dt: jax.Array,
    f0: jax.Array,
    f0_test: jax.Array,
    y: jax.Array,
) -> jax.Array:
    """`f0_test + K_td K⁻¹ (E - I)(f0 - y)`: `[..., N, T]`."""
    numbers = math.prod(y.shape) + math.prod(f0_test.shape)
    return over_times(lambda s: f0_test - bilinear(RESPONSE, spectrum, k_dd, s, k_dt, f0 - y), s, numbers)


@functools.partial(jax.jit, static_argnums=3)
def nngp_covariance_train(s: jax.Array, spectrum: Spectrum, k_dd: Regularised, diagonal: bool) -> jax.Array:
    """`K E²`: `[..., M, M]`, when only the readout layer is trained, so that one kernel is prior and dynamics."""
    return over_times(
        lambda s: positive(bilinear(KEPT, spectrum, k_dd, 2 * s, None, None, diagonal)), s, _numbers(spectrum)
    )


@jax.jit
def nngp_covariance_test(
    s: jax.Array, spectrum: Spectrum, k_dd: Regularised, k_dt: jax.Array, k_tt: jax.Array
) -> jax.Array:
    """`K_tt - K_td K⁻¹ (I - E²) K_dt`: `[..., N, N]`."""

    def at(s: jax.Array) -> jax.Array:
        return positive(k_tt - bilinear(RESPONSE, spectrum, k_dd, 2 * s, k_dt, k_dt, k_tt.ndim == 1))

    return over_times(at, s, math.prod(k_dt.shape) + math.prod(k_tt.shape))


@functools.partial(jax.jit, static_argnums=4)
def ntk_covariance_train(
    s: jax.Array, spectrum: Spectrum, ntk_dd: Regularised, nngp_dd: jax.Array, diagonal: bool
) -> jax.Array:
    """`E 𝒦 E`: `[..., M, M]`, with the NTK in `E` and the NNGP covariance `𝒦` of the networks before training."""

    def at(s: jax.Array) -> jax.Array:
        decay = bilinear(DECAY, spectrum, ntk_dd, s, None, None)
        return positive(contract(decay, matmul(nngp_dd, decay), diagonal))

    return over_times(at, s, _numbers(spectrum))


@jax.jit
def ntk_covariance_test(
    s: jax.Array,
    spectrum: Spectrum,
    ntk_dd: Regularised,
    ntk_dt: jax.Array,
    nngp_dd: jax.Array,
    nngp_dt: jax.Array,
    nngp_tt: jax.Array,
) -> jax.Array:
    """`Cov[f(test) - A f(train)]` with `A = Θ_td Θ⁻¹ (I - E)`: `[..., N, N]`."""

    def at(s: jax.Array) -> jax.Array:
        weights = bilinear(RESPONSE, spectrum, ntk_dd, s, None, ntk_dt)
        return residual_covariance(weights, nngp_dd, nngp_dt, nngp_tt)

    return over_times(at, s, math.prod(ntk_dt.shape) + math.prod(nngp_tt.shape))


def residual_covariance(weights: jax.Array, k_dd: Matrix, k_dt: jax.Array, k_tt: jax.Array) -> jax.Array:
    """`Cov[f(test) - Wᵀ f(train)] = K_tt - K_td W - Wᵀ (K_dt - K_dd W)`: `[N, N]`, for `W` of shape `[M, N]`.

    The difference in parentheses is small where the training set tells the test set, so that less is lost to rounding.
    """
    diagonal = k_tt.ndim == 1
    cross = contract(k_dt, weights, diagonal)
    return positive(k_tt - cross - contract(weights, k_dt - product(k_dd, weights), diagonal))


def positive(covariance: jax.Array) -> jax.Array:
    """A covariance without what rounding did: symmetric, and with variances, which may also come alone, >= 0."""
    if covariance.ndim == 1:
        return jnp.where(covariance > 0, covariance, jnp.where(jnp.isnan(covariance), covariance, 0))
    return with_diagonal((covariance + covariance.T) / 2, positive(jnp.diagonal(covariance)))
