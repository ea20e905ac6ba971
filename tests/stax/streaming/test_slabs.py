"""Runs of local layers evaluated offset by offset, against the same networks with all pairs of positions at once."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import compiled
from sweeps import mostly_slow

from neural_tangents._core.programs import Programs
from neural_tangents.stax import (
    AvgPool,
    Conv,
    ConvLocal,
    Dense,
    Dropout,
    Elementwise,
    Erf,
    FanInProd,
    FanInSum,
    FanOut,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Identity,
    LayerNorm,
    Rbf,
    Relu,
    SumPool,
    _compiled_runs,
    parallel,
    repeat,
    serial,
)
from neural_tangents.stax._streaming import runs as runs_module
from neural_tangents.stax._streaming import slabs
from neural_tangents.stax._streaming.runs import Next

RANDOM = np.random.RandomState(80)
FIELDS = ("nngp", "ntk", "cov1", "cov2")


def conv(size, stride=None, padding="SAME", W_std=1.3, b_std=0.2):
    return Conv(2, size, stride, padding, W_std, b_std)


def residual(*branch):
    return serial(FanOut(2), parallel(serial(*branch), Identity()), FanInSum())


def correlated():
    """A nonlinearity of unknown form, whose formulas are infinite for variances of zero."""

    def nngp(k, q1, q2):
        return 1 + (k / jnp.sqrt(q1 * q2)) ** 2

    return Elementwise(nngp_fn=nngp, d_nngp_fn=lambda k, q1, q2: 2 * k / (q1 * q2))


NETWORKS = {
    "same": ([conv((3, 3)), Relu(), conv((2, 3)), Relu(), GlobalAvgPool()], (5, 4)),
    "one layer": ([conv((3, 3)), GlobalSumPool()], (4, 3)),
    "smaller than the filter": ([conv((3, 4)), Erf(), conv((4, 3)), Relu(), GlobalAvgPool()], (2, 1)),
    "strides": ([conv((3, 3), (2, 1)), Relu(), conv((2, 2), (2, 3)), Erf(), conv((2, 1)), GlobalAvgPool()], (7, 8)),
    "valid": ([conv((3, 2), (1, 1), "VALID"), Relu(), conv((2, 2), (2, 1), "VALID"), Erf(), GlobalAvgPool()], (7, 5)),
    "valid and same": ([conv((3,), (2,), "VALID"), Relu(), conv((3,), (2,)), Rbf(), GlobalAvgPool()], (11,)),
    "circular": (
        [conv((3, 2), None, "CIRCULAR"), Relu(), conv((2, 3), (2, 1), "CIRCULAR"), Erf(), GlobalAvgPool()],
        (4, 3),
    ),
    "circular, large filter": (
        [conv((5,), None, "CIRCULAR"), Relu(), conv((7,), None, "CIRCULAR"), GlobalAvgPool()],
        (3,),
    ),
    "mixed padding": ([conv((3,), None, "CIRCULAR"), Relu(), conv((3,)), Relu(), GlobalAvgPool()], (5,)),
    "three axes": ([conv((2, 2, 2)), Relu(), conv((2, 1, 2), (1, 2, 1)), Relu(), GlobalAvgPool()], (3, 2, 3)),
    "pools": (
        [
            *[conv((3, 3)), Relu(), conv((3, 3)), Relu(), AvgPool((2, 2), (2, 2)), conv((3, 2)), Erf()],
            *[AvgPool((2, 2), (1, 1), "SAME", True), conv((2, 2)), Relu(), Flatten(), Dense(1)],
        ],
        (7, 6),
    ),
    "circular pools": (
        [conv((3,)), Relu(), SumPool((3,), (2,), "CIRCULAR"), conv((2,)), Relu(), AvgPool((2,), (2,)), Flatten()],
        (9,),
    ),
    "normalised": (
        [conv((3, 3)), LayerNorm(), Relu(), Dense(3, 1.1, 0.3), Erf(), conv((3, 3)), Dropout(0.6), GlobalAvgPool()],
        (4, 5),
    ),
    "residual": (
        [
            *[conv((3, 3)), residual(Relu(), conv((3, 3)), residual(Relu(), conv((2, 2)))), Relu()],
            *[conv((3, 3), (2, 2)), residual(Erf(), Dense(2), residual(Relu(), conv((3, 1)))), GlobalAvgPool()],
        ],
        (6, 5),
    ),
    "shortcut with a stride": (
        [
            *[conv((3, 3)), FanOut(2), parallel(serial(Relu(), conv((3, 3), (2, 2))), conv((1, 1), (2, 2)))],
            *[FanInSum(), Relu(), conv((3, 3)), GlobalAvgPool(), Dense(1), Relu(), Dense(1)],
        ],
        (6, 4),
    ),
    "product": (
        [
            FanOut(2),
            parallel(serial(conv((2,)), Relu()), serial(conv((3,)), Erf())),
            FanInProd(),
            conv((2,)),
            GlobalAvgPool(),
        ],
        (5,),
    ),
    "loops": (
        [conv((3, 3)), *[Relu(), conv((3, 3))] * 6, repeat(serial(Relu(), conv((2, 2))), 3), GlobalAvgPool()],
        (4, 4),
    ),
    "nested": (
        [
            serial(serial(conv((3,)), Relu()), conv((3,))),
            serial(Relu(), AvgPool((2,), (2,)), conv((2,))),
            Relu(),
            GlobalAvgPool(),
        ],
        (6,),
    ),
    "flatten": (
        [
            conv((3, 2)),
            Relu(),
            conv((2, 3), (2, 1)),
            Erf(),
            conv((2, 2), None, "VALID"),
            LayerNorm(),
            Relu(),
            Flatten(),
        ],
        (7, 5),
    ),
    "flatten, circular": ([conv((3,), None, "CIRCULAR"), Relu(), conv((2,), (2,), "CIRCULAR"), Rbf(), Flatten()], (6,)),
    "flatten behind pairs": (
        [conv((3,)), Relu(), ConvLocal(2, (2,)), AvgPool((2,)), conv((2,)), Relu(), Flatten(), Dense(1), Relu()],
        (6,),
    ),
    "large pools": (
        [conv((2, 3)), Relu(), AvgPool((3, 5), (1, 3), "SAME", True), conv((2, 2)), Relu(), SumPool((4, 2)), Flatten()],
        (4, 7),
    ),
    "pools along one axis": (
        [conv((2, 2)), Relu(), AvgPool((1, 3), (1, 2)), conv((2, 2)), Erf(), SumPool((4, 1), (3, 2)), GlobalAvgPool()],
        (4, 5),
    ),
    "pools that do not fit": (
        [
            *[conv((3,), None, "CIRCULAR"), Relu(), AvgPool((3,), (1,), "SAME"), conv((3,)), Relu()],
            *[AvgPool((2,), (3,), "CIRCULAR"), GlobalAvgPool()],
        ],
        (7,),
    ),
    "own formulas": ([conv((3, 3)), correlated(), conv((2, 3)), correlated(), GlobalAvgPool()], (5, 4)),
    "not local in a branch": (
        [
            *[conv((3,)), Relu(), conv((2,)), FanOut(2), parallel(ConvLocal(2, (2,), None, "SAME"), Identity())],
            *[FanInSum(), Relu(), conv((2,)), GlobalAvgPool()],
        ],
        (4,),
    ),
    "not local in between": (
        [conv((3,)), Relu(), ConvLocal(2, (2,)), Relu(), conv((2,)), Relu(), GlobalAvgPool()],
        (6,),
    ),
}


def inputs(name, n, seed=0):
    return np.random.RandomState([list(NETWORKS).index(name), seed]).normal(size=(n, *NETWORKS[name][1], 3))


def at_once(name, x1, x2=None, **options):
    """The kernel without streaming."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compiled_runs, "find_run", lambda steps, *_: Next(len(steps), None, ""))
        return compiled(serial(*NETWORKS[name][0]), x1, x2, **options)


@contextlib.contextmanager
def watched():
    """The number of layers, and the budget, of each run that is streamed meanwhile."""
    runs = []

    def spy(run, budget, k, kwargs, only_values):
        runs.append((run.place[1] - run.place[0], budget))
        return slabs.streamed(run, budget, k, kwargs, only_values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compiled_runs, "streamed", spy)
        patch.setattr(_compiled_runs, "_SHARED", Programs())  # which others may have filled
        yield runs


def streamed(name, x1, x2=None, **options):
    with watched() as runs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_module, "_MANY_ENTRIES", 0)
        kernel = compiled(serial(*NETWORKS[name][0]), x1, x2, **options)
    assert runs, "Nothing was streamed."
    return kernel


def assert_equal(got, want, rtol):
    for field in FIELDS:
        a, b = getattr(got, field), getattr(want, field)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=field)
    for field in ("shape1", "shape2", "is_gaussian", "is_input", "diagonal_batch", "diagonal_spatial", "channel_axis"):
        assert getattr(got, field) == getattr(want, field), field
    np.testing.assert_array_equal(got.x1_is_x2, want.x1_is_x2)


QUICK = ["same", "circular", "three axes", "own formulas", "residual", "loops", "flatten"]


@pytest.mark.parametrize("name", mostly_slow(NETWORKS, QUICK))
def test_two_batches(name):
    x1, x2 = inputs(name, 3), inputs(name, 2, seed=1)
    with jax.enable_x64(True):
        assert_equal(streamed(name, x1, x2), at_once(name, x1, x2), 1e-12)


# Of each kind of padding, pool and branch, and one, two and three axes; of even and odd sizes.
IN_ONE_BATCH = [
    *["same", "valid", "circular", "mixed padding", "three axes", "circular pools", "residual", "loops", "flatten"],
    *["flatten behind pairs", "large pools", "pools that do not fit", "own formulas"],
]


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(IN_ONE_BATCH, QUICK))
def test_one_batch(name):
    """Of one batch, half of the rows are computed."""
    x = inputs(name, 3, seed=2)
    with jax.enable_x64(True):
        assert_equal(streamed(name, x), at_once(name, x), 1e-12)


@pytest.mark.parametrize("twice", [True, False], ids=["one batch", "two batches"])
def test_many_channels(twice):
    """Products of inputs are those of matrices, for each pair of positions of three axes."""
    x1, x2 = (RANDOM.normal(size=(n, 3, 2, 3, 9)) for n in (3, 2))
    with jax.enable_x64(True):
        batches = (x1,) if twice else (x1, x2)
        assert_equal(streamed("three axes", *batches), at_once("three axes", *batches), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["same", "pools", "loops"])
def test_single_precision(name):
    x = inputs(name, 3, seed=2).astype(np.float32)
    assert_equal(streamed(name, x), at_once(name, x), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"diagonal_batch": False}], ids=["variances", "covariances"])
@pytest.mark.parametrize("twice", [True, False], ids=["one batch", "two batches"])
def test_all_pairs_of_positions(twice, options):
    layers = [conv((3, 3)), Relu(), conv((2, 3), (1, 2)), Erf(), conv((2, 2))]
    x1, x2 = (RANDOM.normal(size=(n, 4, 5, 3)) for n in (3, 2))
    x2, options = None if twice else x2, {"diagonal_spatial": False, **options}
    with jax.enable_x64(True), watched() as runs, pytest.MonkeyPatch.context() as patch:
        want = compiled(serial(*layers), x1, x2, **options)
        assert not runs, "It is small."
        patch.setattr(runs_module, "_MANY_ENTRIES", 0)
        got = compiled(serial(*layers), x1, x2, **options)
        assert [n for n, _ in runs] == [len(layers)]
        assert_equal(got, want, 1e-12)
        runs.clear()
        compiled(serial(Dense(1), Relu(), Dense(1)), x1, x2, **options)
        assert not runs, "Without windows there is nothing to gain."


@pytest.mark.slow
@pytest.mark.parametrize("name", ["same", "strides", "pools", "normalised"])
def test_masks(name):
    x1, x2 = inputs(name, 2, seed=3), inputs(name, 3, seed=4)
    x1[0, 2:] = x2[1, :, 1:] = np.nan
    options = {} if name == "pools" else {"mask_constant": np.nan}
    if not options:  # pools take masks of whole positions from a layer that mixes channels
        options = {"mask_constant": np.nan}
    with jax.enable_x64(True):
        got, want = streamed(name, x1, x2, **options), at_once(name, x1, x2, **options)
    assert_equal(got, want, 1e-12)
    np.testing.assert_array_equal(got.mask1, want.mask1)
    np.testing.assert_array_equal(got.mask2, want.mask2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["strides", "circular pools", "shortcut with a stride"])
def test_whole_covariances_of_each_batch(name):
    x1, x2 = inputs(name, 3, seed=5), inputs(name, 2, seed=6)
    with jax.enable_x64(True):
        got, want = (f(name, x1, x2, diagonal_batch=False) for f in (streamed, at_once))
    assert got.cov1.shape[:2] == (3, 3)
    assert_equal(got, want, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pools that do not fit", "normalised"])
def test_the_size_of_slabs_changes_nothing(name, monkeypatch):
    x1, x2 = inputs(name, 5, seed=7), inputs(name, 2, seed=8)
    with jax.enable_x64(True):
        want = streamed(name, x1, x2)
        for slab in (1, 200):
            monkeypatch.setattr(_compiled_runs, "DEFAULT_BUDGET", 128 * slab)
            assert_equal(streamed(name, x1, x2), want, 1e-12)


@pytest.mark.parametrize("pool", [GlobalAvgPool(), AvgPool((2,), (2,))], ids=["global", "local"])
def test_nothing_to_compute(pool):
    net = serial(conv((3,)), Relu(), pool)
    assert net[2](np.zeros((0, 4, 3)), np.zeros((2, 4, 3)), "ntk").shape[:2] == (0, 2)


def test_images_without_positions():
    for pool in (GlobalAvgPool(), Flatten()):
        assert serial(conv((3,)), Relu(), pool)[2](np.zeros((3, 0, 3)), None, "ntk").shape == (3, 3)


@pytest.mark.parametrize("pool", [GlobalAvgPool(), AvgPool((2,), (2,))], ids=["global", "local"])
def test_runs_without_weights(pool):
    x1, x2 = RANDOM.normal(size=(2, 4, 3)), RANDOM.normal(size=(3, 4, 3))
    got, want = (jax.jit(net[2])(x1, x2) for net in (serial(Identity(), pool), pool))
    assert got.ntk.shape == want.ntk.shape == () and got.is_input and not got.is_gaussian
    assert_equal(got, want, 1e-5)


def test_other_orders_of_axes():
    moved = [
        *[Conv(2, (3, 2), (1, 2), "SAME", 1.3, 0.2, ("CHWN", "IOHW", "CHWN")), Relu()],
        *[Conv(2, (2, 3), None, "SAME", 1.1, 0.1, ("CHWN", "HWIO", "CHWN")), Relu()],
        *[AvgPool((2, 2), (2, 1), batch_axis=3, channel_axis=0), GlobalAvgPool(batch_axis=3, channel_axis=0)],
    ]
    plain = [
        *[Conv(2, (3, 2), (1, 2), "SAME", 1.3, 0.2), Relu(), Conv(2, (2, 3), None, "SAME", 1.1, 0.1), Relu()],
        *[AvgPool((2, 2), (2, 1)), GlobalAvgPool()],
    ]
    x = RANDOM.normal(size=(3, 4, 5, 2)).astype(np.float32)
    x[0, 1:] = 9.0
    with pytest.warns(UserWarning, match="batch axis"):
        got = compiled(serial(*moved), np.moveaxis(x, (0, 3), (3, 0)), mask_constant=9.0)
    want = compiled(serial(*plain), x, mask_constant=9.0)
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-5)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-5)
    np.testing.assert_array_equal(got.mask1, want.mask1.T)


def test_traced_hyperparameters():
    x = RANDOM.normal(size=(2, 4, 3)).astype(np.float32)

    def f(W_std):
        net = serial(
            Conv(1, (3,), None, "SAME", W_std, 0.1), Relu(), Conv(1, (2,), None, "SAME", W_std), GlobalAvgPool()
        )
        return net[2](x, None, "ntk").sum()

    step = 1e-2
    slope = (f(1.2 + step) - f(1.2 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(f))(1.2), slope, rtol=1e-3)


@pytest.mark.parametrize("x2_given", mostly_slow([True, False], [True]))
@pytest.mark.parametrize("shared", mostly_slow([True, False], [True]))
def test_derivatives_in_numbers(shared, x2_given):
    """Few numbers are differentiated forward; with inputs, or one number for each layer, they are not."""
    with jax.enable_x64(True):
        x1, x2 = jnp.asarray(RANDOM.normal(size=(2, 5, 4, 3))), jnp.asarray(RANDOM.normal(size=(3, 5, 4, 3)))
        x2 = x2 if x2_given else None

        def total(w, b, x):
            w, b = ([number] * 3 if shared else number for number in (w, b))
            convs = [Conv(1, (3, 3), None, "SAME", *numbers) for numbers in zip(w, b, strict=True)]
            layers = [layer for conv in convs for layer in (conv, Relu())]
            k = serial(*layers, GlobalAvgPool())[2](x, x2)
            return jnp.sum(jnp.sin(3 * k.nngp) + k.ntk**2) + jnp.sum(k.cov1)

        w, b = (1.3, 0.2) if shared else ([1.3, 1.2, 1.1], [0.1, 0.2, 0.3])
        w, b = jax.tree.map(jnp.asarray, (w, b))
        functions = (
            jax.jit(jax.value_and_grad(total, (0, 1))),
            jax.jit(jax.grad(total, (0, 1, 2))),
            jax.jit(jax.hessian(total, (0, 1))),
            jax.jit(jax.grad(lambda w, b, x: jnp.sum(sum(jax.tree.leaves(jax.grad(total)(w, b, x)))), 2)),
            jax.jit(lambda w, b, x: jax.grad(lambda w: jnp.sum(x * jax.grad(total, 2)(w, b, x)))(w)),
            lambda w, b, x: jax.jvp(lambda w: jax.grad(total, 1)(w, b, x), (w,), (w,)),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as for a run that is evaluated at once
            got = [fn(w, b, x1) for fn in functions]
        jax.clear_caches()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_compiled_runs, "find_run", lambda steps, *_: Next(len(steps), None, ""))
            want = [fn(w, b, x1) for fn in functions]
        jax.clear_caches()
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_derivatives_in_numbers_keep_no_layers(optimised):
    """Memory does not grow with depth, although a pass backward is asked for."""
    x = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)

    def total(w, x, depth):
        layers = [Conv(1, (3, 3), None, "SAME", w), Relu()] * depth
        return jnp.sum(serial(*layers, GlobalAvgPool())[2](x, None, "ntk"))

    programs = [jax.jit(jax.grad(total), static_argnums=2).lower(1.3, x, depth).compile(optimised) for depth in (6, 30)]
    short, long = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert long < 1.1 * short


@pytest.mark.slow
def test_equal_batches_are_one():
    """With dropout this can be seen."""
    x = inputs("normalised", 3, seed=9)
    with jax.enable_x64(True):
        one, two = streamed("normalised", x), streamed("normalised", x, x.copy())
        assert_equal(two, at_once("normalised", x, x.copy()), 1e-12)
    np.testing.assert_allclose(one.nngp, two.nngp, rtol=1e-10)
    np.testing.assert_allclose(np.diag(one.nngp), one.cov1, rtol=1e-12)


def test_eager_calls_compile_once():
    net = serial(*NETWORKS["same"][0])
    x = inputs("same", 2, seed=10).astype(np.float32)
    with watched() as traces:
        first, second = (net[2](x + i, None, "ntk", memory_budget=2**20) for i in (0, 1))
    assert len(traces) == 1
    np.testing.assert_allclose(first, compiled(net, x, get="ntk"), rtol=1e-5)
    assert not np.allclose(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["valid and same", "circular pools"])
def test_derivatives_and_batches(name):
    x1, x2 = inputs(name, 1, seed=11), inputs(name, 2, seed=12)
    direction = RANDOM.normal(size=x1.shape)

    def derivatives(net):
        def f(x):
            return jnp.sum(net[2](x, x2, "ntk"))

        def second(x):
            return jax.jvp(jax.grad(f), (x,), (direction,))[1]

        return jax.jit(
            lambda x: (jax.grad(f)(x), second(x), jax.vmap(lambda y: net[2](y, x2, "ntk"))(jnp.stack([x, 2 * x])))
        )

    net = serial(*NETWORKS[name][0])
    with jax.enable_x64(True):
        got = derivatives(net)(x1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_compiled_runs, "find_run", lambda steps, *_: Next(len(steps), None, ""))
            want = derivatives(serial(*NETWORKS[name][0]))(x1)
        zeros = derivatives(net)(0 * x1)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    assert all(np.isfinite(z).all() for z in zeros)


@pytest.mark.slow
def test_memory_budget():
    x1, x2 = (inputs("large pools", n, seed).astype(np.float32) for n, seed in ((2, 13), (1, 14)))
    net = serial(*NETWORKS["large pools"][0], Dense(1))
    with watched() as runs:
        small = net[2](x1, x2, "ntk", memory_budget=4096)
        parallel_ = serial(FanOut(2), parallel(net, net), FanInSum())[2](x1, x2, "ntk", memory_budget=4096)
        block = serial(Conv(3, (2, 2), padding="SAME"), Relu(), AvgPool((2, 2), padding="SAME"))
        repeated = repeat(block, 3)[2](x1, x2, "ntk", memory_budget=5000)
    assert {budget for _, budget in runs} == {4096, 5000}
    np.testing.assert_allclose(small, net[2](x1, x2, "ntk"), rtol=1e-5)
    np.testing.assert_allclose(parallel_, 2 * small, rtol=1e-5)
    np.testing.assert_allclose(repeated, serial(*[block] * 3)[2](x1, x2, "ntk"), rtol=1e-5)
    with pytest.raises(ValueError, match="positive number of bytes, got 0"):
        net[2](x1, x2, memory_budget=0)
    with pytest.warns(UserWarning, match="that nobody takes: .'memory_budget'"):
        net[1](net[0](jax.random.key(0), x1.shape)[1], x1, memory_budget=1)
