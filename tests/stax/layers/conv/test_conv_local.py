"""`ConvLocal`: weights of their own at each position, in finite networks and in kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from window_truth import only_diagonal, quickly, selections

from neural_tangents.stax import (
    AvgPool,
    Conv,
    ConvLocal,
    Dense,
    Erf,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    LayerNorm,
    Relu,
    SumPool,
    serial,
)

KEY = jax.random.PRNGKey(0)


def inputs(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


P1, P2 = inputs(3, 2, 4, 3, 2), inputs(4, 3, 4, 3, 2)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
def test_outputs_are_sums_with_own_weights(padding):
    layer = ConvLocal(4, (3, 2), (2, 1), padding, 1.5, 0.5)
    shape, (w, b) = layer[0](KEY, P1.shape)
    s, t = selections(4, 3, 2, padding), selections(3, 2, 1, padding)
    assert w.shape == (s.shape[1], t.shape[1], 12, 4) and b.shape == (1, s.shape[1], t.shape[1], 4)
    # Input channels of the filter are those of patches: channels, then positions.
    patches = np.einsum("dip,ejq,npqc->nijcde", s, t, P1).reshape(2, s.shape[1], t.shape[1], 12)
    y = layer[1]((w, b), P1)
    assert y.shape == shape
    expected = 1.5 / 12**0.5 * np.einsum("nijk,ijko->nijo", patches, w) + 0.5 * b
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_kernel_is_that_of_conv_at_equal_positions_and_zero_elsewhere():
    options = ((3, 2), (1, 2), "SAME", 1.2, 0.3)
    with jax.enable_x64(True):
        before = Dense(3, 1.1, 0.2)
        local, shared = (
            compiled(serial(before, kind(4, *options)), P1, P2, diagonal_spatial=False) for kind in (ConvLocal, Conv)
        )
    for name in ("nngp", "ntk", "cov1", "cov2"):
        expected = only_diagonal(getattr(shared, name), 1 if "cov" in name else 2)
        np.testing.assert_allclose(getattr(local, name), expected, rtol=1e-12, atol=1e-15)
    assert local.is_gaussian and not local.diagonal_spatial and local.shape1 == (2, 4, 2, 4)


FINITE = {
    "no axis, as Dense": ((), (), None, "VALID", "ntk", 0.4, (1, 1)),
    "VALID": ((4,), (2,), (2,), "VALID", "ntk", 0.4, (1, 1)),
    # In the reference library, the standard parameterization ignores `s[1]`: weights of the first layer are too few,
    # and the second layer's `s[0]` then scales its outputs wrongly.
    "width multipliers": ((3,), (3,), None, "SAME", "standard", 0.4, (1, 2)),
    "CIRCULAR, two axes": ((2, 3), (2, 2), (1, 2), "CIRCULAR", "standard", None, (1, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_have_the_kernel_on_average(name):
    sizes, filter_shape, strides, padding, parameterization, b_std, s = FINITE[name]
    seed = list(FINITE).index(name)

    def layer(width, W_std, s, strides):
        return ConvLocal(width, filter_shape, strides, padding, W_std, b_std, parameterization=parameterization, s=s)

    net = serial(layer(6, 1.3, s, strides), Relu(), layer(1, 0.7, s[::-1], None))
    x1, x2 = inputs(seed, 1, *sizes, 2), inputs(seed + 50, 2, *sizes, 2)
    nngp, ntk = estimate(net, x1, x2, seed=seed, draws=2000)
    kernel = compiled(net, x1, x2, diagonal_spatial=False)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_width_multipliers_widen_the_weights():
    """In the reference library, `s[1]` has no effect on the shape of the parameters."""
    net = serial(
        *(
            ConvLocal(width, (3,), parameterization="standard", b_std=0.1, s=s)
            for width, s in ((6, (1, 2)), (4, (2, 1)))
        )
    )
    shape = net[0].spec.out_shape((-1, 8, 50))
    (w1, b1), (w2, b2) = jax.jit(lambda key: net[0](key, (-1, 8, 50))[1])(KEY)
    assert w1.shape == (6, 150, 12) and b1.shape == (1, 6, 12) and shape == (-1, 4, 4)
    assert w2.shape == (4, 36, 4) and b2.shape == (1, 4, 4)
    assert abs(w1.std() * 150**0.5 - 1) < 0.05 and abs(w2.std() * 18**0.5 - 1) < 0.2
    assert compiled(net, inputs(0, 1, 8, 50)).shape1 == (1, 4, 4)


def test_weights_at_each_position_need_all_sizes():
    with pytest.raises(ValueError, match=r"needs all spatial sizes, got shape \(2, -1, 3\)"):
        ConvLocal(3, (2,))[0](KEY, (2, -1, 3))
    assert ConvLocal(3, (2,))[0](KEY, (-1, 4, 3))[0] == (-1, 3, 3)


POOLS = {
    "GlobalAvgPool": ([GlobalAvgPool()], True),
    "GlobalSumPool": ([GlobalSumPool()], True),
    "Flatten": ([Flatten()], True),
    "apart, Flatten": ([AvgPool((2, 1), (2, 1)), Flatten()], True),
    "overlapping, Flatten": ([AvgPool((2, 3), padding="SAME", normalize_edges=True), Flatten()], True),
    "sums, Flatten": ([SumPool((2, 3), (1, 2), "CIRCULAR"), Flatten()], True),
    # Windows that overlap make positions depend on each other, so that a second pooling needs all pairs.
    "apart, GlobalAvgPool": ([AvgPool((2, 1), (2, 1)), GlobalAvgPool()], False),
    "overlapping, GlobalAvgPool": ([AvgPool((2, 3), padding="SAME"), GlobalAvgPool()], False),
    "activation": ([Relu(), GlobalAvgPool()], False),
    "shared weights": ([Conv(2, (2, 2)), GlobalAvgPool()], False),
}


@pytest.mark.parametrize("name", POOLS)
def test_pooling_needs_equal_positions_only(name):
    """The default layout is diagonal where that is enough, and equals the full one. The last layers agree on that."""
    pools, is_enough = POOLS[name]
    net = serial(Conv(3, (2, 2), padding="SAME"), Erf(), ConvLocal(3, (3, 2), padding="SAME", b_std=0.3), *pools)
    assert bool(net[2].input_req["diagonal_spatial"]) == is_enough

    def kernels(x1, x2):
        layouts = [None, False, *([True] if is_enough else [])]
        return [net[2](x1, x2, diagonal_spatial=layout) for layout in layouts]

    default, full, *small = quickly(kernels, P1, P2)
    for k in (default, *small):
        for field in ("nngp", "ntk", "cov1", "cov2"):
            np.testing.assert_allclose(getattr(k, field), getattr(full, field), rtol=1e-4)
    if not is_enough:
        with pytest.raises(ValueError, match="`diagonal_spatial=True` is impossible"):
            net[2](P1, P2, diagonal_spatial=True)


@pytest.mark.parametrize("pool", [GlobalAvgPool, GlobalSumPool])
def test_pooling_of_masked_positions(pool):
    """Masked positions are not counted, in both layouts."""
    here = np.random.RandomState(9).uniform(size=(2, 4, 3)) < 0.6
    net = serial(ConvLocal(3, (3, 2), padding="SAME", b_std=0.3), LayerNorm(eps=0.1), pool())
    layouts = (None, True, False)
    kernels = quickly(
        lambda x1, x2: [net[2](x1, x2, diagonal_spatial=s, mask_constant=np.nan) for s in layouts],
        np.where(here[..., None], P1, np.nan),
        P2,
    )
    for k in kernels[:2]:
        for field in ("nngp", "ntk", "cov1", "cov2"):
            np.testing.assert_allclose(getattr(k, field), getattr(kernels[2], field), rtol=1e-4)
    # Normalised variances are about 1 before the pooling, and zero at masked positions.
    variances = kernels[0].cov1 * (here.sum((1, 2)) if pool is GlobalAvgPool else 1 / here.sum((1, 2)))
    assert np.all((variances > 0.5) & (variances < 1))


def test_pooled_finite_networks_have_the_kernel_on_average():
    local = ConvLocal(6, (2,), padding="SAME", W_std=1.3, b_std=0.4)
    net = serial(local, AvgPool((2,)), Relu(), ConvLocal(6, (1,)), GlobalAvgPool(), Dense(1, 1.2, 0.1))
    x1, x2 = inputs(5, 1, 3, 2), inputs(6, 2, 3, 2)
    nngp, ntk = estimate(net, x1, x2, seed=0, draws=2000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_second_derivatives_through_pooling_are_finite():
    net = serial(ConvLocal(3, (2,), padding="SAME"), Relu(), ConvLocal(1, (2,)), AvgPool((2,)), GlobalAvgPool())
    x = inputs(8, 2, 4, 2) * np.float32([[[1]], [[0]]])
    gradient, second = jax.jit(
        lambda x: jax.jvp(jax.grad(lambda x: net[2](x, None, "ntk").sum()), (x,), (jnp.ones_like(x),))
    )(x)
    assert np.isfinite(gradient).all() and np.isfinite(second).all() and gradient[0].any()
