"""Compiled loops over kernels."""

import jax
import numpy as np

from neural_tangents import stax

X = np.random.RandomState(0).normal(size=(3, 4)).astype(np.float32)


def test_kernels_are_packed_into_complex_numbers_on_cpus_only(monkeypatch):
    def kernels(x):
        net = stax.serial(*[stax.Dense(4, 1.3, 0.2), stax.Relu()] * 6, stax.Dense(1))  # which keeps its programs
        return net[2](x, None, ("nngp", "ntk"))

    packed, want = jax.make_jaxpr(kernels)(X), jax.jit(kernels)(X)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plain, got = jax.make_jaxpr(lambda x: kernels(x))(X), jax.jit(lambda x: kernels(x))(X)
    assert "c64" in str(packed) and "c64" not in str(plain)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
