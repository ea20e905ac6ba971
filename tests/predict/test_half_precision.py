"""Kernels and targets in half precision are computed with in float32, and results have the promoted type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_gp import Kernels

from neural_tangents import predict, stax

X, X_TEST = (np.random.default_rng(2).normal(size=(n, 3)).astype("float32") for n in (12, 4))
LABELS = np.arange(12)[:, None] % 3 - 1
_, _, KERNEL_FN = stax.serial(stax.Dense(1, b_std=0.3), stax.Erf(), stax.Dense(1))


def loss(f, y):
    return 0.5 * jnp.mean((f - y) ** 2)


def kernels(dtype):
    return [KERNEL_FN(a, b, "ntk").astype(dtype) for a, b in ((X, None), (X_TEST, X), (X_TEST, None))]


def ensemble(k_dd, y, k_td, k_tt):
    def kernel_fn(x1, x2, get):
        kernel = (k_dd if len(x1) == 12 else k_tt) if x2 is None else k_td
        return kernel if isinstance(get, str) else Kernels(kernel, kernel)

    return predict.gradient_descent_mse_ensemble(kernel_fn, X, y, diag_reg=0.1)


PREDICTIONS = {
    "gp": lambda k, y, td, tt: predict.gp_inference(k, y, diag_reg=0.1)("ntkgp", td, tt),
    "gp variances": lambda k, y, td, tt: predict.gp_inference(k, y, diag_reg=0.1)("ntkgp", td, tt, compute_cov="diag"),
    "gp in float64": lambda k, y, td, tt: predict.gp_inference(k, y, diag_reg=0.1, solve_in_float64=True)("ntkgp", td),
    "leave one out": lambda k, y, td, tt: predict.gp_inference(k, y, diag_reg=0.1).leave_one_out(),
    "likelihood": lambda k, y, td, tt: predict.gp_inference(k, y, diag_reg=0.1).log_marginal_likelihood(),
    "mse": lambda k, y, td, tt: predict.gradient_descent_mse(k, y, diag_reg=0.1)(None, 0.0, 0.0, td),
    "mse at times": lambda k, y, td, tt: predict.gradient_descent_mse(k, y)(np.array([1.0, 30.0]), 0.0, 0.0, td),
    "ode": lambda k, y, td, tt: predict.gradient_descent(loss, k, y)(30.0, 0.0, 0.0, td),
    "momentum": lambda k, y, td, tt: predict.gradient_descent(loss, k, y, momentum=0.9)(30.0, 0.0, 0.0, td),
    "ensemble": lambda k, y, td, tt: ensemble(k, y, td, tt)(None, X_TEST, "ntk", True),
    "ensemble at times": lambda k, y, td, tt: ensemble(k, y, td, tt)(np.array([1.0, 30.0]), X_TEST, "ntk", True),
    "ensemble on the training set": lambda k, y, td, tt: ensemble(k, y, td, tt)(30.0, None, "nngp", True),
    "conjugate gradients": lambda k, y, td, tt: (
        predict.conjugate_gradients(k, y, diag_reg=0.1, tolerance=1e-5).solution
    ),
}


@pytest.mark.parametrize(
    ("kernel_type", "target_type", "result_type"),
    [
        ("bfloat16", "bfloat16", "bfloat16"),
        ("float16", "int32", "float16"),
        ("bfloat16", "float16", "float32"),
        ("float16", "float32", "float32"),
        ("float32", "bfloat16", "float32"),
    ],
)
@pytest.mark.parametrize("name", PREDICTIONS)
def test_results_are_those_of_rounded_kernels(name, kernel_type, target_type, result_type):
    given, y = kernels(kernel_type), jnp.asarray(LABELS, target_type)
    k, td, tt = given
    found = jax.tree.leaves(PREDICTIONS[name](k, y, td, tt))
    expected = jax.tree.leaves(PREDICTIONS[name](*(a.astype("float32") for a in (k, y, td, tt))))
    eps = float(jnp.finfo(result_type).eps)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == result_type
        scale = np.max(np.abs(b))
        np.testing.assert_allclose(a.astype("float32"), b, rtol=eps, atol=(eps / 2 + 3e-5) * scale)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_max_learning_rate(dtype):
    k = kernels(dtype)[0]
    found = predict.max_learning_rate(k, 12)
    assert found.dtype == dtype
    largest = np.linalg.eigvalsh(np.asarray(k, float))[-1]
    np.testing.assert_allclose(float(found), 24 / largest, rtol=float(jnp.finfo(dtype).eps))


def test_the_test_set_may_have_the_wider_type():
    k, td, tt = kernels("bfloat16")
    y = jnp.asarray(LABELS, "bfloat16")
    assert predict.gp_inference(k, y, 0.1)("ntkgp", td.astype("float32"), tt).mean.dtype == "float32"
    train, test = predict.gradient_descent_mse(k, y, diag_reg=0.1)(3.0, 0.0, 0.0, td.astype("float32"))
    assert train.dtype == "bfloat16" and test.dtype == "float32"


def test_draws_and_transformations():
    k, td, tt = kernels("float16")
    y = jnp.asarray(LABELS, "float16")
    posterior = jax.jit(lambda *a: PREDICTIONS["gp"](*a))(k, y, td, tt)
    np.testing.assert_allclose(posterior.mean, PREDICTIONS["gp"](k, y, td, tt).mean, rtol=2e-3, atol=1e-3)
    draws = posterior.sample_posterior(jax.random.key(0), 5)
    assert draws.dtype == "float16" and np.isfinite(draws).all()
    gradient = jax.grad(lambda k: jnp.sum(PREDICTIONS["gp"](k, y, td, tt).mean.astype("float32")))(k)
    others = [a.astype("float32") for a in (y, td, tt)]
    wide = jax.grad(lambda k: jnp.sum(PREDICTIONS["gp"](k, *others).mean))(k.astype("float32"))
    assert gradient.dtype == "float16"
    np.testing.assert_allclose(gradient, wide, rtol=2e-3, atol=2e-3 * np.max(np.abs(wide)))
