"""`Identity` and `Flatten`."""

import contextlib

import jax
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate

from neural_tangents import stax

RANDOM = np.random.RandomState(1)
X1, X2 = RANDOM.normal(size=(2, 3, 2, 4)), RANDOM.normal(size=(3, 3, 2, 4))


def test_identity():
    init_fn, apply_fn, kernel_fn = stax.Identity()
    assert init_fn(jax.random.PRNGKey(0), (-1, 3)) == ((-1, 3), ())
    np.testing.assert_array_equal(apply_fn((), X1), X1)
    kernel = kernel_fn(X1, X2)
    assert kernel.ntk.shape == () and kernel.ntk == 0 and not kernel.is_gaussian and kernel.is_input
    np.testing.assert_allclose(kernel.nngp, np.einsum("nhwc,mijc->nmhiwj", X1, X2) / 4, rtol=1e-5, atol=1e-6)


def test_finite_networks_have_the_kernel_on_average():
    net = stax.serial(stax.Dense(6, 1.3, 0.3), stax.Relu(), stax.Flatten(), stax.Dense(1, 1.1, 0.2))
    nngp, ntk = estimate(net, X1, X2, seed=11, draws=2000)
    kernel = compiled(net, X1, X2)
    assert kernel.shape1 == (2, 1) and kernel.nngp.shape == (2, 3)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize("batch_axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("batch_axis_out", [0, 1, -1, -2])
def test_axes(batch_axis, batch_axis_out):
    x = np.random.RandomState(5).normal(size=(2, 3, 4)).astype(np.float32)
    moved = np.moveaxis(x, 0, batch_axis)
    channel_axis = 0 if batch_axis % 3 else 1
    layer = stax.Flatten(batch_axis, batch_axis_out)
    shape, params = layer[0](jax.random.PRNGKey(0), moved.shape)
    y = layer[1](params, moved)
    assert y.shape == shape == ((12, 2) if batch_axis_out % 2 else (2, 12))
    np.testing.assert_array_equal(y, np.moveaxis(x.reshape(2, 12), 0, batch_axis_out))

    net = stax.serial(stax.Dense(5, batch_axis=batch_axis, channel_axis=channel_axis), layer)
    with pytest.warns(UserWarning, match="batch axis") if batch_axis % 3 else contextlib.nullcontext():
        kernel = compiled(net, moved)
    assert kernel.shape1[batch_axis_out] == 2
    assert (kernel.batch_axis, kernel.channel_axis) == (batch_axis_out % 2, 1 - batch_axis_out % 2)
    np.testing.assert_allclose(kernel.nngp, np.einsum("nsc,msc->nm", x, x) / 12, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernel.cov1, (x**2).mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("diagonal_batch", [True, False])
def test_layouts_agree(diagonal_batch):
    with jax.enable_x64(True):
        net = stax.serial(stax.Dense(5, 1.2, 0.3), stax.Relu(), stax.Dense(3), stax.Erf(), stax.Flatten())
        default, full, diagonal = (
            compiled(net, X1, X2, diagonal_spatial=d, diagonal_batch=diagonal_batch) for d in (None, False, True)
        )
        for name in ("nngp", "ntk", "cov1", "cov2"):
            np.testing.assert_allclose(getattr(full, name), getattr(diagonal, name), rtol=1e-12)
            np.testing.assert_array_equal(getattr(default, name), getattr(diagonal, name))
        assert default.cov1.shape == ((2,) if diagonal_batch else (2, 2))


def test_as_first_layer_it_is_a_plain_covariance():
    kernel = stax.Flatten()[2](X1, X2)
    assert kernel.shape1 == (2, 24) and kernel.ntk.shape == () and not kernel.diagonal_spatial
    np.testing.assert_allclose(kernel.nngp, X1.reshape(2, -1) @ X2.reshape(3, -1).T / 24, rtol=1e-5, atol=1e-6)


def test_inputs_with_another_batch_axis_need_it_in_the_layer():
    with pytest.warns(UserWarning, match="batch axis"), pytest.raises(ValueError, match="batch_axis=1"):
        stax.Flatten(batch_axis=1)[2](X1)


def test_masks():
    masked = X1.astype(np.float32)
    masked[0, 1] = masked[1, 2, 1] = 7.0
    net = stax.serial(stax.Dense(5, 1.2, 0.3), stax.Erf(), stax.Flatten())
    kernel = compiled(net, masked, mask_constant=7.0)
    alone = compiled(net, masked, get="nngp")
    assert kernel.mask1.shape == kernel.shape1 == (2, 30)
    present = ~(masked == 7.0).all(-1)
    every = compiled(stax.serial(stax.Dense(5, 1.2, 0.3), stax.Erf()), X1, get="nngp")
    positions = np.einsum("nmhhww->nmhw", every) * present[:, None] * present[None]
    np.testing.assert_allclose(kernel.nngp, positions.mean((2, 3)), rtol=1e-5)
    assert not np.allclose(kernel.nngp, alone)

    y = net[1](net[0](jax.random.PRNGKey(0), masked.shape)[1], masked, mask_constant=7.0)
    np.testing.assert_array_equal(y.mask, np.repeat(~present[..., None], 5, -1).reshape(2, -1))
