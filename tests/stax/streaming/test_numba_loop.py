"""Runs compiled by Numba agree with those that XLA compiles, and stand in for them wherever they can."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.stax import _compiled_runs
from neural_tangents.stax._streaming import numba_loop
from neural_tangents.stax._streaming.numba_loop import NumbaLoop

pytest.importorskip("numba")

RELUS = [stax.Conv(1, (3, 3), padding="SAME"), stax.Relu()] * 6
MIXED = [
    *[stax.Conv(1, (3, 3), padding="SAME", W_std=1.3, b_std=0.2), stax.LeakyRelu(0.3)] * 2,
    *[stax.Conv(1, (5, 1), padding="VALID", W_std=1.1), stax.Abs()],
    *[stax.Conv(1, (1, 3), padding="SAME"), stax.ABRelu(-0.3, 0.8)],
]
POOLS = [
    stax.GlobalAvgPool(),
    stax.GlobalSumPool(),
    stax.Flatten(),
    stax.AvgPool((2, 3), (2, 3)),
    stax.SumPool((1, 3), (1, 3), "VALID"),
]


@pytest.fixture
def calls(monkeypatch):
    """How often slabs were summed by Numba."""
    monkeypatch.setenv("NEURAL_TANGENTS_NUMBA", "1")
    assert numba_loop._works("float32") and numba_loop._works("float64")  # which sums slabs too, once
    counted = []
    sums = numba_loop._sums_of_pairs

    def counting(*args):
        counted.append(args)
        return sums(*args)

    monkeypatch.setattr(numba_loop, "_sums_of_pairs", counting)
    monkeypatch.setattr(_compiled_runs, "_SHARED", _compiled_runs.Programs(most=256))
    return counted


@pytest.fixture
def by_xla(monkeypatch):
    """Evaluates a function with programs that Numba takes no part in."""

    def evaluate(fn, *args):
        with monkeypatch.context() as patch:
            patch.setattr(NumbaLoop, "of", lambda run, k, budget: None)
            patch.setattr(_compiled_runs, "_SHARED", _compiled_runs.Programs(most=256))
            return fn(*args)

    return evaluate


@pytest.fixture
def small_blocks(monkeypatch):
    """Few inputs at a time, so that several blocks of each batch make a kernel."""
    monkeypatch.setattr(numba_loop, "_BLOCK", 2)


def images(n, shape=(9, 8, 3), seed=0):
    return jnp.asarray(np.random.RandomState(seed).normal(size=(n, *shape)))


def kernel_of(layers):
    """The kernel of a network as a function of two batches, slab by slab."""
    kernel_fn = stax.serial(*layers)[2]
    return lambda x1, x2: kernel_fn(x1, x2, ("nngp", "ntk", "cov1", "cov2"), memory_budget=2**20)


def assert_close(actual, desired):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        eps = jnp.finfo(b.dtype).eps
        np.testing.assert_allclose(a, b, rtol=32 * eps, atol=32 * eps * np.nanmax(jnp.abs(b)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers, pool, n2, x64",
    [
        (RELUS, POOLS[0], 2, True),
        (MIXED, POOLS[0], None, False),
        (MIXED, POOLS[1], 35, False),
        (MIXED, POOLS[1], None, True),
        (RELUS, POOLS[2], 35, True),
        (MIXED, POOLS[2], None, False),
        (RELUS, POOLS[3], 2, True),
        (MIXED, POOLS[4], 2, False),
        (MIXED, POOLS[4], None, True),
    ],
)
def test_agrees_with_xla(layers, pool, n2, x64, calls, by_xla):
    with jax.enable_x64(x64):
        x1, x2 = images(3), None if n2 is None else images(n2, seed=1)
        behind = [] if pool in POOLS[:3] else [*RELUS[:2], stax.GlobalAvgPool()]
        fn = kernel_of([*layers, pool, *behind, stax.Dense(1)])
        actual = fn(x1, x2)
        n_calls = len(calls)
        assert n_calls and actual[0].dtype == (jnp.float64 if x64 else jnp.float32)
        assert_close(actual, by_xla(fn, x1, x2))
        assert len(calls) == n_calls


@pytest.mark.parametrize("layers", [RELUS, MIXED])
@pytest.mark.parametrize("pool", POOLS[1:4])
def test_equal_inputs_have_the_kernel_of_an_input_with_itself(layers, pool, calls):
    """Up to rounding: a correlation that misses 1 by as little as that would be an angle as large as its root."""
    x = images(5)
    fn = kernel_of([*layers, pool])
    alone, copied = fn(x, None), fn(x, jnp.array(x))
    assert_close(copied[:2], alone[:2])
    assert calls


def test_against_numbers_known_otherwise(calls):
    """With one position, it is a fully-connected network; opposite inputs are orthogonal after the first ReLU."""
    layers = [stax.Conv(1, (1, 1), padding="SAME", W_std=2**0.5), stax.Relu()] * 2
    kernel_fn = stax.serial(*layers, stax.Flatten())[2]
    x = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])[:, None, None]
    nngp, ntk = kernel_fn(x, None, ("nngp", "ntk"), memory_budget=2**20)
    assert calls
    angle = np.arccos(1 / np.pi)  # after one layer, of inputs that were orthogonal
    orthogonal = (np.sin(angle) + (np.pi - angle) / np.pi) / (2 * np.pi)
    np.testing.assert_allclose(nngp[0], [0.5, orthogonal, 1 / (2 * np.pi)], rtol=1e-6)
    np.testing.assert_allclose(ntk[0, [0, 2]], [1, 0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pool", [POOLS[0], POOLS[3]])
@pytest.mark.parametrize("n2", [None, 3])
def test_in_blocks(pool, n2, calls, by_xla, small_blocks):
    x1, x2 = images(5, (6, 6, 2)), None if n2 is None else images(n2, (6, 6, 2), seed=1)
    fn = kernel_of([*RELUS, pool])
    assert_close(fn(x1, x2), by_xla(fn, x1, x2))
    assert calls


@pytest.mark.slow
def test_zero_inputs_and_those_that_are_not_numbers(calls, by_xla):
    x = images(4).at[1].set(0).at[2, :5].set(0).at[3, 2, 2, 0].set(jnp.nan)
    fn = kernel_of([*MIXED, POOLS[0]])
    actual, desired = fn(x, None), by_xla(fn, x, None)
    assert calls
    assert jnp.isnan(actual[1][3]).all() and jnp.isfinite(actual[1][:3, :3]).all()
    assert_close(actual, desired)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-16, 1e15])
def test_neither_over_nor_underflows(scale, calls, by_xla):
    x1, x2 = images(2) * scale, images(2, seed=1) * scale
    fn = kernel_of([*RELUS, POOLS[0]])
    assert_close(fn(x1, x2), by_xla(fn, x1, x2))
    assert calls


@pytest.mark.slow
def test_derivatives_are_those_of_xla(calls, by_xla):
    x1, x2 = images(2, (3, 4, 2)), images(1, (3, 4, 2), seed=1)

    def total(numbers, x1):
        std, slope = numbers
        layers = [stax.Conv(1, (3, 3), padding="SAME", W_std=std, b_std=0.1), stax.LeakyRelu(slope)] * 2
        return kernel_of([*layers, stax.GlobalAvgPool()])(x1, x2)[1].sum()

    numbers = (jnp.asarray(1.2), jnp.asarray(0.3))
    assert_close(total(numbers, x1), by_xla(total, numbers, x1))
    assert calls

    def derivatives(numbers, x1):
        gradient = jax.grad(total, (0, 1))
        return jax.jvp(lambda numbers: gradient(numbers, x1), (numbers,), (numbers,))

    assert_close(jax.jit(derivatives)(numbers, x1), by_xla(jax.jit(derivatives), numbers, x1))


@pytest.mark.slow
def test_within_transformations(calls, by_xla):
    x1, x2 = images(4, (6, 6, 2)), images(2, (6, 6, 2), seed=1)
    fn = kernel_of([*RELUS, POOLS[0]])
    mapped = jax.jit(jax.vmap(fn, (0, None)))
    assert_close(mapped(x1[:, None], x2), by_xla(jax.jit(jax.vmap(fn, (0, None))), x1[:, None], x2))
    assert calls
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("i")
    n_calls = len(calls)
    spread = jax.shard_map(lambda x1: fn(x1, x2)[1], mesh=mesh, in_specs=spec, out_specs=spec)(x1)
    assert len(calls) == n_calls
    assert_close(spread, fn(x1, x2)[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [
        [stax.Conv(1, (3, 3), padding="CIRCULAR"), stax.Relu()],
        [stax.Conv(1, (3, 3), (2, 2), padding="SAME"), stax.Relu()],
        [stax.Conv(1, (2, 3), padding="SAME"), stax.Relu()],
        [stax.Conv(1, (3, 3), padding="SAME", parameterization="standard"), stax.Relu()],
        [stax.Conv(1, (3, 3), padding="SAME"), stax.Erf()],
        [stax.Conv(1, (3, 3), padding="SAME")],
        [stax.Conv(1, (3, 3), padding="SAME"), stax.Relu(), stax.AvgPool((2, 2))],
        [stax.Conv(1, (3, 3), padding="SAME"), stax.Relu(), stax.AvgPool((2, 2), (2, 2), "SAME")],
        [stax.Conv(1, (3, 3), padding="SAME"), stax.Relu(), stax.AvgPool((3, 3), (3, 3), "CIRCULAR")],
    ],
)
def test_leaves_other_layers_to_xla(layers, calls):
    kernel_of([*layers, stax.GlobalAvgPool()])(images(2), None)
    assert not calls


def test_many_channels_are_left_to_xla(calls):
    fn = kernel_of([*RELUS, POOLS[0]])
    fn(images(2, (6, 6, 193)), None)
    assert not calls
    fn(images(2, (6, 6, 192)), None)
    assert calls


def test_masks_are_left_to_xla(calls):
    kernel_fn = stax.serial(*RELUS, POOLS[0])[2]
    kernel_fn(images(2).at[0, 0].set(7.0), None, "ntk", mask_constant=7.0, memory_budget=2**20)
    assert not calls


def test_where_numba_fails_xla_takes_its_place(monkeypatch, calls):
    monkeypatch.setattr(numba_loop, "_FUNCTIONS", "no_such_module")
    monkeypatch.setattr(numba_loop, "_works", numba_loop._works.__wrapped__)
    with pytest.warns(UserWarning, match="NEURAL_TANGENTS_NUMBA to 0.*No module named 'no_such_module'"):
        assert not numba_loop._works("float32")
    monkeypatch.setattr(numba_loop, "_works", lambda dtype: False)
    calls.clear()
    assert jnp.isfinite(kernel_of([*RELUS, POOLS[0]])(images(2), None)[1]).all()
    assert not calls


PAIR = 6 * (10 * 9) * (9 * 9)  # layers, offsets on the torus, positions and the zeros after each row


@pytest.mark.parametrize("setting, much, taken", [(None, 6 * PAIR, True), (None, 6 * PAIR + 1, False), ("0", 1, False)])
def test_takes_part_where_there_is_much_to_compute(setting, much, taken, calls, monkeypatch):
    monkeypatch.delenv("NEURAL_TANGENTS_NUMBA")
    if setting is not None:
        monkeypatch.setenv("NEURAL_TANGENTS_NUMBA", setting)
    monkeypatch.setattr(numba_loop, "_MUCH", much)
    kernel_of([*RELUS, POOLS[0]])(images(2), images(3, seed=1))
    assert bool(calls) == taken
    stage, *_ = stax.explain(stax.serial(*RELUS, POOLS[0])[2], images(2), images(3), "ntk", memory_budget=2**25).stages
    assert stage.streamed and stage.by_numba == taken == str(stage).endswith("values by Numba")


def test_exported_programs_are_those_of_xla(calls, by_xla):
    kernel = kernel_of([*RELUS, POOLS[0]])
    fn, x1, x2 = jax.jit(kernel), images(2), images(3, seed=1)
    exported = jax.export.export(fn)(x1, x2)
    assert_close(exported.call(x1, x2), by_xla(kernel, x1, x2))
    assert not calls
    fn(x1, x2)
    assert calls
