"""Kernels in padded tiles are those of one call, so are derivatives, and networks can be pickled."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import gaussian_process

from neural_tangents import stax
from neural_tangents.estimators import _network_kernel
from neural_tangents.estimators._network_kernel import NetworkKernel, check_network, default_network

RNG = np.random.RandomState(0)


def network(W_std=1.3, b_std=0.2):
    dense = stax.Dense(1, W_std, b_std)
    return stax.serial(dense, stax.Erf(), dense)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(_network_kernel, "SMALLEST", 4)
    monkeypatch.setattr(_network_kernel, "LARGEST", 8)


def check_matrix(kernel, kernel_fn, dtype, n1=21, n2=10, compiles=True):
    x1, x2 = RNG.normal(size=(n1, 3)), RNG.normal(size=(n2, 3))
    rtol = 1e-4 if dtype == "float32" else 1e-10
    kernel_fn = jax.jit(kernel_fn, static_argnames="get") if compiles else kernel_fn
    names = ("nngp", "ntk")
    of_one, of_two = kernel_fn(x1, None, names), kernel_fn(x1, x2, names)
    for get in names:
        one, two = kernel.matrix(x1, None, get), kernel.matrix(x1, x2, get)
        assert one.dtype == two.dtype == "float64"
        np.testing.assert_allclose(one, getattr(of_one, get, of_one), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(two, getattr(of_two, get, of_two), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(kernel.diagonal(x1, get), np.diagonal(one), rtol=rtol)


def test_tiles(small_tiles, dtype):
    check_matrix(NetworkKernel(network()), network()[2], dtype)


@pytest.mark.slow
def test_default_network_is_widened(dtype):
    check_matrix(NetworkKernel(None), default_network()[2], dtype, n1=5, n2=3)


def test_kernel_function_that_knows_no_eps():
    def kernel_fn(x1, x2, get):
        return jnp.exp(x1 @ (x1 if x2 is None else x2).T)

    check_matrix(NetworkKernel(kernel_fn), kernel_fn, "float32")


def test_kernel_function_that_needs_values():
    def kernel_fn(x1, x2, get):
        return np.asarray(x1) @ np.asarray(x1 if x2 is None else x2).T

    check_matrix(NetworkKernel(kernel_fn), kernel_fn, "float32", compiles=False)


def test_images_are_not_padded():
    images = RNG.normal(size=(5, 4, 4, 2))
    _, _, kernel_fn = conv = stax.serial(stax.Conv(1, (3, 3)), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1))
    np.testing.assert_allclose(
        NetworkKernel(conv).matrix(images, None, "ntk"), kernel_fn(images, None, "ntk"), rtol=1e-5
    )


@pytest.mark.parametrize("n", [1, 4, 5, 8, 9, 17])
def test_few_sizes(small_tiles, n):
    x = np.arange(n)[:, None]
    padded = _network_kernel._padded(x)
    assert len(padded) in (4, 8, 16, 32) and len(padded) >= n
    assert np.array_equal(padded[:n], x) and np.all(padded[n:] == n - 1)


def test_pullback(small_tiles):
    with jax.enable_x64(True):
        x, g = RNG.normal(size=(13, 3)), RNG.normal(size=(13, 13))
        g = g + g.T
        kernel = NetworkKernel(network, {"W_std": 1.4, "b_std": 0.3})
        found = kernel.pullback(x, g, "ntk")
        for name, step in (("W_std", 1e-4), ("b_std", 1e-4)):
            values = [{**kernel.values, name: kernel.values[name] + sign * step} for sign in (1, -1)]
            up, down = (np.sum(g * network(**v)[2](x, None, "ntk")) for v in values)
            np.testing.assert_allclose(found[name], (up - down) / (2 * step), rtol=1e-6)


def test_gradients_at_training_points_and_others():
    """Against central differences, of which those at training points have no part in the kink there."""
    with jax.enable_x64(True):
        x, c, root = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2)), np.diag([1.0, 0.5, 2.0])
        kernel = NetworkKernel(stax.serial(stax.Dense(1, 1.5, 0.5), stax.Relu(), stax.Dense(1)))
        points = np.concatenate([x[:20], RNG.normal(size=(130, 3))])
        found = np.concatenate([*kernel.gradients(points, x, c, root, "ntk")])
        assert found.shape == (150, 2, 3)
        for axis in range(3):
            step = 1e-5 * np.eye(3)[axis]
            up, down = (kernel.matrix((points + s * step) @ root, x @ root, "ntk") @ c for s in (1, -1))
            np.testing.assert_allclose(found[:, :, axis], (up - down) / 2e-5, rtol=1e-4, atol=1e-4)


def test_pickle():
    x = RNG.normal(size=(4, 3))
    for kernel in (NetworkKernel(network()), NetworkKernel(network, {"W_std": 1.4, "b_std": 0.3}), NetworkKernel(None)):
        again = pickle.loads(pickle.dumps(kernel))
        assert again.values == kernel.values
        np.testing.assert_array_equal(again.matrix(x, None, "ntk"), kernel.matrix(x, None, "ntk"))


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (TypeError, "to be None, a network", (3, None)),
        (TypeError, "to be None, a network", ((1, 2, 3), None)),
        (TypeError, "a function of the hyper-parameters", (None, {"W_std": 1.0})),
        (TypeError, "a function of the hyper-parameters", (network(), {"W_std": 1.0})),
        (TypeError, "to be numbers by name", (network, {})),
        (TypeError, "to be numbers by name", (network, [1.0])),
        (ValueError, "initial values > 0", (network, {"W_std": 1.0, "b_std": 0.0})),
        (ValueError, "initial values > 0", (network, {"W_std": "1"})),
        (
            TypeError,
            r"a function of W_std, bias, got network\(W_std=1.3.*'bias'",
            (network, {"W_std": 1.0, "bias": 1.0}),
        ),
        (TypeError, r"a function of b, got .*\(a, b\): missing .*'a'", (lambda a, b: network(), {"b": 1.0})),
        (TypeError, r"kernel_fn\(x1, x2, get\), got network\(.*as `hyperparameters`", (network, None)),
        (TypeError, r"kernel_fn\(x1, x2, get\), got <lambda>\(x1, x2\)", (lambda x1, x2: x1 @ x2.T, None)),
    ],
)
def test_errors_of_networks(error, words, arguments):
    with pytest.raises(error, match=words):
        check_network(*arguments)


@pytest.mark.parametrize(
    ("words", "kernel_fn"),
    [
        ("to have the shape", lambda x1, x2, get: jnp.zeros((3, 3))),
        ("not finite", lambda x1, x2, get: jnp.full((len(x1), len(x1)), jnp.nan)),
        ("an array for `get='ntk'`, got a Kernel", lambda x1, x2, get: network()[2](x1, x2, None)),
        ("an array for `get='ntk'`, got a tuple", gaussian_process.kernels.RBF()),
    ],
)
def test_errors_of_kernels(words, kernel_fn):
    with pytest.raises((ValueError, TypeError), match=words):
        NetworkKernel(kernel_fn).matrix(np.ones((5, 2)), None, "ntk")


def test_kernels_of_scikit_learn():
    rbf = gaussian_process.kernels.RBF(2.0)
    x = RNG.normal(size=(5, 2))
    found = NetworkKernel(lambda x1, x2, get: rbf(x1, x2)).matrix(x, None, "nngp")
    np.testing.assert_allclose(found, rbf(x), rtol=1e-5)


def test_function_of_hyperparameters_that_returns_no_network():
    with pytest.raises(TypeError, match="for `hyperparameters`, got 3"):
        NetworkKernel(lambda a: 3, {"a": 1.0}).matrix(np.ones((5, 2)), None, "ntk")
