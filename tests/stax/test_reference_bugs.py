"""Bugs of the archived library that a drop-in replacement must not have; each test says what went wrong there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import compiled

from neural_tangents import stax

RANDOM = np.random.RandomState(60)
S1, S2 = RANDOM.normal(size=(2, 3, 4)), RANDOM.normal(size=(3, 3, 4))
KEY = jax.random.PRNGKey(0)


def test_concatenation_of_a_masked_and_a_plain_branch():
    """There, `FanInConcat` with masks of some inputs only is a `TypeError`."""
    net = stax.serial(stax.parallel(stax.Conv(2, (1,)), stax.Conv(2, (1,))), stax.FanInConcat(1))
    x = S1.copy()
    x[0, 2] = np.nan
    half = stax.MaskedArray(jnp.asarray(S1, jnp.float32), None)
    kernel = net[2]([x, half], mask_constant=np.nan)
    np.testing.assert_array_equal(kernel.mask1[:, :, 0], [[False, False, True, *[False] * 3], [False] * 6])
    y = net[1](net[0](KEY, [x.shape] * 2)[1], [x, half], mask_constant=np.nan)
    np.testing.assert_array_equal(y.mask[:, :, 0], kernel.mask1[:, :, 0])


@pytest.mark.parametrize("join", [stax.FanInSum(), stax.FanInProd()], ids=["sum", "product"])
def test_what_is_visible_in_one_branch_is_visible(join):
    """There, the sum of a masked and a plain branch is masked, though it exists."""
    net = stax.serial(stax.parallel(stax.Dense(2), stax.Dense(2)), join)
    x = S1.copy()
    x[0, 2] = np.nan
    plain = stax.MaskedArray(jnp.asarray(S1, jnp.float32), None)
    assert net[2]([x, plain], mask_constant=np.nan).mask1 is None
    y = net[1](net[0](KEY, [x.shape] * 2)[1], [x, plain], mask_constant=np.nan)
    assert isinstance(y, jax.Array)


def test_sign_of_a_whole_batch_has_correlations():
    """There, `cov1` of `Sign` with all pairs of inputs is all ones."""
    net = stax.serial(stax.Dense(2), stax.Sign())
    kernel = compiled(net, S1[:, 0], diagonal_batch=False)
    np.testing.assert_allclose(kernel.cov1, kernel.nngp, rtol=1e-5, atol=1e-6)
    assert abs(kernel.cov1[0, 1]) < 0.99


@pytest.mark.parametrize("first", [[], [stax.Identity()], [stax.AvgPool((2,))], [stax.Flatten()]])
def test_dropout_of_inputs_is_an_error(first):
    """There, the check for dropout of a network's inputs never fires, and the kernel is wrong."""
    with pytest.raises(ValueError, match="inputs"):
        stax.serial(*first, stax.Dropout(0.5), stax.Dense(1))[2](S1)


@pytest.mark.parametrize("batch_axis_out", [1, -1])
def test_flattened_masks_follow_the_batch_axis(batch_axis_out):
    """There, the mask after `Flatten(batch_axis_out=1)` has its axes in the wrong order."""
    x = S1.copy()
    x[0, 2] = np.nan
    net = stax.serial(stax.Dense(2), stax.Flatten(batch_axis_out=batch_axis_out))
    want = np.array([[False] * 4 + [True] * 2, [False] * 6]).T
    np.testing.assert_array_equal(net[2](x, mask_constant=np.nan).mask1, want)
    y = net[1](net[0](KEY, x.shape)[1], x, mask_constant=np.nan)
    np.testing.assert_array_equal(y.mask, want)


def test_kernels_take_a_random_key():
    """There, `rng=` in a kernel function is a `TypeError`, so that one script cannot call all kinds of kernels."""
    net = stax.serial(stax.Conv(2, (2,)), stax.Relu(), stax.GlobalAvgPool())
    np.testing.assert_array_equal(net[2](S1, S2, "ntk", rng=KEY), net[2](S1, S2, "ntk"))


def test_kernels_of_inputs_can_be_transposed():
    """There, `Kernel.transpose` fails on the scalar NTK that a network starts with."""
    kernel = stax.Identity()[2](RANDOM.normal(size=(2, 3, 4, 5)))
    moved = kernel.transpose((1, 0))
    assert moved.ntk.shape == () and moved.nngp.shape == (2, 2, 4, 4, 3, 3)
    np.testing.assert_array_equal(moved.nngp, np.einsum("nmhiwj->nmwjhi", kernel.nngp))


@pytest.mark.parametrize("factory", [lambda: stax.RectifiedMonomial(2), lambda: stax.Polynomial([0.5, 1.0, 0.3])])
def test_equal_and_zero_inputs_have_kernels(factory):
    """There, kernels of some nonlinearities are NaN for equal inputs or zero variances, as in images with margins."""
    x = S1.copy()
    x[0, 1] = 0
    net = stax.serial(stax.Conv(2, (1,)), factory(), stax.GlobalAvgPool())
    kernel = compiled(net, x, x.copy())
    assert np.isfinite(kernel.nngp).all() and np.isfinite(kernel.ntk).all() and np.isfinite(kernel.cov1).all()


def test_identity_beside_a_local_convolution_needs_all_pairs_of_positions():
    """There, the branch that keeps correlations of positions is overlooked, and they are left out of the pool."""
    branches = stax.parallel(stax.Identity(), stax.ConvLocal(2, (2,), padding="SAME"))
    net = stax.serial(stax.Conv(2, (2,)), stax.FanOut(2), branches, stax.FanInSum(), stax.GlobalAvgPool())
    default, full = compiled(net, S1, S2), compiled(net, S1, S2, diagonal_spatial=False)
    np.testing.assert_array_equal(default.nngp, full.nngp)
    fork = stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), stax.Flatten()))
    assert not fork[2](S1)[0].diagonal_spatial
