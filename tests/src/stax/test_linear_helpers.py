"""Helpers of linear layers: against the layers themselves."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents._src.stax.linear import _affine, _conv_kernel_full_spatial_shared, _get_dimension_numbers


def test_affine():
    assert _affine(None, 2.0, 1.0) is None
    assert _affine(3.0, 2.0, None) == 12 and _affine(3.0, 2.0, 0.5) == 12.25


@pytest.mark.parametrize("padding", ["VALID", "SAME", "CIRCULAR"])
@pytest.mark.parametrize("n_batch", [1, 2])
def test_convolution_is_a_sum_over_the_filter(padding, n_batch):
    filter_shape, strides, sizes = (3, 2), (1, 2), (4, 5)
    pairs = [size for size in sizes for _ in range(2)]
    k = np.random.RandomState(0).normal(size=(*(2, 3)[:n_batch], *pairs))
    found = _conv_kernel_full_spatial_shared(k, filter_shape, strides, stax.Padding(padding), n_batch)
    # `jnp.pad` and slices, of images padded by (size - 1) // 2 and more after.
    pads = [(0, 0)] * n_batch
    for size, n, stride in zip(filter_shape, sizes, strides, strict=True):
        total = max((-(-n // stride) - 1) * stride + size - n, 0) if padding != "VALID" else 0
        pads += [(total // 2, total - total // 2)] * 2
    padded = np.pad(k, pads, mode="wrap" if padding == "CIRCULAR" else "constant")
    counts = [
        (n + sum(pad) - size) // stride + 1
        for n, pad, size, stride in zip(sizes, pads[n_batch::2], filter_shape, strides, strict=True)
    ]
    total = 0
    for i, j in itertools.product(range(filter_shape[0]), range(filter_shape[1])):
        h = slice(i, i + (counts[0] - 1) * strides[0] + 1, strides[0])
        w = slice(j, j + (counts[1] - 1) * strides[1] + 1, strides[1])
        total = total + padded[(..., h, h, w, w)]
    batch = range(n_batch)
    truth = total.transpose(*batch, n_batch + 2, n_batch + 3, n_batch, n_batch + 1) / 6
    np.testing.assert_allclose(found, truth, atol=1e-6)


def test_none_and_numbers_stay():
    assert _conv_kernel_full_spatial_shared(None, (3,), (1,), "SAME", 2) is None
    zero = jnp.zeros(())
    assert _conv_kernel_full_spatial_shared(zero, (3,), (1,), stax.Padding.SAME, 2) is zero


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_dimension_numbers_are_those_of_a_convolution(n, channels_first):
    numbers = _get_dimension_numbers(n, channels_first)
    assert len({*numbers[0]}) == n + 2 and numbers[0] == numbers[2]
    assert numbers[0].index("C") == (1 if channels_first else n + 1)
    layer = stax.Conv(5, (1,) * n, dimension_numbers=numbers)
    shape = (2, 3, *[4] * n) if channels_first else (2, *[4] * n, 3)
    assert layer[0](np.zeros(2, np.uint32), shape)[0] == tuple(5 if size == 3 else size for size in shape)
