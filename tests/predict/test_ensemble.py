"""`gradient_descent_mse_ensemble` against exact statistics of linear models, and a Monte Carlo of trained ones."""

from typing import Any, NamedTuple

import jax
import linear_models
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads

from neural_tangents import predict

SHAPES_AND_TRACES = [((4,), ()), ((4, 3), ()), ((4, 3), (-1,)), ((3, 2, 3), (1, -1)), ((3, 2, 3), (1,))]


class Kernels(NamedTuple):
    nngp: Any
    ntk: Any


class KernelFn:
    """Looks up the kernels of a `Problem`, and remembers what was asked for. Inputs are named by their length."""

    def __init__(self, problem):
        self.problem, self.calls = problem, []
        self.x_train, self.x_test = np.ones((len(problem.y), 1)), np.ones((len(problem.f0_test), 1))

    def __call__(self, x1, x2, get):
        lengths = {len(self.x_train): "d", len(self.x_test): "t"}
        block = lengths[len(x1)] + lengths[len(x1 if x2 is None else x2)]
        assert (x2 is None) == (block != "td")
        self.calls.append((block, get))
        kernels = {name: jnp.asarray(getattr(self.problem, name)[block]) for name in ("nngp", "ntk")}
        return (
            kernels[get] if isinstance(get, str) else Kernels(**{n: kernels[n] if n in get else None for n in kernels})
        )


def expected(problem, get, s, diag_reg):
    """Means and covariances on both sets, by evolving the joint Gaussian of all outputs before training."""
    m, prior = problem.y.size, problem.joint(problem.nngp)
    dynamics = problem.joint(getattr(problem, get))
    theta_dd = linear_models.regularised(dynamics[:m, :m], diag_reg, False)
    if get == "nngp":
        prior[:m, :m] = theta_dd
    evolution = linear_models.flow(theta_dd, dynamics[m:, :m], s)
    mean = evolution @ np.concatenate([-problem.y.ravel(), np.zeros(len(prior) - m)])
    covariance = evolution @ prior @ evolution.T
    means = (mean[:m].reshape(problem.y.shape) + problem.y, mean[m:].reshape(problem.f0_test.shape))
    covariances = (covariance[:m, :m], covariance[m:, m:])
    return [
        (a, linear_models.undense(c, a.shape, a.shape, problem.trace_axes))
        for a, c in zip(means, covariances, strict=True)
    ]


@pytest.mark.parametrize("shape, trace_axes", SHAPES_AND_TRACES)
def test_finite_times(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [30, len(shape), len(trace_axes)])
    t = np.array([[0.0, 0.8], [7.0, 90.0]])
    with jax.enable_x64(True):
        kernel_fn = KernelFn(problem)
        predict_fn = predict.gradient_descent_mse_ensemble(
            kernel_fn, kernel_fn.x_train, problem.y, 1.3, 0.02, trace_axes=trace_axes
        )
        results = [predict_fn(t, x_test, None, True) for x_test in (None, kernel_fn.x_test)]
        scalar = predict_fn(7.0, kernel_fn.x_test, "ntk", True)
    for index in np.ndindex(t.shape):
        for get in ("nngp", "ntk"):
            want = expected(problem, get, 1.3 * t[index] / problem.y.size, 0.02)
            for gaussian, (mean, covariance) in zip(results, want, strict=True):
                got = getattr(gaussian, get)
                assert got.mean.shape == t.shape + mean.shape
                assert got.covariance.shape == t.shape + covariance.shape
                np.testing.assert_allclose(got.mean[index], mean, rtol=1e-8, atol=1e-9)
                np.testing.assert_allclose(got.covariance[index], covariance, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(scalar.mean, results[1].ntk.mean[1, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scalar.covariance, results[1].ntk.covariance[1, 0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_infinite_time(get):
    problem = linear_models.problem((3, 2, 3), (1,), [31, len(get)])
    with jax.enable_x64(True):
        kernel_fn = KernelFn(problem)
        predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, kernel_fn.x_train, problem.y, trace_axes=1)
        for x_test, want in zip((None, kernel_fn.x_test), expected(problem, get, 1e5, 0.0), strict=True):
            for t in (None, np.inf, 1e7):
                got = predict_fn(t, x_test, get, True)
                np.testing.assert_allclose(got.mean, want[0], rtol=1e-7, atol=1e-8)
                np.testing.assert_allclose(got.covariance, want[1], rtol=1e-7, atol=1e-8)
        np.testing.assert_array_equal(predict_fn(None, None, get), problem.y)


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_monte_carlo_of_trained_models(get):
    """5,000 linear models `φ(x)ᵀ (σ w)`, trained on `w` (NTK), or with `σ` in the features (NNGP: one kernel)."""
    rng = np.random.default_rng([32, len(get)])
    phi, phi_test = rng.normal(size=(4, 6)), rng.normal(size=(2, 6))
    y, sigma, samples, steps, s = rng.normal(size=(4, 1)), rng.uniform(0.5, 1.5, size=6), 5_000, 100, 0.4
    w = rng.normal(size=(6, samples))
    features, features_test = (phi * sigma, phi_test * sigma) if get == "nngp" else (phi, phi_test)
    w = w if get == "nngp" else sigma[:, None] * w

    def velocity(w):
        return -features.T @ (features @ w - y)

    for _ in range(steps):  # the midpoint rule
        w = w + s / steps * velocity(w + s / steps / 2 * velocity(w))

    def kernel_fn(x1, x2, get):
        x2 = x1 if x2 is None else x2
        kernels = Kernels((x1 * sigma**2) @ x2.T, x1 @ x2.T)
        return getattr(kernels, get) if isinstance(get, str) else kernels

    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, phi, y, learning_rate=y.size)
    for x_test, f in ((None, features @ w), (phi_test, features_test @ w)):
        mean, covariance = predict_fn(s, x_test, get, True)
        variances = f.var(1)
        np.testing.assert_allclose((f.mean(1) - mean[:, 0]) / np.sqrt(variances / samples), 0, atol=5)
        deviation = np.sqrt((np.outer(variances, variances) + np.cov(f) ** 2) / samples)
        np.testing.assert_allclose((np.cov(f) - covariance) / deviation, 0, atol=5)


def test_only_needed_kernels_are_computed_and_only_once():
    kernel_fn = KernelFn(linear_models.problem((4, 3), (-1,), 33))
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, kernel_fn.x_train, kernel_fn.problem.y)
    calls, x_test = kernel_fn.calls, kernel_fn.x_test

    def new_calls(*args):
        calls.clear()
        predict_fn(*args)
        return list(calls)

    assert not calls
    assert new_calls() == []
    assert new_calls(None, x_test, "nngp") == [("dd", "nngp"), ("td", "nngp")]
    assert new_calls(1.0, None, "nngp", True) == []
    assert new_calls(1.0, x_test, "nngp", True) == [("td", "nngp"), ("tt", "nngp")]
    assert new_calls(1.0, None, "NTK") == [("dd", "ntk")]
    assert new_calls(1.0, x_test, "ntk") == [("td", "ntk")]
    assert new_calls(1.0, x_test, "ntk", True) == [("td", ("nngp", "ntk")), ("tt", "nngp")]
    assert new_calls(None, x_test) == [("td", ("nngp", "ntk"))]
    both = KernelFn(kernel_fn.problem)
    predict.gradient_descent_mse_ensemble(both, both.x_train, both.problem.y)(1.0)
    assert both.calls == [("dd", ("nngp", "ntk"))]


def test_factorisations_are_computed_once(monkeypatch):
    from neural_tangents.predict import _solve

    calls = []
    for name in ("decompose", "factorise"):
        original = getattr(_solve, name)
        monkeypatch.setattr(_solve, name, lambda *a, name=name, original=original: calls.append(name) or original(*a))
    kernel_fn = KernelFn(linear_models.problem((4, 3), (-1,), 34))
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, kernel_fn.x_train, kernel_fn.problem.y)
    for _ in range(2):
        for x_test in (None, kernel_fn.x_test):
            predict_fn(np.array([1.0, 2.0]), x_test, None, True)
    assert calls == ["decompose"] * 2
    for _ in range(2):
        predict_fn(None, kernel_fn.x_test, None, True)
    assert calls == ["decompose"] * 2 + ["factorise"] * 2


def rbf(x1, x2, get, scale=1.0):
    x2 = x1 if x2 is None else x2
    nngp = jnp.exp(-scale * jnp.sum((x1[:, None] - x2[None]) ** 2, -1))
    kernels = Kernels(nngp, nngp * (1 + x1 @ x2.T))
    return getattr(kernels, get) if isinstance(get, str) else kernels


@pytest.mark.slow
@pytest.mark.parametrize("t", [None, np.array([0.5, 2.0])], ids=str)
def test_transformations(t):
    rng = np.random.default_rng(35)
    x, x_test, y = (rng.normal(size=s).astype(np.float32) for s in ((5, 2), (3, 2), (5, 1)))

    def predictions(x, y, x_test, scale):
        predict_fn = predict.gradient_descent_mse_ensemble(rbf, x, y, diag_reg=0.1, scale=scale)
        return predict_fn(t, x_test, None, True)

    def assert_close(a, b):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), a, b)

    want = predictions(x, y, x_test, 1.0)
    assert_close(jax.jit(predictions)(x, y, x_test, 1.0), want)
    assert_close(
        jax.tree.map(lambda a: a[0], jax.vmap(predictions, (None, None, 0, None))(x, y, x_test[None], 1.0)), want
    )
    predict_fn = predict.gradient_descent_mse_ensemble(rbf, x, y, diag_reg=0.1)
    for _ in range(2):
        assert_close(jax.jit(lambda x_test: predict_fn(t, x_test, compute_cov=True))(x_test), want)
    assert_close(predict_fn(t, x_test, compute_cov=True), want)
    assert_close(jax.jit(lambda x_test: predict_fn(t, x_test, compute_cov=True))(x_test), want)


def test_gradients():
    """Through the kernel function, its keywords and the data."""
    rng = np.random.default_rng(36)
    arguments = [rng.normal(size=s) for s in ((4, 2), (4, 1), (2, 2))] + [1.0]

    def loss(x, y, x_test, scale):
        predict_fn = predict.gradient_descent_mse_ensemble(rbf, x, y, diag_reg=0.1, scale=scale)
        return jnp.sum(predict_fn(1.5, x_test, "ntk", True).covariance ** 2) + jnp.sum(predict_fn(2.5, x_test, "nngp"))

    with jax.enable_x64(True):
        check_grads(jax.jit(loss), [jnp.asarray(a) for a in arguments], 1, modes=["rev"], rtol=1e-4, atol=1e-4)


# Keywords of `kernel_fn`.


def recording_kernel_fn(seen):
    def kernel_fn(x1, x2, get, **kwargs):
        seen[f"{len(x1)}{'' if x2 is None else len(x2)}"] = kwargs
        return rbf(x1, x2, get)

    return kernel_fn


def test_keywords_are_split():
    seen, tree = {}, [np.ones(2), (np.zeros(1), "a")]
    predict_fn = predict.gradient_descent_mse_ensemble(
        recording_kernel_fn(seen), np.ones((4, 2)), np.ones((4, 1)), 1.0, 0.1, pattern=("p", "q"), c=1.0, params=tree
    )
    predict_fn(None, np.ones((3, 2)), "nngp", True, pattern=("r", "s"), params=[np.ones(2), (np.zeros(1), "a")])
    patterns = {sizes: kwargs.pop("pattern") for sizes, kwargs in seen.items()}
    assert patterns == {"4": ("p", "q"), "34": ("r", "q"), "3": ("r", "s")}
    assert all(kwargs.keys() == {"c", "params"} and kwargs["c"] == 1.0 for kwargs in seen.values())


def test_keywords_that_disagree():
    predict_fn = predict.gradient_descent_mse_ensemble(
        recording_kernel_fn({}), np.ones((4, 2)), np.ones((4, 1)), c=1.0, pattern=(1, 2), params=[np.ones(2)]
    )
    for kwargs in (dict(c=2.0), dict(c=(1.0, 1.0)), dict(pattern=3), dict(params=[np.zeros(2)]), dict(params=[])):
        with pytest.raises(ValueError, match=f"keyword '{next(iter(kwargs))}' to be the same"):
            predict_fn(None, np.ones((3, 2)), "nngp", **kwargs)
    with pytest.raises(KeyError, match="Pass 'mask_constant'"):
        predict_fn(None, np.ones((3, 2)), "nngp", mask_constant=1.0)


# Arguments.


def test_results_and_types(dtype):
    x, x_test, y = np.eye(4, 2, dtype=dtype), np.ones((3, 2), dtype), np.ones((4, 1), dtype)
    predict_fn = predict.gradient_descent_mse_ensemble(rbf, x, y, diag_reg=0.1)
    for t in (None, 1, 1.0):
        for x_ in (None, x_test):
            out = predict_fn(t, x_, ("ntk", "NNGP"), True)
            assert type(out).__name__ == "Gaussians" and out._fields == ("ntk", "nngp")
            assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {dtype}
            assert isinstance(predict_fn(t, x_, "ntk", True), predict.Gaussian)
            assert isinstance(predict_fn(t, x_, "ntk"), jax.Array)


def test_errors():
    x, y = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(ValueError, match="got 5 rows for `x_train` of length 4"):
        predict.gradient_descent_mse_ensemble(rbf, x, np.ones((5, 1)))
    with pytest.raises(ValueError, match="diag_reg"):
        predict.gradient_descent_mse_ensemble(rbf, x, y, 1.0, -1.0)
    predict_fn = predict.gradient_descent_mse_ensemble(rbf, x, y)
    for get in ("ntkgp", ("nngp", "cov1")):
        with pytest.raises(NotImplementedError, match="among"):
            predict_fn(1.0, None, get)
    with pytest.raises(ValueError, match="times `t` >= 0"):
        predict_fn(-1.0, x)
    mistaken = predict.gradient_descent_mse_ensemble(rbf, x, np.ones((4, 3)), trace_axes=())
    with pytest.raises(ValueError, match=r"train-train nngp kernel of shape \(4, 4, 3, 3\)"):
        mistaken(1.0, None, "nngp")
