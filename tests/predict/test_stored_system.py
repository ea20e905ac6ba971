"""Predictions from kernels in a store, against the same from arrays."""

import pickle
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tile_stores import TileStore, stored

from neural_tangents import predict
from neural_tangents.predict import _arguments, _stored_algebra

TRAIN, TEST = 30, 11  # neither of which tiles of 7 divide

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


class Kernels(NamedTuple):
    nngp: Any = None
    ntk: Any = None


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """Nothing is loaded, and tiles are not taken together."""
    monkeypatch.setattr(_arguments, "LOADED", 0)
    monkeypatch.setattr(_stored_algebra, "_SIDE", 1)


def problem(dtype="float64", targets=3):
    """Kernels train-train, test-train, test-test of two Gaussian processes, and targets."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRAIN + TEST, 5))
    squares = np.sum((x[:, None] - x) ** 2, -1)
    joint = Kernels(np.exp(-squares / 4), np.exp(-squares / 9) + 0.5 * x @ x.T)
    kernels = [
        Kernels(*(np.asarray(k[rows, columns], dtype) for k in joint))
        for rows, columns in [
            (slice(TRAIN), slice(TRAIN)),
            (slice(TRAIN, None), slice(TRAIN)),
            (slice(TRAIN, None), slice(TRAIN, None)),
        ]
    ]
    return *kernels, np.asarray(rng.normal(size=(TRAIN, targets)), dtype)


def in_stores(kernels):
    return Kernels(*(stored(kernel) for kernel in kernels))


def check_close(found, want, dtype):
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype.name] * max(1, np.abs(b).max()))


NOISE = np.linspace(0.05, 0.2, TRAIN)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"diag_reg": 0.1},
        {"diag_reg": 0.1, "noise_variance": NOISE},
        {"diag_reg": 0.2, "diag_reg_absolute_scale": True, "noise_variance": 0.1},
        {"diag_reg": 0.1, "solve_in_float64": True},
    ],
)
def test_all_predictions_are_those_from_arrays(dtype, targets, options):
    dd, td, tt, y = problem(dtype, targets)
    want_fn = predict.gp_inference(dd, y, **options)
    found_fn = predict.gp_inference(in_stores(dd), y, **options)
    names = ("nngp", "ntk", "ntkgp")
    want, mean = want_fn(names, td, tt), want_fn(names, td)
    for kernels in [(td, tt), (in_stores(td), tt), (in_stores(td), in_stores(tt))]:
        check_close(found_fn(names, *kernels), want, dtype)
        check_close(found_fn(names, kernels[0]), mean, dtype)
    check_close(found_fn(names, None, True), want_fn(names, None, True), dtype)
    for get in ("nngp", "ntkgp"):
        check_close(found_fn.leave_one_out(get), want_fn.leave_one_out(get), dtype)
        found, want = (fn.log_marginal_likelihood(get) for fn in (found_fn, want_fn))
        np.testing.assert_allclose(found, want, rtol=TOLERANCE[dtype.name])
        assert found.dtype == want.dtype


@pytest.mark.parametrize("options", [{"diag_reg": 0.1, "noise_variance": NOISE}, {"diag_reg": 0.1}])
def test_trained_networks_are_those_from_arrays(dtype, options):
    (_, dd), (_, td), _, y = problem(dtype)
    want_fn = predict.gradient_descent_mse(dd, y, **options)
    found_fn = predict.gradient_descent_mse(stored(dd), y, **options)
    f0, f0_test = 0.3 * y, np.ones((TEST, y.shape[1]), dtype)
    for t in (None, jnp.inf, np.full((2, 1), np.inf)):
        for kernel in (td, stored(td)):
            check_close(found_fn(t, f0, f0_test, kernel), want_fn(t, f0, f0_test, td), dtype)
            check_close(found_fn(t, None, 0.0, kernel), want_fn(t, None, 0.0, td), dtype)
        check_close(found_fn(t, f0), want_fn(t, f0), dtype)
    # Test kernels alone in a store.
    check_close(want_fn(2.0, f0, f0_test, stored(td)), want_fn(2.0, f0, f0_test, td), dtype)


def test_kernels_may_have_a_smaller_type_than_targets():
    dd, td, tt, y = problem("float32")
    with jax.enable_x64(True):
        want = predict.gp_inference(dd, y.astype("float64"), 0.1)("ntk", td, tt)
        found = predict.gp_inference(in_stores(dd), y.astype("float64"), 0.1)("ntk", in_stores(td), in_stores(tt))
        check_close(found, want, np.dtype("float64"))
        trained = predict.gradient_descent_mse(dd.ntk, y.astype("float64"), diag_reg=0.1)
        want, found = (trained(2.0, None, 0.0, kernel) for kernel in (td.ntk, stored(td.ntk)))
        check_close(found, want, np.dtype("float64"))


@pytest.mark.parametrize("side", [1, 20, 1024])
def test_tiles_of_any_shape(side, monkeypatch):
    """They need not be square, and small ones are taken together."""
    monkeypatch.setattr(_stored_algebra, "_SIDE", side)
    dd, td, _, y = problem("float32")
    want = predict.gp_inference(dd.nngp, y, 0.1)("nngp", td.nngp)
    for sides in [(7, 7), (8, 3), (3, 40), (40, 3)]:
        kernel = stored(dd.nngp, *sides)
        found = predict.gp_inference(kernel, y, 0.1)("nngp", stored(td.nngp, *sides))
        check_close(found, want, np.dtype("float32"))
        (factor,) = kernel.others.values()
        assert factor.tile_shape[0] == min(TRAIN, sides[0] * max(1, side // sides[0]))


def test_kernels_with_one_diagonal_have_factors_of_their_own():
    (first, second), _, _, y = problem("float32")
    second = second / np.sqrt(np.outer(np.diagonal(second), np.diagonal(second)))
    np.fill_diagonal(second, 1)
    found = []
    kernels = stored(first), stored(second)
    kernels[1].others = kernels[0].others  # one place for both
    for kernel in kernels:
        found.append(predict.gp_inference(kernel, y, 0.1)("nngp", np.asarray(first)))
    assert len(kernels[0].others) == 2
    check_close(found[1], predict.gp_inference(second, y, 0.1)("nngp", first), np.dtype("float32"))


def test_one_factor_serves_all():
    dd, td, tt, y = problem("float32")
    kernels = in_stores(dd)

    def writes():
        return sum(other.writes for kernel in kernels for other in kernel.others.values())

    predict_fn = predict.gp_inference(kernels, y, 0.1)
    assert writes() == 0
    predict_fn("nngp", td)
    assert writes() == 15  # on and below the diagonal of 5 x 5
    on_diagonal = 4 * (4 * 7**2 + 2**2)  # which is read for the mean diagonal entry before
    assert kernels.nngp.bytes_read == (dd.nngp.nbytes + on_diagonal) / 2 + on_diagonal
    kernels.nngp.bytes_read = 0
    predict_fn("nngp", td, tt)
    predict_fn.log_marginal_likelihood()
    predict.gp_inference(kernels, y[:, :1], 0.1)("nngp", td, tt)
    check_close(pickle.loads(pickle.dumps(predict_fn))("nngp", td), predict_fn("nngp", td), np.dtype("float32"))
    assert writes() == 15 and kernels.nngp.bytes_read == on_diagonal
    predict.gp_inference(kernels.ntk, y, 0.1)("ntkgp", td.ntk)
    assert writes() == 30
    predict_fn("ntk", td, tt)
    assert writes() == 30
    predict.gp_inference(kernels.nngp, y, 0.1, noise_variance=NOISE)("nngp", td.nngp)
    assert writes() == 45 and len(kernels.nngp.others) == 2


def test_factorisations_resume():
    dd, td, _, y = problem("float32")
    kernel = stored(dd.nngp)
    want = predict.gp_inference(kernel, y, 0.1)("nngp", td.nngp)
    (factor,) = kernel.others.values()
    finished = dict(factor.tiles)
    for left in (0, 1, 3, 7, 13):  # tiles are written column by column
        factor.tiles = dict(list(finished.items())[:left])
        factor.writes = 0
        found = predict.gp_inference(kernel, y, 0.1)("nngp", td.nngp)
        assert factor.writes == len(finished) - left
        np.testing.assert_array_equal(found, want)


def test_rows_are_read_once_for_the_mean():
    dd, td, _, y = problem("float32")
    test_train = stored(td.nngp)
    predict.gp_inference(stored(dd.nngp), y, 0.1)("nngp", test_train)
    assert test_train.bytes_read == td.nngp.nbytes


def test_tiles_that_rows_pass_through_are_read_once():
    (_, dd), _, _, _ = problem("float32")
    kernel = stored(dd)
    numbers = np.array([29, 0, 3, 0, 8])
    np.testing.assert_array_equal(_stored_algebra.rows(kernel, numbers), np.asarray(dd)[numbers])
    assert kernel.bytes_read == 4 * TRAIN * (7 + 7 + 2)


@pytest.mark.parametrize("rank", [0, 10])
def test_conjugate_gradients(dtype, rank):
    (_, dd), _, _, y = problem(dtype)
    options = {"diag_reg": 0.1, "noise_variance": NOISE, "rank": rank, "tolerance": TOLERANCE[dtype.name]}
    want = predict.conjugate_gradients(dd, y, **options)
    kernel = stored(dd)
    found = predict.conjugate_gradients(kernel, y, **options)
    assert found.residual <= options["tolerance"] and abs(found.iterations - want.iterations) <= 1
    assert found.solution.dtype == dtype and not kernel.others
    size = np.linalg.norm(want.solution)
    np.testing.assert_allclose(found.solution, want.solution, rtol=0, atol=30 * options["tolerance"] * size)
    on_diagonal = 4 * 7**2 + 2**2
    passes = int(found.iterations) + 1  # one for the residual
    for_rows = kernel.bytes_read / dtype.itemsize - passes * TRAIN**2 - on_diagonal
    assert 0 < for_rows <= 4 * TRAIN**2 if rank else for_rows == 0
    zero = predict.conjugate_gradients(kernel, 0 * y, **options)
    assert zero.residual == zero.iterations == 0 and not np.any(zero.solution)


@pytest.mark.slow
def test_conjugate_gradients_to_float64_with_kernels_in_float32():
    (_, dd), _, _, y = problem("float32")
    with jax.enable_x64(True):
        found = predict.conjugate_gradients(stored(dd), y.astype("float64"), diag_reg=0.1)
        want = predict.conjugate_gradients(dd, y.astype("float64"), diag_reg=0.1)
        assert found.solution.dtype == "float64" and found.residual <= 1e-6
        np.testing.assert_allclose(found.solution, want.solution, atol=1e-4)


def test_conjugate_gradients_need_no_lineax(monkeypatch):
    monkeypatch.setitem(sys.modules, "lineax", None)
    (_, dd), _, _, y = problem("float32")
    predict.conjugate_gradients(stored(dd), y, diag_reg=0.1)
    with pytest.raises(RuntimeError, match="after 2 iterations. Pass a larger `max_iterations`"):
        predict.conjugate_gradients(stored(dd), y, max_iterations=2, rank=0)
    with pytest.raises(RuntimeError, match="not positive definite, ends progress"):
        predict.conjugate_gradients(stored(-dd), y, rank=0)


def test_small_kernels_are_loaded(monkeypatch):
    dd, td, tt, y = problem("float32")
    monkeypatch.setattr(_arguments, "LOADED", dd.nngp.nbytes)
    kernels = in_stores(dd)
    predict_fn = predict.gp_inference(kernels, y, 0.1)
    assert predict_fn.diagnostics()["ntk"].jitter == 0
    want = predict.gp_inference(dd, y, 0.1)(None, td, tt)
    check_close(jax.jit(lambda: predict_fn(None, in_stores(td), in_stores(tt)))(), want, np.dtype("float32"))
    assert kernels.nngp.bytes_read == dd.nngp.nbytes and not kernels.nngp.others
    assert predict.max_learning_rate(kernels.ntk) > 0


# Errors.


def test_incomplete_kernels_are_errors(monkeypatch):
    dd, td, tt, y = problem("float32")
    for limit in (0, 2**26):
        monkeypatch.setattr(_arguments, "LOADED", limit)
        broken = [in_stores(kernels) for kernels in (dd, td, tt)]
        for kernels in broken:
            kernels.nngp.tiles.popitem()
        with pytest.raises(ValueError, match="Expected 25 tiles in a store, got 24"):
            predict.gp_inference(broken[0], y)
        with pytest.raises(ValueError, match="Expected 25 tiles in a store, got 24"):
            predict.gradient_descent_mse(broken[0].nngp, y)
        with pytest.raises(ValueError, match="Expected 25 tiles in a store, got 24"):
            predict.conjugate_gradients(broken[0].nngp, y)
        predict_fn = predict.gp_inference(in_stores(dd), y, 0.1)
        with pytest.raises(ValueError, match="Expected 10 tiles in a store, got 9"):
            predict_fn("nngp", broken[1])
        with pytest.raises(ValueError, match="Expected 4 tiles in a store, got 3"):
            predict_fn("nngp", td, broken[2])
    monkeypatch.setattr(_arguments, "LOADED", 0)
    kernel = stored(dd.nngp)
    predict_fn = predict.gp_inference(kernel, y, 0.1)
    kernel.tiles.pop((2, 1))  # damaged later on
    with pytest.raises(ValueError, match=r"Expected tile \(2, 1\)"):
        predict_fn("nngp", td)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_kernels_that_are_not_finite_are_errors(wrong):
    dd, td, _, y = problem("float32")
    for where in [(0, 0), (20, 3)]:
        kernel = dd.nngp.copy()
        kernel[where] = kernel[where[::-1]] = wrong
        with pytest.raises(ValueError, match="finite numbers, got 1 that are NaN or infinite"):
            predict.gp_inference(stored(kernel), y, 0.1)("nngp", td)
        with pytest.raises(ValueError, match="finite numbers, got 1 that are NaN or infinite"):
            predict.conjugate_gradients(stored(kernel), y, diag_reg=0.1)


@pytest.mark.parametrize("smallest", [-0.1, 0.0, 1e-8])
def test_kernels_that_are_not_positive_definite_are_errors(smallest):
    vectors = np.linalg.qr(np.random.default_rng(1).normal(size=(TRAIN, TRAIN)))[0]
    kernel = ((vectors * np.linspace(1, 2, TRAIN)) @ vectors.T).astype("float32")
    kernel = np.block([[kernel, kernel[:, :1]], [kernel[:1], kernel[:1, :1] + smallest]]).astype("float32")
    predict_fn = predict.gp_inference(stored(kernel), np.ones((TRAIN + 1, 1)))
    with pytest.raises(ValueError, match="in rows 28 to 31 of a store. Pass a larger `diag_reg`"):
        predict_fn("nngp", kernel)


def test_what_takes_eigenvalues_is_refused():
    (_, dd), (_, td), _, y = problem("float32")
    with pytest.raises(ValueError, match="Diagnostics are its eigenvalues"):
        predict.gp_inference(stored(dd), y).diagnostics()
    predict_fn = predict.gradient_descent_mse(stored(dd), y)
    for t in (1.0, np.asarray([1.0, np.inf])):
        for arguments in [(t,), (t, 0.0, 0.0, td)]:
            with pytest.raises(ValueError, match="finite times need its eigenvectors.*`t=None`"):
                predict_fn(*arguments)
    for make in (predict.max_learning_rate, lambda k: predict.gradient_descent(lambda f, y: jnp.sum(f - y), k, y)):
        with pytest.raises(ValueError, match=r"matrix \(30, 30\) in a store. Pass it to `gp_inference`"):
            make(stored(dd))


def test_nothing_can_be_traced():
    (_, dd), (_, td), _, y = problem("float32")
    predict_fn = predict.gp_inference(stored(dd), y, 0.1)

    def trained(t):
        return predict.gradient_descent_mse(stored(dd), y, 0.1)(t, None, 0.0, td)

    def regularised(diag_reg):
        return predict.gp_inference(stored(dd), y, diag_reg).log_marginal_likelihood()

    def solved(y):
        return predict.conjugate_gradients(stored(dd), y, diag_reg=0.1).solution

    for f, x in [
        (lambda k: predict_fn("ntkgp", k), td),
        (lambda y: predict.gp_inference(stored(dd), y)("ntkgp", td), y),
        (trained, jnp.inf),
        (regularised, 0.1),
        (solved, y),
        (lambda y: predict.gp_inference(dd, y)("ntkgp", stored(td)), y),
    ]:
        with pytest.raises(ValueError, match="outside of `jax.jit`"):
            jax.jit(f)(x)
    with pytest.raises(ValueError, match="outside of `jax.jit`"):
        jax.grad(regularised)(0.1)


def test_one_pair_of_axes():
    dd, td, _, y = problem("float32")
    with pytest.raises(ValueError, match=r"Expected `k_train_train` of shape \(30, 30, 3, 3\).*got shape \(30, 30\)"):
        predict.gp_inference(stored(dd.nngp), y, trace_axes=())
    with pytest.raises(ValueError, match="Expected `k_train_train`, which is in a store, to have two axes"):
        predict.gp_inference(TileStore((2, 2, 2, 2), (2, 2, 2, 2), "float32"), y[:2])
    with pytest.raises(ValueError, match=r"Expected `k_test_train.nngp` of shape \(test0, 30\)"):
        predict.gp_inference(dd.nngp, y)("nngp", stored(dd.nngp[:, :20]))
    both = predict.gp_inference(stored(dd.nngp), y.T, 0.1, trace_axes=0)
    want = predict.gp_inference(dd.nngp, y.T, 0.1, trace_axes=0)
    check_close(both("nngp", td.nngp), want("nngp", td.nngp), np.dtype("float32"))


# Kernels spread over devices.

DEVICES = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding
from neural_tangents import predict

devices = np.asarray(jax.devices())
assert len(devices) == 4
rng = np.random.default_rng(0)
x, y = rng.normal(size=(48, 3)), rng.normal(size=(40, 2))
joint = np.exp(-np.sum((x[:, None] - x[None]) ** 2, -1) / 4)
dd, td, tt = joint[:40, :40], joint[40:, :40], joint[40:, 40:]

def results(dd, td, tt):
    gp = predict.gp_inference(dd, y, 0.1)
    mse = predict.gradient_descent_mse(dd, y, diag_reg=0.1)
    yield gp("nngp", td, tt)
    yield gp("nngp", td)
    yield gp.log_marginal_likelihood()
    yield gp.leave_one_out()
    yield gp.diagnostics()
    for t in (None, 3.0):
        yield mse(t, 0.0, 0.0, td)
    yield predict.conjugate_gradients(dd, y, diag_reg=0.1, rank=5, tolerance=1e-10).solution

with jax.enable_x64(True):
    want = list(results(dd, td, tt))
    for shape, spec in [((4,), jax.P("a")), ((4,), jax.P(None, "a")), ((2, 2), jax.P("a", "b"))]:
        mesh = Mesh(devices.reshape(shape), ("a", "b")[:len(shape)])
        spread = [jax.device_put(k, NamedSharding(mesh, spec)) for k in (dd, td, tt)]
        assert len(spread[0].sharding.device_set) == 4
        for a, b in zip(jax.tree.leaves(list(results(*spread))), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
"""


@pytest.mark.slow
def test_kernels_spread_over_devices(four_devices):
    found = subprocess.run([sys.executable, "-c", DEVICES], env=four_devices, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
