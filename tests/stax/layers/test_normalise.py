"""`LayerNorm` and `Dropout`."""

import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate

from neural_tangents.stax import Dense, Dropout, Erf, LayerNorm, MaskedArray, Relu, serial

LAYOUTS = list(itertools.product([True, False], repeat=2))
COVARIANCES = ("nngp", "ntk", "cov1", "cov2")
RANDOM = np.random.RandomState(31)
X1, X2 = (RANDOM.normal(size=(n, 3)) for n in (2, 3))
S1, S2 = (RANDOM.normal(size=(n, 2, 3)) for n in (2, 3))
P1, P2 = (RANDOM.normal(size=(n, 3, 2, 4)) for n in (2, 3))
DENSE = Dense(5, 1.2, 0.3)


def in_all_layouts(net, x1, x2=None, **options):
    """Kernels in each of the layouts, the last of which holds everything, in one compilation."""

    def kernels(x1, x2):
        return [net[2](x1, x2, diagonal_batch=b, diagonal_spatial=s, **options) for b, s in LAYOUTS]

    return jax.jit(kernels)(x1, x2)


def reduced(full, name, diagonal_batch, diagonal_spatial):
    """What a layout holds of a full covariance of two spatial axes."""
    inputs = "nn" if name in ("cov1", "cov2") and diagonal_batch else "nm"
    positions, rest = ("hhww", "hw") if diagonal_spatial else ("hiwj", "hiwj")
    return np.einsum(f"{inputs}{positions}->{'n' if inputs == 'nn' else 'nm'}{rest}", full)


def assert_layouts_agree(kernels, rtol=1e-12):
    """All hold the same entries as the last one; its variances are those of the first batch with itself."""
    for kernel, layout in zip(kernels, LAYOUTS, strict=True):
        for name in COVARIANCES:
            if (full := getattr(kernels[-1], name)) is not None:
                expected = reduced(full, name, *layout)
                np.testing.assert_allclose(getattr(kernel, name), expected, rtol=rtol, err_msg=f"{name} {layout}")


# LayerNorm


# In NumPy, axes of `(N, H, W)` over which variances of `(N, H, W, C)` are averaged.
AXES = [
    (-1, ()),
    (3, ()),
    ((1, 3), (1,)),
    ((-1, -2), (2,)),
    ((1, 2, 3), (1, 2)),
    ((3, 0), (0,)),
    ((0, 1, 2, 3), (0, 1, 2)),
]


def normalised(kernel, eps, axes, present1=None, present2=None):
    """The covariances after layer normalisation, from full ones before it."""

    def scale(cov, present):
        q = np.einsum("nnhhww->nhw", cov)
        present = np.ones(q.shape, bool) if present is None else present
        total = np.where(present, q, 0).sum(axes, keepdims=True)
        mean = total / np.maximum(present.sum(axes, keepdims=True), 1)
        return np.broadcast_to(1 / np.sqrt(eps + mean), q.shape)

    s1, s2 = scale(kernel.cov1, present1), scale(kernel.cov2, present2)

    def times(cov, a, b):
        return np.einsum("nmhiwj,nhw,mij->nmhiwj", cov, a, b)

    return {
        "nngp": times(kernel.nngp, s1, s2),
        "ntk": times(kernel.ntk, s1, s2),
        "cov1": times(kernel.cov1, s1, s1),
        "cov2": times(kernel.cov2, s2, s2),
    }


@pytest.mark.parametrize(("axis", "averaged"), AXES, ids=str)
def test_layer_norm_is_as_defined_in_all_layouts(axis, averaged):
    with jax.enable_x64(True):
        before = compiled(DENSE, P1, P2, diagonal_batch=False, diagonal_spatial=False)
        kernels = in_all_layouts(serial(DENSE, LayerNorm(axis, eps=0.2)), P1, P2)
    for name, expected in normalised(before, 0.2, averaged).items():
        np.testing.assert_allclose(getattr(kernels[-1], name), expected, rtol=1e-12)
    assert_layouts_agree(kernels)
    assert kernels[0].is_gaussian and kernels[0].shape1 == (2, 3, 2, 5)


@pytest.mark.parametrize("axis", [-1, (1, 3), (0, 1, 2, 3)], ids=str)
def test_layer_norm_of_one_batch_is_that_of_two_equal_ones(axis):
    net = serial(DENSE, LayerNorm(axis), Erf(), DENSE)
    one, two = compiled(net, P1), compiled(net, P1, P1)
    assert one.cov2 is None
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=2e-5, atol=1e-6)


def test_layer_norm_makes_variances_one(dtype):
    kernel = compiled(serial(DENSE, LayerNorm(eps=0.0)), 100 * P1, P2, diagonal_spatial=True)
    assert kernel.nngp.dtype == kernel.ntk.dtype == kernel.cov1.dtype == dtype
    for cov in (kernel.cov1, kernel.cov2):
        np.testing.assert_allclose(cov, np.ones(cov.shape), rtol=4 * jnp.finfo(dtype).eps)


MOVED = [(0, 1, ()), (0, -2, ("space",)), (2, 1, ("batch",)), (-1, -3, ("space",))]


@pytest.mark.parametrize(("batch_axis", "channel_axis", "also"), MOVED, ids=str)
def test_layer_norm_of_moved_axes(batch_axis, channel_axis, also):
    x = np.random.RandomState(5).normal(size=(2, 3, 4)).astype(np.float32)
    moved = np.moveaxis(x, (0, 2), (batch_axis, channel_axis))
    space = ({0, 1, 2} - {batch_axis % 3, channel_axis % 3}).pop()
    axis = (channel_axis, *(batch_axis if name == "batch" else space for name in also))
    plain_axis = (2, *(0 if name == "batch" else 1 for name in also))
    moved_layer, layer = LayerNorm(axis, 0.1, batch_axis, channel_axis), LayerNorm(plain_axis, 0.1)
    net, plain = (
        serial(Dense(6, 1.2, 0.3, *axes), norm, Relu())
        for axes, norm in (((batch_axis, channel_axis), moved_layer), ((0, 2), layer))
    )
    with pytest.warns(UserWarning, match="batch axis") if batch_axis else contextlib.nullcontext():
        kernel = compiled(net, moved)
    expected = compiled(plain, x)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(kernel, name), getattr(expected, name), rtol=1e-5)
    y = np.moveaxis(moved_layer[1]((), moved), (batch_axis, channel_axis), (0, 2))
    np.testing.assert_allclose(y, layer[1]((), x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [(1, -1), (-1, 1, -1)], ids=str)
def test_layer_norm_of_an_axis_named_twice(axis):
    """As `(1, -1)` of inputs of 2 axes, for a layer that takes all of sequences too."""
    np.testing.assert_array_equal(LayerNorm(axis)[1]((), X1), LayerNorm()[1]((), X1))
    twice, once = (compiled(serial(DENSE, LayerNorm(a), Erf()), X1, X2) for a in (axis, -1))
    np.testing.assert_array_equal(twice.nngp, once.nngp)


@pytest.mark.parametrize("axis", [(-1, 0, 2), 2, (0, -3)], ids=str)
def test_layer_norm_of_no_such_axes(axis):
    for call in (lambda: LayerNorm(axis)[1]((), X1), lambda: compiled(serial(DENSE, LayerNorm(axis)), X1)):
        with pytest.raises(ValueError, match="axis"):
            call()


@pytest.mark.parametrize("axis", [1, (1, 2), (0, 1, 2)], ids=str)
def test_layer_norm_of_arrays(axis):
    axis = axis if axis != 1 else 2
    x = S2.astype(np.float32)
    shape, params = LayerNorm(axis)[0](jax.random.PRNGKey(0), x.shape)
    assert shape == x.shape and params == ()
    y = LayerNorm(axis)[1]((), 3 * x + 2)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean(axis), 0, atol=1e-6)
    np.testing.assert_allclose((y**2).mean(axis), 1, rtol=1e-5)
    y = LayerNorm(axis, eps=0.5)[1]((), x)
    np.testing.assert_allclose(
        y, (x - x.mean(axis, keepdims=True)) / np.sqrt(0.5 + x.var(axis, keepdims=True)), rtol=1e-5, atol=1e-6
    )


FINITE_NORMS = {
    "channels": (S1, S2, 2, 1e-12),
    "epsilon": (X1, X2, -1, 0.7),
    "batch": (S1, None, (0, 2), 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE_NORMS)
def test_wide_finite_networks_with_layer_norm_have_the_kernel(name):
    x1, x2, axis, eps = FINITE_NORMS[name]
    net = serial(Dense(128, 1.3, 0.4), LayerNorm(axis, eps), Relu(), Dense(1, 1.1, 0.2))
    nngp, ntk = estimate(net, x1, x2, seed=list(FINITE_NORMS).index(name), draws=200)
    kernel = compiled(net, x1, x2)
    # The variance over 128 channels is that of infinitely many up to about one in 128.
    assert_compatible(nngp, kernel.nngp, bias=0.03)
    assert_compatible(ntk, kernel.ntk, bias=0.03)


def with_holes():
    """Inputs like `P1` with some positions masked, all of the second one in the first row, and where they are not."""
    present = np.random.RandomState(7).uniform(size=P1.shape[:3]) < 0.6
    present[0, 0, 0], present[1, 0], present[0, 1, 0] = True, False, False
    return np.where(present[..., None], P1, np.nan), present


@pytest.mark.parametrize(("axis", "averaged"), [AXES[i] for i in (0, 1, 5)], ids=str)
def test_layer_norm_leaves_out_masked_positions(axis, averaged):
    masked, present = with_holes()
    net = serial(DENSE, LayerNorm(axis, eps=0.2))
    with jax.enable_x64(True):
        before = compiled(DENSE, P1, P2, diagonal_batch=False, diagonal_spatial=False)
        kernels = in_all_layouts(net, masked, P2, mask_constant=np.nan)
        params = net[0](jax.random.PRNGKey(0), P1.shape)[1]
        y = net[1](params, masked, mask_constant=np.nan)
        z = np.asarray(DENSE[1](params[0], P1))
    expected = normalised(before, 0.2, averaged, present)
    pairs = np.einsum("nhw,mij->nmhiwj", present, np.ones(P2.shape[:3], bool))
    own = np.einsum("nhw,mij->nmhiwj", present, present)
    for name, where in (("nngp", pairs), ("ntk", pairs), ("cov1", own), ("cov2", True)):
        np.testing.assert_allclose(getattr(kernels[-1], name), np.where(where, expected[name], 0), rtol=1e-12)
    assert_layouts_agree(kernels)

    # And so do finite networks.
    np.testing.assert_array_equal(y.mask, ~present[..., None])
    axes, where = (*averaged, 3), np.broadcast_to(present[..., None], z.shape)
    count = np.maximum(where.sum(axes, keepdims=True), 1)
    mean = np.where(where, z, 0).sum(axes, keepdims=True) / count
    variance = np.where(where, (z - mean) ** 2, 0).sum(axes, keepdims=True) / count
    got = np.where(where, y.masked_value, 0)
    np.testing.assert_allclose(got, np.where(where, (z - mean) / np.sqrt(0.2 + variance), 0), rtol=1e-12, atol=1e-13)


def test_wide_finite_networks_with_masks_and_layer_norm_have_the_kernel():
    x = S2.copy()
    x[0, 1] = x[1] = np.nan
    net = serial(Dense(128, 1.3, 0.4), LayerNorm((1, 2)), Erf(), Dense(1, 1.1, 0.2))
    kernel = compiled(net, x, mask_constant=np.nan)
    nngp, ntk = estimate(net, x, seed=17, draws=200, mask_constant=np.nan)
    assert_compatible(nngp, kernel.nngp, bias=0.03)
    assert_compatible(ntk, kernel.ntk, bias=0.03)


# Dropout


def dropped(k, rate):
    """The covariance of one batch with itself after dropout."""
    k = np.asarray(k)
    n, _, h, _, w, _ = k.shape
    same = np.einsum("nm,hi,wj->nmhiwj", np.eye(n), np.eye(h), np.eye(w)) == 1
    return np.where(same, k / rate, k)


def test_dropout_is_as_defined_in_all_layouts():
    rate = 0.3
    net = serial(DENSE, Relu())
    with jax.enable_x64(True):
        before = compiled(net, P1, diagonal_batch=False, diagonal_spatial=False)
        kernels = in_all_layouts(serial(net, Dropout(rate)), P1)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(kernels[-1], name), dropped(getattr(before, name), rate), rtol=1e-12)
    assert kernels[-1].cov2 is None and not kernels[-1].is_gaussian and kernels[-1].shape1 == (2, 3, 2, 5)
    assert_layouts_agree(kernels)


def test_dropout_of_two_batches_changes_variances_only():
    other = P2[:2]
    net = serial(DENSE, Relu())
    with jax.enable_x64(True):
        before = compiled(net, P1, other, diagonal_batch=False, diagonal_spatial=False)
        kernels = in_all_layouts(serial(net, Dropout(0.4)), P1, other)
    assert_layouts_agree(kernels)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(kernels[-1], name), getattr(before, name), rtol=1e-12)
    for name in ("cov1", "cov2"):
        np.testing.assert_allclose(getattr(kernels[-1], name), dropped(getattr(before, name), 0.4), rtol=1e-12)


DROPOUT = serial(Dense(8, 1.3, 0.4), Relu(), Dropout(0.5), Dense(1))


def test_the_same_batch_may_come_in_any_form(dtype):
    x = X2.astype(dtype)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    forms = jax.jit(lambda x, copy: (DROPOUT[2](x), DROPOUT[2](x, x), DROPOUT[2](x, copy)))
    one, same, equal = forms(x, x)
    kernels = {"the same object": same, "equal arrays": equal, "equal arrays, not compiled": DROPOUT[2](x, x.copy())}
    for form, kernel in kernels.items():
        for name in ("nngp", "ntk", "cov1"):
            np.testing.assert_allclose(getattr(kernel, name), getattr(one, name), rtol=rtol, err_msg=form)
        np.testing.assert_allclose(kernel.cov2, one.cov1, rtol=rtol, err_msg=form)
    others = compiled(DROPOUT, x, x[::-1].copy())
    assert not np.allclose(others.nngp[:, ::-1], one.nngp, rtol=1e-3)


FINITE_DROPOUT = {
    "positions": (serial(Dense(4, 1.3, 0.4), Relu(), Dropout(0.6), Dense(1, 1.1, 0.2)), 0.0, S1, S2),
    "before an activation": (serial(Dense(64, 1.3), Erf(), Dropout(0.7), Dense(32), Relu(), Dense(1)), 0.03, X1, X2),
    "after the last layer": (serial(Dense(8, 1.3, 0.4), Relu(), Dense(2, 1.1), Dropout(0.5)), 0.0, X1, X2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE_DROPOUT)
def test_finite_networks_with_dropout_have_the_kernel_on_average(name):
    """Over parameters and the activations that are dropped. These differ between all inputs of one batch."""
    net, bias, x1, x2 = FINITE_DROPOUT[name]
    draws = 2000 if bias == 0 else 300
    nngp, ntk = estimate(net, np.concatenate([x1, x2]), seed=list(FINITE_DROPOUT).index(name), draws=draws)
    kernel = compiled(net, np.concatenate([x1, x2]))
    assert_compatible(nngp, kernel.nngp, bias)
    assert_compatible(ntk, kernel.ntk, bias)

    # The same numbers, those of two batches apart.
    pairs = compiled(net, x1, x2)
    n = len(x1)
    np.testing.assert_allclose(pairs.nngp, kernel.nngp[:n, n:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pairs.ntk, kernel.ntk[:n, n:], rtol=1e-5, atol=1e-6)


def test_mode_test_does_nothing():
    net, layer = serial(DENSE, Erf()), Dropout(0.5, mode="test")
    kernel, expected = compiled(serial(net, layer), P1, P2), compiled(net, P1, P2)
    for name in COVARIANCES:
        np.testing.assert_array_equal(getattr(kernel, name), getattr(expected, name))
    np.testing.assert_array_equal(layer[1]((), X1), X1)
    np.testing.assert_array_equal(layer[1]((), X1, rng=jax.random.PRNGKey(0)), X1)
    # Gaussian activations stay Gaussian, also those of inputs may be dropped.
    assert compiled(serial(DENSE, layer), X1).is_gaussian and not compiled(serial(DENSE, Dropout(0.5)), X1).is_gaussian
    np.testing.assert_allclose(compiled(serial(layer, DENSE), X1).nngp, compiled(DENSE, X1).nngp, rtol=1e-6)


def test_all_are_kept_at_rate_one():
    net = serial(DENSE, Erf())
    kernel, expected = compiled(serial(net, Dropout(1.0)), P1), compiled(net, P1)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(kernel, name), getattr(expected, name), rtol=1e-6)
    np.testing.assert_array_equal(Dropout(1)[1]((), X1, rng=jax.random.PRNGKey(0)), X1.astype(np.float32))


@pytest.mark.parametrize("rate", [0.2, 0.75])
def test_activations_are_dropped(rate, dtype):
    init_fn, apply_fn, _ = Dropout(rate)
    x = jnp.asarray(np.random.RandomState(3).uniform(1, 2, size=(40, 10, 20)), dtype)
    shape, params = init_fn(jax.random.PRNGKey(0), x.shape)
    assert shape == x.shape and params == ()
    y = apply_fn(params, x, rng=jax.random.PRNGKey(1))
    assert y.dtype == dtype and y.shape == x.shape
    kept = np.asarray(y != 0)
    np.testing.assert_allclose(y[kept], x[kept] / rate, rtol=1e-6)
    error = (rate * (1 - rate) / x.size) ** 0.5
    assert abs(kept.mean() - rate) < 5 * error
    # Each by itself: not whole inputs, positions or channels.
    for axes in ((0, 1), (0, 2), (1, 2)):
        count = np.prod([x.shape[a] for a in axes])
        assert np.abs(kept.mean(axes) - rate).max() < 6 * (rate * (1 - rate) / count) ** 0.5
    np.testing.assert_array_equal(apply_fn(params, x, rng=jax.random.PRNGKey(1)), y)
    assert np.any(apply_fn(params, x, rng=jax.random.PRNGKey(2)) != y)
    np.testing.assert_array_equal(jax.jit(apply_fn)(params, x, rng=jax.random.key(1)) != 0, kept)


def test_layers_of_a_network_drop_different_activations():
    net = serial(Dropout(0.5), Dropout(0.5))
    x = jnp.ones((20, 100))
    y = net[1](net[0](jax.random.PRNGKey(0), x.shape)[1], x, rng=jax.random.PRNGKey(1))
    assert abs(np.mean(np.asarray(y) != 0) - 0.25) < 0.06
    np.testing.assert_allclose(np.unique(y), [0, 4])


def test_dropout_keeps_masks():
    x = MaskedArray(jnp.ones((2, 3, 4)), jnp.asarray([[0, 1, 0], [0, 0, 1]], bool)[..., None])
    y = Dropout(0.5)[1]((), x, rng=jax.random.PRNGKey(0))
    np.testing.assert_array_equal(y.mask, x.mask)
    kernel = compiled(serial(DENSE, Relu(), Dropout(0.5)), S2, mask_constant=S2[0, 0, 0])
    assert kernel.mask1 is not None and kernel.mask1.shape == (3, 2, 1)
