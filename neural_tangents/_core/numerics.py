"""Elementary functions that vectorise on every backend and have finite derivatives everywhere.

The inverse trigonometric functions of XLA:CPU are library calls, one entry at a time, some fifty times slower than an
addition. Those here are polynomials. Their argument is a *point on the unit circle*, given by its cosine and its sine:
then no division is needed, and a small angle keeps its relative precision, which the cosine alone does not determine.

The derivative of a square root at zero is infinite. Here it is zero by convention, in all orders.

Functions with a custom derivative rule must be differentiable without it too: jax drops such rules when it
differentiates the compiled loop over equal layers twice, forward over reverse.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

# `asin(w) = w + w z B(z)` with `z = w^2`. The coefficients of `B` interpolate it at the Chebyshev points of [0, 1/2];
# the error of `z B(z)` is 9e-9 (degree 7) and 1e-17 (degree 18). The test of this module computes them again.
_ASIN_SHORT = (
    0.166666657,
    0.0750025216,
    0.044538814,
    0.0319902392,
    0.010435326,
    0.0637969764,
    -0.079720716,
    0.0946973496,
)
_ASIN_LONG = (
    0.16666666666666669,
    0.07499999999998412,
    0.04464285714665563,
    0.030381944084994415,
    0.0223721770065477,
    0.017352221539201188,
    0.013975730180211136,
    0.01139924601483468,
    0.011310924828955462,
    -0.0032941927380090922,
    0.07377343868679113,
    -0.2809947932275328,
    0.952265420570822,
    -2.3535297860232123,
    4.3847119392409954,
    -5.883233416999023,
    5.436384462318588,
    -3.0948547605199717,
    0.8387674099544927,
)

# For loops that Numba compiles: `acos(1 - d) = sqrt(d) A(d)`. The coefficients of `A` interpolate it at the Chebyshev
# points of [0, 1]; the error is 3e-8 (degree 7) and 2e-16 (degree 17). The test of this module computes them again.
ACOS_SHORT = (
    1.41421355,
    0.117853167,
    0.0264744825,
    0.00821673096,
    0.00147885982,
    0.00333841701,
    -0.00199064296,
    0.00121173777,
)
ACOS_LONG = (
    1.414213562373095,
    0.11785113019782532,
    0.02651650428726522,
    0.007891817060755802,
    0.00268540304058573,
    0.0009888113042502823,
    0.00038262430806552077,
    0.00015937743292100998,
    4.1126150860512944e-05,
    0.00010153174508844963,
    -0.00017136610209234648,
    0.000341818862286027,
    -0.00046132434220270643,
    0.00047186395065566117,
    -0.0003430427736686459,
    0.00017113011380930746,
    -5.225042885568418e-05,
    7.609614252019444e-06,
)

# `acos(1 - d) = sqrt(d) (sqrt(2 - d) + d G(p))` with `p = sqrt(2) - sqrt(2 - d)`, of which a polynomial needs fewer
# terms than one of `d`. The coefficients of `G` interpolate it at the Chebyshev points of [0, sqrt(2) - 1], where `d`
# is in [0, 1]; the error is 2e-8 (degree 5) and 4e-17 (degree 11). The test of this module computes them again.
_ACUTE_SHORT = (
    0.471404523,
    0.20000124,
    0.0807778761,
    0.0320915207,
    0.0107050147,
    0.00766719691,
)
_ACUTE_LONG = (
    0.4714045207910316,
    0.20000000000002502,
    0.08081220356130644,
    0.031746031874751585,
    0.012244270293304793,
    0.004662045067171161,
    0.001757805597586787,
    0.0006601087888565028,
    0.00023774103813821811,
    0.00010807073018076115,
    7.822454338013989e-06,
    3.23547184096007e-05,
)


def as_floats(*arrays: Any) -> list[Array]:
    """Converts numbers and arrays to floating-point arrays of their common type."""
    dtype = jnp.result_type(*arrays, float)
    return [jnp.asarray(x, dtype) for x in arrays]


def python_scalar(x: Any) -> Any:
    """A NumPy number as a Python one, which adopts the precision of the arrays it meets instead of raising it."""
    return x.item() if hasattr(x, "item") and not isinstance(x, Array) else x


def safe_sqrt(x: Array) -> Array:
    """`sqrt(x)`, and 0 for `x <= 0`; there all derivatives are 0."""
    none = x <= 0  # not `~(x > 0)`, which would turn NaN into 0
    return zero_where(none, jnp.sqrt(jnp.where(none, 1, x)))


def length(q: Array) -> Array:
    """`safe_sqrt(q)` of variances, each of which is read for many pairs of inputs.

    XLA:CPU computes cheap operations again wherever their results are read, but not a division.
    """
    none = q <= 0
    return jnp.sqrt(jnp.where(none, 1, q)) / jnp.where(none, jnp.full((), jnp.inf, q.dtype), jnp.ones((), q.dtype))


def safe_reciprocal(x: Array) -> Array:
    """`1 / x`, and 0 for `x <= 0`; there all derivatives are 0."""
    none = x <= 0
    return zero_where(none, 1 / jnp.where(none, 1, x))


def zero_where(condition: Array, x: Array) -> Array:
    """`x`, or 0 where the condition holds; a product, as XLA:CPU compiles a choice between 0 and a root to a branch."""
    return x * jnp.logical_not(condition).astype(x.dtype)


def along_rows(x: Array, shape: tuple[int, ...]) -> Array:
    """Numbers of the rows of a matrix, `(N, 1)`, or one number `()`, as a matrix; as they are for other shapes.

    The derivative is a sum over each row. This is a product with ones, which XLA:CPU fuses with what makes its operand;
    it does not do so with sums.
    """
    if jax.default_backend() != "cpu" or len(shape) != 2 or x.shape not in ((), (shape[0], 1)):
        return x
    column, ones = jnp.broadcast_to(x, (shape[0], 1)), jnp.ones((1, shape[1]), x.dtype)
    return jnp.matmul(column, ones, precision=lax.Precision.HIGHEST)


def straight_through(x: Array, condition: Array, value: Any) -> Array:
    """`value` where the condition holds, else `x`; with the derivative of `x` everywhere."""
    return x + lax.stop_gradient(jnp.where(condition, value - x, 0))


def determinant(k: Array, q1: Array, q2: Array) -> Array:
    """`q1 q2 - k^2`, exactly 0 where it does not exceed the rounding error of its terms.

    Two inputs that are parallel up to rounding thus count as parallel. The derivative is that of `q1 q2 - k^2`
    everywhere. The result is NaN where `q1 q2` overflows.
    """
    product = q1 * q2
    difference = product - k * k
    noise = 4 * jnp.finfo(product.dtype).eps * product
    return straight_through(difference, difference <= noise, 0)


def correlation(k: Array, q1: Array, q2: Array) -> Array:
    """`k / sqrt(q1 q2)`, or 0 where a variance is 0; exactly 1 or -1 where it is so up to rounding.

    The derivative is that of `k / sqrt(q1 q2)`, also at the ends of the range.
    """
    rho = k * safe_reciprocal(safe_sqrt(q1)) * safe_reciprocal(safe_sqrt(q2))
    limit = 1 - 4 * jnp.finfo(rho.dtype).eps
    return straight_through(rho, jnp.abs(rho) >= limit, jnp.sign(rho))


def sine(cosine: Array) -> Array:
    """`sqrt(1 - c^2)` for `c` in [-1, 1], without cancellation."""
    return safe_sqrt((1 - cosine) * (1 + cosine))


def _asin_small(w: Array) -> Array:
    """`asin(w)` for `0 <= w <= sqrt(1/2)`, to about one unit in the last place."""
    z = w * w
    coefficients = _ASIN_LONG if w.dtype == jnp.float64 else _ASIN_SHORT
    return w + w * z * _polynomial(coefficients, z)


def _polynomial(coefficients: tuple[float, ...], z: Array) -> Array:
    """The sum of coefficients times powers of `z`."""
    # Even and odd powers separately: two chains of dependent operations, each half as long.
    return _horner(coefficients[0::2], z * z) + z * _horner(coefficients[1::2], z * z)


def _horner(coefficients: tuple[float, ...], z: Array) -> Array:
    result: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        result = result * z + c
    return result


class AcuteAngle(NamedTuple):
    """An angle `phi` in [0, pi/2].

    Attributes:
      angle: `phi`.
      sine: `sin(phi)`.
      excess: `sin(phi) - phi cos(phi)`.
    """

    angle: Array
    sine: Array
    excess: Array


def acute_angle(d: Array, root_d: Array) -> AcuteAngle:
    """The angle `acos(1 - d)` for `d` in [0, 1], to about one unit in the last place.

    Args:
      d: one less the cosine of the angle.
      root_d: `sqrt(d)`; its derivative is infinite at 0, and up to the caller.
    """
    other = jnp.sqrt(2 - d)
    g = _polynomial(_ACUTE_LONG if d.dtype == jnp.float64 else _ACUTE_SHORT, math.sqrt(2) - other)
    over_root = other + d * g
    # sin(phi) - phi (1 - d), where no small number is found as a difference of large ones.
    return AcuteAngle(root_d * over_root, root_d * other, root_d * (d * (over_root - g)))


@jax.custom_jvp
def angle(c: Array, s: Array) -> Array:
    """`atan2(s, c)` in [0, pi], for points of the unit circle with `s >= 0`.

    The angle is computed from the smaller of `|c|` and `s`, so that errors in the larger do no harm.

    Args:
      c: cosine of the angle.
      s: sine of the angle, not negative; of the shape of `c`.

    Returns:
      The angle, with a small relative error near 0.
    """
    size = jnp.abs(c)
    small = _asin_small(jnp.minimum(size, s))
    acute = jnp.where(size < s, math.pi / 2 - small, small)
    return jnp.where(c < 0, math.pi - acute, acute)


@jax.custom_jvp
def latitude(s: Array, c: Array) -> Array:
    """`atan2(s, c)` in [-pi/2, pi/2], for points of the unit circle with `c >= 0`.

    Args:
      s: sine of the latitude.
      c: cosine of the latitude, not negative; of the shape of `s`.

    Returns:
      The latitude, with a small relative error near 0.
    """
    size = jnp.abs(s)
    small = _asin_small(jnp.minimum(size, c))
    magnitude = jnp.where(size < c, small, math.pi / 2 - small)
    return jnp.where(s < 0, -magnitude, magnitude)


# On the unit circle `d atan2(s, c) = c ds - s dc`: no division, so nothing to guard.


@angle.defjvp
def _angle_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (c, s), (dc, ds) = primals, tangents
    return angle(c, s), c * ds - s * dc


@latitude.defjvp
def _latitude_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (s, c), (ds, dc) = primals, tangents
    return latitude(s, c), c * ds - s * dc


# The derivatives of jax's own error functions do not work inside `jax.shard_map` in all of its releases.


@jax.custom_jvp
def erf(x: Array) -> Array:
    """The error function."""
    return lax.erf(x)


@jax.custom_jvp
def erfc(x: Array) -> Array:
    """`1 - erf(x)`, without cancellation."""
    return lax.erfc(x)


def _slope(x: Array) -> Array:
    return 2 / math.sqrt(math.pi) * jnp.exp(-x * x)


erf.defjvp(lambda primals, tangents: (erf(*primals), _slope(*primals) * tangents[0]))
erfc.defjvp(lambda primals, tangents: (erfc(*primals), -_slope(*primals) * tangents[0]))
