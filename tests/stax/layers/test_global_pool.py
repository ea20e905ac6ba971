"""`GlobalAvgPool` and `GlobalSumPool`: means and sums over all positions, and over those that are not masked."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from window_truth import diagonal, quickly, random_covariance

from neural_tangents.stax import (
    Conv,
    Dense,
    Erf,
    GlobalAvgPool,
    GlobalSumPool,
    MaskedArray,
    Relu,
    serial,
)
from neural_tangents.stax._layers.global_pool import position_sum, visible_positions

KEY = jax.random.PRNGKey(0)
POOLS = [GlobalAvgPool, GlobalSumPool]


def inputs(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


X1, X2 = inputs(1, 2, 4, 2), inputs(2, 3, 4, 2)
P1, P2 = inputs(3, 2, 4, 3, 2), inputs(4, 3, 4, 3, 2)


@pytest.mark.parametrize("n_batch", [1, 2])
def test_position_sum(n_batch):
    """All pairs of positions are summed; those that are not there are zero."""
    cov = random_covariance(0, n_batch, 4, 3)
    full, small = quickly(lambda *covs: [position_sum(c, n_batch) for c in covs], cov, diagonal(cov, n_batch))
    batch = "nm"[:n_batch]
    np.testing.assert_allclose(full, np.einsum(f"{batch}hiwj->{batch}", cov), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(small, np.einsum(f"{batch}hhww->{batch}", cov), rtol=1e-5, atol=1e-6)


def test_visible_positions():
    mask = np.zeros((2, 4, 3, 1), bool)
    mask[0, 1:, :2], mask[1] = True, True
    np.testing.assert_array_equal(visible_positions(mask, (2, 4, 3, 5), (1, 2)), [[6], [1]])  # 1 instead of none
    # A mask may have size 1 where it is the same along an axis of the activations.
    np.testing.assert_array_equal(visible_positions(mask[:1, :, :1], (2, 4, 3, 5), (1, 2)), [[3]])
    assert visible_positions(None, (2, 4, 3, 5), (1, 2)) == 12 and visible_positions(None, (2, 5), ()) == 1


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("diagonal_batch", [True, False])
def test_pools_are_means_and_sums(pool, diagonal_batch):
    layer, before = pool(), Dense(3, 1.2, 0.3)
    divide = 12 if pool is GlobalAvgPool else 1
    with jax.enable_x64(True):

        def run(x1, x2):
            options = dict(diagonal_batch=diagonal_batch, diagonal_spatial=False)
            net = serial(before, layer)
            kernels = [net[2](*pair, diagonal_batch=diagonal_batch) for pair in ((x1, x2), (x1,), (x1, x1 + 0))]
            return before[2](x1, x2, **options), *kernels, layer[1]((), x1)

        first, k, one, two, y = quickly(run, np.float64(P1), np.float64(P2))
    np.testing.assert_allclose(y, np.float64(P1).sum((1, 2)) / divide, rtol=1e-12)
    assert layer[0](KEY, P1.shape) == ((2, 2), ())
    for field in ("nngp", "ntk", "cov1", "cov2"):
        batch = "n" if "cov" in field and diagonal_batch else "nm"
        expected = np.einsum(f"{batch}hiwj->{batch}", getattr(first, field)) / divide**2
        np.testing.assert_allclose(getattr(k, field), expected, rtol=1e-12)
    assert k.is_gaussian and k.shape1 == (2, 3) and (k.batch_axis, k.channel_axis) == (0, 1) and not k.diagonal_spatial
    for field in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, field), getattr(two, field), rtol=1e-12)
    assert one.cov2 is None
    np.testing.assert_allclose(two.cov2, two.cov1, rtol=1e-12)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("batch_axis", "channel_axis"), [(0, 1), (0, -2), (2, 0), (3, 1)])
def test_axes_in_any_order(pool, batch_axis, channel_axis):
    """The axes that are left keep their order."""
    moved = np.moveaxis(P1, (0, 3), (batch_axis, channel_axis))
    plain, layer = pool(), pool(batch_axis, channel_axis)
    shape, _ = layer[0](KEY, moved.shape)

    def run(x, p):
        return layer[1]((), x), plain[1]((), p), layer[2](x), plain[2](p)

    with pytest.warns(UserWarning, match="batch axis") if batch_axis else contextlib.nullcontext():
        y, expected, k, exact = quickly(run, moved, P1)
    assert y.shape == shape == k.shape1
    assert (k.batch_axis, k.channel_axis) == ((1, 0) if batch_axis > channel_axis % 4 else (0, 1))
    np.testing.assert_allclose(y.T if k.batch_axis else y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(k.nngp, exact.nngp, rtol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_without_spatial_axes_they_do_nothing(pool):
    x = X1[:, 0]
    k = compiled(pool(), x)
    np.testing.assert_allclose(k.nngp, x @ x.T / 2, rtol=1e-5)
    np.testing.assert_array_equal(pool()[1]((), x), x)
    assert k.ntk.shape == ()  # no layer with weights yet


@pytest.mark.parametrize(
    ("pool", "sizes"), [(GlobalAvgPool, (4,)), (GlobalSumPool, (2, 2)), (GlobalAvgPool, (2, 2, 2))]
)
def test_finite_networks_have_the_kernel_on_average(pool, sizes):
    net = serial(Conv(6, (2,) * len(sizes), None, "CIRCULAR", 1.3, 0.4), Relu(), pool(), Dense(1, 0.9, 0.2))
    x1, x2 = inputs(5, 1, *sizes, 2), inputs(6, 2, *sizes, 2)
    nngp, ntk = estimate(net, x1, x2, seed=len(sizes), draws=2000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


# Masks.


@pytest.mark.parametrize("pool", POOLS)
def test_inputs_of_any_length(pool):
    """With filters of one position, masked positions are as if absent, in finite networks and in kernels."""
    lengths1, lengths2 = (1, 3), (4, 2)
    x1, x2 = np.array(P1), np.array(P2[:2])
    for x, lengths in ((x1, lengths1), (x2, lengths2)):
        for i, n in enumerate(lengths):
            x[i, n:] = np.nan
    net = serial(Conv(5, (1, 1), None, "VALID", 1.2, 0.3), Erf(), pool(), Dense(3, 1.1, 0.2))
    params = net[0](KEY, x1.shape)[1]

    def run(x1, x2):
        k = net[2](x1, x2, mask_constant=np.nan, diagonal_batch=False)
        return k, net[1](params, x1, mask_constant=np.nan)

    k, y = quickly(run, x1, x2)
    assert k.mask1.shape == (2, 1) and not k.mask1.any()
    np.testing.assert_array_equal(y.mask, k.mask1)
    for i, n in enumerate(lengths1):
        alone = x1[i : i + 1, :n]
        output, lone = jax.jit(lambda x: (net[1](params, x), net[2](x)))(alone)
        np.testing.assert_allclose(y.masked_value[i], output[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(k.cov1[i, i], lone.cov1[0], rtol=1e-5)
    # The covariance of inputs of different lengths, from the full covariance of positions before the pooling.
    before = compiled(serial(Conv(5, (1, 1), None, "VALID", 1.2, 0.3), Erf()), P1, P2[:2], ("nngp", "ntk"))
    for i, n in enumerate(lengths1):
        for j, m in enumerate(lengths2):
            nngp, ntk = (np.asarray(cov)[i, j, :n, :m] for cov in before)
            total = np.mean if pool is GlobalAvgPool else np.sum
            np.testing.assert_allclose(k.nngp[i, j], 1.1**2 * total(nngp) + 0.2**2, rtol=1e-5)
            np.testing.assert_allclose(k.ntk[i, j], k.nngp[i, j] + 1.1**2 * total(ntk), rtol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_masked_finite_networks_have_the_kernel_on_average(pool):
    x1, x2 = np.array(X1), np.array(X2[:1])
    x1[0, 3:] = x1[1, :1] = x2[0, 2:] = np.nan
    net = serial(Conv(6, (3,), None, "SAME", 1.2, 0.3), Relu(), pool(), Dense(1, 0.9, 0.2))
    nngp, ntk = estimate(net, x1, x2, seed=8, draws=2000, mask_constant=np.nan)
    kernel = compiled(net, x1, x2, mask_constant=np.nan)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize("pool", POOLS)
def test_inputs_that_are_masked_everywhere(pool):
    """Give zero, also with gradients; only they are masked afterwards. A mask may be shared by the batch."""
    x = np.where(np.arange(2)[:, None, None] == 0, np.nan, X1)
    net = serial(Dense(3, 1.2, 0.3), pool())
    params = net[0](KEY, x.shape)[1]
    one = MaskedArray(jnp.asarray(X1), np.array([False, True, True, False])[None, :, None])

    def run(x):
        k = net[2](x, X2, mask_constant=np.nan)
        gradient = jax.grad(lambda x: net[2](x, X2, "ntk", mask_constant=np.nan).sum())(x)
        return k, net[1](params, x, mask_constant=np.nan), gradient, net[1](params, one), net[2](one)

    k, y, gradient, shared, shared_kernel = quickly(run, x)
    np.testing.assert_array_equal(y.mask, [[True], [False]])
    np.testing.assert_array_equal(k.mask1, y.mask)
    assert not k.nngp[0].any() and not k.ntk[0].any() and k.cov1[0] == 0 and k.cov1[1] > 0
    assert np.isfinite(gradient).all()
    part = X1[:, [0, 3]]
    output, exact = jax.jit(lambda x: (net[1](params, x), net[2](x)))(part)
    np.testing.assert_allclose(shared.masked_value, output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shared_kernel.ntk, exact.ntk, rtol=1e-5)


# Errors.


@pytest.mark.parametrize("pool", POOLS)
def test_masks_that_differ_between_channels(pool):
    layer = pool()
    for call in (layer[1], lambda _, x, **mask: layer[2](x, **mask)):
        with pytest.raises(NotImplementedError, match="needs masks of whole positions"):
            call((), P1, mask_constant=0.0)


@pytest.mark.parametrize("pool", POOLS)
def test_axes_that_are_none(pool):
    for batch_axis, channel_axis, message in ((2, -1, "axis are both 2"), (0, 3, "axis")):
        layer = pool(batch_axis, channel_axis)
        for call in (lambda: layer[0](KEY, X1.shape), lambda: layer[1]((), X1), lambda: layer[2](X1)):  # noqa: B023
            with pytest.raises(ValueError, match=message):
                call()


@pytest.mark.parametrize("pool", POOLS)
def test_channels_are_not_pooled(pool):
    conv = Conv(3, (2, 2), dimension_numbers=("NCHW", "OIHW", "NCHW"))
    with pytest.raises(ValueError, match="has `channel_axis=-1`, but that of its inputs"):
        serial(conv, pool())[2](inputs(0, 2, 2, 4, 3))


@pytest.mark.parametrize("pool", POOLS)
def test_all_pairs_of_positions_are_needed(pool):
    with pytest.raises(ValueError, match="`diagonal_spatial=True` is impossible"):
        serial(Dense(3), pool())[2](X1, diagonal_spatial=True)
