"""The arc-cosine kernels of Cho & Saul, "Kernel Methods for Deep Learning", 2009.

Reproduced: their definition as an integral (eq. 1), `k_n = |x|^n |y|^n J_n(theta) / pi` (eq. 3) with `J_n` from
derivatives (eq. 4) and in closed form for `n = 0, 1, 2` (eqs. 5-7), values at the angles 0, pi / 2 and pi, and kernels
of several layers (section 2.3).

A layer of random features has the kernel `E f(w x) f(w y)` where the paper has twice that.
"""

import jax
import mpmath
import numpy as np
import pytest
from scipy import integrate

from neural_tangents import stax

DEGREES = [0, 1, 2, 3]
ANGLES = np.linspace(0.0, np.pi, 13)
# `J_n` is at most (2 n - 1)!! pi, and made of sums of a few terms of about that size, which cancel at the angle pi.
ATOL = 1e-13


def closed_form(n, theta):
    """`J_0`, `J_1`, `J_2`."""
    rest, sin, cos = np.pi - theta, np.sin(theta), np.cos(theta)
    return [rest, sin + rest * cos, 3 * sin * cos + rest * (1 + 2 * cos**2)][n]


def pairs(angles, norms=(1.0, 1.0)):
    """A vector, and one at each angle to it, in the plane."""
    x = np.array([[norms[0], 0.0]])
    return x, norms[1] * np.stack([np.cos(angles), np.sin(angles)], -1)


def kernel(nonlinearities, x, y, get="nngp"):
    """The kernel of layers of random features, weights from N(0, 1) per input, N(0, 1 / width) per feature."""
    layers = [layer for nonlinearity in nonlinearities for layer in (stax.Dense(1), nonlinearity)]
    layers[0] = stax.Dense(1, W_std=x.shape[1] ** 0.5)
    kernel_fn = stax.serial(*layers)[2]
    with jax.enable_x64(True):
        return np.asarray(kernel_fn(x, y, get))


def of_degree(n):
    return [stax.RectifiedMonomial(n)] if n != 1 else [stax.RectifiedMonomial(1), stax.Relu()]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_closed_forms(n):
    """Eqs. (3) and (5)-(7)."""
    x, y = pairs(ANGLES, (1.3, 0.6))
    want = (1.3 * 0.6) ** n * closed_form(n, ANGLES) / np.pi
    for nonlinearity in of_degree(n):
        np.testing.assert_allclose(2 * kernel([nonlinearity], x, y)[0], want, rtol=1e-12, atol=ATOL)


def test_step_of_both_signs():
    """`sign = 2 step - 1`, so its kernel is `2 k_0 - 1 = 1 - 2 theta / pi`."""
    x, y = pairs(ANGLES)
    np.testing.assert_allclose(kernel([stax.Sign()], x, y)[0], 2 * closed_form(0, ANGLES) / np.pi - 1, atol=ATOL)


@pytest.mark.parametrize("n", DEGREES)
def test_special_angles(n):
    """`J_n(0) = pi (2 n - 1)!!`, `J_n(pi / 2) = pi / 2, 1, pi / 2, 4`, `J_n(pi) = 0`."""
    at_zero, at_right_angle = np.pi * [1, 1, 3, 15][n], [np.pi / 2, 1, np.pi / 2, 4][n]
    x, y = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    for nonlinearity in of_degree(n):
        found = 2 * np.pi * kernel([nonlinearity], x, y)[0]
        np.testing.assert_allclose(found, [at_zero, at_right_angle, 0.0], rtol=1e-14, atol=ATOL)


@pytest.mark.parametrize("n", DEGREES)
def test_generating_derivatives(n):
    """Eq. (4): `J_n = (-1)^n sin^(2 n + 1) (1 / sin d/dtheta)^n ((pi - theta) / sin)`."""

    def operated(m, theta):
        if m == 0:
            return (mpmath.pi - theta) / mpmath.sin(theta)
        return mpmath.diff(lambda t: operated(m - 1, t), theta) / mpmath.sin(theta)

    with mpmath.workdps(60):
        want = [float((-1) ** n * mpmath.sin(t) ** (2 * n + 1) * operated(n, mpmath.mpf(t))) for t in ANGLES[1:-1:3]]
    x, y = pairs(ANGLES[1:-1:3])
    for nonlinearity in of_degree(n):
        np.testing.assert_allclose(2 * np.pi * kernel([nonlinearity], x, y)[0], want, rtol=1e-12, atol=ATOL)


@pytest.mark.parametrize("n", DEGREES)
def test_definition(n):
    """Eq. (1), `2 E step(w x) step(w y) (w x)^n (w y)^n`, in polar coordinates of `w`.

    The radius has `E r^(2 n) = 2^n n!`; the angle goes over the half-plane where both products are positive.
    """
    angles = ANGLES[1:-1]

    def over_angle(theta):
        return integrate.quad(
            lambda phi: np.cos(phi) ** n * np.cos(phi - theta) ** n, theta - np.pi / 2, np.pi / 2, epsabs=1e-13
        )[0]

    want = [2 * 2**n * [1, 1, 2, 6][n] * over_angle(theta) / (2 * np.pi) for theta in angles]
    for nonlinearity in of_degree(n):
        np.testing.assert_allclose(2 * kernel([nonlinearity], *pairs(angles))[0], want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("degrees", [(1, 1, 1), (0, 0), (2, 1, 0), (1, 2)])
def test_several_layers(degrees):
    """Section 2.3: the next kernel is `(k(x, x) k(y, y))^(n / 2) J_n(theta) / pi` of the angle in feature space."""
    x, y = pairs(ANGLES, (1.2, 0.9))
    xx, yy, xy = np.full(len(ANGLES), 1.2**2), np.full(len(ANGLES), 0.9**2), 1.2 * 0.9 * np.cos(ANGLES)
    for n in degrees:
        theta = np.arccos(np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0))
        xy = (xx * yy) ** (n / 2) * closed_form(n, theta) / np.pi
        xx, yy = (q**n * [1, 1, 3][n] for q in (xx, yy))
    # Twice the expectation in each layer is a factor that later layers raise to their power.
    factor = 1.0
    for n in degrees:
        factor = 2 * factor**n
    found = factor * kernel([stax.RectifiedMonomial(n) for n in degrees], x, y)[0]
    # The arc cosine of a correlation rounded to 1e-16 is wrong by up to 1e-8 at the angles 0 and pi, where steps are
    # sensitive to it; elsewhere not.
    np.testing.assert_allclose(found[1:-1], want := xy[1:-1], rtol=1e-11, atol=ATOL * want.max())
    np.testing.assert_allclose(found, xy, rtol=1e-7, atol=1e-7)
