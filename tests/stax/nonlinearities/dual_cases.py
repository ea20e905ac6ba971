"""Activations with their duals, and how to integrate them."""

import math
from typing import NamedTuple

import dual_truth as truth
import jax.numpy as jnp
import numpy as np
from scipy.special import erf as scipy_erf
from scipy.special import eval_hermitenorm, ndtr

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
    """An activation, itself and its derivative in NumPy, and how to integrate them."""

    dual: Dual
    f: truth.Function
    df: truth.Function | None
    degree: int | None = None  # of homogeneity; None for smooth functions
    sharpness: float = 1.0
    reach: float = 10.0
    variances: np.ndarray = truth.VARIANCES


def normal_density(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def abrelu_case(a, b):
    return Case(abrelu(a, b), lambda x: np.where(x < 0, a, b) * x, lambda x: np.where(x < 0, a, b), degree=1)


def rectified_case(d):
    df = (lambda x: np.where(x >= 0, float(d) * x ** (d - 1), 0)) if d else None
    return Case(rectified_monomial(d), lambda x: np.where(x >= 0, x**d, 0), df, degree=d)


def polynomial_case(dual, coef, variances=truth.VARIANCES):
    p = np.polynomial.Polynomial(coef)
    return Case(dual, p, p.deriv(), sharpness=0.0, reach=14.0, variances=variances)


def hermite_case(d):
    def f(x):
        return eval_hermitenorm(d, x) / math.sqrt(math.factorial(d))

    def df(x):
        return d * eval_hermitenorm(max(d - 1, 0), x) / math.sqrt(math.factorial(d))

    return Case(hermite(d), f, df, sharpness=0.0, reach=14.0, variances=np.ones(1))


def erf_case(a, b, c):
    def df(x):
        return a * b * 2 / math.sqrt(math.pi) * np.exp(-((b * x) ** 2))

    return Case(erf(a, b, c), lambda x: a * scipy_erf(b * x) + c, df, sharpness=b)


def sin_case(a, b, c, dual=None):
    def df(x):
        return a * b * np.cos(b * x + c)

    return Case(dual or sin(a, b, c), lambda x: a * np.sin(b * x + c), df, sharpness=b)


def exp_case(a, b, variances):
    return Case(
        exp(a, b), lambda x: a * np.exp(b * x), lambda x: a * b * np.exp(b * x), reach=24.0, variances=variances
    )


def gaussian_case(a, b, variances=truth.VARIANCES, reach=10.0):
    def f(x):
        return a * np.exp(b * x**2)

    return Case(gaussian(a, b), f, lambda x: 2 * b * x * f(x), None, math.sqrt(abs(b)), reach, variances)


def gelu_case():
    return Case(gelu(False), lambda x: x * ndtr(x), lambda x: ndtr(x) + x * normal_density(x))


def gabor_case():
    def df(x):
        return np.exp(-(x**2)) * (np.cos(x) - 2 * x * np.sin(x))

    return Case(gabor(), lambda x: np.exp(-(x**2)) * np.sin(x), df)


SMALL = truth.VARIANCES[truth.VARIANCES < 100]  # beyond, exponentials of the variance overflow
CASES = {
    "relu": abrelu_case(0.0, 1.0),
    "leaky relu": abrelu_case(0.3, 1.0),
    "abs": abrelu_case(-1.0, 1.0),
    "linear": abrelu_case(2, 2),
    "sign": Case(sign(), np.sign, np.zeros_like, degree=0),
    **{f"rectified {d}": rectified_case(d) for d in range(6)},
    **{f"monomial {d}": polynomial_case(monomial(d), [0] * d + [1]) for d in range(6)},
    **{f"hermite {d}": hermite_case(d) for d in range(7)},
    "polynomial": polynomial_case(polynomial([0.3, -1.0, 0.0, 0.7, 0.2]), [0.3, -1.0, 0.0, 0.7, 0.2]),
    "constant": polynomial_case(polynomial([2]), [2]),
    "erf": erf_case(1.0, 1.0, 0.0),
    "sigmoid": erf_case(0.5, 1 / 2.4020563531719796, 0.5),
    "steep erf": erf_case(-0.7, 1.5, 0.2),
    "gelu": gelu_case(),
    "sin": sin_case(1.0, 1.0, 0.0),
    "cos": sin_case(1.0, 1.0, math.pi / 2),
    "shifted sin": sin_case(0.8, 1.5, 0.4),
    "rbf": sin_case(math.sqrt(2), math.sqrt(2), math.pi / 4, rbf(1.0)),
    "wide rbf": sin_case(math.sqrt(2), math.sqrt(0.6), math.pi / 4, rbf(0.3)),
    "exp": exp_case(1.0, 1.0, SMALL),
    "decaying exp": exp_case(0.5, -0.4, SMALL),
    "gaussian": gaussian_case(1.0, -1.0),
    "wide gaussian": gaussian_case(2.0, -0.3),
    "growing gaussian": gaussian_case(1.0, 0.1, SMALL[SMALL < 2], 20.0),
    "gabor": gabor_case(),
}

# One or two of each formula, where all would take long to compile.
NAMES = """
relu; abs; sign; rectified 0; rectified 1; rectified 3; monomial 3; hermite 3; polynomial; sigmoid; gelu; cos;
shifted sin; rbf; decaying exp; gaussian; gabor
"""
DUALS = {name.strip(): CASES[name.strip()].dual for name in NAMES.split(";")} | {
    "normalized": exp_normalized(0.7, -1.0, False),
    "clipped": exp_normalized(0.7, -1.0, True),
    "quadrature": quadrature(jnp.tanh, 6, None),
    "custom": custom(None, lambda k, q1, q2: q1 * q2 * jnp.sin(k), lambda k, q1, q2: q1 * q2 * jnp.cos(k)),
}
