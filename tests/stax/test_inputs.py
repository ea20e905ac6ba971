"""Arrays to the kernel of the inputs of a network."""

import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import compiled

from neural_tangents import stax
from neural_tangents.stax import MaskedArray

IDENTITY = stax.Identity()
LAYOUTS = list(itertools.product([True, False], repeat=2))
POSITIONS = [(), (3,), (3, 2)]


def inputs(n, *rest, seed=0):
    return np.random.RandomState(seed + n).normal(size=(n, *rest))


def covariance(x1, x2, diagonal_spatial, own=False):
    """Covariance of `(N, *spatial, C)` and `(M, *spatial, C)` from its definition; `own` is of equal inputs only."""
    first, batch = "hwd"[: x1.ndim - 2], "n" if own else "m"
    second = first if diagonal_spatial else "ijk"[: x1.ndim - 2]
    pairs = first if diagonal_spatial else "".join(a + b for a, b in zip(first, second, strict=True))
    axes = "n" + pairs if own else "nm" + pairs
    return np.einsum(f"n{first}c,{batch}{second}c->{axes}", x1, x2) / x1.shape[-1]


def in_all_layouts(x1, x2=None, **options):
    """Input kernels in each of the layouts, in one compilation."""

    def kernels(x1, x2):
        return [IDENTITY[2](x1, x2, diagonal_batch=b, diagonal_spatial=s, **options) for b, s in LAYOUTS]

    return jax.jit(kernels)(x1, x2)


def assert_is_kernel_of(kernel, x1, x2, rtol=1e-13):
    """All covariances are those of two arrays `(N, *spatial, C)`; entries are compared with variances."""
    own, space = kernel.diagonal_batch, kernel.diagonal_spatial
    expected = {
        "nngp": covariance(x1, x1 if x2 is None else x2, space),
        "cov1": covariance(x1, x1, space, own),
        "cov2": None if x2 is None else covariance(x2, x2, space, own),
    }
    for name, want in expected.items():
        got = getattr(kernel, name)
        assert (got is None) == (want is None), name
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max(initial=0.0), err_msg=name)


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("batches", [1, 2])
def test_definition(positions, batches, dtype):
    x1, x2 = inputs(2, *positions, 5).astype(dtype), inputs(4, *positions, 5).astype(dtype)
    second = None if batches == 1 else x2
    for kernel, layout in zip(in_all_layouts(x1, second), LAYOUTS, strict=True):
        assert (kernel.diagonal_batch, kernel.diagonal_spatial) == layout
        assert kernel.nngp.dtype == kernel.cov1.dtype == kernel.ntk.dtype == dtype
        assert kernel.shape1 == x1.shape and kernel.shape2 == (x1 if second is None else x2).shape
        assert (kernel.batch_axis, kernel.channel_axis) == (0, len(positions) + 1)
        assert kernel.is_input and not kernel.is_gaussian and not kernel.is_reversed
        assert kernel.mask1 is None and kernel.mask2 is None
        assert kernel.ntk.shape == () and kernel.ntk == 0
        assert_is_kernel_of(kernel, x1, second, 1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_variances_are_the_diagonal_to_the_last_bit(positions):
    kernel = compiled(IDENTITY, inputs(5, *positions, 7), diagonal_spatial=True)
    np.testing.assert_array_equal(kernel.cov1, np.moveaxis(np.diagonal(kernel.nngp), -1, 0))


# All places of the two axes among three, and some among four; counted from the front or from the back.
AXES = [(3, *axes) for axes in itertools.permutations(range(3), 2)]
AXES += [(3, -1, 0), (3, -2, -1), (3, 0, -2), (4, 0, 1), (4, 2, 0), (4, -1, -3), (2, 1, 0), (2, -1, -2)]


@pytest.mark.parametrize(("ndim", "batch_axis", "channel_axis"), AXES)
def test_axes(ndim, batch_axis, channel_axis):
    x1, x2 = (inputs(n, *(3, 2)[: ndim - 2], 5) for n in (2, 4))
    moved = [np.moveaxis(x, (0, -1), (batch_axis, channel_axis)) for x in (x1, x2)]
    warns = batch_axis % ndim != 0
    with jax.enable_x64(True), pytest.warns(UserWarning, match="batch axis") if warns else contextlib.nullcontext():
        kernels = in_all_layouts(*moved, batch_axis=batch_axis, channel_axis=channel_axis)
    for kernel in kernels:
        assert_is_kernel_of(kernel, x1, x2)
        assert (kernel.batch_axis, kernel.channel_axis) == (batch_axis % ndim, channel_axis % ndim)
        assert kernel.shape1 == moved[0].shape and kernel.shape2 == moved[1].shape


TYPES = ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int32", "bool"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("module", [np, jnp], ids=["numpy", "jax"])
def test_types(module, kind, dtype):
    """All are computed with in the default type: squares of these overflow in the narrow ones."""
    exact = np.asarray([[1, 0, 100], [127, 3, 1]]).astype(bool if kind == "bool" else float)
    if kind == "float16":
        exact *= 256
    with jax.enable_x64(True):
        x = module.asarray(exact, jnp.bfloat16 if kind == "bfloat16" else kind)
    kernel = IDENTITY[2](x, x.copy())
    assert {kernel.nngp.dtype, kernel.cov1.dtype, kernel.cov2.dtype} == {dtype}
    np.testing.assert_allclose(kernel.nngp, exact.astype(float) @ exact.T / 3, rtol=2 * jnp.finfo(dtype).eps)
    np.testing.assert_allclose(kernel.cov1, (exact.astype(float) ** 2).mean(1), rtol=2 * jnp.finfo(dtype).eps)
    assert kernel.x1_is_x2


def test_large_integers_are_exact_in_double_precision():
    with jax.enable_x64(True):
        nngp = IDENTITY[2](np.asarray([[2**25 + 1]], np.int64), get="nngp")
    assert np.asarray(nngp)[0, 0] == (2**25 + 1) ** 2


def test_types_of_the_batches_may_differ():
    x = np.arange(6).reshape(2, 3)
    kernel = IDENTITY[2](x, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(kernel.nngp, x @ x.T / 3, rtol=1e-6)
    assert kernel.x1_is_x2


@pytest.mark.parametrize(("n1", "n2"), [(1, 1), (1, 3), (3, 1), (2, 0)])
def test_numbers_of_inputs(n1, n2):
    x1, x2 = inputs(n1, 2, 3), inputs(n2, 2, 3)
    kernel = compiled(IDENTITY, x1, x2)
    assert kernel.nngp.shape == (n1, n2, 2, 2) and kernel.cov2.shape == (n2, 2, 2)
    assert_is_kernel_of(kernel, x1, x2, 1e-6)


def test_a_single_channel_and_a_single_position():
    x = inputs(3, 1, 1)
    kernel = compiled(IDENTITY, x)
    np.testing.assert_allclose(kernel.nngp[..., 0, 0], np.outer(x, x), rtol=1e-6)


def test_zeros():
    x = inputs(2, 3, 4)
    x[1] = 0
    for kernel in in_all_layouts(x, np.zeros((3, 3, 4))):
        assert not kernel.nngp.any() and not kernel.cov2.any()
        assert kernel.cov1[0].any() and not kernel.cov1[1].any()


class TestSameness:
    x = inputs(3, 4).astype(np.float32)

    def test_no_second_batch_or_the_same_object(self):
        assert IDENTITY[2](self.x, get="x1_is_x2") is True
        assert IDENTITY[2](self.x, self.x, "x1_is_x2") is True
        tracers = []
        jax.jit(lambda x: tracers.append(IDENTITY[2](x, x, "x1_is_x2")))(self.x)
        assert tracers == [True]

    def test_equal_values(self):
        assert IDENTITY[2](self.x, self.x.copy(), "x1_is_x2")
        assert IDENTITY[2](self.x, jnp.asarray(self.x), "x1_is_x2")
        assert compiled(IDENTITY, self.x, self.x, "x1_is_x2")

    def test_other_values(self):
        other = self.x.copy()
        other[2, 3] += 1e-4
        assert not IDENTITY[2](self.x, other, "x1_is_x2")
        assert not compiled(IDENTITY, self.x, other, "x1_is_x2")
        assert not IDENTITY[2](self.x, self.x[::-1].copy(), "x1_is_x2")

    def test_other_shapes(self):
        assert IDENTITY[2](self.x, self.x[:2], "x1_is_x2") is False
        assert IDENTITY[2](self.x[:1], np.repeat(self.x[:1], 2, 0), "x1_is_x2") is False

    def test_equal_masks(self):
        x = self.x.copy()
        x[1] = np.nan
        assert IDENTITY[2](x, x.copy(), "x1_is_x2", mask_constant=np.nan)
        assert not IDENTITY[2](x, x.copy(), "x1_is_x2")  # NaN is not equal to itself


# Masks


def with_holes(constant):
    """Inputs `(3, 4, 2)` with whole positions masked, one channel of another, and one input altogether."""
    x = inputs(3, 4, 2).astype(np.float32)
    absent = np.zeros(x.shape, bool)
    absent[0, 2:] = absent[1, 1, 0] = absent[2] = True
    return np.where(absent, np.float32(constant), x), np.where(absent, 0, x), absent


@pytest.mark.parametrize("constant", [np.nan, np.inf, -np.inf, 100.0, 7, 0.1])
def test_mask_constants(constant, dtype):
    x, zeroed, absent = with_holes(constant)
    plain = inputs(2, 4, 2)
    for second in (None, plain):
        kernel = compiled(IDENTITY, x, second, mask_constant=constant)
        np.testing.assert_array_equal(kernel.mask1, absent)
        if second is None:
            np.testing.assert_array_equal(kernel.mask2, absent)
        else:
            assert not np.any(kernel.mask2)
        assert_is_kernel_of(kernel, zeroed, second, 1e-6)
    np.testing.assert_array_equal(IDENTITY[1]((), x, mask_constant=constant).mask, absent)


@pytest.mark.parametrize("constant", [np.nan, np.inf])
def test_masks_in_all_layouts(constant):
    x, zeroed, _ = with_holes(constant)
    for kernel in in_all_layouts(x, x[:2], mask_constant=constant):
        assert_is_kernel_of(kernel, zeroed, zeroed[:2], 1e-6)


def test_integers_have_masks():
    x = np.asarray([[1, 2], [7, 7]])
    kernel = IDENTITY[2](x, mask_constant=7)
    np.testing.assert_array_equal(kernel.mask1, [[False, False], [True, True]])
    np.testing.assert_array_equal(kernel.nngp, [[2.5, 0], [0, 0]])
    assert not IDENTITY[2](x, mask_constant=np.nan).mask1.any()


def test_masked_arrays():
    x, zeroed, absent = with_holes(5.0)
    expected = compiled(IDENTITY, x, mask_constant=5.0)
    for mask in (absent, jnp.asarray(absent)):
        kernel = IDENTITY[2](MaskedArray(x, mask))
        np.testing.assert_array_equal(kernel.mask1, expected.mask1)
        np.testing.assert_allclose(kernel.nngp, expected.nngp, rtol=1e-6)
    positions = absent[..., :1]
    kernel = IDENTITY[2](MaskedArray(x, positions))  # broadcast along the channels
    np.testing.assert_array_equal(kernel.mask1, np.broadcast_to(positions, x.shape))
    assert_is_kernel_of(kernel, np.where(positions, 0, x), None, 1e-6)
    assert IDENTITY[2](MaskedArray(x)).mask1 is None


def test_masked_arrays_keep_their_mask():
    x = jnp.asarray([[5.0, 1.0], [2.0, 3.0]])
    kernel = IDENTITY[2](MaskedArray(x, x == 1.0), x, mask_constant=5.0)
    np.testing.assert_array_equal(kernel.mask1, x == 1.0)
    np.testing.assert_array_equal(kernel.mask2, x == 5.0)


def test_masks_follow_the_axes():
    x, zeroed, absent = with_holes(5.0)
    kernel = compiled(IDENTITY, x.transpose(0, 2, 1), channel_axis=1, mask_constant=5.0)
    np.testing.assert_array_equal(kernel.mask1, absent.transpose(0, 2, 1))
    assert_is_kernel_of(kernel, zeroed, None, 1e-6)


def test_flattened_masks():
    x, zeroed, absent = with_holes(np.nan)
    kernel = compiled(stax.serial(stax.Flatten(), stax.Identity()), x, mask_constant=np.nan)
    np.testing.assert_array_equal(kernel.mask1, absent.reshape(3, -1))
    assert_is_kernel_of(kernel, zeroed.reshape(3, -1), None, 1e-6)


def test_gradients_of_masked_inputs_are_zero():
    x, _, absent = with_holes(np.nan)
    gradient = jax.grad(lambda x: IDENTITY[2](x, mask_constant=np.nan, get="nngp").sum())(x)
    np.testing.assert_array_equal(gradient == 0, absent)
