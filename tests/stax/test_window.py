"""Windows and transposed windows against matrices written out by loops, and against jax."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from window_truth import quickly, selections, spreads

from neural_tangents.stax import Padding
from neural_tangents.stax._window import TransposedWindow, Window, windows

RANDOM = np.random.RandomState(0)
IMAGES = {n: (RANDOM.normal(size=(n, n)), RANDOM.uniform(size=(2, n)) < 0.4) for n in range(1, 6)}


def grid(padding, kind, sizes=range(1, 6), widths=range(1, 6), strides=range(1, 4)):
    """Windows, and images that they fit into."""
    for n, size, stride in itertools.product(sizes, widths, strides):
        if n >= size or padding is not Padding.VALID or kind is TransposedWindow:
            yield n, kind(size, stride, padding)


def results(cases):
    """All that windows do to images: to each position by itself, to pairs of positions, and to masks."""

    def run(images):
        return [
            (
                w.sums(jnp.eye(n), (0,)),
                w.sums(images[n][0][None], (1, 2))[0],
                w.mask(images[n][1], 1),
            )
            for n, w in cases
        ]

    return quickly(run, IMAGES)


@pytest.mark.parametrize("padding", Padding)
def test_windows_stand_where_those_of_jax_do(padding):
    name = "VALID" if padding is Padding.VALID else "SAME"
    for n, w in grid(padding, Window, range(1, 12), range(1, 8), range(1, 5)):
        assert w.pads(n) == lax.padtype_to_pads((n,), (w.size,), (w.stride,), name)[0]
        axes = ("NCH", "OIH", "NCH")
        shape = lax.conv_general_shape_tuple((1, 1, n), (1, 1, w.size), (w.stride,), name, axes)
        assert w.count(n) == shape[-1]


@pytest.mark.parametrize("padding", Padding)
def test_windows(padding):
    cases = list(grid(padding, Window))
    for (n, w), (sums, pairs, mask) in zip(cases, results(cases), strict=True):
        s = selections(n, w.size, w.stride, padding)
        image, masked = IMAGES[n]
        np.testing.assert_allclose(sums, s.sum(0), err_msg=f"{w} of {n}")
        np.testing.assert_allclose(
            pairs, np.einsum("dip,djq,pq->ij", s, s, image), rtol=2e-5, atol=1e-5, err_msg=f"{w} of {n}"
        )
        centre = s[(w.size - 1) // 2]
        assert np.all(centre.sum(1) == 1)  # the centre of a window is always in the image
        np.testing.assert_array_equal(mask, masked @ centre.T, err_msg=f"{w} of {n}")


@pytest.mark.parametrize("padding", Padding)
def test_transposed_windows(padding):
    cases = list(grid(padding, TransposedWindow, range(1, 5)))
    for (n, w), (sums, pairs, mask) in zip(cases, results(cases), strict=True):
        s = spreads(n, w.size, w.stride, padding)
        image, masked = IMAGES[n]
        assert w.count(n) == s.shape[1]
        np.testing.assert_allclose(sums, s.sum(0), err_msg=f"{w} of {n}")
        np.testing.assert_allclose(
            pairs, np.einsum("dip,djq,pq->ij", s, s, image), rtol=2e-5, atol=1e-5, err_msg=f"{w} of {n}"
        )
        np.testing.assert_array_equal(mask, masked @ s.sum(0).T > 0, err_msg=f"{w} of {n}")


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_transposed_sizes_are_those_of_jax(padding):
    for n, w in grid(Padding(padding), TransposedWindow):
        y = jax.eval_shape(
            lambda x, f, stride=w.stride: lax.conv_transpose(x, f, (stride,), padding),
            jax.ShapeDtypeStruct((1, n, 1), np.float32),
            jax.ShapeDtypeStruct((w.size, 1, 1), np.float32),
        )
        assert w.count(n) == y.shape[1]


def test_sums_over_axes_that_are_apart():
    """Windows along two axes move together, wherever the axes are; those along a third one are independent."""
    x = RANDOM.normal(size=(4, 2, 3, 4))
    w, v = Window(2, 2, Padding.SAME), Window(2, 1, Padding.CIRCULAR)
    y = quickly(lambda x: v.sums(w.sums(x, (0, 3)), (2,)), x)
    s, t = selections(4, 2, 2, "SAME"), selections(3, 2, 1, "CIRCULAR").sum(0)
    np.testing.assert_allclose(y, np.einsum("dip,djq,kr,pbrq->ibkj", s, s, t, x), rtol=1e-5, atol=1e-6)


def test_unknown_sizes_stay_unknown():
    for kind, padding in itertools.product((Window, TransposedWindow), Padding):
        assert kind(3, 2, padding).count(-1) == -1


def test_windows_larger_than_images():
    with pytest.raises(ValueError, match="size 3 does not fit into an image of size 2"):
        Window(3, 1, Padding.VALID).count(2)


def test_arguments():
    assert windows("Name", (2, 3), None, "SAME", Window) == (Window(2, 1, Padding.SAME), Window(3, 1, Padding.SAME))
    assert windows("Name", [np.int64(2)], [3], Padding.VALID, Window) == (Window(2, 3, Padding.VALID),)
    assert windows("Name", (), (), "CIRCULAR", TransposedWindow) == ()


@pytest.mark.parametrize(
    ("shape", "strides", "padding", "message"),
    [
        ((2, 2), (1,), "SAME", "one stride for each axis"),
        ((2,), (1, 1), "SAME", "one stride for each axis"),
        ((2, 0), None, "SAME", "of at least 1"),
        ((-1,), None, "SAME", "of at least 1"),
        ((2, 2), (1, 0), "VALID", "`strides` of at least 1"),
        ((2,), None, "same", "'CIRCULAR', 'SAME' or 'VALID', in capitals, got 'same'"),
        ((), None, "REFLECT", "got 'REFLECT'"),
        ((2,), None, None, "got None"),
    ],
)
def test_bad_arguments(shape, strides, padding, message):
    with pytest.raises(ValueError, match=message):
        windows("Name", shape, strides, padding, Window)


@pytest.mark.parametrize(("shape", "strides"), [((1.5,), None), ((2,), (1.0,))])
def test_sizes_are_integers(shape, strides):
    with pytest.raises(TypeError, match="whole numbers"):
        windows("Name", shape, strides, "SAME", Window)
