"""`gradient_descent_mse` against the matrix exponential of the flow of all outputs, with the identity spelled out."""

import jax
import linear_models
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads

from neural_tangents import predict

TIMES = [0, 1.7, 60.0, np.array([[0.1, 1.0, 5.0], [0.0, 2.0, 90.0]])]


def expected(problem, s, diag_reg=0.0, absolute=False, train=True):
    """Outputs at one `s`, the time divided by `y.size`."""
    theta_dd = linear_models.regularised(problem.dense(problem.ntk, "dd"), diag_reg, absolute)
    f0 = problem.f0 if train else np.zeros_like(problem.y)
    start = np.concatenate([(f0 - problem.y).ravel(), problem.f0_test.ravel()])
    end = linear_models.flow(theta_dd, problem.dense(problem.ntk, "td"), s) @ start
    m = problem.y.size
    return end[:m].reshape(problem.y.shape) + problem.y, end[m:].reshape(problem.f0_test.shape)


@pytest.mark.parametrize("t", TIMES, ids=str)
@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES)
def test_finite_times(shape, trace_axes, t):
    problem = linear_models.problem(shape, trace_axes, [1, len(shape), len(trace_axes), np.size(t)])
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y, 0.6, 1e-2, False, trace_axes)
        train, test = predict_fn(t, problem.f0, problem.f0_test, problem.ntk["td"])
    assert train.shape == np.shape(t) + shape
    assert test.shape == np.shape(t) + problem.f0_test.shape
    for index in np.ndindex(np.shape(t)):
        want = expected(problem, 0.6 * np.asarray(t)[index] / problem.y.size, 1e-2)
        np.testing.assert_allclose(train[index], want[0], rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(test[index], want[1], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES)
def test_infinite_time(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [2, len(shape), len(trace_axes)])
    want = expected(problem, 1e6)[1]
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y, trace_axes=trace_axes)
        for t in (None, jnp.inf, np.array([np.inf, np.inf])):
            train, test = predict_fn(t, problem.f0, problem.f0_test, problem.ntk["td"])
            np.testing.assert_allclose(train, np.broadcast_to(problem.y, train.shape), rtol=1e-9)
            np.testing.assert_allclose(test, np.broadcast_to(want, test.shape), rtol=1e-8, atol=1e-9)
        np.testing.assert_array_equal(predict_fn(), problem.y)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("diag_reg", [0.0, 0.3])
def test_diag_reg_and_what_is_predicted(diag_reg, absolute):
    problem = linear_models.problem((4, 3), (1,), [3, int(absolute)])
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y, 2.0, diag_reg, absolute)
        pair = predict_fn(5.0, problem.f0, problem.f0_test, problem.ntk["td"])
        assert isinstance(pair, tuple)
        for got, want in zip(pair, expected(problem, 10.0 / 12, diag_reg, absolute), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10)
        np.testing.assert_array_equal(predict_fn(5.0, problem.f0), pair[0])
        without_train = predict_fn(5.0, None, problem.f0_test, problem.ntk["td"])
        want = expected(problem, 10.0 / 12, diag_reg, absolute, train=False)[1]
        np.testing.assert_allclose(without_train, want, rtol=1e-10)
        scalar = predict_fn(5.0, 0.0, 0.0, problem.ntk["td"])[1]
        np.testing.assert_allclose(scalar, want - problem.f0_test, rtol=1e-9, atol=1e-12)


def test_gradient_descent_on_the_weights():
    """Small steps on the weights of a linear model, as the predictor claims to describe."""
    rng = np.random.default_rng(4)
    phi, phi_test, y = rng.normal(size=(5, 8)), rng.normal(size=(3, 8)), rng.normal(size=(5, 2))
    w = w0 = rng.normal(size=(8, 2))
    learning_rate = 1e-3
    for _ in range(2000):
        w = w - learning_rate * phi.T @ (phi @ w - y) / y.size
    predict_fn = predict.gradient_descent_mse(phi @ phi.T, y, learning_rate)
    train, test = predict_fn(2000, phi @ w0, phi_test @ w0, phi_test @ phi.T)
    np.testing.assert_allclose(train, phi @ w, atol=1e-3)
    np.testing.assert_allclose(test, phi_test @ w, atol=1e-3)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_singular_kernels(dtype, rank):
    """Eigenvalues that are exactly 0 (a diagonal kernel), where test outputs move on a line for ever."""
    k_dd, k_td = np.diag([2.0, 0.5, 0.0][3 - rank :] + [0.0] * (3 - rank)), np.ones((2, 3))
    y = np.arange(6.0).reshape(3, 2)
    train, test = predict.gradient_descent_mse(k_dd.astype(dtype), y.astype(dtype))(
        np.array([0.0, 100.0, 1e4], dtype), 0.0, 0.0, k_td.astype(dtype)
    )
    assert train.dtype == test.dtype == dtype
    for i, t in enumerate([0.0, 100.0, 1e4]):
        end = linear_models.flow(k_dd, k_td, t / 6) @ np.concatenate([-y, np.zeros((2, 2))])
        np.testing.assert_allclose(train[i], end[:3] + y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(test[i], end[3:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [0.3, 1e3, 1e30, np.inf])
def test_duplicated_training_points_give_finite_outputs(dtype, t):
    phi = np.random.default_rng(5).normal(size=(4, 6))
    phi, phi_test = np.repeat(phi, 2, 0), phi[:2] + 0.1
    y = np.random.default_rng(6).normal(size=(8, 2)).astype(dtype)
    predict_fn = predict.gradient_descent_mse((phi @ phi.T).astype(dtype), y)
    for out in predict_fn(t, 0.0, 0.0, (phi_test @ phi.T).astype(dtype)):
        assert np.isfinite(out).all()


def test_many_times_at_once_and_in_turns(monkeypatch):
    problem = linear_models.problem((4, 3), (-1,), 7)
    t = np.linspace(0.0, 3.0, 20).astype(np.float32)
    predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    at_once = predict_fn(t, problem.f0, problem.f0_test, problem.ntk["td"])
    monkeypatch.setattr("neural_tangents.predict._gradient_flow._NUMBERS_AT_ONCE", 70)  # some of them, with a remainder
    in_turns = predict_fn(t.reshape(4, 5), problem.f0, problem.f0_test, problem.ntk["td"])  # traced anew for this shape
    for a, b in zip(at_once, in_turns, strict=True):
        np.testing.assert_allclose(a, b.reshape(a.shape), rtol=1e-5, atol=1e-6)


def test_traced_axes_cost_nothing():
    """1,500 points with 50 outputs: the full matrix would take 22 GB."""
    x = np.random.default_rng(8).normal(size=(1500, 3)).astype(np.float32)
    y = np.random.default_rng(9).normal(size=(1500, 50)).astype(np.float32)
    predict_fn = predict.gradient_descent_mse(x @ x.T, y, diag_reg=1.0)
    assert predict_fn(None, None, 0.0, x[:5] @ x.T).shape == (5, 50)


# Transformations.


def test_jit_twice_and_reuse_of_factorisations():
    problem = linear_models.problem((4, 3), (-1,), 10)
    arguments = (problem.f0, problem.f0_test, problem.ntk["td"])
    eager = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    traced = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    for t in (1.0, np.array([0.0, 1.0]), None):
        for compiled in (jax.jit(traced), jax.jit(lambda *a: traced(*a)), traced):
            for a, b in zip(compiled(t, *arguments), eager(t, *arguments), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_decompositions_are_computed_once(monkeypatch):
    from neural_tangents.predict import _solve

    calls = []
    for name in ("decompose", "factorise"):
        original = getattr(_solve, name)
        monkeypatch.setattr(_solve, name, lambda *a, name=name, original=original: calls.append(name) or original(*a))
    problem = linear_models.problem((4, 3), (-1,), 11)
    predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    arguments = (problem.f0, problem.f0_test, problem.ntk["td"])
    assert not calls
    predict_fn(None, 0.0)
    assert not calls
    jax.jit(predict_fn)(1.0, *arguments)
    jax.vmap(lambda t: predict_fn(t, *arguments))(np.ones(2, np.float32))
    jax.grad(lambda t: predict_fn(t, *arguments)[1].sum())(1.0)
    predict_fn(np.ones(3), *arguments)
    assert calls == ["decompose"]
    jax.jit(lambda f0: predict_fn(None, *f0))(arguments)
    predict_fn(None, *arguments)
    assert calls == ["decompose", "factorise"]


def test_vmap_over_times():
    problem = linear_models.problem((4, 3), (-1,), 12)
    predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    t = np.linspace(0.0, 5.0, 6).reshape(2, 3).astype(np.float32)
    arguments = (problem.f0, problem.f0_test, problem.ntk["td"])
    for mapped in (
        jax.vmap(jax.vmap(lambda t: predict_fn(t, *arguments))),
        jax.vmap(lambda t: predict_fn(t, *arguments)),
    ):
        for a, b in zip(mapped(t), predict_fn(t, *arguments), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_built_and_used_within_transformations():
    problem = linear_models.problem((4, 3), (-1,), 13)

    def predictions(k_dd, y, t):
        predict_fn = predict.gradient_descent_mse(k_dd, y)

        def step(_, t):  # a trace within the trace that the predictor is built in
            return None, predict_fn(t, 0.0, 0.0, problem.ntk["td"])[1]

        scanned = jax.lax.scan(step, None, t)[1]
        return scanned, predict_fn(t, 0.0, 0.0, problem.ntk["td"])[1], predict_fn(None, 0.0, 0.0, problem.ntk["td"])[1]

    t = np.array([0.5, 2.0], np.float32)
    k_dd, y = (np.asarray(a, np.float32) for a in (problem.ntk["dd"], problem.y))
    plain, compiled = predictions(k_dd, y, t), jax.jit(predictions)(k_dd, y, t)
    np.testing.assert_allclose(plain[0], plain[1], rtol=1e-5, atol=1e-6)
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    mapped = jax.vmap(predictions, (0, None, None))(np.stack([k_dd, 2 * k_dd]), y, t)
    np.testing.assert_allclose(mapped[1][0], plain[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", [None, np.array([0.01, 80.0])], ids=str)
@pytest.mark.parametrize("spectrum", ["random", "identity", "rank 1"])
def test_gradients(spectrum, t):
    """Of all arguments, also where eigenvalues coincide and eigenvectors are not differentiable."""
    problem = linear_models.problem((4, 2), (-1,), [14, len(spectrum)])
    k_dd = {"random": problem.ntk["dd"], "identity": np.eye(4), "rank 1": np.ones((4, 4))}[spectrum]

    def loss(k_dd, y, diag_reg, k_td, f0, learning_rate):
        predict_fn = predict.gradient_descent_mse((k_dd + k_dd.T) / 2, y, learning_rate, diag_reg)
        train, test = predict_fn(t, f0, problem.f0_test, k_td)
        return jnp.sum(jnp.sin(train)) + jnp.sum(test**2)

    with jax.enable_x64(True):
        arguments = [jnp.asarray(a) for a in (k_dd, problem.y, 0.1, problem.ntk["td"], problem.f0, 0.8)]
        check_grads(jax.jit(loss), arguments, 1, modes=["fwd", "rev"], rtol=1e-4, atol=1e-4)


def test_gradients_in_time_and_of_second_order():
    problem = linear_models.problem((4, 2), (-1,), 19)

    def loss(t, k_dd):
        return jnp.sum(predict.gradient_descent_mse(k_dd + k_dd.T, problem.y)(t, None, 0.0, problem.ntk["td"]) ** 2)

    with jax.enable_x64(True):
        arguments = [jnp.array(0.4), jnp.asarray(problem.ntk["dd"])]
        check_grads(jax.jit(loss), arguments, 2, modes=["fwd"], rtol=1e-3, atol=1e-3)


# Arguments.


def test_types_of_arguments(dtype):
    problem = linear_models.problem((4, 2), (-1,), 15)
    k_dd, y, k_td = (np.asarray(a, dtype) for a in (problem.ntk["dd"], problem.y, problem.ntk["td"]))
    for convert in (np.asarray, jnp.asarray):
        out = predict.gradient_descent_mse(convert(k_dd), convert(y))(1, 0.0, 0.0, convert(k_td))
        assert all(isinstance(a, jax.Array) and a.dtype == dtype for a in out)
    assert predict.gradient_descent_mse(k_dd, [[1, 0], [0, 1], [1, 1], [0, 0]])([1, 2]).dtype == dtype


def test_shapes_that_do_not_match():
    problem = linear_models.problem((4, 3), (-1,), 16)
    with pytest.raises(ValueError, match=r"`k_train_train` of shape \(5, 5\) .* got shape \(4, 4\).*Pass"):
        predict.gradient_descent_mse(problem.ntk["dd"], np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"`k_train_train` of shape \(4, 4, 3, 3\) .* got shape \(4, 4\)"):
        predict.gradient_descent_mse(problem.ntk["dd"], problem.y, trace_axes=())
    with pytest.raises(ValueError, match=r"axis 2"):
        predict.gradient_descent_mse(problem.ntk["dd"], problem.y, trace_axes=(2,))
    predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    with pytest.raises(ValueError, match=r"`k_test_train` of shape \(test0, 4\) .* got shape \(4, 2\)"):
        predict_fn(1.0, 0.0, 0.0, problem.ntk["td"].T)
    with pytest.raises(ValueError, match=r"`fx_train_0` to be a scalar or of shape \(4, 3\), got shape \(4, 1\)"):
        predict_fn(1.0, np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"`fx_test_0` to be a scalar or of shape \(2, 3\), got shape \(4, 3\)"):
        predict_fn(1.0, 0.0, np.ones((4, 3)), problem.ntk["td"])


def test_values_that_make_no_sense():
    problem = linear_models.problem((4, 3), (-1,), 17)
    for diag_reg in (-1e-3, np.float32(-1), jnp.array(-2.0)):
        with pytest.raises(ValueError, match="`diag_reg` >= 0, got"):
            predict.gradient_descent_mse(problem.ntk["dd"], problem.y, 1.0, diag_reg)
    with pytest.raises(ValueError, match="scalar, got shape"):
        predict.gradient_descent_mse(problem.ntk["dd"], problem.y, 1.0, np.ones(4))
    predict_fn = predict.gradient_descent_mse(problem.ntk["dd"], problem.y)
    for t in (-1.0, [0.0, -2.0], jnp.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="times `t` >= 0, got"):
            predict_fn(t, 0.0)
    with pytest.raises(ValueError, match="got None for both"):
        predict_fn(1.0, None)
    with pytest.raises(ValueError, match="Pass `k_test_train`"):
        predict_fn(1.0, 0.0, 0.0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        predict_fn(1.0, f_train_0=0.0)


def test_one_kernel_only():
    problem = linear_models.problem((4, 3), (-1,), 18)

    class Several:
        ntk = problem.ntk["dd"]

    with pytest.raises(ValueError, match=r"to be one array, got Several.*\.ntk"):
        predict.gradient_descent_mse(Several(), problem.y)


def test_derivatives_in_the_learning_rate_at_infinite_times():
    kernel, y = jnp.asarray([[2.0, 1.0], [1.0, 3.0]]), jnp.ones((2, 1))

    def outputs(learning_rate):
        return predict.gradient_descent_mse(kernel, y, learning_rate)(jnp.asarray([1.0, jnp.inf]))[:, :, 0]

    slopes = jax.jacobian(outputs)(0.5)
    assert np.all(slopes[0] > 0)
    np.testing.assert_array_equal(slopes[1], np.zeros(2))
