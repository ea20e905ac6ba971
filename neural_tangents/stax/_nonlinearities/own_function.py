"""Nonlinearities of users, from their function alone."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents.stax._hyperparameters import check_function, number
from neural_tangents.stax._nonlinearities.documentation import public_nonlinearity
from neural_tangents.stax._nonlinearities.driver import nonlinearity
from neural_tangents.stax._nonlinearities.dual import Dual
from neural_tangents.stax._nonlinearities.function_tables import function_tables
from neural_tangents.stax._nonlinearities.piecewise_linear import Pieces, piecewise_linear
from neural_tangents.stax._nonlinearities.series import series
from neural_tangents.stax._spec import LayerSpec


@public_nonlinearity
def Nonlinearity(
    fn: Callable[[Array], Array],
    *,
    derivative: Callable[[Array], Array] | None = None,
    kinks: Sequence[int | float] = (),
    tolerance: int | float = 1e-9,
) -> LayerSpec:
    """Your own nonlinearity `f = fn`: smooth, or with kinks and jumps.

    `K` is a smooth function of the standard deviations and of the angle `theta`, also at its ends, and so is `K'`. Of
    the even part of `f`, and of the odd one up to a factor `cos(theta)`, at acute angles it is

        K = sum_jab c_jab T_j(y) h_a(q1) h_b(q2),    y = 2.6 t / (t + 0.3) - 1,    t = sqrt(1 - cos(theta)),

    with Chebyshev polynomials `T_j`. The numbers `c` and functions `h` are found once for each `f`, by quadrature in
    polar coordinates around the rays where `u = 0` or `v = 0`. A shorter series is used where it is as accurate: one in
    `theta` alone for inputs of equal variance, and for smooth `f` and small variances one in the normalised Hermite
    polynomials `h_n`,

        K = sum_(n < N) a_n(q1) a_n(q2) rho^n + r(q1) r(q2) rho^N,
        a_n(q) = E[f(u) h_n(u / sqrt(q))],

    with `rho = k / sqrt(p)`. The last term stands for what is left of `E[f(u)^2]`, so that `rho = 1` is exact. If `f`
    is linear between its kinks, `K` is the integral over the density at these that `HardTanh` has.

    Kernels are accurate for variances up to 1000; beyond, `K` has the shape that it has there. `f` and its derivative
    must not depend on values that are traced by transformations such as `jit` and `grad`.

    Args:
      fn: `f`, applied entrywise to an array.
      derivative: `f'`, by default None, for automatic differentiation.
      kinks: where `f` has kinks, if not at 0. By default none. Needed if `f` is linear in between: other functions
        with kinks away from 0 have kernels of lower accuracy.
      tolerance: of errors relative to `sqrt(K(x, x) K(y, y))`, by default 1e-9. A larger one gives shorter series. In
        single precision errors of 1e-6 are tolerated in any case.

    Raises:
      TypeError: `fn` or `derivative` is not a function, `kinks` are not numbers, or `tolerance` is not one.
      ValueError: `tolerance` is not positive.

    Warns:
      UserWarning: in `kernel_fn`, errors exceed the tolerance, or a variance is known to exceed 1000.

    Example:
      >>> _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Nonlinearity(lambda x: x / (1 + x**2)))
      >>> print(kernel_fn(jnp.asarray([[1.0, 1.0], [1.4, 0.2]]), None, "nngp").round(2))
      [[0.16 0.11]
       [0.11 0.16]]

    Source: Daniely et al., "Toward Deeper Understanding of Neural Networks", 2016, https://arxiv.org/abs/1602.05897,
    lemma 11; Trefethen, "Approximation Theory and Approximation Practice", 2013, chapter 3.
    """
    check_function("Nonlinearity", "fn", fn)
    check_function("Nonlinearity", "derivative", derivative, optional=True)
    if not number("Nonlinearity", "tolerance", tolerance) > 0:
        raise ValueError(f"`Nonlinearity` needs a positive `tolerance`, got {tolerance}.")
    places = tuple(sorted(float(number("Nonlinearity", "kinks", kink)) for kink in kinks))
    name = getattr(fn, "__name__", "fn")
    return nonlinearity("Nonlinearity", own(fn, derivative, places, float(tolerance)), f"Nonlinearity({name})")


def own(
    fn: Callable[[Array], Array],
    derivative: Callable[[Array], Array] | None = None,
    kinks: tuple[float, ...] = (),
    tolerance: float = 1e-9,
) -> Dual:
    """The record of `Nonlinearity`."""
    pieces = _pieces(fn, kinks)
    if pieces is not None:
        return piecewise_linear(fn, pieces)
    at_zero = _values(fn, np.zeros(1))[0]
    return series("Nonlinearity", fn, derivative, tolerance, vanishes=bool(at_zero == 0))


def nonlinearity_error(
    fn: Callable[[Array], Array],
    derivative: Callable[[Array], Array] | None = None,
    tolerance: float = 1e-9,
) -> float:
    """The error of the kernels of `stax.Nonlinearity` with these arguments, in double precision.

    It is the largest difference from another quadrature rule that was found for `E[f(u) f(v)]` and `E[f'(u) f'(v)]`, at
    variances from 0.001 to 100 and at several angles, relative to `sqrt(E[f(u)^2] E[f(v)^2])`, or likewise for `f'`.

    Args:
      fn: `f`.
      derivative: `f'`; None for automatic differentiation.
      tolerance: that of the layer.

    Returns:
      The error, a number.

    Raises:
      TypeError: a function depends on traced values.

    Example:
      >>> assert stax.nonlinearity_error(jnp.tanh) < 1e-9
    """
    return function_tables(fn, derivative, tolerance).error


def _pieces(fn: Callable[[Array], Array], kinks: tuple[float, ...]) -> Pieces | None:
    """A function as pieces, if it is linear between kinks that are not only 0; else None."""
    if not any(kinks):
        return None
    edges = np.array([kinks[0] - 64, *kinks, kinks[-1] + 64])
    places = edges[:-1, None] + np.diff(edges)[:, None] * np.array([0.01, 0.11, 0.5, 0.83, 0.99])
    values = _values(fn, places.ravel()).reshape(places.shape)
    slopes = (values[:, -1] - values[:, 0]) / (places[:, -1] - places[:, 0])
    lines = values[:, :1] + slopes[:, None] * (places - places[:, :1])
    size = 1e-12 * (1 + np.max(np.abs(values)))
    jumps = np.diff(slopes)
    constant = values[0, 0] - slopes[0] * places[0, 0]
    whole = (
        constant
        + slopes[0] * places
        + sum(jump * np.maximum(places - kink, 0) for kink, jump in zip(kinks, jumps, strict=True))
    )
    if np.max(np.abs(lines - values)) > size or np.max(np.abs(whole - values)) > 100 * size:
        return None
    return Pieces(float(constant), float(slopes[0]), kinks, tuple(map(float, jumps)))


def _values(fn: Callable[[Array], Array], x: np.ndarray) -> np.ndarray:
    try:
        with jax.enable_x64(True), jax.core.eval_context():
            return np.broadcast_to(np.asarray(fn(jnp.asarray(x, jnp.float64)), np.float64), x.shape)
    except (jax.errors.UnexpectedTracerError, jax.errors.TracerArrayConversionError):
        raise TypeError(
            "`Nonlinearity` needs a function that does not depend on traced values, as its series is found once. "
            "`ElementwiseNumerical` takes any."
        ) from None
