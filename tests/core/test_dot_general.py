"""`Kernel.dot_general` and its axes, against `jax.lax.dot_general` of explicit features."""

import jax
import numpy as np
import pytest
from explicit_features import LAYOUTS, assert_equal, features, kernel
from jax import lax

from neural_tangents._core.dot_general import Dot, axis_after_dot, same_constants

SHAPES = (2, 3, 4, 6), (3, 3, 4, 6)  # (N, S, T, F)
PERMUTATIONS = (0, 1, 2, 3), (3, 1, 0, 2)  # the second is (F, S, N, T)
NONE = ((), ()), ((), ())

# Shape of the constant (-1 for the size of the batch), and dimension numbers (of activations, of the constant).
POINTWISE = {
    "number": ((), NONE),
    "outer": ((5,), NONE),
    "shared": ((4,), (((), ()), ((2,), (0,)))),
    "shared from the end": ((5, 4), (((), ()), ((-2,), (-1,)))),
    "two shared, swapped": ((4, 5, 3, 1), (((), ()), ((2, 1), (0, 2)))),
    "each input its own": ((-1, 5), (((), ()), ((0,), (0,)))),
    "batch and position": ((3, -1), (((), ()), ((1, 0), (0, 1)))),
}
CONTRACTIONS = {
    "vector": ((3,), (((1,), (0,)), ((), ()))),
    "matrix": ((5, 4), (((2,), (1,)), ((), ()))),
    "tensor": ((5, 3, 1), (((1,), (1,)), ((), ()))),
    "both positions": ((4, 3), (((2, 1), (0, 1)), ((), ()))),
    "contracted and shared": ((4, 3, 5), (((1,), (1,)), ((2,), (0,)))),
    "each input its own matrix": ((3, 5, -1), (((1,), (0,)), ((0,), (2,)))),
}
OVER_BATCH = {
    "inputs mixed": ((5, -1), (((0,), (1,)), ((), ()))),
    "inputs summed": ((-1,), (((0,), (0,)), ((), ()))),
    "inputs and positions": ((-1, 4, 5), (((0, 2), (0, 1)), ((), ()))),
    "inputs mixed, shared": ((3, -1, 5), (((0,), (1,)), ((1,), (0,)))),
}
ALL = POINTWISE | CONTRACTIONS | OVER_BATCH


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def setting(name, is_lhs, permutation, seed=0):
    """Features of both batches, constants for both, dimension numbers, and the axes of batch and channels."""
    shape, ((x_contracted, c_contracted), (x_shared, c_shared)) = ALL[name]
    f1, f2 = ([np.transpose(f, permutation) for f in pair] for pair in features(seed, *SHAPES))
    x_contracted, x_shared = ([permutation.index(axis % 4) for axis in axes] for axes in (x_contracted, x_shared))
    pairs = (x_contracted, c_contracted), (x_shared, c_shared)
    random = np.random.default_rng(seed + 1)
    constants = [random.normal(size=[n if size == -1 else size for size in shape]) for n in (2, 3)]
    axes = {"batch_axis": permutation.index(0), "channel_axis": permutation.index(3)}
    return f1, f2, constants, tuple(pair[::-1] if is_lhs else pair for pair in pairs), axes


def dot(pair, constant, is_lhs, dimension_numbers):
    """`jax.lax.dot_general` of each of a pair of features with the constant, in NumPy, which does not compile."""
    results = []
    for f in pair:
        lhs, rhs = (constant, f) if is_lhs else (f, constant)
        (l_contracted, r_contracted), (l_shared, r_shared) = dimension_numbers
        l_labels, r_labels = list(range(lhs.ndim)), list(range(lhs.ndim, lhs.ndim + rhs.ndim))
        for left, right in zip([*l_contracted, *l_shared], [*r_contracted, *r_shared], strict=True):
            r_labels[right] = l_labels[left]
        shared = [l_labels[axis] for axis in l_shared]
        free = [label for label in l_labels + r_labels if not (label in l_labels and label in r_labels)]
        results.append(np.einsum(lhs, l_labels, rhs, r_labels, shared + free))
    return results


def axes_out(shape):
    """Batch and channel axis of features whose sizes are all different, with 2 inputs and 6 channels."""
    channel = shape.index(6)
    batch = shape.index(2) if 2 in shape else min({0, 1} - {channel})
    return {"batch_axis": batch, "channel_axis": channel}


def apply(k, c1, c2, is_lhs, dimension_numbers):
    quick = {"xla_backend_optimization_level": 0}  # most of the time goes into compilation
    call = jax.jit(lambda k, c1, c2: k.dot_general(c1, c2, is_lhs, dimension_numbers), compiler_options=quick)
    return call(k, c1, c2)


def test_the_truth_is_that_of_jax():
    lhs, rhs, numbers = (
        np.arange(120.0).reshape(2, 3, 4, 5),
        np.arange(72.0).reshape(4, 3, 3, 2),
        (((2,), (0,)), ((1,), (2,))),
    )
    np.testing.assert_allclose(dot([lhs], rhs, False, numbers)[0], lax.dot_general(lhs, rhs, numbers))
    np.testing.assert_allclose(dot([rhs], lhs, True, numbers)[0], lax.dot_general(lhs, rhs, numbers))


@pytest.mark.parametrize("is_lhs, permutation", [(False, PERMUTATIONS[0]), (True, PERMUTATIONS[1])])
@pytest.mark.parametrize("name", ALL)
def test_agrees_with_features(name, is_lhs, permutation):
    f1, f2, (c1, c2), numbers, axes = setting(name, is_lhs, permutation)
    y1, y2 = dot(f1, c1, is_lhs, numbers), dot(f2, c2, is_lhs, numbers)
    layouts = [(False, False)] if is_lhs or name in OVER_BATCH else LAYOUTS[:: 3 if name in POINTWISE else 2]
    for layout in layouts:
        actual = apply(kernel(f1, f2, *layout, **axes), c1, c2, is_lhs, numbers)
        assert_equal(actual, kernel(y1, y2, *layout, **axes_out(y1[0].shape), x1_is_x2=np.array(False)))


@pytest.mark.parametrize("is_lhs", [False, True])
@pytest.mark.parametrize("name", CONTRACTIONS | OVER_BATCH)
def test_contraction_needs_the_full_layout(name, is_lhs):
    f1, f2, constants, numbers, axes = setting(name, is_lhs, PERMUTATIONS[0])
    with pytest.raises(ValueError, match="diagonal_spatial=False"):
        kernel(f1, f2, False, True, **axes).dot_general(*constants, is_lhs, numbers)
    if name in OVER_BATCH:
        with pytest.raises(ValueError, match="diagonal_batch=False"):
            kernel(f1, f2, True, False, **axes).dot_general(*constants, is_lhs, numbers)


@pytest.mark.parametrize("name", ["matrix", "number", "shared"])
def test_same_batches(name):
    f1, _, (c, other), numbers, axes = setting(name, False, PERMUTATIONS[0], seed=2)
    k = kernel(f1, None, True, name != "matrix", **axes)
    y, z = dot(f1, c, False, numbers), dot(f1, other, False, numbers)
    same = kernel(y, None, True, name != "matrix", **axes_out(y[0].shape))
    assert_equal(k.dot_general(c, c, False, numbers), same)
    different = kernel(y, z, True, name != "matrix", **axes_out(y[0].shape))
    assert_equal(k.dot_general(c, other, False, numbers), different.replace(x1_is_x2=np.array(False)))
    copied = k.dot_general(c, np.array(c), False, numbers)
    assert bool(copied.x1_is_x2)
    np.testing.assert_allclose(copied.cov2, same.cov1)


@pytest.mark.parametrize("layout", [LAYOUTS[0], LAYOUTS[-1]])
@pytest.mark.parametrize("name, is_lhs", [("number", False), ("each", True)])
def test_none_leaves_its_activations_as_they_are(name, is_lhs, layout):
    f1, f2 = features(3, *SHAPES)
    k = kernel(f1, f2, *layout)
    numbers = NONE if name == "number" else (((), ()), ((0, 1), (0, 1)))
    if name == "number":
        c1 = c2 = np.array(-3.0)
    else:
        c1, c2 = np.random.default_rng(4).normal(size=(2, 3)), np.random.default_rng(5).normal(size=(3, 3))
    y1, y2 = dot(f1, c1, is_lhs, numbers), dot(f2, c2, is_lhs, numbers)
    expected1 = kernel(y1, f2, *layout, x1_is_x2=np.array(False))
    expected2 = kernel(f1, y2, *layout, x1_is_x2=np.array(False))
    assert_equal(k.dot_general(c1, None, is_lhs, numbers), expected1)
    assert_equal(k.dot_general(None, c2, is_lhs, numbers), expected2)
    assert k.dot_general(None, None, is_lhs, numbers) is k


def test_one_none_must_not_change_the_axes():
    f1, f2 = features(6, *SHAPES)
    k = kernel(f1, f2)
    for name in ("vector", "matrix", "outer", "shared"):
        shape, numbers = ALL[name]
        with pytest.raises(ValueError, match="got one None"):
            k.dot_general(np.ones(shape), None, False, numbers)


def test_python_number_and_scalar_ntk():
    f1, f2 = features(7, *SHAPES)
    k = kernel(f1, f2).replace(ntk=np.array(0.0))
    actual = k.dot_general(-3, -3, False, NONE)
    assert_equal(actual, (k * 3).replace(x1_is_x2=actual.x1_is_x2))
    assert actual.ntk.shape == ()
    assert k.replace(ntk=None).dot_general(2, 2, True, NONE).ntk is None


def test_reversed_kernels_give_the_same():
    f1, f2, constants, numbers, axes = setting("matrix", True, PERMUTATIONS[0], seed=8)
    k = kernel(f1, f2, **axes)
    assert_equal(k.reverse().dot_general(*constants, True, numbers), k.dot_general(*constants, True, numbers))


def test_under_jit():
    f1, _, (c, _), numbers, axes = setting("matrix", False, PERMUTATIONS[0], seed=9)
    k = kernel(f1, None, **axes)
    assert_equal(jax.jit(lambda k, c: k.dot_general(c, c, False, numbers))(k, c), k.dot_general(c, c, False, numbers))


def test_precision_of_kernels_is_that_of_their_arrays():
    with jax.enable_x64(False):
        k = kernel(*features(10, *SHAPES)).dot_general(np.ones(4), 2 * np.ones(4), False, POINTWISE["shared"][1])
        assert k.nngp.dtype == np.float32


@pytest.mark.parametrize("name", ALL)
def test_masks(name):
    """With positive features and weights, what is masked is what the visible entries leave at zero."""
    is_lhs = len(name) % 2 == 0
    (f, _), _, (c, _), numbers, axes = setting(name, is_lhs, PERMUTATIONS[0], seed=11)
    random = np.random.default_rng(12)
    mask = random.random(size=(*f.shape[:-1], 1)) < 0.6
    c = np.where(random.random(c.shape) < 0.3, 0, c)
    actual = Dot.of(4, 0, 3, [c], is_lhs, numbers).mask(mask, f.shape, c)
    reached = dot([np.where(mask, 0.0, random.uniform(1, 2, size=f.shape))], np.abs(c), is_lhs, numbers)[0]
    assert actual.shape == tuple(1 if size == 6 else size for size in reached.shape)
    np.testing.assert_array_equal(np.broadcast_to(actual, reached.shape), reached == 0)


def test_masks_of_each_batch():
    f1, f2, (c1, c2), numbers, axes = setting("vector", True, PERMUTATIONS[0], seed=17)
    mask1, mask2 = np.zeros((2, 3, 4, 1), bool), np.ones((3, 3, 4, 1), bool)
    mask1[1, :, 3] = mask1[0, 1:, 2] = True
    mask2[2, 0, 3] = False
    c1[0] = 0
    k = kernel(f1, f2, mask1=mask1, mask2=mask2, **axes).dot_general(c1, c2, True, numbers)
    np.testing.assert_array_equal(np.argwhere(k.mask1), [[0, 2, 0], [1, 3, 0]])
    np.testing.assert_array_equal(np.argwhere(~k.mask2), [[2, 3, 0]])


def test_masks_of_size_one_and_of_one_batch():
    f1, f2, constants, numbers, axes = setting("inputs mixed", False, PERMUTATIONS[0], seed=13)
    mask = np.array([True, False, True])[None, :, None, None]
    k = kernel(f1, f2, mask1=mask, **axes).dot_general(*constants, False, numbers)
    assert k.mask2 is None and k.mask1.shape == (3, 1, 1, 5)
    np.testing.assert_array_equal(k.mask1[:, 0, 0, 0], mask[0, :, 0, 0])
    masked = kernel(f1, f2, mask1=mask, **axes)
    assert masked.dot_general(None, 2.0, True, NONE).mask1 is mask


@pytest.mark.parametrize("axis", [3, -1])
@pytest.mark.parametrize("is_lhs", [False, True])
def test_channels_stay(axis, is_lhs):
    k = kernel(*features(14, *SHAPES))
    for pair in (((axis,), (0,)), ((), ())), (((), ()), ((axis,), (0,))):
        numbers = tuple(p[::-1] if is_lhs else p for p in pair)
        with pytest.raises(ValueError, match="channel axis 3"):
            k.dot_general(np.ones(6), np.ones(6), is_lhs, numbers)


def test_wrong_operands():
    k = kernel(*features(15, *SHAPES))
    with pytest.raises(NotImplementedError, match="equally many axes, got 1 and 2"):
        k.dot_general(np.ones(3), np.ones((3, 1)), False, (((1,), (0,)), ((), ())))
    with pytest.raises(ValueError, match=r"got 3 for axis 1 .* \(2, 3, 4, 6\), and 4"):
        k.dot_general(np.ones(4), np.ones(4), False, (((1,), (0,)), ((), ())))
    with pytest.raises(ValueError, match="at most once"):
        k.dot_general(np.ones((4, 4)), np.ones((4, 4)), False, (((1,), (0,)), ((1,), (1,))))
    with pytest.raises(ValueError, match="at most once"):
        k.dot_general(np.ones((4, 5)), np.ones((4, 5)), False, (((1, 2), (0,)), ((), ())))
    with pytest.raises(ValueError, match="got axis 4"):
        k.dot_general(np.ones(4), np.ones(4), False, (((4,), (0,)), ((), ())))
    flat = kernel(*features(16, (2, 6), (3, 6)))
    with pytest.raises(ValueError, match="need a batch axis"):
        flat.dot_general(np.ones(2), np.ones(3), False, (((0,), (0,)), ((), ())))


def test_shapes_with_unknown_sizes():
    c = np.ones((7, 4))
    axes = Dot.of(4, 0, -1, [c], True, (((1,), (1,)), ((), ())))
    assert axes.shape((-1, 4, 5, 6), c) == (7, -1, 5, 6)
    assert axes.shape((2, 4, 5, 6), None) == (2, 4, 5, 6)
    assert (axes.batch_axis_out, axes.channel_axis_out) == (1, 3)
    shared = Dot.of(4, 0, -1, [np.ones(2)], False, (((), ()), ((0,), (0,))))
    assert shared.shape((-1, 4, 5, 6), np.ones(2)) == (2, 4, 5, 6)


def test_axis_after_dot():
    lhs, rhs, contracting, batch = (2, 3, 4, 5), (4, 7, 3, 8, 9), ((2,), (0,)), ((1,), (2,))
    out = lax.dot_general(np.ones(lhs), np.ones(rhs), (contracting, batch)).shape
    for axis in (0, 1, 3):
        assert out[axis_after_dot(axis, contracting[0], batch[0])] == lhs[axis]
    for axis in (1, 2, 3, 4):
        assert out[axis_after_dot(axis, contracting[1], batch[1], len(lhs))] == rhs[axis]
    assert [axis_after_dot(axis, (1,), (2,)) for axis in range(4)] == [1, 2, 0, 2]
    assert [axis_after_dot(axis, (1,), (2,), 5) for axis in range(4)] == [4, 5, 0, 5]


def test_same_constants():
    c = np.arange(3.0)
    assert same_constants(c, c) is True and same_constants(None, None) is True
    assert same_constants(None, c) is False and same_constants(c, c[:2]) is False
    assert bool(same_constants(c, c.copy())) and not bool(same_constants(c, c + 1))
