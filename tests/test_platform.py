"""Canaries for faults of the platform that would make correct code return wrong numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize("rows", [20_000, 40_000])
def test_vmapped_row_sums_are_compiled_correctly(dtype, rows, optimised):
    """jaxlib 0.10.2 on CPU got rows wrong past 16,384 (float64) or 32,768 (float32) of them, with no error."""
    rng = np.random.default_rng(rows)
    a = rng.standard_normal((3, 3)).astype(dtype)
    x = rng.standard_normal((rows, 3)).astype(dtype)
    got = jax.jit(jax.vmap(lambda r: jnp.sum((a @ r) ** 2)), compiler_options=optimised)(x)
    want = np.sum((x @ a.T) ** 2, axis=1)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)
