"""The function `kernel_fn` that every network has."""

import dataclasses
import functools
import inspect

import jax
import numpy as np
import pytest
from finite_width import compiled
from frozendict import frozendict

from neural_tangents._core.kernel import Kernel
from neural_tangents.stax import (
    Bool,
    Dense,
    Diagonal,
    Dropout,
    Erf,
    Flatten,
    Identity,
    LayerNorm,
    Relu,
    parallel,
    serial,
)

RANDOM = np.random.RandomState(41)
X1, X2 = (RANDOM.normal(size=(n, 3)) for n in (3, 4))
S1, S2 = (RANDOM.normal(size=(n, 2, 3)) for n in (2, 3))
FIRST, SECOND = serial(Dense(5, 1.2, 0.3), Relu()), serial(Dense(4, 1.1, 0.2), Erf(), Dense(2, 0.9))
NET = serial(FIRST, SECOND)
FIELDS = [field.name for field in dataclasses.fields(Kernel) if field.name != "distance"]
ARRAYS = ("nngp", "ntk", "cov1", "cov2")

kernel_fn = jax.jit(NET[2], static_argnames="get")


@functools.cache
def whole():
    """The kernel that results are compared with."""
    return kernel_fn(X1, X2)


def assert_equal_kernels(a, b, rtol=1e-5):
    for name in FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        if name in ARRAYS and x is not None and y is not None:
            assert x.dtype == y.dtype and x.shape == y.shape
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol / 10, err_msg=name)
        elif name in ("mask1", "mask2") and x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)
        else:
            assert x == y, name


# `get`


def test_without_get_it_is_a_kernel():
    k = NET[2](X1, X2)
    assert type(k) is Kernel
    assert_equal_kernels(k, whole())


@pytest.mark.parametrize("name", FIELDS)
def test_get_of_one_name(name):
    for spelled in (name, name.upper(), name.title()):
        result = compiled(Identity(), X1, X2, spelled) if name == "is_input" else NET[2](X1, X2, spelled)
        if name in ARRAYS:
            np.testing.assert_allclose(result, getattr(whole(), name), rtol=1e-5, atol=1e-6)
        elif name == "is_input":
            assert result
        else:
            assert result == getattr(whole(), name)


SEVERAL = [("nngp", "ntk"), ("ntk", "nngp"), ["cov1", "NTK", "shape2"], ("NnGp",), ["is_gaussian"], tuple(FIELDS)]


@pytest.mark.parametrize("get", SEVERAL, ids=str)
def test_get_of_several_names(get):
    result = NET[2](X1, X2, get)
    assert isinstance(result, tuple) and type(result).__name__ == "AnalyticKernel"
    assert result._fields == tuple(name.lower() for name in get)
    for name, value in zip(result._fields, result, strict=True):
        assert value is getattr(result, name)
        if name in ARRAYS:
            np.testing.assert_allclose(value, getattr(whole(), name), rtol=1e-5, atol=1e-6)
        else:
            assert value == getattr(whole(), name)


def test_results_of_equal_calls_are_of_one_type():
    calls = [
        kernel_fn(X1, X2, ("nngp", "ntk")),
        kernel_fn(X1, X2, get=("NNGP", "ntk")),
        NET[2](X1, X2, ["nngp", "ntk"]),
        SECOND[2](FIRST[2](X1, X2), get=("nngp", "NTK")),
    ]
    assert len({type(result) for result in calls}) == 1
    assert len({jax.tree.structure(result) for result in calls}) == 1
    for result in calls[1:]:
        difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), calls[0], result)
        assert max(difference) < 1e-5
    chosen = jax.lax.cond(True, lambda: calls[0], lambda: calls[3])
    assert type(chosen) is type(calls[0])


def test_second_covariance_exists_with_a_second_batch_only():
    assert NET[2](X1, get="cov2") is None
    assert NET[2](X1, X2, get="cov2").shape == (4,)


def recorded(seen, net):
    """A network with a last layer that does nothing but to note the kernels it gets."""

    def kernel(k):
        seen.append(k)
        return k

    return serial(net, (lambda rng, shape: (shape, ()), lambda params, x, **kwargs: x, kernel))


@pytest.mark.parametrize("get", [None, "ntk", ("nngp", "NTK"), "nngp", ("cov1", "nngp"), ["x1_is_x2"]], ids=str)
@pytest.mark.parametrize("from_kernel", [False, True])
def test_ntk_is_computed_only_if_asked_for(get, from_kernel):
    seen = []
    recorded(seen, FIRST)[2](Identity()[2](X1, X2) if from_kernel else X1, None if from_kernel else X2, get)
    wanted = get is None or "ntk" in str(get).lower()
    assert (seen[0].ntk is not None) == wanted


@pytest.mark.parametrize(
    "net", [Identity(), Flatten(), serial(Identity(), Flatten()), serial(Dropout(0.5, "test"), Identity())], ids=str
)
def test_ntk_is_a_scalar_zero_before_the_first_layer(net):
    for ntk in (net[2](S1, S2, "ntk"), net[2](S1, get="ntk"), net[2](net[2](S1, S2), get="ntk")):
        assert ntk.shape == () and ntk == 0 and ntk.dtype == np.float32
    after = serial(net, Dense(1))[2](S1, S2)
    np.testing.assert_array_equal(after.ntk, after.nngp)


# Compilation and other transformations


def test_get_may_be_positional_under_jit():
    np.testing.assert_array_equal(kernel_fn(X1, X2, "ntk"), kernel_fn(X1, X2, get="ntk"))
    assert list(inspect.signature(NET[2]).parameters)[:3] == ["x1_or_kernel", "x2", "get"]


@pytest.mark.parametrize("get", [None, "nngp", ("cov1", "ntk")], ids=str)
def test_jit(get):
    got, want = kernel_fn(X1, X2, get), NET[2](X1, X2, get)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_jit_of_kernels():
    second = jax.jit(SECOND[2], static_argnames="get")
    before = FIRST[2](X1, X2)
    assert_equal_kernels(second(before), whole())
    np.testing.assert_allclose(second(before, get="ntk"), whole().ntk, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("constant", [np.nan, 7.0])
def test_mask_constant_may_be_traced(constant):
    x = S1.copy()
    x[0, 1] = constant
    traced = kernel_fn(x, S2, mask_constant=constant)
    assert_equal_kernels(traced, compiled(NET, x, S2, mask_constant=constant))
    np.testing.assert_array_equal(traced.mask1[..., 0], [[False, True], [False, False]])
    assert not traced.nngp[0, :, 1].any() and traced.nngp[0, :, 0].all()


def test_one_compilation_serves_all_mask_constants():
    x = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    traces = []

    @jax.jit
    def mask(constant):
        traces.append(constant)
        return Identity()[2](x, mask_constant=constant).mask1

    for constant in (1.0, 4.0, np.nan):
        np.testing.assert_array_equal(mask(constant), x == constant)
    assert len(traces) == 1


def test_vmap_over_pairs_of_batches():
    x1, x2 = np.random.RandomState(1).normal(size=(3, 2, 4)), np.random.RandomState(2).normal(size=(3, 3, 4))

    def kernels(x1, x2):
        return NET[2](x1, x2, ("nngp", "ntk")), NET[2](x1, get=("nngp", "ntk")), NET[2](x1, x1, get="ntk")

    together = jax.jit(jax.vmap(kernels))(x1, x2)
    single = jax.jit(kernels)
    for i in range(3):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(single(x1[i], x2[i])), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6)


def test_vmap_of_whole_kernels():
    x1, x2 = np.random.RandomState(1).normal(size=(2, 3, 4)), np.random.RandomState(2).normal(size=(2, 3, 4))
    x2[1] = x1[1]
    k = jax.jit(jax.vmap(FIRST[2]))(x1, x2)
    assert k.nngp.shape == (2, 3, 3) and k.shape1 == (3, 5)
    np.testing.assert_array_equal(k.x1_is_x2, [False, True])
    nngp = jax.jit(jax.vmap(lambda k: SECOND[2](k, get="nngp")))(k)
    np.testing.assert_allclose(nngp[0], compiled(NET, x1[0], x2[0], "nngp"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_gradients(get):
    with jax.enable_x64(True):
        weights = np.random.RandomState(3).normal(size=(3, 4))
        loss = jax.jit(lambda x1, x2: (weights * NET[2](x1, x2, get)).sum())
        gradients = jax.jit(jax.grad(loss, (0, 1)))(X1, X2)
        directions = [np.random.RandomState(i).normal(size=x.shape) for i, x in enumerate((X1, X2))]
        for i, (gradient, direction) in enumerate(zip(gradients, directions, strict=True)):
            step = 1e-5 * direction
            above, below = (loss(X1 + s, X2) if i == 0 else loss(X1, X2 + s) for s in (step, -step))
            difference = (above - below) / 2e-5
            np.testing.assert_allclose((gradient * direction).sum(), difference, rtol=1e-7)


# Kernels of kernels


@pytest.mark.parametrize("x2", [None, X1, X2], ids=["one batch", "the same batch", "two batches"])
def test_kernel_of_a_kernel(x2):
    before = FIRST[2](X1, x2)
    expected = kernel_fn(X1, x2) if x2 is not X1 else NET[2](X1, X1)
    assert_equal_kernels(SECOND[2](before), expected)
    result = SECOND[2](before, get=("ntk", "shape1"))
    np.testing.assert_allclose(result.ntk, expected.ntk, rtol=1e-5, atol=1e-6)
    assert result.shape1 == expected.shape1 == (3, 2)


@pytest.mark.parametrize("options", [{}, dict(diagonal_batch=False, diagonal_spatial=False)], ids=["default", "full"])
@pytest.mark.parametrize("mask_constant", [None, 5.0])
def test_kernel_of_a_kernel_with_positions_and_masks(options, mask_constant):
    x = S1.copy()
    x[1, 0] = 5.0
    options = dict(options, mask_constant=mask_constant)
    last = serial(SECOND, Flatten(), Dense(1))
    before = compiled(FIRST, x, S2, **{"diagonal_spatial": True, **options})
    assert_equal_kernels(compiled(last, before), compiled(serial(FIRST, last), x, S2, **options))


def test_kernel_with_positions_in_reversed_order():
    x = np.random.RandomState(4).normal(size=(2, 3, 2, 4))
    before = compiled(FIRST, x)
    assert_equal_kernels(compiled(SECOND, before.reverse()), compiled(SECOND, before))


def test_a_kernel_without_ntk_stays_without():
    before = FIRST[2](X1, X2, get=None).replace(ntk=None)
    assert SECOND[2](before).ntk is None
    np.testing.assert_allclose(SECOND[2](before, get="nngp"), whole().nngp, rtol=1e-5, atol=1e-6)


# One batch twice


def relu_network(depth):
    return serial(*[Dense(8, 2**0.5), Relu()] * depth, Dense(1))


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_one_batch_in_all_its_forms(scale, dtype):
    """Also in a deep network, where small errors of a correlation of one add up."""
    x = (scale * np.random.RandomState(6).normal(size=(20, 50))).astype(dtype)
    net = relu_network(10)
    rtol = 1e-5 if dtype == np.float32 else 1e-12

    @jax.jit
    def kernels(x, copy):
        return net[2](x), net[2](x, x), net[2](x, copy)

    alone, *pairs = kernels(x, x.copy())
    assert alone.cov2 is None and alone.x1_is_x2
    for pair in pairs:
        assert pair.x1_is_x2 and pair.nngp.dtype == dtype
        for name in ("nngp", "ntk", "cov1"):
            np.testing.assert_allclose(getattr(pair, name), getattr(alone, name), rtol=rtol, err_msg=name)
        np.testing.assert_allclose(pair.cov2, alone.cov1, rtol=rtol)
    # Both batches are one, whatever the order of its inputs.
    np.testing.assert_allclose(alone.ntk, alone.ntk.T, rtol=rtol)
    np.testing.assert_allclose(np.diagonal(alone.nngp), alone.cov1, rtol=rtol)


def test_single_precision_is_close_to_double_precision_in_a_deep_network():
    x = np.random.RandomState(6).normal(size=(6, 50)).astype(np.float32)
    single = compiled(relu_network(10), x, x.copy(), ("nngp", "ntk"))
    with jax.enable_x64(True):
        double = compiled(relu_network(10), x, x.copy(), ("nngp", "ntk"))
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=2e-5, err_msg=name)


# Trees of inputs


A, B, C = (np.random.RandomState(i).normal(size=(3, 4)) for i in range(3))
LEAVES = Dense(2, 1.1), Identity(), Dense(3, 0.7, 0.2)
TREE = parallel(parallel(*LEAVES[:2]), LEAVES[2])


@pytest.mark.parametrize("outer", [list, tuple])
@pytest.mark.parametrize("inner", [list, tuple])
def test_trees_of_inputs(outer, inner):
    x1, x2 = outer([inner([A, B]), C]), outer([inner([B, A]), A])
    for second, partners in ((x2, (B, A, A)), (None, (None,) * 3), (outer([inner([None, A]), None]), (None, A, None))):
        results = TREE[2](x1, second, ("nngp", "ntk"))
        assert type(results) is outer and type(results[0]) is inner
        leaves = [*results[0], results[1]]
        for result, layer, a, b in zip(leaves, LEAVES, (A, B, C), partners, strict=True):
            assert type(result).__name__ == "AnalyticKernel"
            expected = layer[2](a, b, ("nngp", "ntk"))
            np.testing.assert_allclose(result.nngp, expected.nngp, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(result.ntk, expected.ntk, rtol=1e-5, atol=1e-6)


def test_trees_of_kernels():
    before = TREE[2](((A, B), C))
    assert type(before) is tuple and type(before[0][0]) is Kernel
    after = TREE[2](before, get="nngp")
    np.testing.assert_allclose(after[0][0], 1.1**2 * before[0][0].nngp, rtol=1e-6)
    np.testing.assert_allclose(after[1], 0.7**2 * before[1].nngp + 0.2**2, rtol=1e-6)


def test_trees_under_jit():
    get = ("nngp", "x1_is_x2")
    results = jax.jit(TREE[2], static_argnames="get")([[A, B], C], [[A, A], C], get=get)
    assert [bool(r.x1_is_x2) for r in (*results[0], results[1])] == [True, False, True]
    np.testing.assert_allclose(results[0][1].nngp, B @ A.T / 4, rtol=1e-5, atol=1e-6)


# Layouts and requirements


@pytest.mark.parametrize("diagonal_batch", [None, True, False])
@pytest.mark.parametrize("diagonal_spatial", [None, True, False])
def test_layouts(diagonal_batch, diagonal_spatial):
    options = dict(diagonal_batch=diagonal_batch, diagonal_spatial=diagonal_spatial)
    k = compiled(Dense(5), S1, S2, **options)
    assert k.diagonal_batch == (diagonal_batch is not False) and k.diagonal_spatial == (diagonal_spatial is True)
    positions = (2,) if diagonal_spatial else (2, 2)
    assert k.nngp.shape == k.ntk.shape == (2, 3, *positions)
    assert k.cov1.shape == ((2, 2) if diagonal_batch is False else (2,)) + positions


@pytest.mark.parametrize("diagonal_spatial", [None, True, False])
def test_networks_that_need_equal_positions_only_compute_no_others(diagonal_spatial):
    seen = []
    net = serial(recorded(seen, FIRST), Flatten(), Dense(1))
    nngp = compiled(net, S1, S2, "nngp", diagonal_spatial=diagonal_spatial)
    # The layer in between is of a user and states nothing.
    assert seen[0].diagonal_spatial == (diagonal_spatial is not False)
    every = compiled(FIRST, S1, S2, "nngp", diagonal_spatial=False)
    np.testing.assert_allclose(nngp, np.einsum("nmss->nm", every) / 2, rtol=1e-5, atol=1e-6)


ANY, ALL = Diagonal(Bool.YES, Bool.NO), Diagonal(Bool.YES, Bool.YES)
REQUIREMENTS = {
    "Dense": (Dense(3), dict(batch_axis=0, channel_axis=-1, diagonal_spatial=ANY)),
    "axes": (Dense(3, batch_axis=1, channel_axis=0), dict(batch_axis=1, channel_axis=0, diagonal_spatial=ANY)),
    "Relu": (Relu(), dict(diagonal_spatial=ANY)),
    "Identity": (Identity(), {}),
    "Flatten": (Flatten(), dict(batch_axis=0, channel_axis=None, diagonal_spatial=ALL)),
    "LayerNorm": (LayerNorm(), dict(batch_axis=0, channel_axis=-1)),
    "Dropout": (Dropout(0.5), dict(use_dropout=True)),
    "serial": (serial(Dense(3), Relu()), dict(batch_axis=0, channel_axis=-1, diagonal_spatial=ANY)),
    "with readout": (serial(Dense(3), Relu(), Flatten()), dict(batch_axis=0, channel_axis=-1, diagonal_spatial=ALL)),
    "axes of the first": (serial(Relu(), Flatten()), dict(batch_axis=0, channel_axis=None, diagonal_spatial=ALL)),
    "parallel": (
        parallel(Dense(3), serial(Relu(), Dropout(0.5))),
        dict(batch_axis=0, channel_axis=-1, diagonal_spatial=ANY, use_dropout=True),
    ),
}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_input_req(name):
    net, expected = REQUIREMENTS[name]
    requirements = net[2].input_req
    assert type(requirements) is frozendict and dict(requirements) == expected
    assert hash(requirements) == hash(frozendict(expected))


# Keywords


def test_random_keys_and_patterns_are_accepted():
    key = jax.random.PRNGKey(0)
    for options in ({"rng": key}, {"rng": (key, key)}, {"pattern": (None, None)}, {"rng": None, "pattern": None}):
        expected = FIRST[2](X1, X2, "ntk")
        np.testing.assert_array_equal(FIRST[2](X1, X2, "ntk", **options), expected)
    params = FIRST[0](key, X1.shape)[1]
    np.testing.assert_array_equal(FIRST[1](params, X1, rng=key, pattern=None), FIRST[1](params, X1))


def test_random_keys_do_not_matter():
    net = serial(FIRST, Dropout(0.5), SECOND)
    one, other = (compiled(net, X1, get="nngp", rng=jax.random.PRNGKey(i)) for i in range(2))
    np.testing.assert_array_equal(one, other)


def test_eps():
    near = X1.copy()
    near[1, 2] += 1e-3
    net = serial(FIRST, Dropout(0.5), SECOND)
    apart, same = NET[2](X1, near, eps=1e-4), NET[2](X1, near, eps=1e-2)
    assert not apart.x1_is_x2 and same.x1_is_x2 and not NET[2](X1, near, "x1_is_x2")
    assert NET[2](X1, X1 + 1e-7, "x1_is_x2", eps=1e-3)
    # Layers see it too.
    dropped, plain = (compiled(net, X1, near, "nngp", eps=eps) for eps in (1e-2, 1e-4))
    assert np.all(np.diagonal(dropped) > 1.05 * np.diagonal(plain))
    apart = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(dropped[apart], plain[apart], rtol=1e-5, atol=1e-6)
    traced = jax.jit(lambda eps: NET[2](X1, near, "x1_is_x2", eps=eps))
    assert traced(1e-2) and not traced(1e-4)


def test_axes_of_inputs_for_layers_that_state_none():
    x = np.random.RandomState(8).normal(size=(2, 3, 4))
    k = Identity()[2](x, channel_axis=1)
    np.testing.assert_allclose(k.nngp, np.einsum("nch,mci->nmhi", x, x) / 3, rtol=1e-5, atol=1e-6)
    with pytest.warns(UserWarning, match="batch axis"):
        k = Identity()[2](x, batch_axis=1)
    np.testing.assert_allclose(k.nngp, np.einsum("hnc,imc->nmhi", x, x) / 4, rtol=1e-5, atol=1e-6)
    assert (k.batch_axis, k.channel_axis) == (1, 2)


def test_axes_of_inputs_that_the_network_states_may_be_repeated_but_not_changed():
    assert_equal_kernels(Dense(5)[2](S1, S2, batch_axis=0, channel_axis=2), Dense(5)[2](S1, S2))
    with pytest.raises(ValueError, match="channel_axis"):
        NET[2](S1, S2, channel_axis=1)


@pytest.mark.parametrize("name", ["NET", "axes", "Dropout"])
def test_names_of_the_functions(name):
    net = NET if name == "NET" else REQUIREMENTS[name][0]
    names = {fn.__name__ for fn in net}
    assert names == {{"NET": "serial", "axes": "Dense"}.get(name, name)}
