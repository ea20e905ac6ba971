"""The table of nonlinearities: their records, the same functions in NumPy, and the layers they belong to.

A new nonlinearity needs an entry in `FORMULAS`, and one in `VARIANTS` for each choice of its parameters that could go
wrong by itself. All tests of this folder follow from these tables.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import dual_truth as truth
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf as scipy_erf
from scipy.special import eval_hermitenorm, expit, ndtr

from neural_tangents import stax
from neural_tangents.stax._nonlinearities import activations, own_function, piecewise_linear
from neural_tangents.stax._nonlinearities.abrelu import abrelu
from neural_tangents.stax._nonlinearities.dual import Dual
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


class Case(NamedTuple):
    """A nonlinearity.

    Attributes:
      dual: its record.
      f: the function in NumPy; None if there is none.
      df: its derivative; None if it is not to be compared.
      layers: calls without arguments that make the layer with this record.
      degree: of homogeneity; None for smooth functions.
      sharpness: one over the length on which `f` varies.
      reach: beyond so many standard deviations nothing counts.
      variances: of the inputs for which it is compared with quadrature.
      kinks: where `f` has kinks, if not at 0.
    """

    dual: Dual
    f: truth.Function | None
    df: truth.Function | None
    layers: tuple[Callable[[], Any], ...] = ()
    degree: int | None = None
    sharpness: float = 1.0
    reach: float = 10.0
    variances: np.ndarray = truth.VARIANCES
    kinks: tuple[float, ...] = ()


def normal_density(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def abrelu_case(a, b, *layers):
    return Case(abrelu(a, b), lambda x: np.where(x < 0, a, b) * x, lambda x: np.where(x < 0, a, b), layers, degree=1)


def rectified_case(d, *layers):
    df = (lambda x: np.where(x >= 0, float(d) * x ** (d - 1), 0)) if d else None
    return Case(rectified_monomial(d), lambda x: np.where(x >= 0, x**d, 0), df, layers, degree=d)


def polynomial_case(dual, coef, *layers):
    p = np.polynomial.Polynomial(coef)
    return Case(dual, p, p.deriv(), layers, sharpness=0.0, reach=14.0)


def monomial_case(d, *layers):
    return polynomial_case(monomial(d), [0] * d + [1], *layers)


def hermite_case(d, *layers):
    def f(x):
        return eval_hermitenorm(d, x) / math.sqrt(math.factorial(d))

    def df(x):
        return d * eval_hermitenorm(max(d - 1, 0), x) / math.sqrt(math.factorial(d))

    return Case(hermite(d), f, df, layers, sharpness=0.0, reach=14.0, variances=np.ones(1))


def erf_case(a, b, c, *layers):
    def df(x):
        return a * b * 2 / math.sqrt(math.pi) * np.exp(-((b * x) ** 2))

    return Case(erf(a, b, c), lambda x: a * scipy_erf(b * x) + c, df, layers, sharpness=b)


def sin_case(a, b, c, *layers, dual=None):
    def df(x):
        return a * b * np.cos(b * x + c)

    return Case(dual or sin(a, b, c), lambda x: a * np.sin(b * x + c), df, layers, sharpness=b)


def exp_case(a, b, *layers):
    def f(x):
        return a * np.exp(b * x)

    return Case(exp(a, b), f, lambda x: b * f(x), layers, reach=24.0, variances=SMALL)


def gaussian_case(a, b, *layers, variances=truth.VARIANCES, reach=10.0):
    def f(x):
        return a * np.exp(b * x**2)

    return Case(gaussian(a, b), f, lambda x: 2 * b * x * f(x), layers, None, math.sqrt(abs(b)), reach, variances)


def gelu_case(*layers):
    return Case(gelu(False), lambda x: x * ndtr(x), lambda x: ndtr(x) + x * normal_density(x), layers)


def gabor_case(*layers):
    def df(x):
        return np.exp(-(x**2)) * (np.cos(x) - 2 * x * np.sin(x))

    return Case(gabor(), lambda x: np.exp(-(x**2)) * np.sin(x), df, layers)


def approximate_gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def selu_case():
    scale, alpha = 1.0507009873554804934, 1.6732632423543772848

    def f(x):
        return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))

    def df(x):
        return scale * np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))

    return Case(activations.ACTIVATIONS["Selu"], f, df, (stax.Selu,))


def elu_case(alpha, *layers):
    def f(x):
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))

    return Case(activations.elu(alpha), f, lambda x: np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0))), layers)


def squareplus_case(b, *layers):
    def f(x):
        return (x + np.sqrt(x * x + b)) / 2

    return Case(activations.squareplus(b), f, lambda x: (1 + x / np.sqrt(x * x + b)) / 2, layers)


def clipped_case(pieces, fn, low, high, *layers):
    def df(x):
        return np.where((x > low) & (x < high), 1.0, 0.0)

    dual = piecewise_linear.piecewise_linear(fn, pieces)
    return Case(dual, lambda x: np.clip(x, low, high), df, layers, kinks=(low, high))


def activation_case(name, f, df):
    layer = getattr(stax, name)
    return Case(activations.ACTIVATIONS[name], f, df, (layer, stax.Swish) if name == "Silu" else (layer,))


def softplus(x):
    return np.logaddexp(0, x)


def own(x):
    """A function that is no layer, smooth but for a kink at 0."""
    return jnp.exp(-jnp.abs(x)) + x / 2


def own_clipped(x):
    """The same, linear between kinks that are not at 0."""
    return jnp.clip(x, -0.5, 2.0)


def cubed(x):
    return x**3


def given_moment(k, q1, q2):
    return q1 * q2 * jnp.sin(k)


def given_slope(k, q1, q2):
    return q1 * q2 * jnp.cos(k)


SMALL = truth.VARIANCES[truth.VARIANCES < 100]  # beyond, exponentials of the variance overflow
COEFFICIENTS = [0.3, -1.0, 0.0, 0.7, 0.2]
ROOT_2, SHIFT = math.sqrt(2), math.pi / 4

# One or two of each formula: the moments are compared with quadrature, and tested with their derivatives and limits.
FORMULAS = {
    "relu": abrelu_case(0.0, 1.0, stax.Relu, partial(stax.Relu, do_stabilize=True)),
    "abs": abrelu_case(-1.0, 1.0, stax.Abs),
    "sign": Case(sign(), np.sign, np.zeros_like, (stax.Sign,), degree=0),
    "rectified 0": rectified_case(0),
    "rectified 1": rectified_case(1),
    "rectified 3": rectified_case(3, partial(stax.RectifiedMonomial, 3)),
    "monomial 3": monomial_case(3, partial(stax.Monomial, 3)),
    "hermite 3": hermite_case(3, partial(stax.Hermite, 3)),
    "polynomial": polynomial_case(polynomial(COEFFICIENTS), COEFFICIENTS, partial(stax.Polynomial, COEFFICIENTS)),
    "sigmoid": erf_case(0.5, 1 / 2.4020563531719796, 0.5, stax.Sigmoid_like),
    "gelu": gelu_case(stax.Gelu),
    "cos": sin_case(1.0, 1.0, math.pi / 2, stax.Cos),
    "shifted sin": sin_case(0.8, 1.5, 0.4, partial(stax.Sin, 0.8, 1.5, 0.4)),
    "rbf": sin_case(ROOT_2, ROOT_2, SHIFT, stax.Rbf, dual=rbf(1.0)),
    "decaying exp": exp_case(0.5, -0.4, partial(stax.Exp, 0.5, -0.4)),
    "gaussian": gaussian_case(1.0, -1.0, stax.Gaussian),
    "gabor": gabor_case(stax.Gabor),
}

# The same formulas with other parameters: only the moments are compared.
VARIANTS = {
    "leaky relu": abrelu_case(0.3, 1.0, partial(stax.LeakyRelu, 0.3), partial(stax.ABRelu, 0.3, 1.0)),
    "linear": abrelu_case(2, 2),
    **{f"rectified {d}": rectified_case(d) for d in (2, 4, 5)},
    **{f"monomial {d}": monomial_case(d) for d in (0, 1, 2, 4, 5)},
    **{f"hermite {d}": hermite_case(d) for d in (0, 1, 2, 4, 5, 6)},
    "constant": polynomial_case(polynomial([2]), [2]),
    "erf": erf_case(1.0, 1.0, 0.0),
    "steep erf": erf_case(-0.7, 1.5, 0.2, partial(stax.Erf, -0.7, 1.5, 0.2)),
    "sin": sin_case(1.0, 1.0, 0.0),
    "wide rbf": sin_case(ROOT_2, math.sqrt(0.6), SHIFT, partial(stax.Rbf, 0.3), dual=rbf(0.3)),
    "exp": exp_case(1.0, 1.0),
    "wide gaussian": gaussian_case(2.0, -0.3, partial(stax.Gaussian, 2.0, -0.3)),
    "growing gaussian": gaussian_case(1.0, 0.1, variances=SMALL[SMALL < 2], reach=20.0),
}

# Those whose moments are not the exact ones of their function, or that have none: tested as `FORMULAS`, but for that.
INEXACT = {
    "normalized": Case(
        exp_normalized(0.7, -1.0, False), None, None, (partial(stax.ExpNormalized, 0.7, do_clip=False),)
    ),
    "clipped": Case(exp_normalized(0.7, -1.0, True), None, None, (partial(stax.ExpNormalized, 0.7, do_clip=True),)),
    "approximate gelu": Case(gelu(True), approximate_gelu, None, (partial(stax.Gelu, approximate=True),)),
    "quadrature": Case(
        quadrature(jnp.tanh, 6, None), np.tanh, None, (partial(stax.ElementwiseNumerical, jnp.tanh, 6),)
    ),
    "custom": Case(
        custom(cubed, given_moment, given_slope),
        cubed,
        None,
        (partial(stax.Elementwise, cubed, given_moment, given_slope),),
    ),
}

# Those by series and by integrals, compared with nested quadrature for variances from 1e-3 to 100.
SERIES = {
    "tanh": activation_case("Tanh", np.tanh, lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2),
    "logistic": activation_case("Sigmoid", expit, lambda x: expit(x) * expit(-x)),
    "silu": activation_case("Silu", lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "softplus": activation_case("Softplus", softplus, expit),
    "mish": activation_case(
        "Mish",
        lambda x: x * np.tanh(softplus(x)),
        lambda x: np.tanh(softplus(x)) + x * expit(x) / np.cosh(np.minimum(softplus(x), 300)) ** 2,
    ),
    "softsign": activation_case("Softsign", lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2),
    "log cosh": activation_case(
        "LogCosh", lambda x: np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - math.log(2), np.tanh
    ),
    "selu": selu_case(),
    "elu": elu_case(0.8, partial(stax.Elu, 0.8)),
    "squareplus": squareplus_case(4.0, stax.Squareplus),
    "hard tanh": clipped_case(piecewise_linear.HARD_TANH, jax.nn.hard_tanh, -1.0, 1.0, stax.HardTanh),
    "relu 6": clipped_case(piecewise_linear.RELU_6, jax.nn.relu6, 0.0, 6.0, stax.Relu6),
    "own": Case(
        own_function.own(own),
        lambda x: np.exp(-np.abs(x)) + x / 2,
        lambda x: -np.sign(x) * np.exp(-np.abs(x)) + 0.5,
        (partial(stax.Nonlinearity, own),),
    ),
    "own clipped": Case(
        own_function.own(own_clipped, kinks=(-0.5, 2.0)),
        lambda x: np.clip(x, -0.5, 2.0),
        lambda x: np.where((x > -0.5) & (x < 2), 1.0, 0.0),
        (partial(stax.Nonlinearity, own_clipped, kinks=(-0.5, 2.0)),),
        kinks=(-0.5, 2.0),
    ),
}

CASES = FORMULAS | VARIANTS
DUALS = {name: case.dual for name, case in (FORMULAS | INEXACT).items()}
