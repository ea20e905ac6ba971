"""Kernels in float32 of inputs that are close, equal, parallel or opposite, against recursions in long double."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents.stax._nonlinearities.abrelu import abrelu

Long = np.longdouble
PI = 2 * np.arctan2(Long(1), Long(0))
EPS = np.finfo(np.float32).eps


class Truth:
    """The covariances of all inputs with each other, in long double."""

    def __init__(self, x):
        x = x.astype(Long)
        self.k = x @ x.T / x.shape[1]
        self.ntk = 0 * self.k

    def lengths(self):
        return np.sqrt(np.outer(np.diag(self.k), np.diag(self.k)))

    def dense(self, w, b):
        w, b = (Long(np.float32(z)) for z in (w, b or 0))
        self.k = w**2 * self.k + b**2
        self.ntk = self.k + w**2 * self.ntk
        return self

    def slopes(self, a, b):
        a, b, size = Long(a), Long(b), self.lengths()
        rho = np.where(size > 0, self.k / np.where(size > 0, size, 1), 0)
        sine = np.sqrt(np.maximum((1 - rho) * (1 + rho), 0))
        np.fill_diagonal(sine, np.where(np.diag(size) > 0, 0, 1))
        j0 = PI - np.arctan2(sine, rho)
        g = (a - b) ** 2 / (2 * PI)
        self.ntk = (a * b + g * j0) * self.ntk
        self.k = a * b * self.k + g * (size * sine + self.k * j0)
        return self

    def normalised(self):
        size = self.lengths()
        self.k, self.ntk = self.k / size, self.ntk / size
        return self

    def dropped(self, rate):
        same = np.where(np.eye(len(self.k)), 1 / Long(rate), 1)
        self.k, self.ntk = self.k * same, self.ntk * same
        return self

    def plus(self, other):
        self.k, self.ntk = self.k + other.k, self.ntk + other.ntk
        return self

    def copy(self):
        other = Truth.__new__(Truth)
        other.k, other.ntk = self.k, self.ntk
        return other


def close_inputs(d):
    random = np.random.RandomState(d)
    centres = random.normal(size=(5, d))
    return np.concatenate([centres + 10.0**-p * random.normal(size=centres.shape) for p in range(8)], dtype=np.float32)


def parallel_inputs():
    x = np.random.RandomState(0).normal(size=(5, 4))
    nearly = -0.7 * x + 1e-5 * np.random.RandomState(1).normal(size=x.shape)
    return np.concatenate([x, 2 * x, 3 * x, -x, -0.1 * x, nearly, x, 0 * x[:1]], dtype=np.float32)


INPUTS = {
    "line": np.linspace(-1, 1, 60, dtype=np.float32)[:, None],
    "close": close_inputs(3),
    "close in many dimensions": close_inputs(100),
    "parallel": parallel_inputs(),
}


def fully_connected(depth, w, b, a1, a2):
    layers = [stax.Dense(1, w, b), *[stax.ABRelu(a1, a2), stax.Dense(1, w, b)] * depth]

    def truth(t):
        t.dense(w, b)
        for _ in range(depth):
            t.slopes(a1, a2).dense(w, b)
        return t

    return stax.serial(*layers), truth, depth + 1


def residual(depth, w, b):
    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Relu(), stax.Dense(1, w, b)), stax.Identity()),
        stax.FanInSum(),
    )

    def truth(t):
        t.dense(w, b)
        for _ in range(depth):
            shortcut = t.copy()
            t.slopes(0, 1).dense(w, b).plus(shortcut)
        return t

    return stax.serial(stax.Dense(1, w, b), *[block] * depth), truth, 2 * depth + 1


def normalised(depth, w, b):
    layers = [stax.Dense(1, w, b), *[stax.LayerNorm(), stax.LeakyRelu(0.2), stax.Dense(1, w, b)] * depth]

    def truth(t):
        t.dense(w, b)
        for _ in range(depth):
            t.normalised().slopes(0.2, 1).dense(w, b)
        return t

    return stax.serial(*layers), truth, 2 * depth + 1


def dropped(depth, w, b):
    layers = [stax.Dense(1, w, b), *[stax.Relu(), stax.Dropout(0.75), stax.Dense(1, w, b)] * depth]

    def truth(t):
        t.dense(w, b)
        for _ in range(depth):
            t.slopes(0, 1).dropped(0.75).dense(w, b)
        return t

    return stax.serial(*layers), truth, 2 * depth + 1


NETWORKS = {
    "shallow": fully_connected(1, 1.0, None, 0, 1),
    "few": fully_connected(3, 1.5, 0.05, 0, 1),
    "deep": fully_connected(20, 1.5, 0.0625, 0, 1),
    "deep without bias": fully_connected(20, 1.414, None, 0, 1),
    "large bias": fully_connected(12, 1.414, 0.5, 0, 1),
    "absolute value": fully_connected(8, 1.0, 1e-3, -1, 1),
    "almost linear": fully_connected(8, 1.0, 0.05, 0.9, 1),
    "almost even": fully_connected(3, 1.0, None, -0.9, 1),
    "residual": residual(3, 1.2, 0.1),
    "residual, deep": residual(8, 1.2, None),
    "normalised": normalised(7, 1.0, 0.1),
    "dropout": dropped(7, 1.0, 0.1),
}


def errors(found, truth, n_layers):
    """Largest errors in units of eps for each layer, relative to kernels of inputs with themselves."""
    result = []
    for name, want in (("nngp", truth.k), ("ntk", truth.ntk)):
        size = np.sqrt(np.outer(np.diag(want), np.diag(want)))
        size = np.where(size > 0, size, 1)
        result.append(float(np.max(np.abs(np.asarray(getattr(found, name)) - want) / size) / EPS / n_layers))
    return result


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_precision(network, inputs):
    (_, _, kernel_fn), truth_fn, n_layers = NETWORKS[network]
    x = INPUTS[inputs] if network != "normalised" else INPUTS[inputs][np.any(INPUTS[inputs], axis=1)]
    truth = truth_fn(Truth(x))
    for x2 in (None, jnp.asarray(x.copy())) if inputs == "close" else (None,):
        found = jax.jit(lambda x, x2: kernel_fn(x, x2, ("nngp", "ntk")))(x, x2)
        most = 8 if "many dimensions" in inputs else 4  # inner products of 100 features have errors of their own
        assert max(errors(found, truth, n_layers)) <= most, (x2 is None, errors(found, truth, n_layers))


@pytest.mark.slow
@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_without_jit_and_in_part(get):
    (_, _, kernel_fn), truth_fn, n_layers = NETWORKS["few"]
    x = INPUTS["close"]
    want = {"nngp": truth_fn(Truth(x)).k, "ntk": truth_fn(Truth(x)).ntk}[get]
    for found, rows in ((kernel_fn(x, None, get), slice(None)), (kernel_fn(x[7:], x[:], get), slice(7, None))):
        np.testing.assert_allclose(found, want[rows].astype(float), atol=4 * EPS * n_layers * float(want.max()))


def test_users_layer_between():
    """A user's layer never sees distances, and leaves none that are out of date."""

    @stax.layer
    def Shift():
        def kernel_fn(k):
            assert k.distance is None
            return type(k)(**{**k.asdict(), "nngp": k.nngp / 4 + 0.5, "cov1": k.cov1 / 4 + 0.5})

        return lambda rng, shape: (shape, ()), lambda params, x: x, kernel_fn

    x = INPUTS["close"]
    _, _, kernel_fn = stax.serial(stax.Dense(1), Shift(), stax.Relu(), stax.Dense(1))
    found = kernel_fn(x, None)
    assert found.distance is None
    k = x.astype(float) @ x.T.astype(float) / 12 + 0.5
    size = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    theta = np.arccos(np.minimum(k / size, 1))
    np.testing.assert_allclose(found.nngp, size * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / 2 / np.pi, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["few", "deep", "residual", "absolute value"])
def test_derivatives(network):
    """Against those in float64, which finite differences confirm elsewhere; forward over reverse too."""
    (_, _, kernel_fn), _, _ = NETWORKS[network]
    x = np.random.RandomState(3).normal(size=(4, 3))
    weights = np.random.RandomState(4).normal(size=(4, 4))

    def loss(x):
        return jnp.sum(kernel_fn(x, None, "ntk") * weights.astype(x.dtype))

    def derivatives(x):
        return jax.jit(jax.grad(loss))(x), jax.jit(jax.jacfwd(jax.grad(loss)))(x)

    single = derivatives(jnp.asarray(x, jnp.float32))
    with jax.enable_x64(True):
        double = derivatives(jnp.asarray(x))
        step = 1e-5 * np.random.RandomState(5).normal(size=x.shape)
        difference = (loss(jnp.asarray(x + step)) - loss(jnp.asarray(x - step))) / 2
        np.testing.assert_allclose(np.sum(double[0] * step), difference, rtol=1e-6, atol=1e-9)
    for a, b in zip(single, double, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.max(np.abs(b)))


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["line", "parallel", "close"])
def test_derivatives_are_finite(inputs):
    (_, _, kernel_fn), _, _ = NETWORKS["deep"]
    x = jnp.asarray(INPUTS[inputs][:20])
    for other in (None, x):
        gradient = jax.grad(lambda x, other=other: jnp.sum(kernel_fn(x, other, "ntk")))(x)
        assert np.all(np.isfinite(gradient))


def test_precision_in_float64():
    (_, _, kernel_fn), truth_fn, n_layers = NETWORKS["deep"]
    x = np.linspace(-1, 1, 30)[:, None]
    x = np.concatenate([x, x + 1e-3])
    with jax.enable_x64(True):
        found = jax.jit(lambda x: kernel_fn(x, None, ("nngp", "ntk")))(x)
    assert max(errors(found, truth_fn(Truth(x)), n_layers)) * EPS <= 4 * np.finfo(np.float64).eps


def test_distances_of_layers_are_precise():
    """The distance of activations, `d - (sin(phi) - phi cos(phi)) / pi`, relative to itself, however small it is."""
    d = np.logspace(-11, -2, 200).astype(np.float32)
    ones = np.ones_like(d)
    *_, got = abrelu(0.0, 1.0).with_distance(1 - d, ones, ones, CosineDistance(jnp.asarray(d), acute=False))
    with mpmath.workdps(40):
        angles = [mpmath.acos(1 - mpmath.mpf(float(x))) for x in d]
        bent = [float((mpmath.sin(phi) - phi * mpmath.cos(phi)) / mpmath.pi) for phi in angles]
    np.testing.assert_allclose(got.value, d.astype(float) - bent, rtol=2 * EPS)
