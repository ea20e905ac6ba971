"""Covariances of the outputs of attention, from those of its inputs.

With `P` spatial positions in all, attention mixes positions by matrices of weights `G`, `(P, P)` for each input. Here
covariances are those of a layer without output weights: the caller multiplies by `W_std^2` and adds `b_std^2`.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.axes import unzip_axes, zip_axes
from neural_tangents._core.precision import matmul_precision


def as_matrices(cov: Array, n_batch_axes: int) -> Array:
    """Covariance `(*batch, S, S, T, T, ...)` as matrices `(*batch, P, P)` of positions."""
    size = math.prod(cov.shape[n_batch_axes::2])
    return unzip_axes(cov, n_batch_axes).reshape((*cov.shape[:n_batch_axes], size, size))


def from_matrices(matrices: Array, n_batch_axes: int, sizes: Sequence[int]) -> Array:
    """Inverse of `as_matrices`, for positions of the given sizes."""
    return zip_axes(matrices.reshape((*matrices.shape[:n_batch_axes], *sizes, *sizes)), n_batch_axes)


def attend(weights1: Array, cov: Array, weights2: Array) -> Array:
    """`G1 cov G2^T`, the covariance of `sum_j G_ij v_j` where `cov` is that of the values `v_j`.

    Args:
      weights1: `(N1, P, P)`, positions of outputs by those of values.
      cov: `(N1, N2, P, P)`.
      weights2: `(N2, P, P)`.
    """
    precision = matmul_precision()
    first = jnp.einsum("aij,abjk->abik", weights1, cov, precision=precision)
    return jnp.einsum("abik,blk->abil", first, weights2, precision=precision)


def attend_own(weights: Array, cov: Array) -> Array:
    """As `attend`, for the covariance `(N, P, P)` of each input with itself."""
    precision = matmul_precision()
    first = jnp.einsum("aij,ajk->aik", weights, cov, precision=precision)
    return jnp.einsum("aik,alk->ail", first, weights, precision=precision)


def random_weights_nngp(joint: Array, values: Array, n_batch_axes: int) -> Array:
    """Covariance of attention whose weights `G_ij = q_i k_j` are Gaussian, of random queries and keys: `<K, B> K`.

    `<,>` sums over pairs of positions.

    Args:
      joint: covariance `K` of what queries and keys are made of, `(*batch, *positions)`; zero at masked positions.
      values: covariance `B` of what values are made of.
      n_batch_axes: number of batch axes.
    """
    return _inner(joint, values, n_batch_axes) * joint


def random_weights_ntk(joint: Array, values: Array, joint_ntk: Array, values_ntk: Array, n_batch_axes: int) -> Array:
    """The neural tangent kernel that goes with `random_weights_nngp`: `(<T, B> + <K, T_B>) K + <K, B> (T + 4 K)`.

    A derivative acts on the inputs of the keys, of the values, of the queries, or on one of the four weight matrices.

    Args:
      joint: `K`, as above.
      values: `B`, as above.
      joint_ntk: `T`, the tangent kernel that belongs to `K`.
      values_ntk: `T_B`, the one that belongs to `B`.
      n_batch_axes: number of batch axes.
    """
    inputs = _inner(joint_ntk, values, n_batch_axes) + _inner(joint, values_ntk, n_batch_axes)
    return inputs * joint + _inner(joint, values, n_batch_axes) * (joint_ntk + 4 * joint)


def _inner(a: Array, b: Array, n_batch_axes: int) -> Array:
    return jnp.sum(a * b, tuple(range(n_batch_axes, a.ndim)), keepdims=True)
