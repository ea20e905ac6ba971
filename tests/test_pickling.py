"""Whatever the library returns can be saved, loaded by another process, and copied."""

import copy
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import predict, stax

X, X_TEST, KEY = np.arange(12.0).reshape(4, 3) / 7, np.arange(6.0).reshape(2, 3) / 5, jax.random.key(0)
INIT_FN, APPLY_FN, KERNEL_FN = stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(1))
PARAMS = INIT_FN(KEY, X.shape)[1]
ENSEMBLE = predict.gradient_descent_mse_ensemble(KERNEL_FN, X, X[:, :1], diag_reg=1e-2)
EMPIRICAL, K_DD = nt.empirical_kernel_fn(APPLY_FN), KERNEL_FN(X, None, "ntk")


def several_outputs(*names):
    network = stax.serial(stax.Dense(3), stax.FanOut(2), stax.parallel(stax.Relu(), stax.Erf()))
    return network[2](X, None, names)


def estimates(get, **options):
    return nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 2, **options)(X, X_TEST, get)


RESULTS = {
    "Kernel": lambda: KERNEL_FN(X, X_TEST),
    "AnalyticKernel": lambda: KERNEL_FN(X, X_TEST, ("cov1", "ntk", "shape1", "x1_is_x2")),
    "one name": lambda: KERNEL_FN(X, None, ("ntk",)),
    "several outputs": lambda: several_outputs("nngp", "ntk"),
    "batch": lambda: nt.batch(KERNEL_FN, 2)(X, X_TEST, ("nngp", "ntk")),
    "EmpiricalKernel": lambda: EMPIRICAL(X, X_TEST, None, PARAMS),
    "MonteCarloKernel": lambda: estimates(("ntk", "nngp")),
    "Estimate": lambda: estimates("ntk", standard_error=True),
    "Gaussians": lambda: ENSEMBLE(x_test=X_TEST, compute_cov=True),
    "Gaussian": lambda: ENSEMBLE(1.0, X_TEST, "ntk", True),
    "Influence": lambda: ENSEMBLE.influence(X_TEST),
    "KernelSpectrum": lambda: predict.spectrum(K_DD, X[:, :1]),
    "LearningCurve": lambda: predict.spectrum(K_DD, X[:, :1]).learning_curve([1, 3], 0.1),
    "Diagnostics": lambda: ENSEMBLE.diagnostics(),
    "ODEState": lambda: predict.gradient_descent(lambda f, y: jnp.mean((f - y) ** 2), K_DD, X[:, :1])(
        1.0, predict.ODEState(np.zeros((4, 1)))
    ),
    "ConjugateGradients": lambda: predict.conjugate_gradients(K_DD, X[:, :1], diag_reg=0.1),
    "parameters": lambda: PARAMS,
    "MaskedArray": lambda: APPLY_FN(PARAMS, X, mask_constant=X[0, 0]),
    "Requirements": lambda: KERNEL_FN.input_req,
    "Evaluation": lambda: stax.explain(KERNEL_FN, X).stages,
}


def check_equal(a, b):
    assert type(a) is type(b) and jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def results():
    return {name: make() for name, make in RESULTS.items()}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_saved_and_copied(results, name):
    result = results[name]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        check_equal(pickle.loads(pickle.dumps(result, protocol)), result)
    check_equal(copy.copy(result), result)
    check_equal(copy.deepcopy(result), result)
    cloudpickle = pytest.importorskip("cloudpickle")
    check_equal(cloudpickle.loads(cloudpickle.dumps(result)), result)


ELSEWHERE = """
import pickle, sys
import jax
import neural_tangents as nt

results = pickle.load(sys.stdin.buffer)
pickle.dump(jax.tree.map(lambda x: x, results), sys.stdout.buffer)
"""


def test_another_process_loads_and_returns_results(results):
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=pickle.dumps(results), capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    check_equal(pickle.loads(done.stdout), results)


def test_networks_are_sent_to_other_processes():
    cloudpickle = pytest.importorskip("cloudpickle")
    loaded = cloudpickle.loads(cloudpickle.dumps(stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(1))))
    check_equal(loaded[2](X, X_TEST), KERNEL_FN(X, X_TEST))
    check_equal(loaded[1](PARAMS, X), APPLY_FN(PARAMS, X))
    assert str(loaded) == "serial(Dense(4), Relu(), Dense(1))"
