"""Variances without covariances, against the diagonal of the covariance, and both against float64."""

import jax
import jax.numpy as jnp
import linear_models
import numpy as np
import pytest
from test_gp import Kernels, blocks

from neural_tangents import predict, stax

_, _, KERNEL_FN = stax.serial(stax.Dense(1, 1.5, 0.05), stax.Erf(), stax.Dense(1, 1.5, 0.05), stax.Erf(), stax.Dense(1))
X = np.random.default_rng(0).uniform(-3, 3, (40, 1)).astype("float32")
X_TEST = np.linspace(-3, 3, 150, dtype="float32")[:, None]
Y = np.sin(X)
COV = (True, "diag")


def check_same(marginals, gaussian, dtype="float32"):
    assert isinstance(marginals, predict.Marginals)
    assert marginals.variance.shape == marginals.mean.shape == gaussian.mean.shape
    np.testing.assert_array_equal(marginals.mean, gaussian.mean)
    # A difference of the level of rounding is one of stddev where the variance itself is rounding.
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(marginals.variance, gaussian.variance, rtol=1e-4, atol=tolerance)
    np.testing.assert_allclose(marginals.stddev**2, gaussian.stddev**2, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("get", ["nngp", "ntk", "ntkgp"])
@pytest.mark.parametrize("trace_axes", [(-1,), (), (0, -1), (0,)])
def test_of_gp_inference(get, trace_axes):
    problem = linear_models.problem((4, 3), trace_axes, 51)
    with jax.enable_x64(True):
        k_dd, k_td, k_tt = blocks(problem)
        predict_fn = predict.gp_inference(k_dd, problem.y, 0.1, trace_axes=trace_axes)
        full = predict_fn(get, k_td, k_tt)
        letters = "".join("ab"[axis] * 2 for axis in linear_models.described((4, 3), trace_axes))
        alone = Kernels(*(np.einsum(f"{letters}->{letters[::2]}", k) for k in k_tt))
        variance = np.einsum(f"{letters}->{letters[::2]}", full.covariance)
        expected = np.broadcast_to(np.expand_dims(variance, [a % 2 for a in trace_axes]), full.mean.shape)
        for given in (k_tt, alone):
            found = predict_fn(get, k_td, given, compute_cov="diag")
            np.testing.assert_allclose(found.variance, expected, rtol=1e-10)
            np.testing.assert_allclose(found.stddev, np.sqrt(expected), rtol=1e-10)
        assert isinstance(predict_fn(get, k_td, k_tt, compute_cov=True), predict.Gaussian)
        assert isinstance(predict_fn(get, k_td, k_tt, compute_cov=False), jax.Array)
        np.testing.assert_array_equal(predict_fn(get, compute_cov="diag").variance, np.zeros((4, 3)))


@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("t", [None, np.inf, 0.0, 30.0, np.array([[1.0, 100.0]])], ids=str)
@pytest.mark.parametrize("x_test", [None, X_TEST], ids=["train", "test"])
def test_of_ensembles(x_test, t, get):
    predict_fn = predict.gradient_descent_mse_ensemble(KERNEL_FN, X, np.hstack([Y, Y]), diag_reg=1e-2)
    full = predict_fn(t, x_test, get, True)
    marginals = predict_fn(t, x_test, get, "diag")
    check_same(marginals, full)
    assert np.all(marginals.variance >= 0) and np.all(full.variance >= 0)
    np.testing.assert_array_equal(full.covariance, np.swapaxes(full.covariance, -1, -2))
    jitted = jax.jit(lambda x: predict_fn(t, x, get, "diag"))(x_test)
    np.testing.assert_allclose(jitted.variance, marginals.variance, rtol=1e-3, atol=1e-5)
    assert predict_fn(t, x_test, None, "diag")._fields == ("nngp", "ntk")


def test_kernels_of_the_test_set_are_asked_for_few_points_at_a_time():
    sizes = []

    def spy(x1, x2, get):
        if x2 is None:
            sizes.append(len(x1[0]))
        return KERNEL_FN(x1[0], None if x2 is None else x2[0], get)

    predict_fn = predict.gradient_descent_mse_ensemble(spy, [X], Y, diag_reg=1e-2)
    found = predict_fn(None, [X_TEST], "nngp", "diag")
    assert sizes == [40, 64, 64, 64]
    expected = predict.gradient_descent_mse_ensemble(KERNEL_FN, X, Y, diag_reg=1e-2)(None, X_TEST, "nngp", True)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-3, atol=1e-6)


def test_keywords_of_single_points_are_not_cut():
    """A keyword with an entry for each test point makes the kernel be computed as a whole."""
    scales = jnp.linspace(1, 2, 150)

    def scaled(x1, x2, get, scale):
        return KERNEL_FN(x1, x2, get) * scale[0][:, None] * scale[1][None, :]

    predict_fn = predict.gradient_descent_mse_ensemble(scaled, X, Y, diag_reg=1e-2, scale=(jnp.ones(40), jnp.ones(40)))
    options = {"scale": (scales, scales)}
    full, marginals = (predict_fn(None, X_TEST, "nngp", cov, **options) for cov in (True, "diag"))
    check_same(marginals, full)


@pytest.mark.parametrize("n", [5, 20, 40])
@pytest.mark.parametrize("diag_reg", [1e-2, 1e-4, 1e-6, 0.0])
def test_float32_against_float64(n, diag_reg):
    """Errors are those of rounding kernels, whose weights are `w`: some `ε k(x, x) (1 + Σ|w|)²`."""
    names = ("nngp", "ntk")
    with jax.enable_x64(True):
        x, x_test = X[:n].astype(float), X_TEST.astype(float)
        k_dd, k_td, k_tt = (KERNEL_FN(a, b, names) for a, b in ((x, None), (x_test, x), (x_test, None)))
    single = [type(k)(*(np.asarray(a, "float32") for a in k)) for k in (k_dd, k_td, k_tt)]
    predict_fn = predict.gp_inference(single[0], Y[:n], diag_reg)
    jitter = {name: float(d.jitter) for name, d in predict_fn.diagnostics().items()}
    for get, dynamics, prior in (("nngp", "nngp", "nngp"), ("ntk", "ntk", "nngp"), ("ntkgp", "ntk", "ntk")):
        found = predict_fn(get, *single[1:])
        k, q, kt = (np.asarray(getattr(b, dynamics)) for b in (k_dd, k_td, k_tt))
        p, pq, pt = (np.asarray(getattr(b, prior)) for b in (k_dd, k_td, k_tt))
        w = np.linalg.solve(k + (diag_reg * np.trace(k) / n + jitter[dynamics]) * np.eye(n), q.T)
        quadratic = np.sum(w * (p @ w), 0) - 2 * np.sum(w * pq.T, 0) if get == "ntk" else -np.sum(w * q.T, 0)
        truth = np.diag(pt) + quadratic
        unit = np.finfo("float32").eps * np.diag(kt) * (1 + np.sum(np.abs(w), 0)) ** 2
        if get != "ntk" or diag_reg >= 1e-4:  # less regularised, rounding of the kernel is magnified by the inverse
            assert np.max(np.abs(found.variance[:, 0] - truth) / unit) < 12
        variance = predict_fn(get, *single[1:], compute_cov="diag").variance
        for v in (found.variance, variance, found.stddev):
            assert np.all(v >= 0)
        smallest = np.linalg.eigvalsh(np.asarray(found.covariance, float))[0]
        assert smallest > -20 * np.max(unit)


def test_diagnostics_tell_what_is_rounding():
    """At training points without noise, variances are 0, and what is found is of the size that diagnostics say."""
    kernel = np.asarray(KERNEL_FN(X, None, "nngp"))
    predict_fn = predict.gp_inference(kernel, Y, 1e-6)
    smallest = predict_fn.diagnostics()["kernel"].smallest_variance
    eps, largest = np.finfo("float32").eps, np.linalg.eigvalsh(kernel.astype(float))[-1]
    np.testing.assert_allclose(smallest, eps * largest, rtol=1e-3)
    with jax.enable_x64(True):
        k = np.asarray(KERNEL_FN(X.astype(float), None, "nngp"))
        jitter = float(predict_fn.diagnostics()["kernel"].jitter)
        added = 1e-6 * np.trace(k) / len(k) + jitter
        truth = np.diag(k) - np.sum(k * np.linalg.solve(k + added * np.eye(len(k)), k), 0)
    error = np.abs(predict_fn("nngp", kernel, kernel).variance[:, 0] - truth)
    assert np.max(error) < 4 * smallest
    half = predict.gp_inference(jnp.asarray(kernel, "bfloat16"), Y, 0.1).diagnostics()["kernel"]
    assert half.smallest_variance > 1e4 * smallest


@pytest.mark.slow
def test_derivatives():
    x, x_test = jnp.asarray(X[:6]), jnp.asarray(X_TEST[::50])

    def total(scale, t, get, cov):
        def kernel_fn(x1, x2, get):
            return jax.tree.map(lambda k: k * scale, KERNEL_FN(x1, x2, get))

        predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x * scale, Y[:6], diag_reg=1e-1)
        return jnp.sum(jnp.cos(predict_fn(t, x_test, get, cov).variance))

    with jax.enable_x64(True):
        for t in (None, 20.0):
            for get in ("nngp", "ntk"):
                values = [jax.jit(jax.value_and_grad(total), static_argnums=(1, 2, 3))(1.1, t, get, cov) for cov in COV]
                np.testing.assert_allclose(*values, rtol=1e-6)
                h = 1e-3
                numeric = (total(1.1 + h, t, get, "diag") - total(1.1 - h, t, get, "diag")) / (2 * h)
                np.testing.assert_allclose(values[1][1], numeric, rtol=2e-2)


@pytest.mark.slow
def test_under_vmap_and_in_float64_on_request():
    names = ("nngp", "ntk")
    k_dd, k_td, k_tt = (KERNEL_FN(a, b, names) for a, b in ((X, None), (X_TEST[:3], X), (X_TEST[:3], None)))

    def variance(k_dd, wide):
        predict_fn = predict.gp_inference(k_dd, Y, 1e-2, solve_in_float64=wide)
        return predict_fn("ntkgp", k_td, k_tt, compute_cov="diag").variance

    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), k_dd)
    mapped = jax.vmap(lambda k: variance(k, False))(stacked)
    np.testing.assert_allclose(mapped[0], variance(k_dd, False), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(variance(k_dd, True), variance(k_dd, False), rtol=1e-2, atol=1e-4)
