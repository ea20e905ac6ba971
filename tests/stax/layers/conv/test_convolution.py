"""The covariance of filters that positions share; `Conv` against finite networks and against jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from jax import lax
from window_truth import diagonal, quickly, random_covariance, selections, shared, spreads

from neural_tangents._core.layout import Layout, Spatial
from neural_tangents.stax import Conv, ConvTranspose, Dense, Padding, Relu, serial
from neural_tangents.stax._layers.conv.conv_geometry import window_mean
from neural_tangents.stax._window import TransposedWindow, Window

KEY = jax.random.PRNGKey(0)
COVARIANCES = ("nngp", "ntk", "cov1", "cov2")


def inputs(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


P1, P2 = inputs(3, 2, 4, 3, 2), inputs(4, 3, 4, 3, 2)


# The formula.

SLIDING = [
    (Window, (3, 1, "SAME"), (2, 2, "VALID")),
    (Window, (5, 2, "CIRCULAR"), (3, 1, "CIRCULAR")),
    (TransposedWindow, (3, 2, "SAME"), (2, 1, "VALID")),
    (TransposedWindow, (2, 3, "CIRCULAR"), (4, 2, "CIRCULAR")),
]


@pytest.mark.parametrize("n_batch", [1, 2])
def test_window_mean_is_a_product_of_matrices(n_batch):
    cov = random_covariance(0, n_batch, 4, 3)
    for kind, *windows in SLIDING:
        sliding = [kind(size, stride, Padding(padding)) for size, stride, padding in windows]
        truth = selections if kind is Window else spreads
        expected = shared(cov, n_batch, [truth(n, *window) for n, window in zip((4, 3), windows, strict=True)])

        def means(full, small, sliding=sliding):
            paired, lone = (Layout(spatial) for spatial in (Spatial.PAIRED, Spatial.DIAGONAL))
            return window_mean(full, n_batch, paired, sliding), window_mean(small, n_batch, lone, sliding)

        full, small = quickly(means, cov, diagonal(cov, n_batch))
        np.testing.assert_allclose(full, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(small, diagonal(expected, n_batch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "truth", "filter_shape", "strides", "padding", "parameterization", "s"),
    [
        (Conv, selections, (3, 2), (2, 1), "SAME", "ntk", (1, 1)),
        (Conv, selections, (2, 3), (1, 2), "CIRCULAR", "standard", (2, 1)),
        (ConvTranspose, spreads, (3, 2), (2, 1), "VALID", "standard", (1, 3)),
    ],
    ids=["Conv SAME", "Conv CIRCULAR", "ConvTranspose"],
)
def test_closed_form(kind, truth, filter_shape, strides, padding, parameterization, s):
    """Of two layers, so that the second one also has an NTK to carry."""
    first = Dense(3, 1.5, 0.5)
    second = kind(4, filter_shape, strides, padding, 1.3, 0.2, parameterization=parameterization, s=s)
    with jax.enable_x64(True):
        before = compiled(first, P1, P2, diagonal_spatial=False)
        k = compiled(serial(first, second), P1, P2, diagonal_spatial=False)
    sets = [truth(n, *window, padding) for n, *window in zip((4, 3), filter_shape, strides, strict=True)]
    mean = {name: shared(getattr(before, name), 1 if "cov" in name else 2, sets) for name in COVARIANCES}
    for name in ("nngp", "cov1", "cov2"):
        np.testing.assert_allclose(getattr(k, name), 1.3**2 * mean[name] + 0.2**2, rtol=1e-12)
    direct = np.asarray(k.nngp) if parameterization == "ntk" else 3 * 6 / s[0] * mean["nngp"] + 1
    np.testing.assert_allclose(k.ntk, direct + 1.3**2 * mean["ntk"], rtol=1e-12)
    assert k.is_gaussian and not k.is_reversed and k.shape1 == (2, *(t.shape[1] for t in sets), 4 * s[1])


# Finite networks.

FINITE = {
    "no axis, as Dense": ((), (), None, "VALID", "ntk", 0.4, (1, 1)),
    "VALID": ((5,), (2,), (2,), "VALID", "standard", None, (1, 1)),
    "SAME": ((4,), (3,), None, "SAME", "standard", 0.4, (1, 2)),
    "CIRCULAR, two axes": ((2, 3), (2, 3), (1, 2), "CIRCULAR", "ntk", 0.4, (1, 1)),
    "three axes": ((2, 2, 3), (1, 2, 2), (1, 1, 2), "SAME", "STANDARD", 0.4, (1, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_have_the_kernel_on_average(name):
    sizes, filter_shape, strides, padding, parameterization, b_std, s = FINITE[name]
    seed = list(FINITE).index(name)

    def conv(width, W_std, s, strides):
        return Conv(width, filter_shape, strides, padding, W_std, b_std, parameterization=parameterization, s=s)

    # With one hidden layer, the kernel is the mean over parameters at any width. (But the width is part of it.)
    net = serial(conv(6, 1.3, s, strides), Relu(), conv(1, 0.7, s[::-1], None))
    x1, x2 = inputs(seed, 1, *sizes, 2), inputs(seed + 50, 2, *sizes, 2)
    nngp, ntk = estimate(net, x1, x2, seed=seed, draws=2000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize("padding", Padding)
def test_outputs_are_those_of_jax(padding):
    layer = Conv(4, (3, 2), (1, 2), padding, 1.5, 0.5)
    shape, (w, b) = layer[0](KEY, P1.shape)
    x = jnp.pad(P1, ((0, 0), (1, 1), (0, 1), (0, 0)), mode="wrap") if padding is Padding.CIRCULAR else P1
    pads = "SAME" if padding is Padding.SAME else "VALID"
    y = lax.conv_general_dilated(x, w, (1, 2), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    got = layer[1]((w, b), P1)
    assert got.shape == shape
    np.testing.assert_allclose(got, 1.5 / 12**0.5 * y + 0.5 * b, rtol=1e-4, atol=1e-5)


def test_parameters():
    for parameterization, s, std in (("ntk", (1, 1), 1.0), ("standard", (2, 3), 3.0 / (6 * 50 / 2) ** 0.5)):
        layer = Conv(40, (3, 2), (1, 2), "SAME", 3.0, 0.5, parameterization=parameterization, s=s)
        shape, (w, b) = layer[0](KEY, (-1, 5, 6, 50))
        assert shape == (-1, 5, 3, 40 * s[1]) and w.shape == (3, 2, 50, 40 * s[1]) and b.shape == (1, 1, 1, 40 * s[1])
        assert abs(w.std() / std - 1) < 0.03
    assert Conv(2, (3,))[0](KEY, (-1, 3, 1))[1][1] is None
    assert Conv(2, (3,), padding="SAME")[0](KEY, (-1, -1, 1))[0] == (-1, -1, 2)
