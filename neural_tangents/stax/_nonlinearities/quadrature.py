"""Nonlinearities without a closed form, by Gauss-Hermite quadrature."""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core.numerics import as_floats, correlation, safe_reciprocal, safe_sqrt, sine
from neural_tangents.stax._hyperparameters import check_function, integer
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._spec import LayerSpec

Entrywise = Callable[[Array], Array]
Captured = tuple[tuple[Array, ...], ...]


@public_nonlinearity
def ElementwiseNumerical(
    fn: Callable[[Array], Array], deg: int, df: Callable[[Array], Array] | None = None
) -> LayerSpec:
    """Your own nonlinearity `f = fn`, with its kernel computed by Gauss-Hermite quadrature.

    With nodes `x_a` and weights `w_a` for integrals with the weight `exp(-x^2)`, and `rho = k / sqrt(p)`,

        S(q1, q2) = sum_ab w_a w_b f(sqrt(2 q1) x_a) f(sqrt(2 q2) (rho x_a + sqrt(1 - rho^2) x_b)) / pi,
        K = (S(q1, q2) + S(q2, q1)) / 2,

    and `K'` is the same with `f'`. The product rule `S(q1, q2)` has nodes along `u` and along what is left of `v`. The
    mean over both orders treats inputs alike, so that kernel matrices are symmetric, and is at least as accurate.

    Args:
      fn: `f`, applied entrywise to an array.
      deg: number of nodes per dimension, at least 1; the time grows with its square, the memory does not.
      df: derivative of `fn`; by default None, for automatic differentiation.

    Raises:
      ValueError: `deg` is not positive.

    Warns:
      UserWarning: always, that the kernel is approximate.

    Source: Abramowitz & Stegun, "Handbook of Mathematical Functions", 1964, eq. (25.4.46).
    """
    check_function("ElementwiseNumerical", "fn", fn)
    check_function("ElementwiseNumerical", "df", df, optional=True)
    deg = integer("ElementwiseNumerical", "deg", deg)
    warnings.warn(
        "The kernel of `ElementwiseNumerical` is approximate, and poor if `fn` is not smooth. Increase `deg` until it "
        "no longer changes, or use a layer with a closed form.",
        stacklevel=3,
    )
    return nonlinearity("ElementwiseNumerical", quadrature(fn, deg, df))


def quadrature(fn: Entrywise, deg: int, df: Entrywise | None) -> Dual:
    """The record of `ElementwiseNumerical`.

    Nodes are visited one by one, in constant memory, also for derivatives in reverse mode.

    Args:
      fn: the nonlinearity, applied entrywise.
      deg: number of nodes per dimension.
      df: derivative of `fn`; None takes it from `jax`.
    """
    chain = (fn,) if df is None else (fn, df)

    def moments(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        k, q1, q2 = as_floats(k, q1, q2)
        return _moments(*_with_captured(chain, k.dtype), deg, k, q1, q2)

    return Dual(fn=fn, pair_moments=moments, variance=lambda q: moments(q, q, q)[0], of_user=True)


def _with_captured(chain: tuple[Entrywise, ...], dtype: Any) -> tuple[tuple[Callable[..., Array], ...], Captured]:
    """Functions, and what each takes besides its argument: values in its closure that are being differentiated."""
    converted = [jax.closure_convert(fn, jnp.zeros(1, dtype)) for fn in chain]
    return (
        tuple(_Entries(new) if values else fn for fn, (new, values) in zip(chain, converted, strict=True)),
        tuple(tuple(values) for _, values in converted),
    )


@dataclasses.dataclass(frozen=True)
class _Entries:
    """A function of arrays of one entry, applied to each entry of an array."""

    fn: Callable[..., Array]

    def __call__(self, x: Array, *captured: Array) -> Array:
        return jax.vmap(lambda entry: self.fn(entry, *captured))(x.reshape(-1, 1)).reshape(x.shape)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _moments(chain: tuple, captured: Captured, deg: int, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    return _expectation(chain, 0, deg, captured, k, q1, q2), _expectation(chain, 1, deg, captured, k, q1, q2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _expectation(chain: tuple, order: int, deg: int, captured: Captured, k: Array, q1: Array, q2: Array) -> Array:
    """`E[g(u) g(v)]` where `g` is the derivative of that order; `chain` is `f` and those of its derivatives given."""
    rho = correlation(k, q1, q2)
    return _sum(chain, order, deg, rho, sine(rho), safe_sqrt(q1), safe_sqrt(q2), captured)


@_expectation.defjvp
def _expectation_jvp(chain: tuple, order: int, deg: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # In `k`, the derivative of an expectation is that of the derivatives. That of the sum would be infinite at the ends
    # of the range of `rho`. At fixed `rho`, the sum depends smoothly on the standard deviations.
    captured, k, q1, q2 = primals
    dcaptured, dk, dq1, dq2 = tangents
    dlog1, dlog2 = safe_reciprocal(q1) * dq1 / 2, safe_reciprocal(q2) * dq2 / 2
    root1, root2 = safe_sqrt(q1), safe_sqrt(q2)
    rho = correlation(k, q1, q2)
    value, scaled = jax.jvp(
        functools.partial(_sum, chain, order, deg, rho, sine(rho)),
        (root1, root2, captured),
        (root1 * dlog1, root2 * dlog2, dcaptured),
    )
    slope = _expectation(chain, order + 1, deg, captured, k, q1, q2)
    return value, scaled + slope * (dk - k * (dlog1 + dlog2))


def _sum(
    chain: tuple, order: int, deg: int, rho: Array, s: Array, root1: Array, root2: Array, captured: Captured
) -> Array:
    """The sum over nodes, for correlations `rho = sqrt(1 - s^2)` and standard deviations `root1`, `root2`."""

    # Recomputed in the backward pass, which would keep the values at all nodes otherwise.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def term(node: Array, rho: Array, s: Array, root1: Array, root2: Array, captured: Captured) -> Array:
        x, y, weight = node
        other = rho * x + s * y
        fn = _derivative(chain, captured, order)
        both = fn(root1 * x) * fn(root2 * other) + fn(root1 * other) * fn(root2 * x)
        return jnp.asarray(weight / 2 * both, rho.dtype)

    def step(total: Array, node: Array) -> tuple[Array, None]:
        return total + term(node, rho, s, root1, root2, captured), None

    points, weights = np.polynomial.hermite.hermgauss(deg)
    x, y = np.meshgrid(math.sqrt(2) * points, math.sqrt(2) * points, indexing="ij")
    nodes = np.stack([x, y, np.outer(weights, weights) / math.pi], axis=-1).reshape(-1, 3)
    return lax.scan(step, jnp.zeros_like(rho), jnp.asarray(nodes, rho.dtype))[0]


def _derivative(chain: tuple, captured: Captured, order: int) -> Entrywise:
    known = min(order, len(chain) - 1)

    def given(x: Array) -> Array:
        return chain[known](x, *captured[known])

    fn: Entrywise = given
    for _ in range(order - known):
        fn = functools.partial(_slope, fn)
    return fn


def _slope(fn: Entrywise, x: Array) -> Array:
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]
