"""Serial and parallel evaluation under their old names."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents._src import batching, monte_carlo
from neural_tangents._src.predict import _is_on_cpu

INIT_FN, APPLY_FN, KERNEL_FN = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
X1, X2 = np.arange(12.0).reshape(4, 3) / 7, np.arange(6.0).reshape(2, 3) / 5


@pytest.mark.parametrize(
    "batched",
    [
        batching._serial(KERNEL_FN, 2),
        batching._parallel(KERNEL_FN),
        batching._parallel(batching._serial(KERNEL_FN, 2)),
        batching._serial(batching._parallel(KERNEL_FN), 2),
        batching._serial(KERNEL_FN, batch_size=2, store_on_device=False),
    ],
)
def test_kernels_are_the_same(batched):
    for x2 in (X2, None):
        np.testing.assert_allclose(batched(X1, x2, "ntk"), KERNEL_FN(X1, x2, "ntk"), rtol=1e-5)
    assert isinstance(batched(X1, X2), nt.Kernel)


def test_number_of_devices():
    assert batching._parallel(KERNEL_FN).device_count == jax.local_device_count()
    assert batching._parallel(KERNEL_FN, device_count=0).device_count == 0


def test_compiled_or_mapped():
    def f(x, y, factor, power=1):
        assert isinstance(factor, int)
        return factor * x + y**power

    for n in (0, 1, -1):
        found = batching._jit_or_pmap_broadcast(f, n)
        x = X1 if n == 0 else X1[None]
        np.testing.assert_allclose(found(x, X1, 3, power=2).reshape(X1.shape), 3 * X1 + X1**2, rtol=1e-6)


def test_mapped_over_devices(four_devices):
    code = """
import jax.numpy as jnp
from neural_tangents._src import batching
y = jnp.arange(3.0)
found = batching._jit_or_pmap_broadcast(lambda x, y, n: n * x @ y)(jnp.arange(24.0).reshape(4, 2, 3), y, 2)
assert found.shape == (4, 2) and jnp.allclose(found, 2 * jnp.arange(24.0).reshape(4, 2, 3) @ y)
"""
    done = subprocess.run([sys.executable, "-c", code], env=four_devices, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_one_draw():
    apply_fn = functools.partial(lambda params, x, rng: APPLY_FN(params, x) + jax.random.normal(rng, (1, 1)))
    draw_fn = monte_carlo._sample_once_kernel_fn(nt.empirical_kernel_fn(APPLY_FN), INIT_FN)
    key = jax.random.key(3)
    params = INIT_FN(jax.random.split(key)[0], X1.shape)[1]
    found = draw_fn(X1, X2, key, ("nngp", "ntk"))
    truth = nt.empirical_kernel_fn(APPLY_FN)(X1, X2, ("nngp", "ntk"), params)
    np.testing.assert_allclose(found.ntk, truth.ntk, rtol=1e-5)
    np.testing.assert_allclose(found.nngp, truth.nngp, rtol=1e-5)
    noisy = monte_carlo._sample_once_kernel_fn(nt.empirical_kernel_fn(apply_fn), INIT_FN, 2)(X1, None, key, "nngp")
    assert noisy.shape == (4, 4) and not jnp.allclose(noisy[:, :2], found.nngp)


def test_average_of_draws():
    """The average over keys is what `monte_carlo_kernel_fn` gives."""
    key = jax.random.key(0)
    draw_fn = monte_carlo._sample_once_kernel_fn(nt.empirical_kernel_fn(APPLY_FN), INIT_FN)
    rest, first = jax.random.split(key)
    second = jax.random.split(rest)[1]
    average = sum(draw_fn(X1, X2, k, "ntk") for k in (first, second)) / 2
    np.testing.assert_allclose(
        monte_carlo.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, key, 2)(X1, X2, "ntk"), average, rtol=1e-5
    )


def test_where_arrays_are():
    assert _is_on_cpu({"a": np.ones(2), "b": [X1]})
