"""Each method of `Layout` in every layout, against covariances of explicit features, entry by entry."""

import itertools

import jax
import numpy as np
import pytest
from explicit_features import LAYOUTS, covariance, features

from neural_tangents._core.layout import Layout, Spatial, embed_diagonal

SHAPES = [(3, 2), (3, 4, 2), (3, 4, 5, 2)]


@pytest.fixture(params=LAYOUTS, ids=["full", "spatial", "batch", "both"])
def layout(request):
    batch, spatial = request.param
    return Layout(Spatial.DIAGONAL if spatial else Spatial.PAIRED, batch)


@pytest.fixture(params=SHAPES, ids=str)
def x(request):
    with jax.enable_x64(True):
        yield features(0, request.param)[0][0]


def own(layout, x, y=None):
    diagonal = layout.spatial is Spatial.DIAGONAL
    return covariance(x, x if y is None else y, own=layout.diagonal_batch, spatial=diagonal)


def cross(layout, x, y):
    return covariance(x, y, spatial=layout.spatial is Spatial.DIAGONAL)


def entries(cov, layout, n_batch_axes):
    """Index of an entry, and the input and position that it stands for in the first and the second copy."""
    for index in np.ndindex(cov.shape):
        batch, spatial = index[:n_batch_axes], index[n_batch_axes:]
        if layout.spatial is Spatial.DIAGONAL:
            spatial = tuple(itertools.chain.from_iterable(zip(spatial, spatial, strict=True)))
        yield index, (batch[0], *spatial[::2]), (batch[-1], *spatial[1::2])


def test_variance(layout, x):
    variance = layout.variance(own(layout, x))
    np.testing.assert_allclose(variance, (x**2).mean(-1), rtol=1e-12)


def test_spread(layout, x):
    v1, v2 = (f[0][..., 0] for f in features(1, x.shape, (2, *x.shape[1:])))
    cov = cross(layout, x, np.ones((2, *x.shape[1:])))
    first, second = layout.spread(v1, v2)
    assert first.ndim == second.ndim == cov.ndim
    first, second = np.broadcast_to(first, cov.shape), np.broadcast_to(second, cov.shape)
    for index, one, two in entries(cov, layout, 2):
        assert first[index] == v1[one] and second[index] == v2[two]


def test_spread_own(layout, x):
    v = features(2, x.shape)[0][0][..., 0]
    cov = own(layout, x)
    first, second = layout.spread_own(v)
    assert first.ndim == second.ndim == cov.ndim
    first, second = np.broadcast_to(first, cov.shape), np.broadcast_to(second, cov.shape)
    for index, one, two in entries(cov, layout, 1 if layout.diagonal_batch else 2):
        assert first[index] == v[one] and second[index] == v[two]


def test_spread_of_variances_bounds_covariances(layout, x):
    """Cauchy and Schwarz, with equality where the entry pairs an input and position with itself."""
    cov = own(layout, x)
    v1, v2 = (np.asarray(v) for v in layout.spread_own(layout.variance(cov)))
    same = np.asarray(layout.is_same_own(cov))
    gap = v1 * v2 - cov**2
    np.testing.assert_allclose(gap[same], 0, atol=1e-12)
    assert np.all(gap[~same] > 0)


def test_is_same(layout, x):
    for y in (x, x[:2]):  # two batches of different sizes have no common inputs, but positions pair up all the same
        cov = cross(layout, x, y)
        same = np.asarray(layout.is_same(cov))
        assert same.shape == cov.shape and same.dtype == bool
        for index, one, two in entries(cov, layout, 2):
            assert same[index] == (one == two)


def test_is_same_own(layout, x):
    cov = own(layout, x)
    same = np.asarray(layout.is_same_own(cov))
    assert same.shape == cov.shape and same.dtype == bool
    for index, one, two in entries(cov, layout, 1 if layout.diagonal_batch else 2):
        assert same[index] == (one == two)


def test_position_mean(layout, x):
    flat = x.reshape(len(x), -1)
    np.testing.assert_allclose(layout.position_mean(cross(layout, x, x[:2]), 2), covariance(flat, flat[:2]), rtol=1e-10)
    n_batch_axes = 1 if layout.diagonal_batch else 2
    expected = covariance(flat, flat, own=layout.diagonal_batch)
    np.testing.assert_allclose(layout.position_mean(own(layout, x), n_batch_axes), expected, rtol=1e-10)


def test_copies(layout, x):
    for cov, n_batch_axes in ((cross(layout, x, x[:2]), 2), (own(layout, x), 1 if layout.diagonal_batch else 2)):
        rest = list(range(n_batch_axes))
        for i, size in enumerate(x.shape[1:-1]):
            axes = layout.copies(i, n_batch_axes)
            assert [cov.shape[axis] for axis in axes] == [size] * (1 if layout.spatial is Spatial.DIAGONAL else 2)
            rest += axes
        assert rest == list(range(cov.ndim))  # each axis is one of the batch's or a copy, in order


def test_diagonal(layout, x):
    np.testing.assert_allclose(
        layout.diagonal(cross(layout, x, x[:2]), 2), covariance(x, x[:2], spatial=True), rtol=1e-12
    )
    n_batch_axes = 1 if layout.diagonal_batch else 2
    expected = covariance(x, x, own=layout.diagonal_batch, spatial=True)
    np.testing.assert_allclose(layout.diagonal(own(layout, x), n_batch_axes), expected, rtol=1e-12)


@pytest.mark.parametrize("n_batch_axes", [1, 2])
def test_embed_diagonal(x, n_batch_axes):
    layout = Layout(Spatial.PAIRED, n_batch_axes == 1)
    small, full = (covariance(x, x, own=n_batch_axes == 1, spatial=spatial) for spatial in (True, False))
    embedded = np.asarray(embed_diagonal(small, n_batch_axes))
    assert embedded.shape == full.shape and embedded.dtype == small.dtype
    for index, one, two in entries(full, layout, n_batch_axes):
        assert embedded[index] == (full[index] if one[1:] == two[1:] else 0)
    np.testing.assert_array_equal(layout.diagonal(embedded, n_batch_axes), small)


def test_methods_compile(layout, x):
    cov = own(layout, x)
    np.testing.assert_array_equal(jax.jit(layout.variance)(cov), layout.variance(cov))
    np.testing.assert_array_equal(jax.jit(layout.is_same_own)(cov), layout.is_same_own(cov))


def test_layouts_are_values():
    assert Layout() == Layout(Spatial.PAIRED, True) and hash(Layout()) == hash(Layout(Spatial.PAIRED, True))
    assert len({Layout(s, b) for s in (Spatial.DIAGONAL, Spatial.PAIRED) for b in (False, True)}) == 4
