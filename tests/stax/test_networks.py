"""Whole convolutional networks, among them those that people compute kernels of, against explicit matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import position_matrices as by_hand
import pytest
from finite_width import compiled
from sweeps import mostly_slow

from neural_tangents import stax


def cnn(depth, readout):
    """`depth` convolutions of 3 x 3 with ReLU."""
    net = stax.serial(*[stax.Conv(1, (3, 3), padding="SAME"), stax.Relu()] * depth, getattr(stax, readout)())

    def exact(state):
        for _ in range(depth):
            state = by_hand.relu(by_hand.conv(state, (3, 3)))
        return by_hand.average(state) if readout == "GlobalAvgPool" else by_hand.flatten(state)

    return net, exact


def wide_resnet_block(channels, strides=(1, 1), channel_mismatch=False):
    """Two convolutions, and a shortcut around them."""
    main = stax.serial(
        *[stax.Relu(), stax.Conv(channels, (3, 3), strides, padding="SAME")],
        *[stax.Relu(), stax.Conv(channels, (3, 3), padding="SAME")],
    )
    shortcut = stax.Conv(channels, (3, 3), strides, padding="SAME") if channel_mismatch else stax.Identity()

    def exact(state):
        inner = by_hand.relu(by_hand.conv(by_hand.relu(state), (3, 3), strides))
        side = by_hand.conv(state, (3, 3), strides) if channel_mismatch else state
        return by_hand.add(by_hand.conv(inner, (3, 3)), side)

    return stax.serial(stax.FanOut(2), stax.parallel(main, shortcut), stax.FanInSum()), exact


def wide_resnet(block_size, k, pool):
    """Zagoruyko and Komodakis, 2016; `pool` is 8 for images of 32 x 32."""
    blocks = []
    for width, strides in ((16, (1, 1)), (32, (2, 2)), (64, (2, 2))):
        blocks.append(wide_resnet_block(width * k, strides, True))
        blocks += [wide_resnet_block(width * k)] * (block_size - 1)
    net = stax.serial(
        stax.Conv(16, (3, 3), padding="SAME"),
        *[block for block, _ in blocks],
        stax.AvgPool((pool, pool)),
        stax.Flatten(),
        stax.Dense(10, 1.0, 0.0),
    )

    def exact(state):
        state = by_hand.conv(state, (3, 3))
        for _, block in blocks:
            state = block(state)
        return by_hand.dense(by_hand.flatten(by_hand.pool(state, (pool, pool), (1, 1))))

    return net, exact


def myrtle(depth, n_last_pools):
    """Shankar et al., 2020; with three pools at the end for images of 32 x 32."""
    W_std = 2**0.5
    conv, pool = functools.partial(stax.Conv, 1, (3, 3), W_std=W_std, padding="SAME"), stax.AvgPool((2, 2), (2, 2))
    repeats = {5: (2, 1, 1), 10: (3, 3, 3)}[depth]
    pools = (1, 1, n_last_pools)
    layers = []
    for repeat, n_pools in zip(repeats, pools, strict=True):
        layers += [conv(), stax.Relu()] * repeat + [pool] * n_pools

    def exact(state):
        for repeat, n_pools in zip(repeats, pools, strict=True):
            for _ in range(repeat):
                state = by_hand.relu(by_hand.conv(state, (3, 3), W_std=W_std))
            for _ in range(n_pools):
                state = by_hand.pool(state, (2, 2), (2, 2))
        return by_hand.dense(by_hand.flatten(state), W_std)

    return stax.serial(*layers, stax.Flatten(), stax.Dense(10, W_std, 0.0)), exact


def mixed(padding):
    """Odd sizes, filters and strides that are not equal along the axes, and biases."""
    net = stax.serial(
        stax.Conv(1, (2, 3), (1, 2), padding, 1.3, 0.2),
        *[stax.Relu(), stax.AvgPool((2, 1), (1, 1), padding), stax.Conv(1, (1, 2), (2, 1), padding, 0.9, 0.1)],
        *[stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.4)],
    )

    def exact(state):
        state = by_hand.relu(by_hand.conv(state, (2, 3), (1, 2), padding, 1.3, 0.2))
        state = by_hand.conv(by_hand.pool(state, (2, 1), (1, 1), padding), (1, 2), (2, 1), padding, 0.9, 0.1)
        return by_hand.dense(by_hand.average(by_hand.relu(state)), 1.1, 0.4)

    return net, exact


NETWORKS = {
    "cnn21_gap": (lambda: cnn(21, "GlobalAvgPool"), (6, 5)),
    "cnn21_flatten": (lambda: cnn(21, "Flatten"), (6, 5)),
    "wide_resnet": (lambda: wide_resnet(4, 1, 2), (8, 8)),
    "myrtle5": (lambda: myrtle(5, 1), (8, 8)),
    "myrtle10": (lambda: myrtle(10, 1), (8, 8)),
    "mixed_SAME": (lambda: mixed("SAME"), (5, 7)),
    "mixed_VALID": (lambda: mixed("VALID"), (5, 7)),
    "mixed_CIRCULAR": (lambda: mixed("CIRCULAR"), (5, 7)),
}


DEEP = ("cnn21_gap", "myrtle10")  # the longest ways for rounding errors to grow


@pytest.mark.parametrize(
    "name", mostly_slow(NETWORKS, [name for name in NETWORKS if name not in ("wide_resnet", "myrtle10")])
)
def test_kernels_are_those_of_explicit_matrices(name):
    make, image = NETWORKS[name]
    net, exact = make()
    x = np.random.RandomState(list(NETWORKS).index(name)).normal(size=(3, *image, 3))
    want = exact(by_hand.inputs(x))
    with jax.enable_x64(True):
        got = compiled(net, x[:2], x[2:])
        itself = compiled(net, x, get=("nngp", "ntk"))
    np.testing.assert_allclose(got.nngp, want.nngp[:2, 2:], rtol=1e-10)
    np.testing.assert_allclose(got.ntk, want.ntk[:2, 2:], rtol=1e-10)
    np.testing.assert_allclose(got.cov1, np.diag(want.nngp)[:2], rtol=1e-10)
    np.testing.assert_allclose(got.cov2, np.diag(want.nngp)[2:], rtol=1e-10)
    np.testing.assert_allclose(itself.nngp, want.nngp, rtol=1e-7)
    np.testing.assert_allclose(itself.ntk, want.ntk, rtol=1e-7)
    if name in DEEP:
        single = compiled(net, x.astype(np.float32), get=("nngp", "ntk"))
        np.testing.assert_allclose(single.nngp, want.nngp, rtol=2e-4)
        np.testing.assert_allclose(single.ntk, want.ntk, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("linear_scaling", [True, False], ids=["linear", "square root"])
def test_attention_on_sentences_of_different_lengths(linear_scaling):
    """Each entry is that of the two sentences alone, without anything put behind them."""
    attention = stax.GlobalSelfAttention(
        4, 4, 4, 2, linear_scaling, 1.1, 1.2, 0.9, 1.3, 0.2, "SOFTMAX" if linear_scaling else "IDENTITY", "SUM"
    )
    net = stax.serial(
        *[stax.Conv(4, (3,), padding="SAME", W_std=1.3, b_std=0.2), stax.Relu(), attention, stax.LayerNorm((1, 2))],
        *[stax.Relu(), stax.Conv(4, (3,), padding="SAME", b_std=0.1), stax.Erf(), stax.GlobalAvgPool(), stax.Dense(1)],
    )
    lengths = (5, 3, 1)
    random = np.random.RandomState(60)
    words = [random.normal(size=(1, length, 3)) for length in lengths]
    sentences = np.concatenate([np.pad(w, ((0, 0), (0, 5 - w.shape[1]), (0, 0)), constant_values=9.0) for w in words])
    with jax.enable_x64(True):
        got = compiled(net, sentences, get=("nngp", "ntk"), mask_constant=9.0)
        for i, length in enumerate(lengths):
            alone = compiled(net, words[i], get=("nngp", "ntk"))
            np.testing.assert_allclose(got.nngp[i, i], alone.nngp[0, 0], rtol=1e-8, err_msg=str(length))
            np.testing.assert_allclose(got.ntk[i, i], alone.ntk[0, 0], rtol=1e-8, err_msg=str(length))
        # For different lengths, the longer of the two decides how much has to be put behind the other one.
        pair = compiled(net, sentences[:2], sentences[1:], get=("nngp", "ntk"), mask_constant=9.0)
        np.testing.assert_allclose(pair.ntk, got.ntk[:2, 1:], rtol=1e-8)


def test_all_positions_come_in_natural_order():
    """After any number of convolutions; the reference turns them around after each."""
    x = np.random.RandomState(50).normal(size=(2, 4, 3, 2))
    for n in (1, 2, 3):
        layers = [stax.Conv(1, (3, 2), padding="CIRCULAR"), stax.Relu()] * n
        state = by_hand.inputs(x)
        for _ in range(n):
            state = by_hand.relu(by_hand.conv(state, (3, 2), padding="CIRCULAR"))
        with jax.enable_x64(True):
            kernel = compiled(stax.serial(*layers), x)
        want = state.nngp.reshape(2, 4, 3, 2, 4, 3).transpose(0, 3, 1, 4, 2, 5)
        np.testing.assert_allclose(kernel.nngp, want, rtol=1e-7, atol=1e-12)
        assert not kernel.is_reversed


@pytest.mark.slow
def test_derivatives_of_all_pairs_of_positions(optimised):
    """Compiled as users do: on CPUs, jaxlib 0.10.1 crashes if variances have axes of size 1."""
    conv = stax.Conv(1, (3, 3), padding="SAME", W_std=1.4, b_std=0.1)
    kernel_fn = stax.serial(conv, stax.Relu(), conv, stax.Relu())[2]
    x, direction = (np.random.RandomState(n).normal(size=(4, 8, 8, 2)).astype(np.float32) for n in (61, 62))

    def total(x):
        return jnp.mean(kernel_fn(x, None, "ntk", diagonal_spatial=False))

    slope = jax.jit(lambda x: jnp.vdot(jax.grad(total)(x), direction), compiler_options=optimised)(x)
    with jax.enable_x64(True):
        ahead, behind = (jax.jit(total)(x.astype(float) + step * direction) for step in (1e-4, -1e-4))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-4, rtol=1e-4)
