"""Calls in the form of former releases."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import predict, stax

X, X_TEST = np.random.RandomState(0).normal(size=(4, 3)), np.random.RandomState(1).normal(size=(2, 3))
Y = np.sin(X[:, :1])
KERNEL_FN = stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1))[2]
K_DD, K_TD = KERNEL_FN(X, None, "ntk"), KERNEL_FN(X_TEST, X, "ntk")
ENSEMBLE, GP, MSE = predict.gradient_descent_mse_ensemble, predict.gp_inference, predict.gradient_descent_mse


def loss(f, y):
    return jnp.mean((f - y) ** 2)


CALLS = {
    "test kernel as rate": (lambda: MSE(K_DD, Y, K_TD), ["`learning_rate` to be a number", "k_test_train"]),
    "test kernel as rate, traced": (lambda: jax.jit(lambda k: MSE(K_DD, Y, k)(1.0))(K_TD), ["`learning_rate`"]),
    "names of kernels": (
        lambda: MSE(g_dd=K_DD, y_train=Y, g_td=K_TD),
        ["g_dd", "k_train_train", "g_td", "k_test_train"],
    ),
    "test kernel too early": (
        lambda: MSE(K_DD, Y, k_test_train=K_TD),
        ["Pass it to what gradient_descent_mse returns"],
    ),
    "test set as rate": (lambda: ENSEMBLE(KERNEL_FN, X, Y, X_TEST), ["`learning_rate` to be a number", "x_test"]),
    "test set too early": (lambda: ENSEMBLE(KERNEL_FN, X, Y, x_test=X_TEST), ["x_test", "predict_fn"]),
    "get too early": (lambda: ENSEMBLE(KERNEL_FN, X, Y, get="ntk", compute_cov=True), ["get", "compute_cov"]),
    "loss last": (lambda: predict.gradient_descent(K_DD, Y, loss), ["loss", "k_train_train"]),
    "rate": (lambda: predict.gradient_descent(loss, K_DD, Y, K_TD), ["`learning_rate` to be a number"]),
    "inputs": (lambda: GP(KERNEL_FN, X, Y, X_TEST, "ntk", 1e-3), ["gradient_descent_mse_ensemble", "k_train_train"]),
    "inputs by name": (lambda: GP(KERNEL_FN, X, Y, x_test=X_TEST, get="ntk"), ["gradient_descent_mse_ensemble"]),
    "size of targets": (lambda: predict.max_learning_rate(K_DD, num_outputs=1), ["y_train_size"]),
    "do_backprop": (lambda: stax.Relu(do_backprop=True), ["'do_backprop'", "not needed"]),
    "W_init": (lambda: stax.Dense(3, W_init=None), ["'W_init'", "not needed", "W_std"]),
    "misspelt argument": (lambda: stax.Dense(3, w_std=1.0), ["Did you mean `W_std`"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_old_forms_say_what_to_write(name):
    call, words = CALLS[name]
    with pytest.raises(TypeError) as caught:
        call()
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "rate", [2, 0.5, np.float32(0.5), np.array(0.5), jnp.asarray(0.5)], ids=lambda r: type(r).__name__
)
def test_rates_of_any_scalar_type(rate):
    """`f(t) = (I - e^{-K t rate / n}) y`."""
    values, vectors = np.linalg.eigh(K_DD)
    want = vectors @ ((1 - np.exp(-values * float(rate) * 2 / 4))[:, None] * (vectors.T @ Y))
    for got in (MSE(K_DD, Y, rate)(2.0), jax.jit(lambda r: MSE(K_DD, Y, r)(2.0))(rate)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


IMPORTS = {
    "neural_tangents.utils": "neural_tangents.Kernel",
    "neural_tangents.utils.kernel": "neural_tangents.Kernel",
    "neural_tangents.tangents": "neural_tangents.linearize",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_old_modules(name):
    with pytest.raises(ImportError, match=IMPORTS[name]):
        importlib.import_module(name)


def test_old_names_that_are_imported():
    with pytest.raises(ImportError, match="gradient_descent_mse_ensemble"):
        from neural_tangents.predict import gradient_descent_mse_gp  # noqa: F401
    with pytest.raises(ImportError, match=r"neural_tangents\.Kernel"):
        from neural_tangents import utils  # noqa: F401
    with pytest.raises(ImportError, match=r"stax\.AvgPool"):
        from neural_tangents.stax import MaxPool  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="No module named 'neural_tangents.no_such_name'"):
        importlib.import_module("neural_tangents.no_such_name")
    with pytest.raises(AttributeError, match="momentum"):
        predict.momentum  # noqa: B018
    assert not hasattr(nt, "no_such_name") and not hasattr(nt, "utils")
