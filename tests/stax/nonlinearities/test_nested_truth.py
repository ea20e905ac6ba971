"""Nested quadrature, which other tests take for the truth, against mpmath.

`python benchmarks/nonlinearity_errors.py --exact` compares more points, of all functions.
"""

import dual_cases
import exact_truth
import mpmath as mp
import nested_truth
import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "softsign", "selu", "relu 6"])
def test_moments(name):
    case, (q1, q2, rho) = dual_cases.SERIES[name], (100.0, 0.1, -0.9)
    exact = float(exact_truth.moment(exact_truth.FUNCTIONS[name], [0.0, *case.kinks], q1, q2, rho))
    found = nested_truth.moment(case.f, case.kinks, np.array([q1, q2]), np.array([rho]))[0, 1, 0]
    np.testing.assert_allclose(found, exact, rtol=1e-13)


@pytest.mark.parametrize("name", exact_truth.FUNCTIONS)
def test_functions_and_their_derivatives(name):
    case, f = dual_cases.SERIES[name], exact_truth.FUNCTIONS[name]
    for x in (-30.7, -2.2, -0.4, 1e-3, 0.6, 3.0, 42.0):
        with mp.workdps(30):
            exact, slope = f(mp.mpf(x)), mp.diff(f, mp.mpf(x), h=mp.mpf(10) ** -10)
        np.testing.assert_allclose(case.f(np.array(x)), float(exact), rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(case.df(np.array(x)), float(slope), rtol=1e-12, atol=1e-13)
