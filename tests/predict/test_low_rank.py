"""`low_rank_ensemble` against the exact ensemble, and against dense algebra with the features that it chose."""

import collections
import pickle

import jax
import numpy as np
import pytest
import scipy.linalg
from jax import numpy as jnp

from neural_tangents import predict, stax

LAYERS = stax.serial(stax.Dense(1, 1.5, 0.1), stax.Erf(), stax.Dense(1, 1.5, 0.1))
kernel_fn = LAYERS[2]
RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(70, 3)), RNG.normal(size=(9, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], 1)
TIMES = [None, 30.0, np.array([[0.0, 1e2], [1e4, np.inf]])]


@pytest.mark.parametrize("t", TIMES, ids=["infinite", "finite", "several"])
@pytest.mark.parametrize("compute_cov", [False, True, "diag"])
def test_full_rank_is_exact(t, compute_cov):
    with jax.enable_x64(True):
        arguments = kernel_fn, jnp.asarray(X), jnp.asarray(Y)
        exact = predict.gradient_descent_mse_ensemble(*arguments, learning_rate=2.0, diag_reg=1e-3)
        found = predict.low_rank_ensemble(*arguments, 70, learning_rate=2.0, diag_reg=1e-3)
        want, got = (f(t, jnp.asarray(X_TEST), None, compute_cov) for f in (exact, found))
    assert got._fields == want._fields == ("nngp", "ntk")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7), got, want)


def features(name, rank, x):
    """`φ(x)`, by dense algebra from the pivots that the predictor chose."""
    kernel = low_rank(rank)._kernel(name)
    pivots = np.asarray(kernel.inputs)
    lower = np.linalg.cholesky(np.asarray(kernel_fn(pivots, None, name)))
    return scipy.linalg.solve_triangular(lower, np.asarray(kernel_fn(pivots, x, name)), lower=True)


def low_rank(rank, **options):
    return predict.low_rank_ensemble(kernel_fn, jnp.asarray(X), jnp.asarray(Y), rank, **{"diag_reg": 1e-2, **options})


@pytest.mark.parametrize("t", [None, 30.0, 0.0])
@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_dense_formulas(name, t):
    rank = 12
    with jax.enable_x64(True):
        x, x_test = jnp.asarray(X), jnp.asarray(X_TEST)
        found = low_rank(rank)(t, x_test, name, True)
        marginals = low_rank(rank)(t, x_test, name, "diag")
        f, phi = (features(name, rank, z) for z in (x, x_test))
        g, gamma = (features("nngp", rank, z) for z in (x, x_test))
        prior = np.diagonal(kernel_fn(x, None, "nngp"))
        k_tt = np.asarray(kernel_fn(x_test, None, "nngp"))
        lam = 1e-2 * np.mean(np.diagonal(kernel_fn(x, None, name)))
    matrix = f.T @ f + lam * np.eye(70)
    decay = np.zeros((70, 70)) if t is None else scipy.linalg.expm(-matrix * t / Y.size)
    a = phi.T @ f @ np.linalg.solve(matrix, np.eye(70) - decay)
    np.testing.assert_allclose(found.mean, a @ Y, atol=1e-8)
    left = gamma - g @ a.T
    noise = np.diag(prior - np.sum(g**2, 0) + (lam if name == "nngp" else 0))
    want = k_tt - gamma.T @ gamma + left.T @ left + a @ noise @ a.T
    np.testing.assert_allclose(found.covariance, want, atol=1e-8)
    np.testing.assert_allclose(marginals.variance[:, 0], np.diagonal(want), atol=1e-8)
    np.testing.assert_allclose(np.diagonal(found.covariance), marginals.variance[:, 0], atol=1e-10)
    np.testing.assert_array_equal(found.mean, marginals.mean)


@pytest.mark.slow
def test_error_falls_with_rank():
    with jax.enable_x64(True):
        arguments = kernel_fn, jnp.asarray(X), jnp.asarray(Y)
        want = predict.gradient_descent_mse_ensemble(*arguments, diag_reg=1.0)(x_test=X_TEST, get="ntk")
        errors = []
        for rank in (2, 10, 30, 60, 70):
            found = [low_rank(rank, diag_reg=1.0, key=jax.random.key(i))(x_test=X_TEST, get="ntk") for i in range(3)]
            errors.append(np.mean([np.linalg.norm(mean - want) for mean in found]))
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2] > 30 * errors[3] and errors[4] < 1e-8, errors


@pytest.mark.slow
def test_variances_are_honest():
    """Never negative, and not below the exact ones by more than rounding, where these say what the data tell."""
    x_test = np.concatenate([X[:20], X_TEST, 30 * X_TEST])
    with jax.enable_x64(True):
        arguments = kernel_fn, jnp.asarray(X), jnp.asarray(Y)
        exact = predict.gradient_descent_mse_ensemble(*arguments, diag_reg=1e-2)(None, x_test, "nngp", "diag")
        for rank in (1, 5, 20, 50):
            found = low_rank(rank)(None, x_test, "nngp", "diag")
            assert np.all(found.variance > 0.9 * exact.variance)
            assert np.all(low_rank(rank)(None, x_test, "ntk", "diag").variance >= 0)


@pytest.mark.slow
def test_far_from_the_training_set_nothing_is_known():
    def kernel(x1, x2, get, **_):
        x2 = x1 if x2 is None else x2
        return jnp.exp(-jnp.sum((x1[:, None] - x2[None]) ** 2, -1) / 2)

    predict_fn = predict.low_rank_ensemble(kernel, X.astype("float32"), Y.astype("float32"), 20, diag_reg=1e-2)
    for name in ("nngp", "ntk"):
        found = predict_fn(None, np.full((1, 3), 100, "float32"), name, "diag")
        np.testing.assert_allclose(found.variance, 1, rtol=1e-6)
        np.testing.assert_allclose(found.mean, 0, atol=1e-6)


@pytest.mark.slow
def test_float32_is_close_to_exact_predictions():
    """With all pivots: fewer may be others than in float64, as kernels are by rounding."""
    x, y, x_test = (jnp.asarray(a, "float32") for a in (X, Y, X_TEST))
    found = [predict.low_rank_ensemble(kernel_fn, x, y, 70, diag_reg=1e-2)(t, x_test, "ntk", "diag") for t in TIMES]
    with jax.enable_x64(True):
        exact = predict.gradient_descent_mse_ensemble(kernel_fn, X, Y, diag_reg=1e-2)
        want = [exact(t, X_TEST, "ntk", "diag") for t in TIMES]
    for a, b in zip(found, want, strict=True):
        assert a.mean.dtype == a.variance.dtype == "float32"
        np.testing.assert_allclose(a.mean, b.mean, atol=1e-2)
        np.testing.assert_allclose(a.variance, b.variance, atol=1e-2)


@pytest.mark.slow
def test_inputs_that_repeat_and_kernels_of_lower_rank():
    """There are fewer pivots than were asked for."""
    x, y = np.concatenate([X[:15]] * 3).astype("float32"), np.concatenate([Y[:15]] * 3).astype("float32")
    predict_fn = predict.low_rank_ensemble(kernel_fn, x, y, 40, diag_reg=1e-3)
    exact = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=1e-3)
    for t in (None, 1e3):
        got, want = (f(t, X_TEST.astype("float32"), "nngp", "diag") for f in (predict_fn, exact))
        np.testing.assert_allclose(got.mean, want.mean, atol=2e-2)
        np.testing.assert_allclose(got.variance, want.variance, atol=2e-2)
    assert predict_fn._kernel("nngp").rank == 15

    def zero(x1, x2, get):
        return jnp.zeros((len(x1), len(x1 if x2 is None else x2)))

    found = predict.low_rank_ensemble(zero, x, y, 5)(None, x, "ntk", "diag")
    assert not np.any(found.mean) and not np.any(found.variance)


@pytest.mark.slow
def test_without_regularisation_it_interpolates_what_it_can():
    """Least squares in the features."""
    with jax.enable_x64(True):
        found = low_rank(10, diag_reg=0.0)(None, X, "nngp")
        f = features("nngp", 10, X)
    want = f.T @ np.linalg.lstsq(f.T, Y, rcond=None)[0]
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.slow
def test_training_inputs_in_several_arrays_and_targets_with_more_axes():
    x = (X[:, :2].astype("float32"), X[:, 2:].astype("float32"))
    y = np.stack([Y, Y**2], -1).astype("float32")
    kernels = stax.serial(stax.parallel(stax.Dense(1), stax.Dense(1)), stax.FanInSum(), stax.Erf(), stax.Dense(1))[2]
    predict_fn = predict.low_rank_ensemble(kernels, x, y, 70, diag_reg=1e-2)
    want = predict.gradient_descent_mse_ensemble(kernels, x, y, diag_reg=1e-2, trace_axes=(-1, -2))
    test = (x[0][:5], x[1][5:10])
    got, exact = predict_fn(None, test, "ntk", True), want(None, test, "ntk", True)
    assert got.mean.shape == (5, 2, 2) and got.covariance.shape == (5, 5)
    np.testing.assert_allclose(got.mean, exact.mean, atol=5e-3)
    np.testing.assert_allclose(got.covariance, exact.covariance, atol=5e-3)
    on_train = predict_fn(get="ntk")
    assert on_train.shape == y.shape
    np.testing.assert_allclose(on_train, predict_fn(None, x, "ntk"), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_transformations():
    predict_fn = low_rank(20)
    t, x_test = jnp.asarray(20.0), jnp.asarray(X_TEST, "float32")

    def loss(t, x_test):
        found = predict_fn(t, x_test, "ntk", "diag")
        return jnp.sum(jnp.sin(found.mean)) + jnp.sum(found.variance)

    want = loss(t, x_test)
    np.testing.assert_allclose(jax.jit(loss)(t, x_test), want, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(loss, (0, None))(t[None], x_test), want[None], rtol=1e-5)
    assert predict_fn._kernels and not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(predict_fn._learned))
    gradients = jax.grad(loss, (0, 1))(t, x_test)
    with jax.enable_x64(True):
        predict_fn = low_rank(20)
        t, x_test = jnp.asarray(20.0), jnp.asarray(X_TEST)
        direction = jnp.asarray(RNG.normal(size=X_TEST.shape))
        slopes = [
            (loss(t + 1e-4, x_test) - loss(t - 1e-4, x_test)) / 2e-4,
            (loss(t, x_test + 1e-5 * direction) - loss(t, x_test - 1e-5 * direction)) / 2e-5,
        ]
        found = jax.grad(loss, (0, 1))(t, x_test)
        np.testing.assert_allclose(found[0], slopes[0], rtol=1e-4)
        np.testing.assert_allclose(jnp.vdot(found[1], direction), slopes[1], rtol=1e-4)
    assert np.all(np.isfinite(gradients[1])) and np.isfinite(gradients[0])


def test_training_under_jit():
    def mean(x, y):
        return predict.low_rank_ensemble(kernel_fn, x, y, 20, diag_reg=1e-2)(x_test=x[:5], get="nngp")

    x, y = X.astype("float32"), Y.astype("float32")
    np.testing.assert_allclose(jax.jit(mean)(x, y), mean(x, y), atol=0.02)


@pytest.mark.slow
def test_key_and_pickle():
    with_key = [low_rank(10, key=jax.random.key(i))(x_test=X_TEST, get="ntk") for i in (0, 0, 1)]
    np.testing.assert_array_equal(with_key[0], with_key[1])
    assert np.any(with_key[0] != with_key[2])
    np.testing.assert_array_equal(low_rank(10)(x_test=X_TEST, get="ntk"), with_key[0])
    predict_fn = predict.low_rank_ensemble(picklable, X, Y, 10)
    predict_fn(x_test=X_TEST, get="ntk")
    copy = pickle.loads(pickle.dumps(predict_fn))
    np.testing.assert_array_equal(copy(x_test=X_TEST, get="ntk"), predict_fn(x_test=X_TEST, get="ntk"))
    assert "rank=10" in repr(copy) and "computed=('ntk',)" in repr(copy)


def picklable(x1, x2, get):
    return jnp.asarray(x1 @ (x1 if x2 is None else x2).T + 1.0)


def test_errors():
    def make(kernel_fn=kernel_fn, x=X, y=Y, rank=5, **options):
        return predict.low_rank_ensemble(kernel_fn, x, y, rank, **options)

    for rank in (0, 71, 2.5, None):
        with pytest.raises(ValueError, match="`rank` to be an integer from 1 to the number of training points, 70"):
            make(rank=rank)
    with pytest.raises(TypeError, match="`kernel_fn` to be a function"):
        make(kernel_fn=LAYERS)
    with pytest.raises(ValueError, match="one row of `y_train` for each input"):
        make(y=Y[1:])
    with pytest.raises(ValueError, match="`diag_reg` >= 0"):
        make(diag_reg=-1.0)
    with pytest.raises(ValueError, match="got a scalar"):
        make(y=1.0)
    with pytest.raises(NotImplementedError, match="ntkgp"):
        make()(x_test=X_TEST, get="ntkgp")
    with pytest.raises(ValueError, match="times `t` >= 0"):
        make()(-1.0, X_TEST)
    with pytest.raises(ValueError, match="inputs of one length in `x_test`"):
        make()(None, [X_TEST, X_TEST[1:]])
    with pytest.raises(ValueError, match=r"one entry for each pair of inputs, got one of shape \(70, 2\)"):
        make(
            lambda x1, x2, get: (
                jnp.zeros((len(x1), len(X), 2, 2)) if x2 is not None else jnp.ones((len(x1), len(x1), 2, 2))
            )
        )(x_test=X_TEST)
    kernels = collections.namedtuple("Kernels", ["nngp", "ntk"])
    with pytest.raises(ValueError, match="Expected `kernel_fn"):
        make(lambda x1, x2, get: kernels(x1, x1))(x_test=X_TEST)
    broken = np.where(np.arange(70)[:, None] == 3, np.nan, X)
    with pytest.raises(ValueError, match="finite"):
        make(x=broken)(x_test=X_TEST)
