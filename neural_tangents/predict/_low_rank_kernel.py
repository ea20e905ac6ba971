"""Kernels of low rank, as products of features, and gradient flow on the squared loss with them.

With the columns `K_:S` of a kernel at some training points `S`, its pivots, and `K_SS = L Lᵀ`, the features of an input
are `φ(x) = L⁻¹ K(S, x)`, and the kernel is taken to be `φ(x)ᵀ φ(x')`. The rows of `F` are the features of the training
set. Of what this leaves out, variances know the diagonal.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neural_tangents.predict._gradient_flow import over_times, positive
from neural_tangents.predict._kernel_calls import evaluate, evaluate_diagonal
from neural_tangents.predict._kernel_products import precision
from neural_tangents.predict._partial_cholesky import partial_cholesky
from neural_tangents.predict._regularised import contract, matmul
from neural_tangents.predict._spectral import RESPONSE

# Training points that are put into triangular form at a time, beside as many rows as the rank.
_AT_ONCE = 4096


class LowRankKernel(NamedTuple):
    """A kernel of low rank on a training set.

    Attributes:
      inputs: those of the pivots.
      upper: `Lᵀ`, `[R, R]`.
      rows: `Fᵀ`, `[R, N]`.
      rest: the diagonal of `K - F Fᵀ`, `[N]`.
      scale: the mean diagonal entry of `K`.
      rank: how many of the features are not 0.
    """

    inputs: Any
    upper: jax.Array
    rows: jax.Array
    rest: jax.Array
    scale: jax.Array
    rank: jax.Array


class Learned(NamedTuple):
    """What gradient flow needs to know of a training set with `F = U Σ Wᵀ` and targets `y`.

    Attributes:
      values: the eigenvalues `Σ²` of `F Fᵀ`, `[R]`, with 0 for those that are rounding.
      rotation: `W`, `[R, R]`.
      targets: `Σ Uᵀ y`, `[R, T]`.
    """

    values: jax.Array
    rotation: jax.Array
    targets: jax.Array


def low_rank_kernel(
    kernel_fn: Callable[..., Any], x: Any, count: int, name: str, rank: int, key: jax.Array, dtype: Any, kwargs: Any
) -> LowRankKernel:
    """The kernel of some name, of `count` inputs, from columns of it at `rank` of them, chosen at random."""
    (diagonal,) = evaluate_diagonal(kernel_fn, {"x_train": x}, (name,), kwargs).values()
    check_shape(diagonal.shape, (count,), f"kernel_fn(x, None, {name!r})")
    kept = diagonal.astype(dtype)

    def rows_of(pivots: jax.Array) -> jax.Array:
        return kernel_rows(kernel_fn, at(x, pivots), {"x_train": x}, count, name, kwargs).astype(dtype)

    found = partial_cholesky(rows_of, kept, rank, key, precision(diagonal.dtype, dtype))
    there = jnp.arange(rank) < found.rank
    upper = jnp.where(there[None, :], found.rows[:, found.pivots], jnp.eye(rank, dtype=dtype))
    return LowRankKernel(at(x, found.pivots), upper, found.rows, found.rest, jnp.mean(kept), found.rank)


def kernel_rows(
    kernel_fn: Callable[..., Any], pivots: Any, inputs: Mapping[str, Any], count: int, name: str, kwargs: Any
) -> jax.Array:
    """`K(S, x)`, `[R, count]`."""
    (rows,) = evaluate(kernel_fn, {"inputs of pivots": pivots, **inputs}, (name,), kwargs).values()
    check_shape(rows.shape, (jax.tree.leaves(pivots)[0].shape[0], count), f"kernel_fn(x1, x2, {name!r})")
    return rows


def at(x: Any, numbers: jax.Array) -> Any:
    """Some of the inputs."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[numbers], x)


def check_shape(found: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
    """Raises `ValueError` for kernels with more axes than those of inputs."""
    if found != expected:
        raise ValueError(
            f"Expected a kernel with one entry for each pair of inputs, got one of shape {found} of `{name}` where "
            f"{expected} was expected. Pass a `kernel_fn` whose `trace_axes` are all axes of outputs but the first."
        )


@jax.jit
def features(kernel: LowRankKernel, rows: jax.Array) -> jax.Array:
    """`φ(x)`, `[R, N]`, from `K(S, x)`."""
    there = jnp.arange(len(kernel.upper)) < kernel.rank
    rows = jnp.where(there[:, None], rows.astype(kernel.upper.dtype), 0)
    return jax.scipy.linalg.solve_triangular(kernel.upper, rows, trans="T")


@jax.jit
def learn(rows: jax.Array, y: jax.Array) -> Learned:
    """What is to be known of `F` (given as `Fᵀ`, `[R, N]`) and targets `[N, T]`.

    By a triangular form of `(F y)`, some rows at a time, so that the squares of singular values are as precise as `F`.
    """
    rank, count = rows.shape
    block = min(count, max(_AT_ONCE, rank))
    missing = -count % block
    rows, y = jnp.pad(rows, ((0, 0), (0, missing))), jnp.pad(y, ((0, missing), (0, 0)))

    def reduce(i: jax.Array, upper: jax.Array) -> jax.Array:
        part = jax.lax.dynamic_slice_in_dim(rows, i * block, block, 1).T
        more = jnp.concatenate([part, jax.lax.dynamic_slice_in_dim(y, i * block, block, 0)], 1)
        return jnp.linalg.qr(jnp.concatenate([upper, more]), mode="r")

    size = rank + y.shape[1]
    upper = jax.lax.fori_loop(0, (count + missing) // block, reduce, jnp.zeros((size, size), rows.dtype))
    left, values, right = jnp.linalg.svd(upper[:rank, :rank])
    kept = values > rank * jnp.finfo(values.dtype).eps * values[0]
    values = jnp.where(kept, values, 0)
    return Learned(jnp.square(values), right.T, values[:, None] * matmul(left.T, upper[:rank, rank:]))


@jax.jit
def mean(s: jax.Array, learned: Learned, added: jax.Array, phi: jax.Array) -> jax.Array:
    """`φᵀ Fᵀ f(F Fᵀ + λ) y` with `f(μ) = (1 - e^{-μs}) / μ`: `[..., N, T]`, for `φ` of shape `[R, N]`."""
    p = matmul(learned.rotation.T, phi)

    def then(s: jax.Array) -> jax.Array:
        return matmul(p.T, RESPONSE.value(learned.values + added, s)[:, None] * learned.targets)

    return over_times(then, s, p.shape[1] * learned.targets.shape[1])


@functools.partial(jax.jit, static_argnums=0)
def prior_products(
    with_noise: bool, learned: Learned, added: jax.Array, rows: jax.Array, prior: jax.Array, rest: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`Wᵀ Fᵀ G` and `Wᵀ Fᵀ D F W`, for training points with the features `G` of the prior, and independent noise `D`.

    Args:
      with_noise: whether `λ` is part of `D`, besides what the features lack.
      learned: of `F`.
      added: `λ`.
      rows: `Fᵀ`, `[R, N]`.
      prior: `Gᵀ`, `[R', N]`.
      rest: what the features of the prior lack, `[N]`.
    """
    rotated = matmul(learned.rotation.T, rows)
    noise = rest + added if with_noise else rest
    return matmul(rotated, prior.T), matmul(rotated * noise[None, :], rotated.T)


@jax.jit
def error_covariance(
    s: jax.Array,
    learned: Learned,
    added: jax.Array,
    products: tuple[jax.Array, jax.Array],
    phi: jax.Array,
    prior: jax.Array,
    k_tt: jax.Array,
) -> jax.Array:
    """`K_tt - γᵀγ + (γ - Gᵀ Aᵀ)ᵀ (γ - Gᵀ Aᵀ) + A D Aᵀ` with `A = φᵀ Fᵀ f(F Fᵀ + λ)`: `[..., N, N]`.

    For a diagonal in place of `K_tt`, `[N]`, its diagonal.

    Args:
      s: times.
      learned: of `F`.
      added: `λ`.
      products: `Wᵀ Fᵀ G` and `Wᵀ Fᵀ D F W`.
      phi: the features `φ` of the dynamics, `[R, N]`.
      prior: the features `γ` of the prior, `[R', N]`.
      k_tt: the kernel of the prior.
    """
    cross, noise = products
    diagonal = k_tt.ndim == 1
    p = matmul(learned.rotation.T, phi)
    lacking = k_tt - contract(prior, prior, diagonal)
    lacking = jnp.maximum(lacking, 0) if diagonal else positive(lacking)

    def then(s: jax.Array) -> jax.Array:
        q = RESPONSE.value(learned.values + added, s)[:, None] * p
        left = prior - matmul(cross.T, q)
        return positive(lacking + contract(left, left, diagonal) + contract(q, matmul(noise, q), diagonal))

    return over_times(then, s, p.size + prior.size + k_tt.size)
