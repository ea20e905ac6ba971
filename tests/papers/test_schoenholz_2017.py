"""How deep a signal goes: Schoenholz et al., "Deep Information Propagation", 2017.

Reproduced, with the quadrature of this file as the theory: the fixed point `q*` of variances, the slope `chi_1` that
separates order from chaos, depth scales of variances `xi_q` and of correlations `xi_c` (section 3), and the power law
where `xi_c` diverges. Figure 1 has the phase diagram of tanh; that of erf is of the same form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from neural_tangents import stax

# The trapezoidal rule, which for the functions of this file, analytic near the real line, errs by less than 1e-16.
POINTS = np.linspace(-9.0, 9.0, 151)
WEIGHTS = np.exp(-(POINTS**2) / 2) / np.sum(np.exp(-(POINTS**2) / 2))
POINTS_2D = np.meshgrid(POINTS, POINTS, indexing="ij")


class Erf:
    """The error function, its derivatives, and its layer."""

    layer = staticmethod(stax.Erf)
    accuracy = 1e-13  # of its kernel, relative; a closed form

    f = staticmethod(special.erf)

    @staticmethod
    def df(x):
        return 2 / np.pi**0.5 * np.exp(-(x**2))

    @staticmethod
    def ddf(x):
        return -2 * x * Erf.df(x)


class Tanh:
    """The hyperbolic tangent, its derivatives, and its layer."""

    accuracy = 3e-5  # of its kernel, by Gauss-Hermite quadrature, to which the poles at pi i / 2 are close

    @staticmethod
    def layer():
        with pytest.warns(UserWarning, match="approximate"):
            return stax.ElementwiseNumerical(jnp.tanh, deg=60)

    f = staticmethod(np.tanh)

    @staticmethod
    def df(x):
        return 1 / np.cosh(x) ** 2

    @staticmethod
    def ddf(x):
        return -2 * np.tanh(x) * Tanh.df(x)


def mean(f, q):
    """`E f(u)` for `u` of variance `q`."""
    return float(WEIGHTS @ f(q**0.5 * POINTS))


def mean_of_product(f, q, c):
    """`E f(u) f(v)` for `u`, `v` of variance `q` and correlation `c`."""
    z1, z2 = POINTS_2D
    return float(WEIGHTS @ (f(q**0.5 * z1) * f(q**0.5 * (c * z1 + (1 - c**2) ** 0.5 * z2))) @ WEIGHTS)


def fixed_variance(phi, w2, b2):
    """`q* = w2 E phi(u)^2 + b2`."""
    q = 1.0
    for _ in range(2000):
        q = w2 * mean(lambda u: phi.f(u) ** 2, q) + b2
    return q


def fixed_correlation(phi, w2, b2, q):
    """The stable solution of `c* = (w2 E phi(u) phi(v) + b2) / q*` in the chaotic phase, below 0.99."""
    return optimize.brentq(lambda c: w2 * mean_of_product(phi.f, q, c) + b2 - q * c, 0.0, 0.99, xtol=1e-15)


def slope(phi, w2, q):
    """`chi_1 = w2 E phi'(u)^2`, the slope of the map of correlations at 1."""
    return w2 * mean(lambda u: phi.df(u) ** 2, q)


def critical(phi, q):
    """The `(w2, b2)` of the critical line, `chi_1 = 1`, that have `q* = q`."""
    w2 = 1 / mean(lambda u: phi.df(u) ** 2, q)
    return w2, q - w2 * mean(lambda u: phi.f(u) ** 2, q)


def by_depth(phi, w2, b2, depths, get="nngp", x=((1.0, 0.0), (0.6, 1.0))):
    """Covariances of pre-activations of two inputs after each number of layers, `(len(depths), 2, 2)`, float64."""
    with jax.enable_x64(True):
        block = jax.jit(stax.serial(phi.layer(), stax.Dense(1, w2**0.5, b2**0.5))[2])
        kernel, found = stax.Dense(1, w2**0.5, b2**0.5)[2](jnp.asarray(x), None), []
        for depth in range(max(depths) + 1):
            if depth in depths:
                found.append(np.asarray(getattr(kernel, get)))
            kernel = block(kernel)
    return np.stack(found)


def variance(k):
    return k[:, 0, 0]


def correlation(k):
    return k[:, 0, 1] / np.sqrt(k[:, 0, 0] * k[:, 1, 1])


@pytest.mark.parametrize("phi, w2, b2", [(Erf, 0.6, 0.3), (Erf, 1.0, 0.5), (Erf, 3.0, 0.1), (Tanh, 1.2, 0.3)])
def test_variances(phi, w2, b2):
    """`q_l - q*` decays as `exp(-l / xi_q)`, `1 / xi_q = -ln(chi_1 + w2 E phi''(u) phi(u))`."""
    q = fixed_variance(phi, w2, b2)
    rate = slope(phi, w2, q) + w2 * mean(lambda u: phi.ddf(u) * phi.f(u), q)
    xi_q = -1 / np.log(rate)
    near, far = int(7 * xi_q), int(34 * xi_q) + 10
    *errors, last = variance(by_depth(phi, w2, b2, (near, near + 1, far))) / q - 1
    assert abs(last) < phi.accuracy
    assert 1e-6 < abs(errors[0]) < 2e-3
    # The map of variances has a second order, and each layer is wrong by the accuracy of its kernel.
    atol = 3 * abs(errors[0]) + phi.accuracy
    np.testing.assert_allclose(errors[1] / errors[0], rate, atol=atol)


@pytest.mark.parametrize("phi, w2, b2", [(Erf, 0.6, 0.3), (Erf, 1.1, 0.5), (Tanh, 1.2, 0.3)])
def test_correlations_in_the_ordered_phase(phi, w2, b2):
    """`c* = 1`, and `1 - c_l` decays as `exp(-l / xi_c)`, `1 / xi_c = -ln chi_1`."""
    chi = slope(phi, w2, fixed_variance(phi, w2, b2))
    assert chi < 0.9
    xi_c = -1 / np.log(chi)
    depths = (int(8 * xi_c), int(16 * xi_c))
    rest = 1 - correlation(by_depth(phi, w2, b2, depths))
    assert 1e-9 < rest[1] < rest[0] < 1e-3
    found = (depths[1] - depths[0]) / np.log(rest[0] / rest[1])
    # A correction of the first order in `1 - c`, and `1 - c` is rounded to 1e-16.
    np.testing.assert_allclose(found, xi_c, rtol=3 * rest[0] + 1e-16 / rest[1] + phi.accuracy)


@pytest.mark.parametrize("phi, w2, b2", [(Erf, 3.0, 0.1), (Erf, 6.0, 0.5), (Tanh, 4.0, 0.1)])
def test_correlations_in_the_chaotic_phase(phi, w2, b2):
    """`c* < 1`, and `c_l - c*` decays as `exp(-l / xi_c)`, `1 / xi_c = -ln w2 E phi'(u) phi'(v)`."""
    q = fixed_variance(phi, w2, b2)
    c = fixed_correlation(phi, w2, b2, q)
    assert slope(phi, w2, q) > 1.1
    xi_c = -1 / np.log(w2 * mean_of_product(phi.df, q, c))
    near, far = int(7 * xi_c), int(35 * xi_c)
    found = correlation(by_depth(phi, w2, b2, (near, 2 * near, far)))
    # Errors of single layers add up to `xi_c` times as much.
    np.testing.assert_allclose(found[2], c, atol=2 * xi_c * phi.accuracy + 1e-14)
    distance = found[:2] - found[2]
    np.testing.assert_allclose(near / np.log(distance[0] / distance[1]), xi_c, rtol=abs(distance[0]) + phi.accuracy)


@pytest.mark.parametrize("phi, q", [(Erf, 0.3), (Erf, 1.0)])
def test_power_law_on_the_critical_line(phi, q):
    """Where `chi_1 = 1`, `xi_c` is infinite, and `1 / (1 - c_l)` grows by `w2 q* E phi''(u)^2 / 2` in each layer.

    That is half the second derivative of the map of correlations at 1, whose first one is 1.
    """
    w2, b2 = critical(phi, q)
    assert b2 > 0
    growth = w2 * q * mean(lambda u: phi.ddf(u) ** 2, q) / 2
    inverse = 1 / (1 - correlation(by_depth(phi, w2, b2, (100, 200, 400))))
    # The third order adds O(ln 2) to both differences.
    for difference, layers in zip(np.diff(inverse), (100, 200), strict=True):
        np.testing.assert_allclose(difference / layers, growth, rtol=2 / (growth * layers))


@pytest.mark.parametrize("phi, q", [(Erf, 0.3), (Erf, 1.0), (Tanh, 0.5)])
def test_critical_line_is_the_border_of_order_and_chaos(phi, q):
    """Figure 1: with weights 10 % smaller in variance, correlations go to 1; with larger ones, to `c* < 1`."""
    w2, b2 = critical(phi, q)
    smaller, larger = (correlation(by_depth(phi, factor * w2, b2, (400,)))[0] for factor in (0.9, 1.1))
    chi = slope(phi, 0.9 * w2, fixed_variance(phi, 0.9 * w2, b2))
    q = fixed_variance(phi, 1.1 * w2, b2)
    c = fixed_correlation(phi, 1.1 * w2, b2, q)
    left = np.array([chi, 1.1 * w2 * mean_of_product(phi.df, q, c)]) ** 400  # of the distance to `c*`
    assert np.all(left < 1e-4)
    np.testing.assert_allclose([smaller, larger], [1.0, c], atol=np.max(left) + 1e-10 + 100 * phi.accuracy)


def test_start_of_the_critical_line():
    """Without biases, `w2 phi'(0)^2 = 1` is critical: below, `q* = 0`, and variances shrink by `w2 phi'(0)^2`."""
    critical_w2 = np.pi / 4
    small = variance(by_depth(Erf, 0.9 * critical_w2, 0.0, (100, 101)))
    np.testing.assert_allclose(small[1] / small[0], 0.9, rtol=10 * small[0])
    assert small[0] < 1e-4
    q = fixed_variance(Erf, 1.1 * critical_w2, 0.0)
    assert q > 0.01
    np.testing.assert_allclose(variance(by_depth(Erf, 1.1 * critical_w2, 0.0, (400,))), q, rtol=1e-11)


@pytest.mark.parametrize("w2, b2", [(0.6, 0.3), (3.0, 0.1)])
def test_gradients(w2, b2):
    """Section 4: gradients shrink by `chi_1` from layer to layer, so the NTK is the sum of that geometric series.

    `ntk_l = q_l + chi_1 ntk_(l - 1)` once variances have converged: it converges if `chi_1 < 1`, and explodes if not.
    """
    q = fixed_variance(Erf, w2, b2)
    chi = slope(Erf, w2, q)
    ntk = by_depth(Erf, w2, b2, (60, 61), "ntk")[:, 0, 0]
    np.testing.assert_allclose(ntk[1], q + chi * ntk[0], rtol=1e-12)
    if chi < 1:
        np.testing.assert_allclose(ntk, q / (1 - chi), rtol=1e-12)
    else:
        assert ntk[0] > 0.1 * chi**60
