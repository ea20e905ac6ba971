"""`GlobalSelfAttention` against finite networks, shorter sequences, and itself in other layouts."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate

from neural_tangents.stax import (
    AttentionMechanism,
    Dense,
    FanInSum,
    FanOut,
    Flatten,
    GlobalSelfAttention,
    Identity,
    MaskedArray,
    PositionalEmbedding,
    Relu,
    parallel,
    serial,
)

COVARIANCES = ("nngp", "ntk", "cov1", "cov2")
KEY = jax.random.key(0)
RANDOM = np.random.RandomState(11)
X1, X2 = (RANDOM.normal(size=(n, 3, 2)) for n in (2, 3))
STD = dict(W_key_std=1.1, W_value_std=1.2, W_query_std=0.9, W_out_std=1.3, W_pos_emb_std=0.8)


def exponential(d):
    return jnp.exp(-d / 3)


def attention(linear=True, mechanism="IDENTITY", sizes=(3, 4, 5, 2), **options):
    """A layer with all standard deviations different from 1; sizes are those of outputs, keys, values, heads."""
    return GlobalSelfAttention(*sizes, linear_scaling=linear, attention_mechanism=mechanism, **STD, **options)


# One of each kind: (linear_scaling, mechanism, options).
KINDS = [
    (True, "SOFTMAX", dict(b_std=0.3)),
    (True, "SOFTMAX", dict(pos_emb_type="CONCAT", n_chan_pos_emb=3, pos_emb_decay_fn=exponential)),
    (True, "IDENTITY", dict(pos_emb_type="SUM", val_pos_emb=True)),
    (True, "ABS", dict(pos_emb_type="SUM", pos_emb_decay_fn=exponential, pos_emb_p_norm=1, b_std=0.2)),
    (True, "RELU", dict(pos_emb_type="CONCAT", val_pos_emb=True, b_std=0.1)),
    (False, "IDENTITY", dict(b_std=0.3)),
    (False, "IDENTITY", dict(pos_emb_type="SUM", pos_emb_decay_fn=exponential)),
    (False, "IDENTITY", dict(pos_emb_type="CONCAT", n_chan_pos_emb=1, val_pos_emb=True, b_std=0.2)),
]
each_kind = pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: f"{kind[1]}-{kind[2].get('pos_emb_type')}-{kind[0]}"
)


some_kinds = pytest.mark.parametrize("kind", KINDS[1::2], ids=["softmax", "abs", "root", "root with positions"])


def tied(linear):
    """Catches the warning of `init_fn` that queries are keys."""
    return pytest.warns(UserWarning, match="`linear_scaling=True`") if linear else contextlib.nullcontext()


def initialised(layer, shape, linear=True):
    """Shape of the outputs, and parameters."""
    out_shapes = []

    def draw():
        out_shape, params = layer[0](KEY, shape)
        out_shapes.append(out_shape)
        return params

    with tied(linear):
        params = jax.jit(draw)()
    return out_shapes[0], params


def outputs(layer, params, x, **options):
    return jax.jit(lambda params: layer[1](params, x, **options))(params)


def assert_equal(kernel, expected, rtol=1e-10, names=COVARIANCES):
    for name in names:
        a, b = getattr(kernel, name), getattr(expected, name)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)


# Finite networks


@pytest.mark.slow
def test_square_root_scaling_has_the_kernel_at_any_width():
    layer = attention(False, "IDENTITY", (2, 3, 4, 4), b_std=0.3)
    nngp, ntk = estimate(layer, X1, X2, seed=1, draws=3000)
    kernel = compiled(layer, X1, X2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


WIDE = {
    "linear": (KINDS[2], None),
    "linear, values without positions": (KINDS[3], None),
    "root": (KINDS[7], None),
    "linear, masked": (KINDS[1], np.nan),
    "root, masked": (KINDS[6], np.nan),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_wide_networks_have_the_kernel(name):
    (linear, mechanism, options), mask_constant = WIDE[name]
    x = X2[:2].copy()
    if mask_constant is not None:
        x[0, 1:] = mask_constant
    width, sizes = (112, (1, 112, 4, 4)) if linear else (224, (1, 8, 4, 8))
    net = serial(Dense(width, 1.1, 0.3), attention(linear, mechanism, sizes, **options), Identity())
    with tied(linear):
        nngp, ntk = estimate(net, x, seed=3, draws=200 if linear else 400, mask_constant=mask_constant)
    kernel = compiled(net, x, mask_constant=mask_constant)
    # Products of finitely many keys and queries fluctuate, by some ten times one in `width`.
    assert_compatible(nngp, kernel.nngp, bias=0.1)
    assert_compatible(ntk, kernel.ntk, bias=0.1)


@each_kind
def test_outputs_of_finite_networks(kind):
    linear, mechanism, options = kind
    layer = attention(linear, mechanism, **options)
    x = np.random.RandomState(5).normal(size=(2, 3, 2))
    mask = np.zeros((2, 3, 1), bool)
    mask[0, 2] = mask[1, 0] = True

    def draw():
        _, params = layer[0](KEY, x.shape)
        return params, layer[1](params, x), layer[1](params, MaskedArray(jnp.asarray(x), jnp.asarray(mask)))

    with jax.enable_x64(True), tied(linear):
        params, plain, masked = jax.jit(draw)()
    assert plain.shape == (2, 3, 3) and plain.dtype == np.float64
    np.testing.assert_array_equal(masked.mask, mask)
    for y, hidden in ((plain, np.zeros((2, 3), bool)), (masked.masked_value, mask[..., 0])):
        for i in range(2):
            expected = by_definition(x[i], params, kind, ~hidden[i])
            np.testing.assert_allclose(np.asarray(y)[i][~hidden[i]], expected, rtol=1e-10, atol=1e-12)


def by_definition(x, params, kind, present):
    """Outputs of one input `(positions, C)` at those of its positions that exist; in NumPy, head by head."""
    linear, mechanism, options = kind
    Q, K, V, O, b, e = (None if p is None else np.asarray(p, float) for p in params)  # noqa: E741
    x, joint = x.astype(float), x.astype(float)
    if e is not None:
        i = np.arange(3)
        d = abs(i[:, None] - i[None, :]) ** options.get("pos_emb_p_norm", 2)
        root = np.linalg.cholesky(np.exp(-d / 3)) if "pos_emb_decay_fn" in options else np.eye(3)
        e = 0.8 * root @ e[0]
        joint = x + e if options["pos_emb_type"] == "SUM" else np.concatenate([x, e], 1)
    values = joint if options.get("val_pos_emb") else x

    u, v, total = joint[present], values[present], 0
    for h in range(2):
        k = u @ K[h]
        q = k if linear else u @ Q[h]
        g = 1.1 * 0.9 * q @ k.T / (u.shape[1] * 4 ** (1 if linear else 0.5))
        g = {
            "SOFTMAX": lambda g: np.exp(g) / np.exp(g).sum(1, keepdims=True),
            "IDENTITY": lambda g: g,
            "ABS": np.abs,
            "RELU": lambda g: np.maximum(g, 0),
        }[mechanism](g)
        total = total + g @ v @ V[h] @ O[h::2]  # rows of `O`: the first channels of all heads, then the second ...
    total = 1.2 * 1.3 / np.sqrt(v.shape[1] * 5 * 2) * total
    return total if b is None else total + options["b_std"] * b[0]


@each_kind
def test_parameters(kind):
    linear, mechanism, options = kind
    b_std, type_, width = (options.get(name) for name in ("b_std", "pos_emb_type", "n_chan_pos_emb"))
    layer = attention(linear, mechanism, (30, 40, 50, 6), **{**options, **({"n_chan_pos_emb": 9} if width else {})})
    for shape in ((-1, 8, 20), (7, 4, 2, 20)):
        out_shape, params = initialised(layer, shape, linear)
        extra = (9 if width else 20) if type_ else 0
        joint = 20 + extra * (type_ == "CONCAT")
        assert out_shape == (*shape[:-1], 30)
        expected = (
            None if linear else (6, joint, 40),
            (6, joint, 40),
            (6, joint if options.get("val_pos_emb") else 20, 50),
            (300, 30),
            None if b_std is None else (1,) * (len(shape) - 1) + (30,),
            (1, *shape[1:-1], extra) if type_ else None,
        )
        assert tuple(None if p is None else p.shape for p in params) == expected
        for p in map(np.asarray, filter(lambda p: p is not None, params)):
            assert abs(p.std() - 1) < 0.4 and abs(p.mean()) < 0.6
        assert not np.allclose(params[1][0, :10, :10], params[2][0, :10, :10])


def test_bias_may_be_a_number():
    layer = attention(b_std=0.5)
    _, params = initialised(layer, X1.shape)
    y, without = (outputs(layer, (*params[:4], b, None), X1) for b in (2.0, 0.0))
    np.testing.assert_allclose(y, without + 1.0, rtol=1e-5)


# The kernel


def together(net, *calls):
    """Kernels of several calls `(x1, x2, options)`, in one compilation."""
    return jax.jit(lambda: [net[2](x1, x2, **options) for x1, x2, options in calls])()


@some_kinds
def test_layouts_and_batches_agree(kind):
    linear, mechanism, options = kind
    net = serial(Dense(6, 1.2, 0.3), Relu(), attention(linear, mechanism, **options))
    full = dict(diagonal_batch=False)
    with jax.enable_x64(True):
        calls = [(X1, X2, {}), (X1, X2, full), (X1, None, {}), (X1, None, full), (X1, X1.copy(), {}), (X2, X1, {})]
        pair, pair_full, one, one_full, copy, swapped = together(net, *calls)
        assert pair.is_gaussian and pair.diagonal_batch and not pair.diagonal_spatial
        assert pair.shape1 == (2, 3, 3) and pair.shape2 == (3, 3, 3)
        assert_equal(pair_full, pair, names=("nngp", "ntk"))
        assert_equal(one_full, one, names=("nngp", "ntk"))
        for name, a, b in (("cov1", pair_full, pair), ("cov2", pair_full, pair), ("cov1", one_full, one)):
            variances = np.einsum("nnij->nij", getattr(a, name))
            np.testing.assert_allclose(variances, getattr(b, name), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(pair_full.cov1, one.nngp, rtol=1e-10, atol=1e-12)
        assert one.cov2 is None
        assert_equal(copy, one, names=("nngp", "ntk", "cov1"))
        np.testing.assert_allclose(copy.cov2, one.cov1, rtol=1e-10)
        for kernel in (one, copy):  # to the last bit
            np.testing.assert_array_equal(np.einsum("nnii->ni", kernel.nngp), np.einsum("nii->ni", kernel.cov1))
        for name in ("nngp", "ntk"):
            np.testing.assert_allclose(
                np.einsum("nmij->mnji", getattr(swapped, name)), getattr(pair, name), rtol=1e-10, atol=1e-12
            )


@each_kind
def test_masked_positions_are_as_if_absent(kind):
    """A sequence with masked positions at its end is a shorter one."""
    linear, mechanism, options = kind
    net = serial(Dense(2, 1.2, 0.3), attention(linear, mechanism, **options))
    x1, x2 = X1.copy(), X2.copy()
    x1[0, 2:] = x2[0, 2:] = x2[2] = 7.5
    with jax.enable_x64(True):
        masked, masked_full, short, long = together(
            net,
            (x1, x2, dict(mask_constant=7.5)),
            (x1, x2, dict(mask_constant=7.5, diagonal_batch=False)),
            (X1[:1, :2], X2[:1, :2], {}),
            (X1[1:], X2[1:2], {}),
        )
    for kernel in (masked, masked_full):
        for name in ("nngp", "ntk"):
            cov = getattr(kernel, name)
            np.testing.assert_allclose(cov[0, 0, :2, :2], getattr(short, name)[0, 0], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(cov[1, 1], getattr(long, name)[0, 0], rtol=1e-9, atol=1e-12)
            assert not cov[0, :, 2].any() and not cov[:, 0, :, 2].any() and not cov[:, 2].any()
            assert cov[0, 1, :2].all() and cov[1, 0, :, :2].all()
    np.testing.assert_allclose(masked.cov1[0, :2, :2], short.cov1[0], rtol=1e-9, atol=1e-12)
    assert not masked.cov1[0, 2].any() and not masked.cov2[2].any()
    for i in range(2):
        np.testing.assert_allclose(masked_full.cov1[i, i], masked.cov1[i], rtol=1e-9, atol=1e-12)


def test_masks_of_the_inputs_themselves():
    """As the first layer, attention has masks with channels; it is a whole position that is masked or not."""
    masked = np.where([[[False, True]], [[False, False]]], np.nan, X1[:, :1])
    x = np.concatenate([masked, np.full((2, 1, 2), np.nan), X1[:, 2:]], 1)
    zeros, mask = np.where(np.isnan(x), 0, x), np.broadcast_to([[[False], [True], [False]]], (2, 3, 1))
    layer = attention(mechanism="SOFTMAX", pos_emb_type="SUM", val_pos_emb=True)
    got = compiled(layer, x, mask_constant=np.nan)
    expected = compiled(layer, MaskedArray(jnp.asarray(zeros), jnp.asarray(mask)))
    assert_equal(got, expected, 1e-5, ("nngp", "ntk", "cov1"))
    assert not got.nngp[:, :, 1].any() and got.nngp[0, 0, 0, 0] != 0
    _, params = initialised(layer, x.shape)
    y, y_expected = (
        outputs(layer, params, v, mask_constant=c) for v, c in ((x, np.nan), (MaskedArray(zeros, mask), None))
    )
    np.testing.assert_array_equal(y.mask, mask)
    np.testing.assert_allclose(y.masked_value[:, [0, 2]], y_expected.masked_value[:, [0, 2]], rtol=1e-5)
    assert outputs(layer, params, zeros).shape == (2, 3, 3)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[5]], ids=["linear", "root"])
def test_images_are_sequences_if_positions_are_not_embedded(kind):
    linear, mechanism, options = kind
    net = attention(linear, mechanism, **options)
    image1, image2 = (RANDOM.normal(size=(n, 2, 3, 2)) for n in (2, 1))
    with jax.enable_x64(True):
        got = compiled(net, image1, image2)
        expected = compiled(net, image1.reshape(2, 6, 2), image2.reshape(1, 6, 2))
        for name in ("nngp", "ntk"):
            a = np.einsum("abhiwj->abhwij", getattr(got, name)).reshape(2, 1, 6, 6)
            np.testing.assert_allclose(a, getattr(expected, name), rtol=1e-10, atol=1e-12)
        # Nor does it matter in which order they stand.
        moved = compiled(net, image1[:, ::-1, [2, 0, 1]], image2)
        np.testing.assert_allclose(moved.ntk, got.ntk[:, :, ::-1, :, [2, 0, 1]], rtol=1e-10, atol=1e-12)


def test_embeddings_of_images_are_of_both_axes():
    """Where inputs are zero, only positions are left."""
    layer = attention(pos_emb_type="SUM", pos_emb_decay_fn=exponential, pos_emb_p_norm=1, val_pos_emb=True, b_std=0.2)
    kernel = compiled(layer, np.zeros((1, 2, 3, 4)))
    y, x = np.divmod(np.arange(6), 3)
    R = 0.8**2 * np.exp(-(abs(y[:, None] - y) + abs(x[:, None] - x)) / 3)
    G, scale = 1.1 * 0.9 * R, (1.2 * 1.3) ** 2
    for name, factor in (("nngp", 1), ("ntk", 3)):  # values, and weights of values and of outputs
        got = np.einsum("hiwj->hwij", getattr(kernel, name)[0, 0]).reshape(6, 6)
        np.testing.assert_allclose(got, factor * scale * G @ R @ G.T + 0.2**2, rtol=1e-5)


def test_without_positions_softmax_attends_to_the_input_itself():
    layer, x = attention(mechanism="SOFTMAX", b_std=0.5), X1[:, 0]
    kernel = compiled(layer, x)
    nngp = (1.2 * 1.3) ** 2 * x @ x.T / 2
    np.testing.assert_allclose(kernel.nngp, nngp + 0.25, rtol=1e-5)
    np.testing.assert_allclose(kernel.ntk, 2 * nngp + 0.25, rtol=1e-5)


@pytest.mark.parametrize(("batch_axis", "channel_axis"), [(0, 1), (1, 2), (-1, 0)])
def test_axes(batch_axis, channel_axis):
    kind = dict(mechanism="SOFTMAX", pos_emb_type="CONCAT", n_chan_pos_emb=3, val_pos_emb=True, b_std=0.1)
    layer, moved_layer = attention(**kind), attention(**kind, batch_axis=batch_axis, channel_axis=channel_axis)
    moved = np.moveaxis(X1, (0, 2), (batch_axis, channel_axis))
    with pytest.warns(UserWarning, match="batch axis") if batch_axis else contextlib.nullcontext():
        kernel = compiled(moved_layer, moved)
    assert_equal(kernel, compiled(layer, X1), 1e-5, ("nngp", "ntk", "cov1"))
    shape, params = initialised(moved_layer, moved.shape)
    plain = (*params[:4], *(np.moveaxis(p, (batch_axis, channel_axis), (0, 2)) for p in params[4:]))
    y = outputs(moved_layer, params, moved)
    assert y.shape == shape == kernel.shape1
    np.testing.assert_allclose(
        np.moveaxis(y, (batch_axis, channel_axis), (0, 2)), outputs(layer, plain, X1), rtol=1e-4, atol=1e-6
    )


@some_kinds
def test_float32_is_close_to_float64(kind):
    linear, mechanism, options = kind
    net = attention(linear, mechanism, **options)
    single = compiled(net, X1, X2)
    with jax.enable_x64(True):
        double = compiled(net, X1, X2)
    for name in COVARIANCES:
        a, b = getattr(single, name), getattr(double, name)
        assert a.dtype == np.float32 and b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(b).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3], KINDS[4], KINDS[7]], ids=["softmax", "abs", "relu", "root"])
def test_derivatives(kind):
    """Second derivatives are finite where there are kinks, and the first ones agree with differences."""
    linear, mechanism, options = kind
    net = serial(attention(linear, mechanism, **options), Relu())
    masked = jnp.asarray([[[False], [True], [False]], [[True], [True], [True]]])
    step = RANDOM.normal(size=X1.shape)

    def total(x, mask):
        kernel = net[2](MaskedArray(x, mask), X2)
        return jnp.sum(kernel.nngp) + jnp.sum(kernel.ntk) + jnp.sum(kernel.cov1)

    def all_of(x, mask):
        gradient = jax.grad(total)(x, mask)
        return gradient, jax.jvp(jax.grad(total), (x, mask), (step, np.zeros(mask.shape, jax.dtypes.float0)))[1]

    with jax.enable_x64(True):
        some = np.array([X1, 0 * X1, X1 * np.array([[[1], [0], [-1]]])])
        every = jnp.stack([jnp.zeros_like(masked), masked])
        points, masks = np.concatenate([some, some]), jnp.repeat(every, 3, axis=0)
        first, second = jax.jit(jax.vmap(all_of))(points, masks)
        assert np.isfinite(first).all() and np.isfinite(second).all()
        ends = np.stack([X1 + 1e-5 * step, X1 - 1e-5 * step])
        up, down = jax.jit(jax.vmap(total, (0, None)))(ends, every[0])
        np.testing.assert_allclose((first[0] * step).sum(), (up - down) / 2e-5, rtol=1e-6)


def test_eager():
    layer = attention(mechanism="RELU", pos_emb_type="SUM", b_std=0.1)
    assert_equal(layer[2](X1, X2), compiled(layer, X1, X2), 1e-5)


def test_vmap():
    net = attention(mechanism="SOFTMAX", pos_emb_type="SUM")
    batches = RANDOM.normal(size=(2, 2, 3, 2)).astype(np.float32)
    kernels = jax.jit(jax.vmap(lambda x: net[2](x, X2, "ntk")))(batches)
    for x, kernel in zip(batches, kernels, strict=True):
        np.testing.assert_allclose(kernel, compiled(net, x, X2, "ntk"), rtol=1e-4, atol=1e-5)


def test_kernel_of_another_network_as_input():
    first, second = serial(Dense(6, 1.2), Relu()), attention(mechanism="RELU", b_std=0.1)

    def kernels():
        between = first[2](X1, X2, diagonal_spatial=False)
        return second[2](between), serial(first, second)[2](X1, X2), second[2](between, None, "nngp")

    in_two, whole, nngp = jax.jit(kernels)()
    assert_equal(in_two, whole, 1e-5)
    np.testing.assert_allclose(nngp, whole.nngp, rtol=1e-5)
    with pytest.raises(ValueError, match="diagonal_spatial"):
        second[2](compiled(first, X1, X2, diagonal_spatial=True))


def test_outputs_are_independent_of_a_branch_around_them():
    net = serial(
        Dense(3), FanOut(2), parallel(attention(mechanism="SOFTMAX"), Identity()), FanInSum(), Flatten(), Dense(1)
    )
    plain = compiled(Dense(3), X1, diagonal_spatial=False)
    attended = compiled(attention(mechanism="SOFTMAX"), plain)
    expected = np.einsum("abii->ab", plain.nngp + attended.nngp) / 3
    np.testing.assert_allclose(compiled(net, X1, None, "nngp"), expected, rtol=1e-5)


# What is refused


@pytest.mark.parametrize("mechanism", ["SOFTMAX", "ABS", "RELU"])
def test_no_kernel_of_square_root_scaling(mechanism):
    layer = attention(False, mechanism)
    with pytest.raises(NotImplementedError, match=f"'IDENTITY'` only, got '{mechanism}'"):
        layer[2](X1)


def test_finite_networks_of_square_root_scaling():
    layer = attention(False, "SOFTMAX")
    _, params = initialised(layer, X1.shape, linear=False)
    expected = by_definition(X1[0], params, (False, "SOFTMAX", {}), np.ones(3, bool))
    np.testing.assert_allclose(outputs(layer, params, X1)[0], expected, rtol=1e-4, atol=1e-5)


def test_names_of_choices():
    for option, choice in (("attention_mechanism", AttentionMechanism), ("pos_emb_type", PositionalEmbedding)):
        for member in choice:
            a, b = (GlobalSelfAttention(2, 2, 2, 2, **{option: v}) for v in (member, member.name))
            got, expected = jax.jit(lambda a, b: (a[2](X1), b[2](X1)), static_argnums=(0, 1))(a, b)
            assert_equal(got, expected, 1e-6, ("nngp", "ntk"))
            with pytest.raises(ValueError, match=choice.__name__):
                GlobalSelfAttention(2, 2, 2, 2, **{option: member.name.lower()})


def test_sums_of_unequal_numbers_of_channels():
    layer = attention(pos_emb_type="SUM", n_chan_pos_emb=5)
    for call in (lambda: layer[2](X1), lambda: layer[0](KEY, X1.shape)):
        with pytest.raises(ValueError, match="5 channels .*`n_chan_pos_emb`.* 2 channels"):
            call()


def test_embeddings_that_do_not_exist():
    layer = attention(False, pos_emb_type="SUM", pos_emb_decay_fn=lambda d: jnp.where(d == 0, 1.0, -0.9))
    with pytest.raises(ValueError, match="positive semi-definite"):
        layer[0](KEY, X1.shape)


def test_covariances_of_all_positions_are_needed():
    for net in (attention(), serial(Dense(2), Relu(), attention(), Flatten(), Dense(1))):
        with pytest.raises(ValueError, match="diagonal_spatial"):
            net[2](X1, diagonal_spatial=True)
