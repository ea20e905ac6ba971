"""The public activations: names, arguments and documentation. Their formulas are in `_dual`.

Below, `u` and `v` are the activations of two inputs at some positions, of variances `q1`, `q2` and covariance `k`;
`p = q1 q2`, `s = q1 + q2`, and `theta` is the angle between them, `cos(theta) = k / sqrt(p)`. Every activation maps

    nngp' = K(k, q1, q2) = E[f(u) f(v)],      ntk' = K'(k, q1, q2) ntk,      K' = E[f'(u) f'(v)],

and `K'` is the derivative of `K` in `k`, unless said otherwise. Its input has to be Gaussian, its output is not.
"""

import math
import operator
import warnings
from collections.abc import Callable, Sequence

from jax import Array

from neural_tangents.stax._build import public_layer
from neural_tangents.stax._nonlinearities.abrelu import abrelu
from neural_tangents.stax._nonlinearities.driver import activation
from neural_tangents.stax._nonlinearities.elementwise import custom
from neural_tangents.stax._nonlinearities.erf import erf
from neural_tangents.stax._nonlinearities.exponential import exp, exp_normalized
from neural_tangents.stax._nonlinearities.gabor import gabor
from neural_tangents.stax._nonlinearities.gaussian import gaussian
from neural_tangents.stax._nonlinearities.gelu import gelu
from neural_tangents.stax._nonlinearities.polynomial import hermite, monomial, polynomial
from neural_tangents.stax._nonlinearities.quadrature import quadrature
from neural_tangents.stax._nonlinearities.rectified_monomial import rectified_monomial
from neural_tangents.stax._nonlinearities.sign import sign
from neural_tangents.stax._nonlinearities.trigonometric import rbf, sin
from neural_tangents.stax._spec import LayerSpec


@public_layer
def ABRelu(a: float, b: float, do_stabilize: bool = False) -> LayerSpec:
    """Two half-lines, `f(x) = a min(x, 0) + b max(x, 0)`.

    `K = g sqrt(p - k^2) + K' k` with `K' = (a^2 + b^2) / 2 - g theta` and `g = (a - b)^2 / (2 pi)`.

    Args:
      a: slope for negative `x`.
      b: slope for positive `x`.
      do_stabilize: accepted for compatibility; the kernel is computed without over- or underflow in any case.

    Tsuchida et al., 2018 (arXiv:1711.09090), eq. (4).
    """
    del do_stabilize
    return activation("ABRelu", abrelu(a, b))


@public_layer
def Relu(do_stabilize: bool = False) -> LayerSpec:
    """Rectified linear unit, `f(x) = max(x, 0)`: `ABRelu(0, 1)`.

    `K = (sqrt(p - k^2) + (pi - theta) k) / (2 pi)`, `K' = (pi - theta) / (2 pi)`.

    Args:
      do_stabilize: see `ABRelu`.

    Cho & Saul, 2009, "Kernel methods for deep learning", eq. (6).
    """
    del do_stabilize
    return activation("ABRelu", abrelu(0.0, 1.0), "Relu")


@public_layer
def LeakyRelu(alpha: float, do_stabilize: bool = False) -> LayerSpec:
    """Leaky rectified linear unit, `f(x) = alpha min(x, 0) + max(x, 0)`: `ABRelu(alpha, 1)`, which has the formulas.

    Args:
      alpha: slope for negative `x`.
      do_stabilize: see `ABRelu`.

    Tsuchida et al., 2018 (arXiv:1711.09090), eq. (4).
    """
    del do_stabilize
    return activation("ABRelu", abrelu(alpha, 1.0), "LeakyRelu")


@public_layer
def Abs(do_stabilize: bool = False) -> LayerSpec:
    """Absolute value, `f(x) = |x|`: `ABRelu(-1, 1)`.

    `K = (2 / pi) sqrt(p - k^2) + K' k`, `K' = 1 - 2 theta / pi`.

    Args:
      do_stabilize: see `ABRelu`.

    Tsuchida et al., 2018 (arXiv:1711.09090), eq. (4).
    """
    del do_stabilize
    return activation("ABRelu", abrelu(-1.0, 1.0), "Abs")


@public_layer
def Sign() -> LayerSpec:
    """Sign, `f(x) = sign(x)`.

    `K = 1 - 2 theta / pi`, and 0 where a variance is 0. `K' = 0`, which is not the derivative of `K`.

    Cho & Saul, 2009, "Kernel methods for deep learning", eq. (4).
    """
    return activation("Sign", sign())


@public_layer
def RectifiedMonomial(degree: int) -> LayerSpec:
    """Power on the positive half-line, `f(x) = x^degree` if `x >= 0` else 0.

    `K = p^(d/2) J_d(theta) / (2 pi)` is the arc-cosine kernel of order `d = degree`. For `d = 0`, a step whose
    derivative vanishes almost everywhere, `K' = 0`, which is not the derivative of `K`.

    Args:
      degree: the exponent, 0 or more.

    Raises:
      NotImplementedError: `degree` is not a whole number, or negative.

    Cho & Saul, 2009, "Kernel methods for deep learning", eqs. (1)-(8).
    """
    return activation("RectifiedMonomial", rectified_monomial(_degree("RectifiedMonomial", degree)))


@public_layer
def Monomial(degree: int) -> LayerSpec:
    """Power, `f(x) = x^degree`.

    `K` is the moment `E[u^d v^d]`: 1, `k`, `2 k^2 + p`, `6 k^3 + 9 k p`, ... for `d = degree`.

    Args:
      degree: the exponent, 0 to 5.

    Raises:
      NotImplementedError: any other `degree`; `Polynomial` has no bound.

    Isserlis, 1918, "On a formula for the product-moment coefficient".
    """
    return activation("Monomial", monomial(_degree("Monomial", degree, 5)))


@public_layer
def Polynomial(coef: Sequence[float]) -> LayerSpec:
    """Polynomial, `f(x) = sum_i coef[i] x^i`.

    `K = sum_l r_l(q1) r_l(q2) (k / sqrt(p))^l` with `r_l(q) = sum_i c_{l+2i} (l+2i)! / (2^i i! sqrt(l!)) q^(i+l/2)`.

    Args:
      coef: coefficients in ascending order; none for `f = 0`.

    Daniely et al., 2016 (arXiv:1602.05897), section 8.
    """
    return activation("Polynomial", polynomial(coef))


@public_layer
def Hermite(degree: int) -> LayerSpec:
    """Hermite polynomial, `f = He_degree / sqrt(degree!)`, orthonormal for inputs of unit variance.

    `K = k^degree`, which is right for inputs of unit variance only; this is not checked.

    Args:
      degree: degree of the polynomial, 0 or more.

    Raises:
      NotImplementedError: `degree` is not a whole number, or negative.

    Warns:
      UserWarning: always, of the assumption.

    Daniely et al., 2016 (arXiv:1602.05897), section 4.
    """
    degree = _degree("Hermite", degree)
    warnings.warn(
        "The kernel of `Hermite` assumes inputs of unit variance and does not check it. Normalize them, e.g. by "
        "`LayerNorm`, or use `Polynomial`.",
        stacklevel=3,
    )
    return activation("Hermite", hermite(degree))


@public_layer
def Erf(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> LayerSpec:
    """Error function, `f(x) = a erf(b x) + c`.

    With `k`, `q1`, `q2` multiplied by `b^2`, and `E = (1 + 2 q1)(1 + 2 q2) - 4 k^2`,
    `K = (2 a^2 / pi) atan2(2 k, sqrt(E)) + c^2` and `K' = (4 a^2 b^2 / pi) / sqrt(E)`.

    Args:
      a: factor of the output.
      b: factor of the input.
      c: shift of the output.

    Williams, 1996, "Computing with infinite networks", eq. (11).
    """
    return activation("Erf", erf(a, b, c))


@public_layer
def Sigmoid_like() -> LayerSpec:
    """Approximation of the sigmoid, `f(x) = (erf(x / 2.4020563531719796) + 1) / 2`; see `Erf` for the kernel.

    Williams, 1996, "Computing with infinite networks", eq. (11).
    """
    return activation("Erf", erf(0.5, 1 / 2.4020563531719796, 0.5), "Sigmoid_like")


@public_layer
def Gelu(approximate: bool = False) -> LayerSpec:
    """Gaussian error linear unit, `f(x) = x Phi(x)` with the normal distribution function `Phi`.

    `K = k / 4 + [(k^2 + p D^2) / (P D) + k phi] / (2 pi)` with `P = (1 + q1)(1 + q2)`, `D^2 = P - k^2` and
    `phi = atan2(k, D)`.

    Args:
      approximate: whether the finite network uses the approximation of `Phi` by a `tanh`. The kernel is that of `f`.

    Tsuchida et al., 2020 (arXiv:2002.08517).
    """
    return activation("Gelu", gelu(approximate))


@public_layer
def Sin(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> LayerSpec:
    """Sine, `f(x) = a sin(b x + c)`.

    `K = (a^2 / 2) (exp(b^2 (k - s/2)) - cos(2 c) exp(-b^2 (k + s/2)))`.

    Args:
      a: amplitude.
      b: frequency.
      c: phase.

    Rahimi & Recht, 2007, "Random features for large-scale kernel machines".
    """
    return activation("Sin", sin(a, b, c))


@public_layer
def Cos(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> LayerSpec:
    """Cosine, `f(x) = a cos(b x + c)`: `Sin(a, b, c + pi / 2)`, which has the formulas.

    Args:
      a: amplitude.
      b: frequency.
      c: phase.

    Rahimi & Recht, 2007, "Random features for large-scale kernel machines".
    """
    return activation("Sin", sin(a, b, c + math.pi / 2), "Cos")


@public_layer
def Rbf(gamma: float = 1.0) -> LayerSpec:
    """Random features of the Gaussian kernel, `f(x) = sqrt(2) sin(sqrt(2 gamma) x + pi / 4)`.

    `K = exp(-gamma (s - 2 k))`: the Gaussian kernel of the inputs if these are inputs of the network.

    Args:
      gamma: inverse squared length scale.

    Rahimi & Recht, 2007, "Random features for large-scale kernel machines".
    """
    return activation("Rbf", rbf(gamma))


@public_layer
def Exp(a: float = 1.0, b: float = 1.0) -> LayerSpec:
    """Exponential, `f(x) = a exp(b x)`.

    `K = a^2 exp(b^2 (s/2 + k))`, `K' = b^2 K`.

    Args:
      a: factor of the output.
      b: factor of the input.

    Daniely et al., 2016 (arXiv:1602.05897), section 8.
    """
    return activation("Exp", exp(a, b))


@public_layer
def Gaussian(a: float = 1.0, b: float = -1.0) -> LayerSpec:
    """Exponential of a square, `f(x) = a exp(b x^2)`.

    `K = a^2 / d`, `K' = 4 a^2 b^2 k / d^3` with `d^2 = (1 - 2 b q1)(1 - 2 b q2) - 4 b^2 k^2`. For `b > 0` and large
    variances the expectation diverges, and the kernel is infinite.

    Args:
      a: factor of the output.
      b: factor in the exponent.

    Williams, 1996, "Computing with infinite networks", eq. (13).
    """
    return activation("Gaussian", gaussian(a, b))


@public_layer
def Gabor() -> LayerSpec:
    """Gabor function, `f(x) = exp(-x^2) sin(x)`.

    `K = exp(-(s + D) / (2 d)) sinh(k / d) / sqrt(d)` with `D = 4 (p - k^2)` and `d = 1 + 2 s + D`: the integral of a
    Gaussian of complex argument.
    """
    return activation("Gabor", gabor())


@public_layer
def ExpNormalized(gamma: float = 1.0, shift: float = -1.0, do_clip: bool = False) -> LayerSpec:
    """Exponential of the correlation: a kernel without a known `f`, so that `apply_fn` raises `NotImplementedError`.

    `K = sqrt(p) exp(gamma (k / sqrt(p) + shift))`, `K' = gamma exp(gamma (k / sqrt(p) + shift))`.

    Args:
      gamma: inverse squared length scale on the unit sphere.
      shift: added to the correlation; -1 preserves variances.
      do_clip: whether to clip the correlation to [-1, 1].

    Mairal et al., 2014 (arXiv:1406.3332); Shankar et al., 2020 (arXiv:2003.02237).
    """
    return activation("ExpNormalized", exp_normalized(gamma, shift, do_clip))


@public_layer
def Elementwise(
    fn: Callable[[Array], Array] | None = None,
    nngp_fn: Callable[[Array, Array, Array], Array] | None = None,
    d_nngp_fn: Callable[[Array, Array, Array], Array] | None = None,
) -> LayerSpec:
    """Activation `f = fn` whose kernel `K = nngp_fn` is given.

    Args:
      fn: the activation, applied entrywise; without it, `apply_fn` raises `NotImplementedError`.
      nngp_fn: `K`, a function of three numbers `k`, `q1`, `q2`; without it, `kernel_fn` raises `NotImplementedError`.
      d_nngp_fn: `K'`, likewise; by default the derivative of `nngp_fn` in `k`, by automatic differentiation.

    Raises:
      ValueError: neither `fn` nor `nngp_fn` is given.

    Warns:
      UserWarning: `nngp_fn` is differentiated automatically.
    """
    if fn is None and nngp_fn is None:
        raise ValueError("`Elementwise` needs `fn`, for finite networks, or `nngp_fn`, for kernels, or both. Got none.")
    if nngp_fn is not None and d_nngp_fn is None:
        warnings.warn(
            "`Elementwise` differentiates `nngp_fn` automatically: check that derivatives are finite where `k` is 0 or "
            "`k^2 = q1 q2`, or give `d_nngp_fn`.",
            stacklevel=3,
        )
    names = (getattr(f, "__name__", None) for f in (fn, nngp_fn))
    return activation("Elementwise", custom(fn, nngp_fn, d_nngp_fn), next(filter(None, names), None))


@public_layer
def ElementwiseNumerical(
    fn: Callable[[Array], Array], deg: int, df: Callable[[Array], Array] | None = None
) -> LayerSpec:
    """Activation `f = fn` whose kernel is computed by Gauss-Hermite quadrature.

    `K` is the sum over `deg x deg` nodes `x_a`, `x_b`, with weights for `exp(-x^2)`, of
    `w_a w_b f(sqrt(2 q1) x_a) f(sqrt(2 q2) (rho x_a + sqrt(1 - rho^2) x_b)) / pi` where `rho = k / sqrt(p)`; `K'` is
    the same sum with `f'`.

    Args:
      fn: the activation, applied entrywise.
      deg: number of nodes per dimension; the time grows with its square, the memory does not.
      df: derivative of `fn`; by default by automatic differentiation.

    Raises:
      ValueError: `deg` is not positive.

    Warns:
      UserWarning: always, that the kernel is approximate.

    Abramowitz & Stegun, "Handbook of mathematical functions", eq. (25.4.46).
    """
    if operator.index(deg) < 1:
        raise ValueError(f"`deg`, the number of nodes per dimension, must be positive, got {deg}.")
    warnings.warn(
        "The kernel of `ElementwiseNumerical` is approximate, and poor if `fn` is not smooth. Increase `deg` until it "
        "no longer changes, or use a layer with a closed form.",
        stacklevel=3,
    )
    return activation("ElementwiseNumerical", quadrature(fn, operator.index(deg), df))


def _degree(name: str, degree: int, largest: float = math.inf) -> int:
    if not 0 <= degree <= largest or degree != int(degree):
        allowed = "0 or more" if largest == math.inf else f"from 0 to {largest}"
        raise NotImplementedError(f"`{name}` needs a whole `degree`, {allowed}, got {degree}.")
    return int(degree)
