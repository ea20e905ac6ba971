"""`Kernel` as a value, a pytree, and an algebra, against kernels of explicit features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explicit_features import LAYOUTS, assert_equal, features, kernel
from jax import lax

from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout, Spatial

SHAPES = (4, 2, 3, 5), (3, 2, 3, 5)  # (N, S, T, F)
DATA = "nngp ntk cov1 cov2 x1_is_x2".split()
STATIC = (
    "is_gaussian is_reversed is_input diagonal_batch diagonal_spatial shape1 shape2 batch_axis channel_axis".split()
)
MASKS = ["mask1", "mask2"]


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def masks(seed):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.random((*shape[:-1], 1)) < 0.4) for shape in SHAPES]


def test_fields():
    fields = {field.name: field for field in dataclasses.fields(Kernel)}
    assert list(fields) == [*DATA, *STATIC, *MASKS, "distance"]
    for name, field in fields.items():
        assert field.metadata["pytree_node"] is (name not in STATIC)
        assert field.default is (None if name in (*MASKS, "distance") else dataclasses.MISSING)


def test_new_covariances_have_no_distances_of_old_ones():
    k = kernel(*features(0, *SHAPES))
    carried = k.replace(distance=CosineDistance(k.nngp, acute=False))
    assert carried.replace(is_gaussian=True).distance is carried.distance
    assert all(carried.replace(**{name: k.nngp}).distance is None for name in ("nngp", "cov1", "cov2"))
    assert "distance" not in carried.asdict()


def test_frozen():
    k = kernel(*features(0, *SHAPES))
    with pytest.raises(dataclasses.FrozenInstanceError):
        k.nngp = None


def test_replace_asdict_and_astuple_share_arrays():
    k = kernel(*features(0, *SHAPES), mask1=np.zeros((4, 1, 1, 1), bool))
    assert list(k.asdict()) == DATA + STATIC + MASKS
    assert all(value is getattr(k, name) for name, value in k.asdict().items())
    assert all(a is b for a, b in zip(k.astuple(), k.asdict().values(), strict=True))
    changed = k.replace(ntk=None, batch_axis=2)
    assert changed.ntk is None and changed.batch_axis == 2 and changed.nngp is k.nngp and k.batch_axis == 0
    assert_equal(Kernel(*k.astuple()), k)
    with pytest.raises(TypeError):
        k.replace(color="red")


@pytest.mark.parametrize("batch, spatial", LAYOUTS)
def test_layout(batch, spatial):
    expected = Layout(Spatial.DIAGONAL if spatial else Spatial.PAIRED, batch)
    assert kernel(*features(0, *SHAPES), batch, spatial).layout == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n1, n2", [(np.s_[1:3], np.s_[::2]), (np.s_[-1:], np.s_[5:]), (np.s_[::-1], np.s_[:])])
def test_slice(n1, n2, layout):
    f1, f2 = features(1, *SHAPES)
    mask1, mask2 = masks(2)
    k = kernel(f1, f2, *layout, mask1=mask1, mask2=mask2)
    expected = kernel([f[n1] for f in f1], [f[n2] for f in f2], *layout, mask1=mask1[n1], mask2=mask2[n2])
    assert_equal(k.slice(n1, n2), expected)


def test_slice_of_one_batch_and_other_axes():
    (f,) = features(3, (2, 5, 4))  # (S, F, N)
    axes = {"batch_axis": 2, "channel_axis": 1}
    mask = np.random.default_rng(4).random((1, 1, 4)) < 0.5
    k = kernel(f, None, **axes, mask1=mask, mask2=mask[:, :, :1])
    n1, n2 = np.s_[:2], np.s_[1:]
    expected = kernel([x[:, :, n1] for x in f], [x[:, :, n2] for x in f], **axes, mask1=mask[:, :, n1])
    assert_equal(k.slice(n1, n2), expected.replace(mask2=mask[:, :, :1]))
    assert k.slice(n1, np.s_[0:2]).x1_is_x2 is True and k.slice(n1, n2).x1_is_x2 is False
    assert k.replace(ntk=jnp.zeros(())).slice(n1, n2).ntk.shape == ()
    assert k.replace(ntk=None).slice(n1, n2).ntk is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reverse_and_transpose(layout):
    f1, f2 = features(5, (2, 2, 3, 4, 5), (3, 2, 3, 4, 5))
    k = kernel(f1, f2, *layout)
    for axes in ((2, 1, 0), (1, 2, 0), (0, 1, 2)):
        order = (0, *(1 + axis for axis in axes), 4)
        moved = kernel([f.transpose(order) for f in f1], [f.transpose(order) for f in f2], *layout)
        moved = moved.replace(shape1=k.shape1, shape2=k.shape2)  # finite activations keep their axes
        assert_equal(k.transpose(axes), moved)
        if axes == (2, 1, 0):
            assert_equal(k.reverse(), moved.replace(is_reversed=True))
    assert_equal(k.transpose(), k)
    assert_equal(k.reverse().reverse(), k)


def test_transpose_of_scalar_ntk_and_wrong_axes():
    k = kernel(*features(6, *SHAPES))
    for ntk in (None, jnp.zeros(())):
        moved = k.replace(ntk=ntk).transpose((1, 0))
        assert moved.ntk is ntk
        assert_equal(moved, k.transpose((1, 0)).replace(ntk=ntk))
    for axes in ((0,), (0, 2), (1, 1), (0, 1, 2)):
        with pytest.raises(ValueError, match=r"permutation of \(0, 1\)"):
            k.transpose(axes)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_mask_is_that_of_features(which, layout):
    f1, f2 = features(7, *SHAPES)
    mask1, mask2 = (m if i in which else None for i, m in enumerate(masks(8)))
    z1, z2 = ([f if m is None else np.where(m, 0, f) for f in pair] for pair, m in ((f1, mask1), (f2, mask2)))
    expected = kernel(z1, z2, *layout, mask1=mask1, mask2=mask2)
    assert_equal(kernel(f1, f2, *layout).mask(mask1, mask2), expected)
    assert_equal(kernel(f1, f2, *layout).reverse().mask(mask1, mask2), expected.reverse())


def test_mask_of_one_batch_and_of_size_one():
    (f,) = features(9, SHAPES[0])
    mask = masks(10)[0]
    z = [np.where(mask, 0, x) for x in f]
    assert_equal(kernel(f, None).mask(mask, mask), kernel(z, None, mask1=mask, mask2=mask))
    row = jnp.array([True, False, True])[None, None, :, None]
    z = [np.where(row, 0, x) for x in f]
    assert_equal(kernel(f, None, True).mask(row, row), kernel(z, None, True, mask1=row, mask2=row))


def test_mask_of_other_axes_and_without_masks():
    axes = {"batch_axis": 2, "channel_axis": 0}
    f1, f2 = features(11, (5, 2, 4), (5, 2, 3))
    mask = np.random.default_rng(12).random((1, 2, 4)) < 0.5
    z1 = [np.where(mask, 0, f) for f in f1]
    k = kernel(f1, f2, **axes)
    assert_equal(k.mask(mask, None), kernel(z1, f2, **axes, mask1=mask))
    assert_equal(k.replace(mask1=mask).mask(None, None), k)
    scalar = k.replace(ntk=jnp.zeros(())).mask(mask, None)
    assert scalar.ntk.shape == () and k.replace(ntk=None).mask(mask, None).ntk is None


def test_masks_that_differ_between_channels():
    k = kernel(*features(13, *SHAPES))
    for pair in ((np.zeros(SHAPES[0], bool), None), (None, np.zeros(SHAPES[1], bool))):
        with pytest.raises(NotImplementedError, match="same for all channels"):
            k.mask(*pair)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_multiples(layout):
    f1, f2 = features(14, *SHAPES)
    k, c = kernel(f1, f2, *layout), -1.7
    expected = kernel([c * f for f in f1], [c * f for f in f2], *layout)
    for multiple in (k * c, c * k, k / (1 / c), np.float64(c) * k, k * jnp.float64(c)):
        assert_equal(multiple, expected)
    assert -k is k and +k is k


def test_sums():
    f1, f2 = features(15, *SHAPES)
    k, c = kernel(f1, f2), -1.7
    plus_constant = [np.concatenate([f[0], np.full((*f[0].shape[:-1], 5), c)], -1) * 2**0.5 for f in (f1, f2)]
    moved = kernel([plus_constant[0], f1[1]], [plus_constant[1], f2[1]])
    for total in (k + c, k - c):
        assert_equal(total, moved.replace(shape1=k.shape1, shape2=k.shape2))
    with pytest.raises(TypeError):
        c + k


def test_arithmetic_of_a_scalar_ntk_and_of_one_batch():
    (f,) = features(16, SHAPES[0])
    k = kernel(f, None, True, True).replace(ntk=jnp.zeros(()))
    for changed in (k * 2, k / 2, k + 2, k - 2):
        assert changed.ntk.shape == () and float(changed.ntk) == 0 and changed.cov2 is None
    assert (k.replace(ntk=None) * 2).ntk is None


def test_pytree():
    k = kernel(*features(17, *SHAPES))
    assert len(jax.tree.leaves(k)) == 5
    assert len(jax.tree.leaves(k.replace(cov2=None, mask1=jnp.zeros((1, 1, 1, 1), bool)))) == 5
    doubled = jax.tree.map(lambda x: x if isinstance(x, bool) else 2 * x, k)
    assert isinstance(doubled, Kernel) and doubled.shape1 == k.shape1
    np.testing.assert_array_equal(doubled.cov2, 2 * k.cov2)
    names = [str(path[0]) for path, _ in jax.tree_util.tree_flatten_with_path(k)[0]]
    assert names == [f".{name}" for name in DATA]


def test_through_jit_and_scan():
    k = kernel(*features(18, *SHAPES), True).replace(x1_is_x2=jnp.array(False))
    traces = []

    @jax.jit
    def double(k):
        traces.append(k.shape1)
        return k * 2**0.5

    assert_equal(double(k), k * 2**0.5)
    assert_equal(double(double(k)), k * 2)
    double(k.replace(is_gaussian=False))
    assert traces == [SHAPES[0]] * 2  # once for each set of static fields
    assert_equal(lax.scan(lambda k, _: (k * 2, None), k, length=3)[0], k * 8)


def test_through_vmap():
    k = kernel(*features(19, *SHAPES)).replace(x1_is_x2=jnp.array(False))
    scales = jnp.array([1.0, 2.0, 3.0])
    many = jax.vmap(lambda c: k * c)(scales)
    assert many.nngp.shape == (3, *k.nngp.shape) and many.shape1 == k.shape1
    back = jax.vmap(lambda k, c: k / c)(many, scales)
    for i in range(3):
        assert_equal(jax.tree.map(lambda x, i=i: x[i], many), k * (i + 1))
        assert_equal(jax.tree.map(lambda x, i=i: x[i], back), k)


def test_through_grad():
    k = kernel(*features(20, *SHAPES)).replace(x1_is_x2=None)
    g = jax.grad(lambda k: jnp.sum((k * 3).nngp) + jnp.sum(k.cov1**2))(k)
    np.testing.assert_allclose(g.nngp, 9)
    np.testing.assert_allclose(g.cov1, 2 * k.cov1)
    np.testing.assert_array_equal(g.ntk, 0)
