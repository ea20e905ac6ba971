"""`Index` and `Slice` against indexed explicit features and finite networks."""

import jax
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from linear_truth import LAYOUTS, assert_exact

from neural_tangents.stax import Dense, Dropout, Flatten, Index, Relu, Slice, serial

RANDOM = np.random.RandomState(43)
X1, X2 = (RANDOM.normal(size=(n, 3, 4, 5)) for n in (2, 3))  # (N, S, T, C)
DENSE = Dense(5, 1.2, 0.3)
KEY = jax.random.PRNGKey(0)


@pytest.mark.parametrize(
    "idx",
    [np.s_[:], np.s_[..., 1, :], np.s_[:, 1:, ::-2], np.s_[1:, -1, 0], np.s_[::-1, 2:2], np.s_[:5, 1:100, -3:]],
    ids=str,
)
def test_kernels_are_those_of_explicit_features(idx):
    ys = [x[idx] for x in (X1, X2)]
    assert_exact(Index(idx), (X1, X2), ys)


def test_one_batch():
    idx = np.s_[1:, ::2, 1]
    assert_exact(Index(idx), (X1, None), (X1[idx], None))
    net = serial(DENSE, Relu(), Dropout(0.5), Index(Slice[::-1, 1:]), DENSE)
    one, two = compiled(net, X1), compiled(net, X1, X1.copy())
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("axes", "axes_out"), [((1, 0), (1, 0)), ((-1, 1), (2, 0)), ((2, -1), (1, 2))])
def test_other_axes(axes, axes_out):
    """The first spatial axis is removed by an integer, and inputs are left out."""
    xs = [np.moveaxis(x, (0, 3), axes) for x in (X1, X2)]
    batch, channel = (axis % 4 for axis in axes)
    spatial = [axis for axis in range(4) if axis not in (batch, channel)]
    idx = [slice(None)] * 4
    idx[batch], idx[spatial[0]], idx[spatial[1]] = slice(1, None), 1, slice(None, None, -1)
    idx = tuple(idx)
    ys = [x[idx] for x in xs]
    assert_exact(Index(idx, *axes), xs, ys, axes=axes, axes_out=axes_out, layouts=LAYOUTS[::3])


@pytest.mark.slow
def test_finite_networks_have_the_kernel_on_average():
    x1, x2 = X1[..., :3], X2[..., :3]
    net = serial(Dense(8, 1.3, 0.4), Relu(), Index(Slice[:, 1:, 2]), Dense(4, 1.1), Index(Slice[:, ::-1]), Dense(1))
    nngp, ntk = estimate(net, x1, x2, seed=1, draws=1500)
    kernel = compiled(net, x1, x2, diagonal_spatial=False)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_masks():
    absent = np.random.RandomState(3).uniform(size=(2, 3, 4, 1)) < 0.5
    idx = np.s_[:, 1, ::-2]
    y1, y2 = np.where(absent, 0, X1)[idx], X2[idx]
    visible = np.zeros_like(y2, bool)
    x = np.where(absent, np.nan, X1)
    assert_exact(Index(idx), (x, X2), (y1, y2), mask_constant=np.nan, masks=(absent[idx], visible))


def test_slice_is_what_stands_between_the_brackets():
    assert Slice[1, ..., 2:3] == (1, Ellipsis, slice(2, 3)) and Slice[::2] == slice(None, None, 2)
    assert repr(Slice) == "Slice"


def test_the_layer_states_its_axes_only():
    assert dict(Index(Slice[:, 0], 1, 0)[2].input_req) == {"batch_axis": 1, "channel_axis": 0}
    assert compiled(serial(DENSE, Index(Slice[:, 1]), Flatten()), X1).nngp.shape == (2, 2)
    assert Index(0)[0].__name__ == Index(0)[1].__name__ == Index(0)[2].__name__ == "Index"


@pytest.mark.parametrize("unknown", [-1, None])
def test_axes_of_unknown_size(unknown):
    """`None` stands for an unknown size as -1 does, in each axis that is not indexed, and in all networks."""
    assert Index(Slice[:, 1])[0](KEY, (unknown, 4, 3)) == ((-1, 3), ())
    assert Index(Slice[:, :, 1:])[0](KEY, (unknown, unknown, 4, 3)) == ((-1, -1, 3, 3), ())
    shape, params = serial(Index(Slice[:, ::2]), DENSE)[0](KEY, (unknown, 4, 3))
    assert shape == (-1, 2, 5) and params[1][0].shape == (3, 5)
    for idx in (Slice[1:], Slice[:, 1], Slice[:, ::2]):
        with pytest.raises(ValueError, match="Expected a known size of axis"):
            Index(idx)[0](KEY, (unknown, unknown, 3))


def test_finite_networks_may_index_channels():
    layer = Index(Slice[..., 1:3])
    assert layer[0](KEY, (2, 3, 5)) == ((2, 3, 2), ())
    np.testing.assert_array_equal(layer[1]((), X1), X1[..., 1:3])
    with pytest.raises(NotImplementedError, match="channel axis 3"):
        layer[2](X1)


def test_errors():
    with pytest.raises(NotImplementedError, match="Expected a slice for the batch axis 0"):
        Index(0)[2](X1)
    for call in (lambda layer: layer[2](X1), lambda layer: layer[0](KEY, X1.shape), lambda layer: layer[1]((), X1)):
        with pytest.raises(IndexError, match="at most 4 indices"):
            call(Index(Slice[:, :, :, :, 0]))
        with pytest.raises(TypeError, match="consists of integers"):
            call(Index(None))
    with pytest.raises(IndexError, match="out of range"):
        Index(Slice[:, 3])[2](X1)
    with pytest.raises(ValueError, match="channel_axis"):
        serial(Dense(3, channel_axis=1), Index(Slice[:, :, 0], channel_axis=-1))[2](X1)
