"""Variances after a pool are computed only where they are needed."""

import jax
import layer_cases
import numpy as np
import pytest

from neural_tangents._core.programs import Programs
from neural_tangents._core.trees import tree_map
from neural_tangents.stax import (
    AvgPool,
    Conv,
    Dense,
    FanInSum,
    FanOut,
    Flatten,
    GlobalAvgPool,
    Identity,
    LayerNorm,
    Relu,
    _compiled_runs,
    layer,
    parallel,
    serial,
)
from neural_tangents.stax._custom import as_spec
from neural_tangents.stax._streaming import runs, slabs

RANDOM = np.random.RandomState(81)
X1, X2 = RANDOM.normal(size=(2, 6, 5, 3)), RANDOM.normal(size=(3, 6, 5, 3))
CONVS = [Conv(2, (3, 3), padding="SAME", W_std=1.3, b_std=0.2), Relu()] * 2
SKIP = serial(FanOut(2), parallel(Dense(2, 1.1, 0.1), Identity()), FanInSum())
POOL = serial(*CONVS, GlobalAvgPool())

NOT_NEEDED = {
    "the pool is last": [POOL],
    "readout": [POOL, Dense(1)],
    "a sequence in the sequence": [serial(POOL, Dense(2)), Dense(1)],
    "a sum of branches": [POOL, Dense(2), SKIP, Dense(1)],
    "another pool": [*CONVS, AvgPool((2, 2), (2, 2)), Flatten(), Dense(1)],
}
NEEDED = {
    "a nonlinearity": [POOL, Dense(2, 1.2, 0.3), Relu(), Dense(1)],
    "one in a branch": [POOL, FanOut(2), parallel(serial(Dense(2), Relu(), Dense(2)), Dense(2)), FanInSum()],
    "one after branches": [FanOut(2), parallel(*[serial(POOL, Dense(2))] * 2), FanInSum(), Relu()],
    "a normalisation": [*CONVS, AvgPool((2, 2), (2, 2)), Conv(2, (2, 2)), LayerNorm(), GlobalAvgPool()],
}


@pytest.fixture
def counted(monkeypatch):
    """Calls of the loop that computes variances; everything is evaluated slab by slab."""
    calls, own = [], slabs.SlabLoop.own
    monkeypatch.setattr(slabs.SlabLoop, "own", lambda *args: calls.append(args) or own(*args))
    monkeypatch.setattr(runs, "_MANY_ENTRIES", 0)
    monkeypatch.setattr(_compiled_runs, "_SHARED", Programs())
    with jax.enable_x64(True):
        yield calls


def assert_same(got, want):
    for name in got._fields:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("mask_constant", [None, 7.0])
@pytest.mark.parametrize("name", NOT_NEEDED)
def test_nobody_needs_them(name, mask_constant, counted):
    kernel_fn = serial(*NOT_NEEDED[name])[2]
    x1 = np.where(np.arange(6)[:, None, None] > 4, 7.0, X1)
    got = kernel_fn(x1, X2, ("nngp", "ntk"), mask_constant=mask_constant)
    assert not counted
    assert_same(got, kernel_fn(x1, X2, mask_constant=mask_constant))
    assert counted


@pytest.mark.parametrize("name", NEEDED)
def test_later_layers_need_them(name, counted):
    kernel_fn = serial(*NEEDED[name])[2]
    got = kernel_fn(X1, X2, ("nngp", "ntk"))
    assert counted
    assert_same(got, kernel_fn(X1, X2))


def test_the_user_needs_them(counted):
    kernel_fn = serial(POOL, Dense(1))[2]
    got = kernel_fn(X1, X2, ("cov1", "cov2"))
    for x, cov in ((X1, got.cov1), (X2, got.cov2)):
        np.testing.assert_allclose(cov, np.diag(kernel_fn(x, x, "nngp")), rtol=1e-12)
    assert counted


def test_several_outputs(counted):
    kernel_fn = serial(FanOut(2), parallel(POOL, serial(POOL, Dense(2), Relu())))[2]
    for got, want in zip(kernel_fn(X1, X2, ("nngp", "ntk")), kernel_fn(X1, X2), strict=True):
        assert_same(got, want)


def test_a_keyword_of_that_name_is_that_of_a_layer(counted):
    @layer
    def Scaled():
        return lambda rng, shape: (shape, ()), lambda params, x, **_: x, lambda k, variances=1.0, **_: variances * k

    kernel_fn = serial(POOL, Dense(2), Scaled())[2]
    np.testing.assert_allclose(kernel_fn(X1, X2, "nngp", variances=3.0), 9 * kernel_fn(X1, X2, "nngp"), rtol=1e-12)
    assert counted


LINEAR = [name for name, case in layer_cases.CASES.items() if as_spec(case.layer).linear]


def test_which_layers_are_linear():
    assert {"Dense", "Conv", "AvgPool", "GlobalAvgPool", "Flatten", "Identity", "FanOut", "FanInSum"} <= set(LINEAR)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_need_no_variances(name):
    case = layer_cases.CASES[name]
    with jax.enable_x64(True):
        kernels = case.before[2](layer_cases.X1, layer_cases.X2, diagonal_spatial=False)
        others = tree_map(lambda k: k.replace(cov1=2 * k.cov1, cov2=k.cov2 + 3), kernels)
        got, want = (jax.tree.leaves(case.layer[2](k, get=("nngp", "ntk"))) for k in (others, kernels))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
