"""Expectations by quadrature, against adaptive quadrature and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from neural_tangents.tracing._expectations import Rough, mean, pair

FUNCTIONS = {
    "clip": Rough(lambda x: jnp.clip(x, -1, 1), (-1.0, 1.0)),
    "shifted": Rough(lambda x: jnp.maximum(x + 0.5, 0), (-0.5,)),
    "sin": Rough(jnp.sin, (0.0,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_mean(name):
    with jax.enable_x64(True):
        f = FUNCTIONS[name]
        for q in (0.3, 1.0, 4.0):
            ends = [-40, *(k / q**0.5 for k in f.kinks), 40]
            parts = (
                integrate.quad(lambda t, q=q: float(f(jnp.asarray(q**0.5 * t))) * stats.norm.pdf(t), a, b)[0]
                for a, b in zip(ends[:-1], ends[1:], strict=True)
            )
            np.testing.assert_allclose(mean(f, jnp.asarray(q)), sum(parts), atol=1e-9)


def test_pair_of_half_lines():
    k, q1, q2 = jnp.array([0.3, 1.2, -0.7, 0.0]), jnp.array([1.0, 1.5, 0.5, 2.0]), jnp.array([2.0, 1.0, 1.3, 0.0])
    with jax.enable_x64(True):
        k, q1, q2 = (jnp.asarray(np.asarray(a), np.float64) for a in (k, q1, q2))
        relu = Rough(lambda x: jnp.maximum(x, 0), (0.0,))
        rho = k[:3] / jnp.sqrt(q1 * q2)[:3]
        angle = jnp.arccos(rho)
        want = jnp.sqrt(q1 * q2)[:3] * (jnp.sin(angle) + (np.pi - angle) * rho) / (2 * np.pi)
        np.testing.assert_allclose(pair(relu, relu, k, q1, q2)[:3], want, rtol=1e-7)
        np.testing.assert_allclose(pair(relu, relu, k, q1, q2)[3], 0, atol=1e-12)
        slopes = pair(relu.slope, relu.slope, k, q1, q2)[:3]
        np.testing.assert_allclose(slopes, (np.pi - angle) / (2 * np.pi), rtol=1e-7)


def test_pair_of_two_functions():
    with jax.enable_x64(True):
        sin, cube = FUNCTIONS["sin"], Rough(lambda x: x**3, (0.0,))
        k, q1, q2 = (jnp.asarray(x, np.float64) for x in (0.4, 1.2, 0.7))
        # E[sin(u) v^3] = 3 k q2 E[cos u] + k^3 E[sin'''(u)], by Stein's lemma
        want = (3 * k * q2 - k**3) * jnp.exp(-q1 / 2)
        np.testing.assert_allclose(pair(sin, cube, k, q1, q2), want, rtol=1e-8)


@pytest.mark.slow
def test_derivatives_are_finite_where_inputs_agree():
    with jax.enable_x64(True):
        f = FUNCTIONS["sin"]

        def total(k, q1, q2):
            return pair(f, f, k, q1, q2)

        k, q1, q2 = (jnp.asarray(x, np.float64) for x in (1.0, 1.0, 1.0))
        # E[sin u sin v] = exp(-(q1 + q2) / 2) sinh(k)
        want = np.exp(-1) * np.array([np.cosh(1), -np.sinh(1) / 2, -np.sinh(1) / 2])
        np.testing.assert_allclose(jax.grad(total, (0, 1, 2))(k, q1, q2), want, rtol=1e-6)
