"""What `Conv`, `ConvTranspose` and `ConvLocal` have in common: layouts, types, axes, masks, errors."""

import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from window_truth import diagonal, quickly, spreads

from neural_tangents.stax import (
    AvgPool,
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    MaskedArray,
    Relu,
    parallel,
    serial,
)

KEY = jax.random.PRNGKey(0)
KINDS = [Conv, ConvTranspose, ConvLocal]
COVARIANCES = ("nngp", "ntk", "cov1", "cov2")
LAYOUTS = list(itertools.product([True, False], repeat=2))


def inputs(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


X1, X2 = inputs(1, 2, 4, 2), inputs(2, 3, 4, 2)
P1, P2 = inputs(3, 2, 4, 3, 2), inputs(4, 3, 4, 3, 2)


def deep(kind):
    """A network of two layers of one kind, one of which pads with zeros and one with copies."""
    first = kind(5, (3, 2), (1, 2), "SAME", 1.2, 0.3)
    return serial(first, Relu(), kind(5, (2, 3), None, "CIRCULAR", 1.1, None, parameterization="standard"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_layouts_agree(kind):
    """Covariances of equal inputs or positions are those of the full layout, and two equal batches are one."""
    net = deep(kind)
    with jax.enable_x64(True):

        def kernels(x1, x2):
            layouts = [net[2](x1, x2, diagonal_batch=b, diagonal_spatial=s) for b, s in LAYOUTS]
            return layouts, *(net[2](x1, x, diagonal_spatial=False) for x in (None, x1 + 0))

        layouts, one, two = quickly(kernels, np.float64(P1), np.float64(P2))
    for k, (batch, spatial) in zip(layouts, LAYOUTS, strict=True):
        assert (k.diagonal_batch, k.diagonal_spatial) == (batch, spatial)
        for name in COVARIANCES:
            own = batch and name in ("cov1", "cov2")
            left = "nn" if own else "nm"
            right = ("n" if own else "nm") + ("hw" if spatial else "hiwj")
            expected = np.einsum(f"{left}{'hhww' if spatial else 'hiwj'}->{right}", getattr(layouts[-1], name))
            np.testing.assert_allclose(getattr(k, name), expected, rtol=1e-10, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(layouts[1].cov1, np.einsum("nn...->n...", one.nngp), rtol=1e-12)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-10, err_msg=name)
    assert one.cov2 is None
    np.testing.assert_allclose(two.cov2, one.cov1, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_any_type(kind):
    """A plain number may be the bias, and integers the inputs."""
    layer = kind(3, (2,), None, "SAME", 1.5, 0.5)
    _, (w, b) = layer[0](KEY, (1, 4, 2))
    x = np.arange(8).reshape(1, 4, 2)
    numbers = [(w, 0.0), (w, 0 * b), (np.asarray(w), None)]
    outputs = quickly(lambda x: [layer[1](params, x) for params in numbers], x)
    exact = layer[1]((w, None), x.astype(np.float32))
    assert exact.any()
    for y in outputs:
        np.testing.assert_allclose(y, exact, rtol=1e-6)


NUMBERS = [
    ("NCHW", "OIHW", "NCHW"),
    ("NWHC", "HIWO", "NHCW"),
    ("CHNW", "IWOH", "WHCN"),
]


@pytest.mark.parametrize("numbers", NUMBERS, ids="-".join)
@pytest.mark.parametrize("kind", KINDS)
def test_axes_in_any_order(kind, numbers):
    """Compared with the default order, moved by hand."""
    lhs, rhs, out = numbers
    sizes, strides = {"H": 3, "W": 2}, {"H": 1, "W": 2}
    order = [c for c in rhs if c in "HW"]
    filter_shape, moved_strides = [sizes[c] for c in order], [strides[c] for c in order]
    padding = "SAME" if lhs[0] == "N" else "CIRCULAR"
    layer = kind(3, filter_shape, moved_strides, padding, 1.2, 0.3, dimension_numbers=numbers)
    plain = kind(3, (3, 2), (1, 2), padding, 1.2, 0.3)
    x = np.transpose(P1, ["NHWC".index(c) for c in lhs])
    shape, (w, b) = layer[0](KEY, x.shape)

    # Parameters in the default order.
    n_out = [out.index(c) for c in "NHWC"]
    w_plain, b_plain = np.transpose(w, [rhs.index(c) for c in "HWIO"]), np.transpose(b, n_out)
    if kind is ConvLocal and order == ["W", "H"]:  # input channels of the filter are those of patches (C, *order)
        patches = w_plain.reshape(*w_plain.shape[:2], 2, 2, 3, -1)
        w_plain = patches.swapaxes(3, 4).reshape(w_plain.shape)
    assert (w_plain.shape, b_plain.shape) == jax.tree.map(jnp.shape, plain[0](KEY, P1.shape)[1])

    def run(x, p):
        finite = layer[1]((w, b), x), plain[1]((w_plain, b_plain), p)
        return *finite, *(net[2](inputs, diagonal_spatial=False) for net, inputs in ((layer, x), (plain, p)))

    with pytest.warns(UserWarning, match="batch axis") if lhs[0] != "N" else contextlib.nullcontext():
        y, expected, got, exact = quickly(run, x, P1)
    assert y.shape == shape
    np.testing.assert_allclose(np.transpose(y, n_out), expected, rtol=1e-4, atol=1e-5)
    assert got.shape1 == shape and out[got.batch_axis] + out[got.channel_axis] == "NC"
    swap = [c for c in out if c in "HW"] == ["W", "H"]
    for name in ("nngp", "ntk", "cov1"):
        want = getattr(exact, name)
        n = want.ndim - 4
        want = np.moveaxis(want, (n, n + 1), (n + 2, n + 3)) if swap else want
        np.testing.assert_allclose(getattr(got, name), want, rtol=1e-4, atol=1e-6)


def test_channels_that_come_last_are_counted_as_by_other_layers():
    """So branches of a convolution and a dense layer agree on them, and networks on any number of axes."""
    net = parallel(Conv(3, (2,)), Dense(3), AvgPool((2,)))  # would warn
    assert net[2].input_req["channel_axis"] == -1
    assert Conv(3, (2,), dimension_numbers=("NCH", "HIO", "NHC"))[2].input_req["channel_axis"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_spatial_axes_they_are_dense_layers(kind):
    layer, dense = kind(3, (), (), "SAME", 1.3, 0.4), Dense(3, 1.3, 0.4)
    x = X1[:, 0]
    params = layer[0](KEY, x.shape)[1]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, dense[0](KEY, x.shape)[1])
    (y, k), (expected, exact) = jax.jit(lambda x: [(net[1](params, x), net[2](x)) for net in (layer, dense)])(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(k.ntk, exact.ntk, rtol=1e-6)


# Masks.


def present(seed, *shape):
    return np.random.RandomState(seed).uniform(size=shape) < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_masks(kind):
    """Kernels have the masks of finite networks, zeros where they are, and see zeros in place of masked inputs."""
    here1, here2 = present(5, 2, 4, 3), present(6, 3, 4, 3)
    x1, x2 = (np.where(here[..., None], x, np.nan) for here, x in ((here1, P1), (here2, P2)))
    net = kind(3, (3, 2), (1, 2), "SAME", 1.2, 0.3)
    params = net[0](KEY, x1.shape)[1]

    def run(x1, x2):
        kernels = [net[2](x1, x2, mask_constant=np.nan, diagonal_spatial=s) for s in (False, True)]
        zeroed = net[2](jnp.nan_to_num(x1), jnp.nan_to_num(x2), diagonal_spatial=False)
        return *kernels, zeroed, net[1](params, x1, mask_constant=np.nan)

    full, small, zeroed, y = quickly(run, x1, x2)
    assert isinstance(y, MaskedArray) and y.mask.shape[-1] == 1
    np.testing.assert_array_equal(full.mask1, y.mask)
    m1, m2 = np.asarray(full.mask1)[..., 0], np.asarray(full.mask2)[..., 0]
    # As the layer says: where the centre of the filter is masked, or where anything that is spread is.
    if kind is ConvTranspose:
        h, w = (spreads(n, *window, "SAME").sum(0) for n, window in ((4, (3, 1)), (3, (2, 2))))
        expected = np.einsum("ip,jq,npq->nij", h, w, ~here1) > 0
    else:
        expected = ~here1[:, :, ::2]
    np.testing.assert_array_equal(m1, expected)
    assert m1.any() and not m1.all() and m2.any() and not m2.all()

    pairs = m1[:, None, :, None, :, None] | m2[None, :, None, :, None, :]
    own = m1[:, :, None, :, None] | m1[:, None, :, None, :]
    for name, where in (("nngp", pairs), ("ntk", pairs), ("cov1", own)):
        expected = np.where(where, 0, getattr(zeroed, name))
        np.testing.assert_allclose(getattr(full, name), expected, rtol=1e-5, atol=1e-6, err_msg=name)
        expected = diagonal(expected, 1 if name == "cov1" else 2)
        np.testing.assert_allclose(getattr(small, name), expected, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_masked_finite_networks_have_the_kernel_on_average(kind):
    x1, x2 = np.array(X1), np.array(X2[:1])
    x1[0, 3:] = x1[1, :1] = x2[0, 2:] = np.nan
    net = serial(kind(6, (3,), None, "SAME", 1.2, 0.3), Relu(), kind(1, (2,), (2,), "CIRCULAR"))
    nngp, ntk = estimate(net, x1, x2, seed=8, draws=2000, mask_constant=np.nan)
    kernel = compiled(net, x1, x2, mask_constant=np.nan, diagonal_spatial=False)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


# Errors.


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_with_a_wrong_number_of_axes(kind):
    layer = kind(3, (2, 2))
    params = layer[0](KEY, P1.shape)[1]
    for x in (X1, P1[:, None]):
        for call in (
            lambda x: layer[0](KEY, x.shape),
            lambda x: layer[1](params, x),
            lambda x: layer[2](x),
            lambda x: serial(Dense(3), layer)[2](x),
        ):
            with pytest.raises(TypeError, match="needs inputs with 4 axes .* got shape"):
                call(x)


@pytest.mark.parametrize("kind", [Conv, ConvLocal])
def test_filters_larger_than_images(kind):
    layer = kind(3, (5,))
    for call in (
        lambda: layer[0](KEY, X1.shape),
        lambda: layer[1]((np.ones((5, 2, 3)), None), X1),
        lambda: layer[2](X1),
    ):
        with pytest.raises(ValueError, match="size 5 does not fit into an image of size 4 with padding 'VALID'"):
            call()


ARGUMENTS = [
    (dict(filter_shape=(2, 0)), "of at least 1"),
    (dict(filter_shape=(2,), strides=(0,)), "`strides` of at least 1"),
    (dict(filter_shape=(2, 2), strides=(1,)), "one stride for each axis"),
    (dict(filter_shape=(2,), padding="same"), "in capitals, got 'same'"),
    (dict(filter_shape=(), padding="ZEROS"), "got 'ZEROS'"),
    (dict(filter_shape=(2,), parameterization="none"), "must be 'ntk' or 'standard', got 'none'"),
    (dict(filter_shape=(2,), dimension_numbers=("NHWC", "HWIO", "NHWC")), "filters of 1 spatial axes"),
    (dict(filter_shape=(2,), dimension_numbers=("NHC", "WIO", "NHC")), "needs `dimension_numbers` such as"),
    (dict(filter_shape=(2,), dimension_numbers=("NHC", "HIO", "NWC")), "of different letters"),
    (dict(filter_shape=(2,), dimension_numbers=("AHC", "HIO", "NHC")), "of different letters"),
    (dict(filter_shape=(2, 2), dimension_numbers=("NHHC", "HHIO", "NHHC")), "of different letters"),
    (dict(filter_shape=(2,), dimension_numbers=("NHC", "HIO")), r"got \('NHC', 'HIO'\)"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_arguments(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(3, **arguments)
