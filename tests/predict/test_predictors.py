"""Predictors as objects: help, printing, pickling, use as functions, and errors about their arguments."""

import inspect
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import predict, stax
from neural_tangents.predict import _solve

K_DD = np.array([[2.0, 0.5, 0.0], [0.5, 1.5, 0.25], [0.0, 0.25, 1.0]], np.float32)
K_TD = np.array([[0.5, 0.25, 0.0], [0.0, 0.5, 0.5]], np.float32)
K_TT = np.array([[2.0, 0.5], [0.5, 1.0]], np.float32)
X, X_TEST = np.arange(3.0, dtype=np.float32)[:, None], np.arange(2.0, dtype=np.float32)[:, None] + 0.5
Y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)


class Kernels(NamedTuple):
    nngp: jax.Array
    ntk: jax.Array


def rbf(x1, x2, get):
    nngp = jnp.exp(-((x1 - (x1 if x2 is None else x2).T) ** 2))
    kernels = Kernels(nngp, 2 * nngp)
    return getattr(kernels, get) if isinstance(get, str) else kernels


def squared(f, y):
    return 0.5 * jnp.mean((f - y) ** 2)


# Each predictor, how it predicts on the test set, and what its representation says.
PREDICTORS = {
    "GaussianProcess": (
        lambda: predict.gp_inference(K_DD, Y, 0.1, noise_variance=np.ones(3, np.float32)),
        lambda p: p("nngp", K_TD, K_TT),
        "GaussianProcess(kernels=('kernel',), y_train=float32[3,2], trace_axes=(1,), diag_reg=0.1, "
        "diag_reg_absolute_scale=False, noise_variance=float32[3], solver='Cholesky', solve_in_float64=False)",
    ),
    "GradientDescentMSE": (
        lambda: predict.gradient_descent_mse(K_DD, Y, 0.5, solve_in_float64=True),
        lambda p: (p(jnp.array([1.0, 3.0]), 0.0, 0.0, K_TD), p(None, 0.0, 0.0, K_TD)),
        "GradientDescentMSE(y_train=float32[3,2], trace_axes=(1,), learning_rate=0.5, diag_reg=0, "
        "diag_reg_absolute_scale=False, noise_variance=None, solver='eigendecomposition, or Cholesky for t=None', "
        "solve_in_float64=True)",
    ),
    "GradientDescentMSEEnsemble": (
        lambda: predict.gradient_descent_mse_ensemble(rbf, X, Y, diag_reg=1e-3),
        lambda p: p(jnp.array([1.0, 3.0]), X_TEST, None, True),
        "GradientDescentMSEEnsemble(kernel_fn=rbf, computed=(), y_train=float32[3,2], trace_axes=(1,), "
        "learning_rate=1, diag_reg=0.001, diag_reg_absolute_scale=False, noise_variance=None, "
        "solver='eigendecomposition, or Cholesky for t=None', solve_in_float64=False)",
    ),
    "GradientDescent": (
        lambda: predict.gradient_descent(squared, K_DD, Y, momentum=0.9),
        lambda p: p(jnp.array([1.0, 3.0]), 0.0, 0.0, K_TD),
        "GradientDescent(loss=squared, y_train=float32[3,2], trace_axes=(1,), learning_rate=1, momentum=0.9, "
        "solver='Dormand-Prince')",
    ),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_printing_tells_settings_and_factorises_nothing(name, monkeypatch):
    for function in ("decompose", "factorise"):
        monkeypatch.setattr(_solve, function, lambda *_: pytest.fail("factorised"))
    make, _, text = PREDICTORS[name]
    predictor = make()
    assert isinstance(predictor, getattr(predict, name))
    assert repr(predictor) == text


def test_printing_under_jit():
    texts = []

    @jax.jit
    def f(kernel, learning_rate):
        texts.append(repr(predict.gradient_descent_mse(kernel, Y, learning_rate)))
        return learning_rate

    f(K_DD, 0.5)
    assert "learning_rate=float32[]" in texts[0]


@pytest.mark.parametrize("pickler", ["pickle", "cloudpickle"])
@pytest.mark.parametrize("name", PREDICTORS)
def test_pickled_predictors_predict_the_same(name, pickler):
    make, call, text = PREDICTORS[name]
    module = pytest.importorskip(pickler)
    predictor = make()
    want = call(predictor)  # which fills what is kept
    loaded = module.loads(module.dumps(predictor))
    jax.tree.map(np.testing.assert_array_equal, call(loaded), want)
    assert repr(loaded) == repr(predictor)


@pytest.mark.parametrize("name", PREDICTORS)
def test_help(name):
    """The class, its call and each of its methods are documented, with all arguments."""
    cls = getattr(predict, name)
    members = [value for key, value in vars(cls).items() if inspect.isfunction(value) and not key.startswith("_")]
    for member in (cls, cls.__call__, *members):
        assert inspect.cleandoc(member.__doc__).split("\n")[0].endswith(".")
    for member in (cls.__call__, *members):
        assert "Returns:" in member.__doc__
        for argument in list(inspect.signature(member).parameters)[1:]:
            assert f"{argument}: " in member.__doc__


def test_a_predictor_is_a_function_to_jax():
    predict_fn = predict.gp_inference(K_DD, Y, 0.1)
    want = predict_fn("nngp", K_TD, K_TT)
    compiled = jax.jit(predict_fn, static_argnames="get")
    for got in (compiled("nngp", K_TD, K_TT), compiled(get="nngp", k_test_train=K_TD, k_test_test=K_TT)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
    mapped = jax.vmap(predict.gradient_descent_mse(K_DD, Y))(jnp.array([1.0, 2.0]))
    assert mapped.shape == (2, 3, 2)
    ensemble = predict.gradient_descent_mse_ensemble(rbf, X, Y, diag_reg=1e-3)
    compiled = jax.jit(ensemble, static_argnames=("get", "compute_cov"))(1.0, X_TEST, get="ntk", compute_cov=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        compiled,
        ensemble(1.0, X_TEST, "ntk", True),
    )


def test_kept_kernels_are_pickled_and_factors_are_not():
    predictor = predict.gradient_descent_mse_ensemble(rbf, X, Y, diag_reg=1e-3)
    predictor(1.0, X_TEST, "ntk")
    loaded = pickle.loads(pickle.dumps(predictor))
    assert "computed=('ntk',)" in repr(loaded)
    (system,) = loaded._systems.values()
    assert "spectrum" in vars(predictor._systems["ntk"]) and "spectrum" not in vars(system)
    loaded(1.0, X_TEST)
    assert set(loaded.diagnostics()) == {"nngp", "ntk"} and set(predictor.diagnostics()) == {"ntk"}


def test_predictors_cannot_be_changed():
    with pytest.raises(AttributeError):
        predict.gp_inference(K_DD, Y)._y_train = 0.0


# Errors about arguments.

LABELS = np.array(["cat", "dog", "cat"])
GP, MSE = predict.gp_inference, predict.gradient_descent_mse
ENSEMBLE, ODE = predict.gradient_descent_mse_ensemble, predict.gradient_descent
MISUSES = {
    "1-D targets": (
        lambda: GP(K_DD, Y[:, 0]),
        ValueError,
        r"only axis of targets of shape \(3,\).*`y_train\[:, None\]`",
    ),
    "1-D targets, mse": (lambda: MSE(K_DD, Y[:, 0]), ValueError, r"`y_train\[:, None\]`"),
    "1-D targets, ode": (lambda: ODE(squared, K_DD, Y[:, 0]), ValueError, r"`y_train\[:, None\]`"),
    "1-D targets, ensemble": (lambda: ENSEMBLE(rbf, X, Y[:, 0])(1.0), ValueError, r"`y_train\[:, None\]`"),
    "kernel for learning rate": (lambda: MSE(K_DD, Y, K_TD), TypeError, r"`learning_rate`.*\(2, 3\).*k_test_train"),
    "inputs for learning rate": (
        lambda: ENSEMBLE(rbf, X, Y, X_TEST),
        TypeError,
        r"`learning_rate`.*\(2, 1\).*x_test",
    ),
    "kernel for learning rate, ode": (
        lambda: ODE(squared, K_DD, Y, K_TD),
        TypeError,
        r"`learning_rate`.*\(2, 3\).*k_test_train",
    ),
    "kernels for learning rate": (lambda: MSE(K_DD, Y, Kernels(K_TD, K_TD)), TypeError, "`learning_rate`.*got Kernels"),
    "name for learning rate": (lambda: MSE(K_DD, Y, "ntk"), TypeError, "`learning_rate` to be a scalar, got str"),
    "kernel for diag_reg": (lambda: GP(K_DD, Y, K_TD), ValueError, "`diag_reg` to be a scalar.*noise_variance"),
    "noise for scale": (lambda: GP(K_DD, Y, 0.1, np.ones(3)), TypeError, "`diag_reg_absolute_scale` to be True or"),
    "text for noise": (lambda: GP(K_DD, Y, noise_variance="low"), TypeError, "`noise_variance` to be an array of num"),
    "labels": (lambda: GP(K_DD, LABELS), TypeError, "`y_train` to be an array of numbers, got an array.*one_hot"),
    "no kernel": (lambda: GP(None, Y), TypeError, "`k_train_train` to be an array of numbers, got NoneType"),
    "no kernels": (lambda: GP(Kernels(None, None), Y), ValueError, "Expected a kernel in `k_train_train`, got None"),
    "kernel_fn for kernel": (lambda: MSE(rbf, Y), TypeError, r"got a function. Pass .*kernel_fn\(x1, x2, 'ntk'\)"),
    "trace_axes": (lambda: GP(K_DD, Y, trace_axes=None), TypeError, "Expected `trace_axes` to be an integer or"),
    "layer for kernel_fn": (lambda: ENSEMBLE(stax.Dense(1), X, Y), TypeError, "third element, `_, _, kernel_fn ="),
    "kernel for kernel_fn": (lambda: ENSEMBLE(K_DD, X, Y), TypeError, "computed are for `gp_inference`"),
    "kernel_fn without get": (
        lambda: ENSEMBLE(lambda x1, x2, get: K_DD, X, Y)(1.0),
        TypeError,
        r"the attributes \('nngp', 'ntk'\), got ndarray",
    ),
    "kernel_fn with all": (
        lambda: ENSEMBLE(lambda x1, x2, get: Kernels(K_DD, K_DD), X, Y)(1.0, None, "ntk"),
        ValueError,
        r"`kernel_fn\(x1, x2, 'ntk'\)` to be one array, got Kernels",
    ),
    "kernel for get": (lambda: GP(K_DD, Y)(K_TD), TypeError, r"`get` to name .*got ndarray.*k_test_train="),
    "text for time": (lambda: MSE(K_DD, Y)("late"), TypeError, "times `t` to be numbers, got str"),
    "text for time, ode": (lambda: ODE(squared, K_DD, Y)("late"), TypeError, "times `t` to be numbers, got str"),
    "two processes": (lambda: GP(K_DD, Y).leave_one_out(None), ValueError, "no Gaussian process"),
    "loss last": (lambda: ODE(K_DD, Y, squared), TypeError, "`loss` to be a function .*before `k_train_train`"),
    "no loss": (lambda: ODE(None, K_DD, Y), TypeError, "`loss` to be a function of outputs and targets, got NoneType"),
    "size as array": (lambda: predict.max_learning_rate(K_DD, Y), ValueError, "`y_train_size`.*Pass `y_train.size`"),
    "seed as key": (
        lambda: predict.Gaussian(Y, K_DD).sample_posterior(0, 1),
        TypeError,
        r"`key` to be a random key, got 0. Pass .*jax.random.key\(0\)",
    ),
    "draws": (
        lambda: predict.Gaussian(Y, K_DD).sample_posterior(jax.random.key(0), 2.5),
        ValueError,
        "`n`, the number of draws, to be an integer",
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuses_are_told(name):
    call, error, message = MISUSES[name]
    with pytest.raises(error, match=message) as found:
        call()
    assert "[[" not in str(found.value)  # no arrays


def test_errors_that_say_where_they_come_from():
    with pytest.raises(ValueError, match="axis 2") as found:
        predict.gp_inference(K_DD, Y, trace_axes=(2,))
    assert found.value.__notes__ == ["This is about `trace_axes=(2,)`, for outputs of shape (3, 2)."]
    with pytest.raises(TypeError) as found:
        predict.gradient_descent(lambda f: 0.0, K_DD, Y)
    assert found.value.__notes__[-1:] == [
        "This is from `loss(fx, y)`, for outputs and targets of type float32 and shape (3, 2)."
    ]
