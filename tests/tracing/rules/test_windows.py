"""Convolutions with weights, against covariances of patches; and which of them are layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neural_tangents import tracing

NUMBERS = ("NHWC", "HWIO", "NHWC")
CASES = {
    "same": dict(padding="SAME", layer=True),
    "valid": dict(padding="VALID", layer=True),
    "strided": dict(padding="SAME", window_strides=(2, 2), layer=True),
    "ones around, strided": dict(padding=[(1, 1), (1, 1)], window_strides=(2, 2), layer=False),
    "lopsided": dict(padding=[(2, 0), (0, 1)], layer=False),
    "dilated": dict(padding="SAME", rhs_dilation=(2, 1), layer=False),
    "transposed": dict(padding=[(1, 2), (2, 1)], lhs_dilation=(2, 2), layer=False),
}


@pytest.mark.parametrize("name", CASES)
def test_covariances_of_patches(name):
    options = {"window_strides": (1, 1), **CASES[name]}
    is_layer = options.pop("layer")
    x1, x2 = (jnp.asarray(np.random.RandomState(n).normal(size=(n, 4, 6, 2)), jnp.float32) for n in (2, 3))

    def f(w, x):
        return lax.conv_general_dilated(x, w, dimension_numbers=NUMBERS, **options)

    def patches(x):
        return lax.conv_general_dilated_patches(x, (3, 2), dimension_numbers=NUMBERS, **options)

    struct = jax.ShapeDtypeStruct((3, 2, 2, 7), jnp.float32)
    lifted = tracing.lift(f, struct, x1, distribution=lambda *_: 1 / 12)
    assert lifted.backend == ("stax" if is_layer else "direct")
    for names, factor in (("nngp", 1 / 12), ("ntk", 1.0)):
        want = factor * jnp.einsum("nabc,mdec->nmadbe", patches(x1), patches(x2))
        got = lifted.kernel_fn(x1, x2, names)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_padding_before_a_convolution_is_its_own():
    x = jnp.asarray(np.random.RandomState(0).normal(size=(2, 4, 5, 2)), jnp.float32)
    struct = jax.ShapeDtypeStruct((3, 3, 2, 7), jnp.float32)

    def conv(x, w, padding):
        return lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=NUMBERS)

    kernels = []
    for f in (
        lambda w, x: conv(x, w, "SAME"),
        lambda w, x: conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), w, "VALID"),
    ):
        lifted = tracing.lift(f, struct, x, distribution=lambda *_: 1.0)
        kernels.append(lifted.kernel_fn(x, None, "ntk"))
    np.testing.assert_allclose(*kernels, rtol=1e-5, atol=1e-5)


def test_convolution_over_one_row():
    x = jnp.asarray(np.random.RandomState(0).normal(size=(2, 1, 5, 2)), jnp.float32)
    struct = jax.ShapeDtypeStruct((1, 3, 2, 7), jnp.float32)

    def f(w, x):
        return lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=NUMBERS)

    got = tracing.lift(f, struct, x, distribution=lambda *_: 1.0).kernel_fn(x, None, "nngp")
    rows = jnp.stack([x[:, 0, i : i + 3].reshape(2, 6) for i in range(3)], 1)
    want = jnp.einsum("nac,mbc->nmab", rows, rows)
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-5)
