"""`ImageResize` against interpolation written out, and finite networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from jax.image import ResizeMethod
from linear_truth import LAYOUTS, assert_exact

from neural_tangents._core.requirements import Bool
from neural_tangents.stax import Dense, Flatten, ImageResize, Relu, serial
from neural_tangents.stax._layers.resize import contributions, resize_covariance

RANDOM = np.random.RandomState(47)
X1, X2 = (RANDOM.normal(size=(n, 4, 3, 5)) for n in (2, 3))  # (N, S, T, C)
DENSE = Dense(5, 1.2, 0.3)
KEY = jax.random.PRNGKey(0)
FULL, POSITIONS = LAYOUTS[:1], LAYOUTS[::2]


def linear(old, new, antialias=True):
    """Weights `(new, old)` of linear interpolation: centres of pixels are at halves."""
    if old == new:
        return np.eye(old)
    scale = max(old / new, 1) if antialias else 1
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)) / scale)
    weights = np.where(weights < 1e-9, 0, weights)
    return weights / weights.sum(1, keepdims=True)


def nearest(old, new, antialias=True):
    """Weights `(new, old)` of the nearest pixel."""
    return np.eye(old)[np.floor((np.arange(new) + 0.5) * old / new).astype(int)]


def resized(x, shape, weights, antialias=True):
    for axis, size in enumerate(shape):
        if size != -1:
            x = np.moveaxis(np.tensordot(weights(x.shape[axis], size, antialias), x, (1, axis)), 0, axis)
    return x


# Sizes, method, its weights, antialias, layouts that can be.
CASES = {
    "larger": ((-1, 7, 5, -1), "linear", linear, True, POSITIONS),
    "smaller": ((-1, 3, 2, -1), "bilinear", linear, True, POSITIONS),
    "smaller, not smoothed": ((-1, 2, -1, -1), "triangle", linear, False, FULL),
    "by the enum": ((-1, 2, 4, -1), ResizeMethod.LINEAR, linear, True, FULL),
    "nearest": ((-1, 7, 2, -1), "nearest", nearest, True, POSITIONS),
    "nearest, by the enum": ((-1, 2, -1, -1), ResizeMethod.NEAREST, nearest, True, FULL),
    "nothing": ((-1, -1, -1, -1), "trilinear", linear, True, LAYOUTS),
    "batch": ((5, -1, -1, -1), "linear", linear, True, LAYOUTS[:2]),
    "batch and positions": ((1, 3, 4, -1), "linear", linear, True, FULL),
    "sizes they have": ((-1, 4, 3, 5), "linear", linear, True, POSITIONS),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_those_of_explicit_features(name):
    shape, method, weights, antialias, layouts = CASES[name]
    ys = [resized(x, shape, weights, antialias) for x in (X1, X2)]
    assert_exact(ImageResize(shape, method, antialias), (X1, X2), ys, layouts=layouts)


def test_a_method_may_be_a_member_of_the_enum():
    """The archived library raised an `UnboundLocalError` in `kernel_fn`."""
    for member, name in ((ResizeMethod.LINEAR, "linear"), (ResizeMethod.NEAREST, "nearest")):
        kernel, expected = (compiled(ImageResize((-1, 2, 5, -1), m), X1, X2) for m in (member, name))
        np.testing.assert_array_equal(kernel.nngp, expected.nngp)
        np.testing.assert_array_equal(kernel.cov1, expected.cov1)


@pytest.mark.parametrize("axes", [(1, 0), (-1, 1), (2, 3)])
def test_other_axes(axes):
    xs = [np.moveaxis(x, (0, 3), axes) for x in (X1, X2)]
    shape = (-1, 5, 2, -1)
    sources = [size - 1 for size in np.moveaxis(np.zeros((1, 2, 3, 4)), (0, 3), axes).shape]
    moved = [shape[source] for source in sources]
    ys = [np.moveaxis(resized(x, shape, linear), (0, 3), axes) for x in (X1, X2)]
    layer = ImageResize(moved, "linear", batch_axis=axes[0], channel_axis=axes[1])
    assert_exact(layer, xs, ys, axes=axes, layouts=FULL)
    assert layer[2].input_req.get("diagonal_batch", True)


def test_one_batch_is_two_equal_ones():
    net = serial(DENSE, ImageResize((3, 3, 5, -1), "linear"), Relu(), DENSE)
    one, two = compiled(net, X1), compiled(net, X1, X1.copy())
    assert one.cov2 is None and bool(two.x1_is_x2)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "method"), [(2, "linear"), (5, "nearest")])
def test_finite_networks_have_the_kernel_on_average(size, method):
    x1, x2 = X1[:, :, 0, :3], X2[:, :, 0, :3]
    net = serial(Dense(8, 1.3, 0.4), Relu(), Dense(4, 1.1), ImageResize((-1, size, -1), method), Dense(1, 0.9, 0.2))
    nngp, ntk = estimate(net, x1, x2, seed=5, draws=2000)
    kernel = compiled(net, x1, x2, ("nngp", "ntk"))
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize("name", ["larger", "smaller", "smaller, not smoothed", "nearest"])
def test_masks(name):
    """Masked is what only masked entries contribute to."""
    shape, method, weights, antialias, _ = CASES[name]
    absent = np.random.RandomState(9).uniform(size=(2, 4, 3, 1)) < 0.7
    absent[1, :, 1:] = True
    masks = [
        resized(visible, (*shape[:3], -1), lambda *sizes: weights(*sizes) > 0, antialias) == 0
        for visible in (~absent, np.ones((3, 4, 3, 1), bool))
    ]
    ys = [resized(x, shape, weights, antialias) for x in (np.where(absent, 0, X1), X2)]
    assert masks[0].any() and not masks[0].all() and not masks[1].any()
    xs = np.where(absent, np.inf, X1), X2
    assert_exact(ImageResize(shape, method, antialias), xs, ys, mask_constant=np.inf, masks=masks, layouts=FULL)


def test_rounding_unmasks_nothing():
    """At many sizes, weights that are zero are tiny; kernels have zeros there all the same."""
    for old, new in [(3, 9), (15, 10), (100, 60)]:
        for antialias in (True, False):
            options = dict(method=ResizeMethod.LINEAR, antialias=antialias)
            np.testing.assert_array_equal(contributions(old, new, options), linear(old, new, antialias) > 0)
    x = np.ones((1, 9, 2))
    x[0, :4] = np.nan
    kernel = compiled(serial(DENSE, ImageResize((-1, 3, -1), "linear", False)), x, mask_constant=np.nan)
    np.testing.assert_array_equal(kernel.mask1[0, :, 0], [True, False, False])
    assert not kernel.nngp[0, 0, 0].any() and not kernel.ntk[0, 0, :, 0].any() and kernel.nngp[0, 0, 1, 1] > 0


def test_masks_of_methods_without_a_kernel():
    layer = ImageResize((-1, 8), "cubic")
    outputs = layer[1]((), np.array([[np.nan, np.nan, np.nan, 1.0], [np.nan] * 4]), mask_constant=np.nan)
    assert outputs.mask[1].all() and not outputs.mask[0, -3:].any() and outputs.mask[0, 0]


def test_resize_covariance():
    cov = np.random.RandomState(2).normal(size=(2, 3, 4, 4, 2)).astype(np.float32)
    options = dict(method=ResizeMethod.LINEAR)
    assert resize_covariance(cov[..., None], 2, -1, [-1, -1], 2, options).shape == (2, 3, 4, 4, 2, 1)
    single = resize_covariance(cov[:, :, 0], 2, -1, [6, -1], 1, options)
    np.testing.assert_allclose(single, np.einsum("st,nmtk->nmsk", linear(4, 6), cov[:, :, 0]), rtol=1e-5, atol=1e-6)


def test_demand():
    def requirements(*shape, **axes):
        stated = ImageResize(shape, "linear", **axes)[2].input_req
        return stated["diagonal_spatial"].input == Bool.YES, stated.get("diagonal_batch", True)

    assert requirements(-1, -1, -1) == (True, True) and requirements(-1, 4, -1) == (False, True)
    assert requirements(4, -1, -1) == (True, False) and requirements(4, 4, -1) == (False, False)
    assert requirements(-1, -1, 4) == (True, True)  # of channels
    assert requirements(-1, -1, 4, batch_axis=-1, channel_axis=0) == (True, False)
    assert compiled(serial(DENSE, ImageResize((4, -1, -1, -1), "linear"), Flatten()), X1).nngp.shape == (4, 4)


def test_shapes():
    layer = ImageResize((-1, 6, -1, -1), "linear")
    assert layer[0](KEY, (-1, 4, 3, 5)) == ((-1, 6, 3, 5), ())
    assert ImageResize((7, 6, -1), "nearest")[0](KEY, (None, 4, 3)) == ((7, 6, 3), ())
    assert layer[2].__name__ == "ImageResize"


def test_other_methods_are_for_finite_networks():
    for method in ("cubic", ResizeMethod.LANCZOS3):
        layer = ImageResize((-1, 6, -1, 7), method)
        expected = jax.image.resize(jnp.asarray(X1), (2, 6, 3, 7), method)
        np.testing.assert_array_equal(layer[1]((), jnp.asarray(X1)), expected)
        with pytest.raises(NotImplementedError, match="'linear' and 'nearest', got '(cubic|lanczos3)'"):
            layer[2](X1)


def test_errors():
    with pytest.raises(ValueError, match="Expected -1 for the channel axis 3"):
        ImageResize((-1, 4, 3, 6), "linear")[2](X1)
    for call in (lambda layer: layer[2](X1), lambda layer: layer[0](KEY, X1.shape), lambda layer: layer[1]((), X1)):
        with pytest.raises(ValueError, match="needs inputs of 3 axes, got shape"):
            call(ImageResize((-1, 4, -1), "linear"))
    with pytest.raises(ValueError, match="-1 to keep one"):
        ImageResize((-2, 4, -1), "linear")
    with pytest.raises(ValueError, match="(?i)unknown resize method"):
        ImageResize((-1, 4, -1), "no such")
    with pytest.raises(ValueError, match="diagonal_batch=True"):
        ImageResize((4, -1, -1, -1), "linear")[2](X1, diagonal_batch=True)
