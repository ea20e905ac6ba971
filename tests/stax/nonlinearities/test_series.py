"""Which series is used, warnings, and the layer that takes any function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_cases import SERIES, own, own_clipped
from sweeps import mostly_slow

from neural_tangents import stax

X = np.eye(3)


@pytest.mark.parametrize("name", ["silu", "selu"])
@pytest.mark.parametrize("spread", mostly_slow([0.0, 1.0, 20.0], [1.0]))
def test_series_agree(name, spread, dtype):
    """The shortest one for variances that are equal, small or neither, and the one that serves all."""
    random = np.random.RandomState(0)
    x = random.normal(size=(40, 30))
    x *= np.sqrt((1 + spread * np.arange(40)[:, None] / 40) / np.sum(x**2, axis=1, keepdims=True))
    with jax.enable_x64(dtype == np.float64):
        k, q = jnp.asarray(x @ x[:25].T, dtype), jnp.asarray(np.sum(x**2, axis=1), dtype)
        dual = SERIES[name].dual
        shortest = jax.jit(lambda k, q: dual.in_layout(k, q, q[:25], lambda a, b: (a[:, None], b[None])))(k, q)
        always = jax.jit(dual.moments)(k, q[:, None], q[None, :25])
        for a, b in zip(shortest, always, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=(2e-6 if dtype == np.float32 else 2e-9) * jnp.abs(b).max())


@pytest.mark.slow
def test_piecewise_linear_functions_of_equal_variances(dtype):
    """Interpolated between angles, for many pairs, and integrated for each of few."""
    random = np.random.RandomState(0)
    x = random.normal(size=(160, 3))
    x *= 2 / np.sqrt(np.sum(x**2, axis=1, keepdims=True))
    with jax.enable_x64(dtype == np.float64):
        k, q = jnp.asarray(x @ x[:110].T, dtype), jnp.full(160, 4, dtype)
        dual = SERIES["hard tanh"].dual
        many, few = (
            jax.jit(lambda k, q: dual.in_layout(k, q, q[:110], lambda a, b: (a[:, None], b[None])))(k[:n], q[:n])
            for n in (160, 120)
        )
        for a, b in zip(many, few, strict=True):
            np.testing.assert_allclose(a[:120], b, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-10)


def kernel(layer, x=X):
    return stax.serial(stax.Dense(1), layer)[2](x, None, "nngp")


def undeclared(x):
    return jnp.maximum(jnp.abs(x) - 1, 0)


@pytest.mark.slow
def test_undeclared_kinks_are_a_warning():
    layer = stax.Nonlinearity(undeclared)
    with pytest.warns(UserWarning, match=r"`Nonlinearity` has relative errors of about .*, more than"):
        approximate = kernel(layer)
    exact = kernel(stax.Nonlinearity(undeclared, kinks=(-1, 1)))
    assert 1e-6 < stax.nonlinearity_error(undeclared)
    np.testing.assert_allclose(approximate, exact, atol=1e-2)


@pytest.mark.slow
def test_tolerance_and_error():
    assert stax.nonlinearity_error(own) < 1e-9
    assert 1e-9 < stax.nonlinearity_error(own, tolerance=1e-4) < 1e-4
    rough = kernel(stax.Nonlinearity(own, tolerance=1e-4))
    np.testing.assert_allclose(rough, kernel(stax.Nonlinearity(own)), rtol=1e-3)


@pytest.mark.slow
def test_given_derivative():
    def slope(x):
        return jnp.ones_like(x)

    ntk = stax.serial(stax.Dense(1), stax.Nonlinearity(own, derivative=slope))[2](np.eye(2), None, "ntk")
    np.testing.assert_allclose(ntk, np.eye(2) / 2, atol=1e-6)  # the NTK of `Dense` times 1


def test_huge_variances_are_a_warning():
    with pytest.warns(UserWarning, match="accurate for variances up to 1024, got 3333"):
        huge = kernel(stax.Tanh(), 100 * np.eye(3))
    np.testing.assert_allclose(huge, np.eye(3), atol=0.05)


def test_kinks():
    x = np.random.RandomState(0).normal(size=(4, 3))
    by_pieces = kernel(stax.Nonlinearity(own_clipped, kinks=[2, -0.5]), x)
    np.testing.assert_allclose(
        kernel(stax.Nonlinearity(lambda x: jnp.clip(x, -1, 1), kinks=(-1, 0, 1)), x),
        kernel(stax.HardTanh(), x),
        rtol=1e-5,
    )
    assert by_pieces.shape == (4, 4)


def test_functions_of_traced_values():
    def scaled(a):
        return kernel(stax.Nonlinearity(lambda x: jnp.sin(a * x))).sum()

    with pytest.raises(TypeError, match="does not depend on traced values"):
        jax.grad(scaled)(1.0)
    with pytest.raises(ValueError, match="positive `tolerance`, got 0"):
        stax.Nonlinearity(jnp.tanh, tolerance=0)
    with pytest.raises(TypeError, match="function as `fn`"):
        stax.Nonlinearity(3)


@pytest.mark.slow
def test_images_of_one_variance():
    """Evaluated slab by slab, where some entries stand for no pair of positions, and at once."""
    x = np.random.RandomState(0).normal(size=(2, 4, 3))
    x /= np.sqrt(np.mean(x**2, axis=-1, keepdims=True))
    layers = [stax.Conv(1, (1,)), stax.Silu(), stax.Conv(1, (3,), padding="SAME"), stax.GlobalAvgPool()]
    kernels = layers[0][2](x, diagonal_spatial=False)
    for layer in layers[1:]:
        kernels = layer[2](kernels)
    streamed = stax.serial(*layers)[2](x)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(kernels, name), rtol=1e-5)
