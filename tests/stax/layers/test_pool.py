"""`AvgPool` and `SumPool` against matrices written out, against jax, and against finite networks."""

import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from jax.example_libraries import stax as jax_stax
from window_truth import diagonal, only_diagonal, pooled, quickly, random_covariance, selections

from neural_tangents._core.layout import Layout, Spatial
from neural_tangents.stax import (
    AvgPool,
    Conv,
    Dense,
    Erf,
    FanInSum,
    FanOut,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Identity,
    MaskedArray,
    Padding,
    Relu,
    SumPool,
    parallel,
    serial,
)
from neural_tangents.stax._layers.pool import pooled_covariance
from neural_tangents.stax._window import Window

KEY = jax.random.PRNGKey(0)
LAYOUTS = list(itertools.product([True, False], repeat=2))
COVARIANCES = ("nngp", "ntk", "cov1", "cov2")


def inputs(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


X1, X2 = inputs(1, 2, 4, 2), inputs(2, 3, 4, 2)
P1, P2 = inputs(3, 2, 4, 3, 2), inputs(4, 3, 4, 3, 2)

# Layer, and the window along each axis: size, stride, padding, and what sums are divided by.
POOLS = {
    "mean": (AvgPool((2, 3)), [(2, 1, "VALID", "size"), (3, 1, "VALID", "size")]),
    "mean, SAME": (AvgPool((3, 2), (2, 1), "SAME"), [(3, 2, "SAME", "size"), (2, 1, "SAME", "size")]),
    "mean, edges": (AvgPool((3, 2), (1, 2), "SAME", True), [(3, 1, "SAME", "inside"), (2, 2, "SAME", "inside")]),
    "mean, no edges": (AvgPool((3, 2), (1, 2), "VALID", True), [(3, 1, "VALID", "size"), (2, 2, "VALID", "size")]),
    "mean, CIRCULAR": (
        AvgPool((5, 2), None, "CIRCULAR", True),
        [(5, 1, "CIRCULAR", "size"), (2, 1, "CIRCULAR", "size")],
    ),
    "sum, apart": (SumPool((2, 1), (2, 1)), [(2, 2, "VALID", "one"), (1, 1, "VALID", "one")]),
    "sum, SAME": (SumPool((3, 2), (2, 2), "SAME"), [(3, 2, "SAME", "one"), (2, 2, "SAME", "one")]),
    "sum, CIRCULAR": (SumPool((2, 4), (1, 3), "CIRCULAR"), [(2, 1, "CIRCULAR", "one"), (4, 3, "CIRCULAR", "one")]),
}


def matrix(n, size, stride, padding, divide):
    """What a pooling layer does to the positions along an axis."""
    m = selections(n, size, stride, padding).sum(0)
    return {"one": m, "size": m / size, "inside": m / m.sum(1, keepdims=True)}[divide]


@pytest.mark.parametrize("n_batch", [1, 2])
def test_pooled_covariance_is_a_product_of_matrices(n_batch):
    """With equal positions only, all others count as zero."""
    cov = random_covariance(0, n_batch, 4, 3)
    windows = [((2, 3), (1, 2), "CIRCULAR"), ((9, 4), (1, 2), "CIRCULAR"), ((3, 2), (2, 1), "SAME")]
    for size, stride, name in [*windows, ((4, 1), (1, 1), "VALID")]:
        padding = Padding(name)
        sliding = [Window(*window, padding) for window in zip(size, stride, strict=True)]

        def both(full, small, sliding=sliding):
            paired, lone = (Layout(spatial) for spatial in (Spatial.PAIRED, Spatial.DIAGONAL))

            def weight(window, n, dtype):
                return jnp.full(1, 0.5, dtype)

            return [
                pooled_covariance(full, n_batch, paired, sliding),
                pooled_covariance(full, n_batch, paired, sliding, weight),
                pooled_covariance(small, n_batch, lone, sliding),
                pooled_covariance(small, n_batch, lone, sliding, weight),
            ]

        sums, means, small_sums, small_means = quickly(both, cov, diagonal(cov, n_batch))
        matrices = [matrix(n, w.size, w.stride, padding, "one") for n, w in zip((4, 3), sliding, strict=True)]
        full, lone = (pooled(c, n_batch, matrices) for c in (cov, only_diagonal(cov, n_batch)))
        np.testing.assert_allclose(sums, full, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(means, full / 16, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(small_sums, diagonal(lone, n_batch), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(small_means, diagonal(lone, n_batch) / 16, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_matrices(name):
    """Outputs, and covariances in all layouts, which are those of the outputs of a layer before."""
    layer, windows = POOLS[name]
    h, w = (matrix(n, *window) for n, window in zip((4, 3), windows, strict=True))
    before = Dense(3, 1.2, 0.3)
    net = serial(before, layer)
    shape, params = layer[0](KEY, P1.shape)
    assert shape == (2, len(h), len(w), 2) and params == ()
    with jax.enable_x64(True):

        def run(x1, x2):
            kernels = [net[2](x1, x2, diagonal_batch=b, diagonal_spatial=False) for b in (True, False)]
            one = [net[2](x1, x) for x in (None, x1 + 0)]
            first = before[2](x1, x2, diagonal_batch=False, diagonal_spatial=False)
            return kernels, one, first, layer[1]((), x1)

        kernels, (one, two), first, y = quickly(run, np.float64(P1), np.float64(P2))
    np.testing.assert_allclose(y, np.einsum("ip,jq,npqc->nijc", h, w, np.float64(P1)), rtol=1e-12)
    assert kernels[0].is_gaussian and kernels[0].shape1 == (*shape[:-1], 3) and not kernels[0].is_reversed
    for field in COVARIANCES:
        expected = pooled(np.asarray(getattr(first, field)), 2, [h, w])
        np.testing.assert_allclose(getattr(kernels[1], field), expected, rtol=1e-12)
        expected = np.einsum("nn...->n...", expected) if "cov" in field else expected
        np.testing.assert_allclose(getattr(kernels[0], field), expected, rtol=1e-12)
    for field in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, field), getattr(two, field), rtol=1e-12)
    assert one.cov2 is None
    np.testing.assert_allclose(two.cov2, two.cov1, rtol=1e-12)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_outputs_are_those_of_jax(padding):
    """The pooling layers of jax divide by the number of positions inside of the image."""
    run = jax.jit(lambda layer, x: layer[1]((), x), static_argnums=0)
    for ours, theirs in ((AvgPool, jax_stax.AvgPool), (SumPool, jax_stax.SumPool)):
        edges = {"normalize_edges": True} if ours is AvgPool else {}
        layer = ours((3, 2), (2, 1), padding, **edges)
        expected = theirs((3, 2), (2, 1), padding)[1]((), P1)
        np.testing.assert_allclose(run(layer, P1), expected, rtol=1e-5, atol=1e-6)


def test_integers_are_averaged_as_numbers():
    x = np.arange(6).reshape(1, 6, 1)
    y = AvgPool((2,), (2,))[1]((), x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y[0, :, 0], [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(SumPool((2,), (2,))[1]((), x)[0, :, 0], [1, 5, 9])
    assert AvgPool((2,))[1]((), x.astype(np.float16)).dtype == np.float16


FINITE = {
    "mean": ((4,), AvgPool((3,), (2,), "SAME", True)),
    "three axes": ((2, 2, 2), SumPool((2, 1, 2), padding="CIRCULAR")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_have_the_kernel_on_average(name):
    sizes, pool = FINITE[name]
    seed = list(FINITE).index(name)
    net = serial(Dense(6, 1.3, 0.4), Relu(), pool, Dense(1, 0.9, 0.2))
    x1, x2 = inputs(seed, 1, *sizes, 2), inputs(seed + 50, 2, *sizes, 2)
    nngp, ntk = estimate(net, x1, x2, seed=seed, draws=2000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize(("batch_axis", "channel_axis"), [(0, 1), (0, -2), (2, 0)])
def test_axes_in_any_order(batch_axis, channel_axis):
    """Windows are in the order of the spatial axes, wherever batch and channels are."""
    moved = np.moveaxis(P1, (0, 3), (batch_axis, channel_axis))
    plain = AvgPool((2, 3), (2, 1), "SAME", True)
    layer = AvgPool((2, 3), (2, 1), "SAME", True, batch_axis, channel_axis)

    def run(x, p):
        return layer[1]((), x), plain[1]((), p), layer[2](x), plain[2](p)

    with pytest.warns(UserWarning, match="batch axis") if batch_axis else contextlib.nullcontext():
        y, expected, k, exact = quickly(run, moved, P1)
    np.testing.assert_allclose(np.moveaxis(y, (batch_axis, channel_axis), (0, 3)), expected, rtol=1e-5)
    assert y.shape == k.shape1 == layer[0](KEY, moved.shape)[0]
    for field in ("nngp", "cov1"):
        np.testing.assert_allclose(getattr(k, field), getattr(exact, field), rtol=1e-5)


# Masks.


def test_masks():
    """Masked positions count as zero; outputs are masked where the centre of the window is."""
    here = np.random.RandomState(5).uniform(size=(2, 4, 3)) < 0.7
    x = np.where(here[..., None], P1, np.nan)
    net = serial(Dense(3, 1.2), AvgPool((3, 2), (1, 2), "SAME"))
    params = net[0](KEY, x.shape)[1]

    def run(x, p):
        zeroed = net[2](jnp.nan_to_num(x), p)
        return net[2](x, p, mask_constant=np.nan), zeroed, net[1](params, x, mask_constant=np.nan)

    k, zeroed, y = quickly(run, x, P2)
    assert isinstance(y, MaskedArray)
    np.testing.assert_array_equal(y.mask, ~here[:, :, ::2, None])
    np.testing.assert_array_equal(k.mask1, y.mask)
    m = np.asarray(y.mask)[..., 0]
    assert m.any() and not m.all()
    for field in ("nngp", "ntk"):
        expected = np.where(m[:, None, :, None, :, None], 0, getattr(zeroed, field))
        np.testing.assert_allclose(getattr(k, field), expected, rtol=1e-5, atol=1e-6)
    expected = np.where(m[:, :, None, :, None] | m[:, None, :, None, :], 0, zeroed.cov1)
    np.testing.assert_allclose(k.cov1, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_masked_finite_networks_have_the_kernel_on_average():
    x1, x2 = np.array(X1), np.array(X2[:1])
    x1[0, 3:] = x1[1, :1] = x2[0, 2:] = np.nan
    net = serial(Dense(6, 1.2, 0.3), Erf(), AvgPool((3,), padding="SAME", normalize_edges=True), Dense(1))
    nngp, ntk = estimate(net, x1, x2, seed=8, draws=2000, mask_constant=np.nan)
    kernel = compiled(net, x1, x2, mask_constant=np.nan)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


# Errors.


@pytest.mark.parametrize("layer", [AvgPool((2, 2)), SumPool((2, 2))], ids=str)
def test_masks_that_differ_between_channels(layer):
    for call in (layer[1], lambda _, x, **mask: layer[2](x, **mask)):
        with pytest.raises(NotImplementedError, match="needs masks of whole positions"):
            call((), P1, mask_constant=0.0)


@pytest.mark.parametrize("layer", [AvgPool((2, 2)), SumPool((2, 2, 1)), AvgPool((5, 2))], ids=str)
def test_inputs_of_a_wrong_shape(layer):
    """With a wrong number of axes, with a size for channels too, or smaller than the window."""
    x = P1 if "1)" in repr(layer) or "5" in repr(layer) else X1
    message = "needs inputs with|size 5 does not fit into an image of size 4"
    for call in (lambda: layer[0](KEY, x.shape), lambda: layer[1]((), x), lambda: layer[2](x)):
        with pytest.raises(ValueError, match=message):
            call()


def test_channels_are_not_pooled():
    conv = Conv(3, (2, 2), dimension_numbers=("NCHW", "OIHW", "NCHW"))
    for pool in (AvgPool((2, 2)), SumPool((2, 2))):
        with pytest.raises(ValueError, match="has `channel_axis=-1`, but that of its inputs"):
            serial(conv, pool)[2](inputs(0, 2, 2, 4, 3))
    both = AvgPool((2,), batch_axis=2, channel_axis=-1)
    for call in (lambda: both[0](KEY, X1.shape), lambda: both[1]((), X1), lambda: both[2](X1)):
        with pytest.raises(ValueError, match="[Bb]atch and channel axis are both 2"):
            call()


def test_pairs_of_positions_are_needed_after_weights_and_pools():
    for net in (serial(Dense(3), AvgPool((2,))), serial(SumPool((2,)), AvgPool((2,)))):
        for inputs in (X1, Identity()[2](X1)):
            with pytest.raises(ValueError, match="`diagonal_spatial=True` is impossible"):
                net[2](inputs, diagonal_spatial=True)
    assert not compiled(AvgPool((2,)), X1).diagonal_spatial


WHITE1, WHITE2 = (inputs(5 + n, n, 4, 3, 1) * np.eye(12, dtype=np.float32).reshape(4, 3, 12) for n in (2, 3))
WEIGHTS = serial(Dense(1, 1.3, 0.2), Relu(), Dense(1))
FIRST_POOLS = {
    **{name: serial(layer, WEIGHTS) for name, (layer, _) in POOLS.items()},
    "pool, readout": serial(AvgPool((2, 2), (1, 1)), WEIGHTS, Flatten(), Dense(1)),
    "all positions": serial(GlobalAvgPool(), WEIGHTS),
    "all positions, sums": serial(GlobalSumPool(), WEIGHTS),
    "branches": serial(FanOut(2), parallel(serial(SumPool((1, 1)), WEIGHTS), Dense(1)), FanInSum()),
}


@pytest.mark.parametrize("name", FIRST_POOLS)
def test_equal_positions_of_whitened_inputs_are_enough(name):
    """Channels of `WHITE1`, `WHITE2` at different positions are orthogonal, so that all pairs say the same."""
    kernel_fn, inputs_fn, get = FIRST_POOLS[name][2], Identity()[2], ("nngp", "ntk", "cov1", "cov2")

    def run(x1, x2):
        whole = kernel_fn(x1, x2, diagonal_spatial=False)
        return whole.map_covariances(whole.layout.diagonal), [
            kernel_fn(x1, x2, get, diagonal_spatial=True),
            kernel_fn(inputs_fn(x1, x2, diagonal_spatial=False), None, get, diagonal_spatial=True),
            kernel_fn(inputs_fn(x1, x2, diagonal_spatial=True), None, get),
        ]

    want, found = quickly(run, WHITE1, WHITE2)
    for got in found:
        for attribute in get:
            a, b = getattr(got, attribute), getattr(want, attribute)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=attribute)


@pytest.mark.parametrize("pool", [AvgPool, SumPool])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(window_shape=(2, 0)), "of at least 1"),
        (dict(window_shape=(2,), strides=(0,)), "`strides` of at least 1"),
        (dict(window_shape=(2, 2), strides=(1,)), "one stride for each axis"),
        (dict(window_shape=(2,), padding="same"), "in capitals, got 'same'"),
    ],
    ids=str,
)
def test_bad_arguments(pool, arguments, message):
    with pytest.raises(ValueError, match=message):
        pool(**arguments)
