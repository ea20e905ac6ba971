"""Tiles as large as memory allows, and what a run is going to take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import stax

LAYERS = [stax.Dense(1), stax.Erf()] * 3
KERNEL_FN = stax.serial(*LAYERS, stax.Dense(1))[2]
X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)


def linear_memory(x1, x2):
    """A kernel function that takes memory for each input, and almost none for each pair."""
    wide = [jnp.sin(jnp.cumsum(jnp.broadcast_to(x[:, :1], (len(x), 200)), axis=1)) for x in (x1, x2)]
    return jnp.sort(wide[0]).sum(1)[:, None] * jnp.sort(wide[1]).sum(1)[None]


@pytest.mark.parametrize("kernel_fn", [KERNEL_FN, linear_memory])
@pytest.mark.parametrize("budget", [2**17, 2**20])
def test_tiles_use_the_budget_and_no_more(kernel_fn, budget):
    args = (X, X) if kernel_fn is linear_memory else (X, None, "ntk")
    batched = nt.batch(kernel_fn, "auto", 0, memory_budget=budget)
    found = batched.estimate(*args)
    assert budget / 8 < found.tile_bytes <= budget
    np.testing.assert_allclose(batched(*args), kernel_fn(*args), rtol=1e-3, atol=1e-3)
    rows, columns = found.tile_shape
    m = -(-300 // rows)
    assert rows == columns and found.n_devices == 1
    assert found.n_tiles == (m * m if kernel_fn is linear_memory and args[0] is not args[1] else m * (m + 1) // 2)
    assert found.result_bytes == 300 * 300 * 4


def test_largest_tile_is_one_call():
    found = nt.batch(KERNEL_FN, "auto").estimate(X, X[:20], "nngp")
    assert found.tile_shape == (300, 20) and found.n_tiles == 1


def test_nothing_is_compiled_twice(count_compilations):
    batched = nt.batch(KERNEL_FN, "auto", 0, memory_budget=2**18)
    batched(X, None, "ntk")
    with count_compilations() as count:
        batched(X, None, "ntk")
    assert count() == 0


@pytest.mark.slow
def test_inside_a_program_and_for_random_networks():
    init_fn, apply_fn, _ = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    batched = nt.batch(KERNEL_FN, "auto", 0, memory_budget=2**18)
    np.testing.assert_allclose(
        jax.jit(lambda x: batched(x, None, "ntk"))(X), KERNEL_FN(X, None, "ntk"), rtol=1e-4, atol=1e-6
    )
    random = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(0), 1)
    found = nt.batch(random, "auto", 0, memory_budget=2**18)(X[:90], None, "nngp")
    np.testing.assert_allclose(found, random(X[:90], None, "nngp"), rtol=1e-4, atol=1e-5)


def test_estimate_in_words():
    """One tile is computed to tell the time; a step of a run of many tiles takes as long as another."""
    found = nt.batch(KERNEL_FN, 100, 0).estimate(X, None, "ntk")
    assert found.seconds > 0 and found.n_tiles == 6
    text = str(found)
    assert text.startswith("6 tiles of 100 x 100 inputs, 1 at a time; ") and "352 KiB for the results" in text
    assert text.endswith("seconds")


def test_errors():
    with pytest.raises(ValueError, match="a `memory_budget` of at least .* single pair of inputs"):
        nt.batch(KERNEL_FN, "auto", 0, memory_budget=3)(X, None, "ntk")
    random = nt.monte_carlo_kernel_fn(*stax.Dense(1)[:2], jax.random.key(0), 1)
    with pytest.raises(TypeError, match="not one of `monte_carlo_kernel_fn`"):
        nt.batch(random, 2).estimate(X, None)
