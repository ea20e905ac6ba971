"""`gradient_descent` against matrix exponentials, SciPy's solvers, and gradient descent on weights of linear models."""

import functools

import jax
import linear_models
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from jax import numpy as jnp
from jax.test_util import check_grads

from neural_tangents import predict
from neural_tangents.predict import _integrate, _ode
from neural_tangents.predict._integrate import integrate

ODEState = predict.ODEState


def squared(f, y):
    return 0.5 * jnp.mean((f - y) ** 2)


def cross_entropy(f, y):
    return -jnp.mean(jax.nn.log_softmax(f) * y)


def squared_gradient(f, y):
    return (f - y) / y.size


def cross_entropy_gradient(f, y):
    p = np.exp(f - f.max(-1, keepdims=True))
    return (p / p.sum(-1, keepdims=True) * y.sum(-1, keepdims=True) - y) / y.size


LOSSES = {"squared": (squared, squared_gradient), "cross-entropy": (cross_entropy, cross_entropy_gradient)}


def solution(problem, gradient, learning_rate, momentum, t, qx_train=0.0, qx_test=0.0):
    """Train and test outputs, and velocities, at a time, by SciPy, with all kernels as dense matrices."""
    k = np.concatenate([problem.dense(problem.ntk, "dd"), problem.dense(problem.ntk, "td")])
    m, n = problem.y.size, len(k)

    def velocity(_, u):
        force = -k @ gradient(u[:m].reshape(problem.y.shape), problem.y).ravel()
        if momentum is None:
            return force
        return np.concatenate([u[n:], force + (momentum - 1) / learning_rate**0.5 * u[n:]])

    start = [problem.f0.ravel(), problem.f0_test.ravel()]
    if momentum is not None:
        start += [np.full(m, qx_train), np.full(n - m, qx_test)]
    span = (0.0, t * (learning_rate if momentum is None else learning_rate**0.5))
    end = scipy.integrate.solve_ivp(velocity, span, np.concatenate(start), "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    pieces = [end[:m], end[m:n], end[n : n + m], end[n + m :]]
    shapes = [problem.y.shape, problem.f0_test.shape] * 2
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True) if piece.size]


@functools.partial(jax.jit, static_argnames=("loss", "trace_axes"))
def train(loss, k_dd, y, t, f0, f0_test, k_td, learning_rate=1.0, momentum=None, trace_axes=(-1,)):
    """What is tested, compiled once for all tests with the same shapes, which saves most of their time."""
    return predict.gradient_descent(loss, k_dd, y, learning_rate, momentum, trace_axes)(t, f0, f0_test, k_td)


def problem_of(seed, dtype=np.float64):
    """A `Problem` of shape `(4, 3)` with `trace_axes=(-1,)`, and the arguments `k_dd, y, f0, f0_test, k_td`."""
    problem = linear_models.problem((4, 3), (-1,), seed)
    arguments = problem.ntk["dd"], problem.y, problem.f0, problem.f0_test, problem.ntk["td"]
    return problem, [np.asarray(a, dtype) for a in arguments]


# Values.


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES[::2] + [((3, 2, 3), (0, 1, 2))])
def test_squared_loss_has_a_closed_form(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [1, len(shape), len(trace_axes)])
    t = np.array([[0.0, 0.3, 2.0], [5.0, 60.0, 61.0]])
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(squared, problem.ntk["dd"], problem.y, 0.6, trace_axes=trace_axes)
        f_train, f_test = predict_fn(t, problem.f0, problem.f0_test, problem.ntk["td"])
    assert f_train.shape == t.shape + shape
    assert f_test.shape == t.shape + problem.f0_test.shape
    dense = [problem.dense(problem.ntk, block) for block in ("dd", "td")]
    start = np.concatenate([(problem.f0 - problem.y).ravel(), problem.f0_test.ravel()])
    for index in np.ndindex(t.shape):
        end = linear_models.flow(*dense, 0.6 * t[index] / problem.y.size) @ start
        want_train, want_test = np.split(end, [problem.y.size])
        np.testing.assert_allclose(f_train[index], want_train.reshape(shape) + problem.y, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(f_test[index], want_test.reshape(f_test[index].shape), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("momentum", [None, 0.9, 0.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_against_another_solver(loss, momentum):
    problem, (k_dd, y, *rest) = problem_of([2, len(loss)])
    with jax.enable_x64(True):
        got = train(LOSSES[loss][0], k_dd, y, np.array([0.0, 1.0, 40.0]), *rest, 0.3, momentum)
    want = solution(problem, LOSSES[loss][1], 0.3, momentum, 40.0)[:2]
    for a, f0, b in zip(got, (problem.f0, problem.f0_test), want, strict=True):
        np.testing.assert_array_equal(a[0], f0)
        np.testing.assert_allclose(a[2], b, rtol=1e-7, atol=1e-8)


def test_without_friction_outputs_oscillate():
    """Momentum 1 on the squared loss."""
    eigenvalues, t = np.array([4.0, 1.0, 0.5, 0.0]), np.array([1.0, 17.0, 30.0])
    with jax.enable_x64(True):
        y = np.zeros((4, 3))
        got = train(squared, np.diag(eigenvalues), y, t, np.ones((4, 3)), y[:2], np.zeros((2, 4)), 0.25, 1.0)[0]
    want = np.cos(0.25**0.5 * t[:, None] * (eigenvalues / 12) ** 0.5)
    np.testing.assert_allclose(got, np.repeat(want[..., None], 3, -1), atol=1e-7)


@pytest.mark.parametrize("momentum", [None, 1 - 0.8 * 0.01])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_descent_on_the_weights(loss, momentum):
    """A long training of a linear model by gradient descent, or by the heavy-ball method, with small steps."""
    rng = np.random.default_rng(3)
    phi, phi_test = rng.normal(size=(4, 8)), rng.normal(size=(2, 8))
    y = np.eye(3)[[0, 1, 2, 1]]
    w = previous = w0 = rng.normal(size=(8, 3))
    learning_rate = 1e-3 if momentum is None else 1e-4
    times = [0, 1000, 6000]
    outputs = [(phi @ w, phi_test @ w)]
    for step in range(1, times[-1] + 1):
        gradient = phi.T @ LOSSES[loss][1](phi @ w, y)
        w, previous = w - learning_rate * gradient + (momentum or 0.0) * (w - previous), w
        if step in times:
            outputs.append((phi @ w, phi_test @ w))
    with jax.enable_x64(True):
        start = phi @ w0, phi_test @ w0, phi_test @ phi.T
        t = np.array(times, float)
        got = train(LOSSES[loss][0], phi @ phi.T, y, t, *start, learning_rate, momentum)
    assert np.abs(outputs[-1][0] - outputs[0][0]).max() > 0.5
    for a, want in zip(got, zip(*outputs, strict=True), strict=True):
        np.testing.assert_allclose(a, np.stack(want), atol=2e-3 if momentum is None else 2e-2)


def test_rounding(dtype):
    _, (k_dd, y, *rest) = problem_of(4, dtype)
    t = np.array([0.5, 10.0, 1e3], dtype)
    want = predict.gradient_descent_mse(k_dd, y)(t, *rest)
    for a, b in zip(train(squared, k_dd, y, t, *rest), want, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, atol=2e-5 if dtype == np.float32 else 1e-8)


@pytest.mark.parametrize("units", [1e-12, 1e12])
def test_outputs_and_kernels_of_any_size(dtype, units):
    """The tolerance is relative: nothing depends on the units of outputs, kernels and time."""
    _, (k_dd, y, f0, f0_test, k_td) = problem_of(5, dtype)
    t = np.array([5 / units, 50 / units, 60 / units], dtype)
    k_dd, k_td = (np.asarray(k * units, dtype) for k in (k_dd, k_td))
    y, f0, f0_test = (np.asarray(a / units, dtype) for a in (y, f0, f0_test))
    want = predict.gradient_descent_mse(k_dd, y)(t, f0, f0_test, k_td)
    for a, b in zip(train(squared, k_dd, y, t, f0, f0_test, k_td), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


# Infinite time.


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_infinite_time(dtype, momentum):
    _, (k_dd, y, *rest) = problem_of(6, dtype)
    want = predict.gradient_descent_mse(k_dd, y)(None, *rest)
    got = train(squared, k_dd, y, np.array([1.0, 5.0, np.inf], dtype), *rest, 0.5, momentum)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a[2], b, atol=5e-5 if dtype == np.float32 else 1e-7)


def test_infinite_time_by_default():
    _, (k_dd, y, *rest) = problem_of(7)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(squared, k_dd, y)
        np.testing.assert_allclose(predict_fn(), y, atol=1e-7)
        np.testing.assert_array_equal(predict_fn(), predict_fn(np.inf))


def test_infinite_time_from_where_nothing_moves():
    """At a minimum, and on a plateau."""
    for loss in (squared, lambda f, y: 0.0 * jnp.sum(f)):
        np.testing.assert_array_equal(predict.gradient_descent(loss, np.eye(2), np.ones((2, 1)))(None, 1.0), 1.0)


def test_infinite_time_with_a_minimum_of_the_cross_entropy():
    _, (k_dd, y, *rest) = problem_of(8)
    with jax.enable_x64(True):
        y = jax.nn.softmax(y)
        f_train = train(cross_entropy, k_dd, y, np.array([1.0, 5.0, np.inf]), *rest)[0]
        np.testing.assert_allclose(jax.nn.softmax(f_train[2]), y, atol=1e-7)


@pytest.mark.parametrize("most", [_integrate.MAX_STEPS, 64])
def test_infinite_time_without_a_minimum(monkeypatch, most):
    monkeypatch.setattr(_integrate, "MAX_STEPS", most)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(cross_entropy, np.eye(2), np.eye(2))
        with pytest.warns(UserWarning, match="still change"):
            f_train = np.asarray(predict_fn(None, 0.1))
    gap = f_train[0, 0] - f_train[0, 1]
    assert 2 < gap < 40  # it grows with the logarithm of time
    np.testing.assert_allclose(f_train, 0.1 + gap / 2 * np.array([[1, -1], [-1, 1]]), atol=1e-3)


# What is returned.


def test_what_is_predicted():
    problem, (k_dd, y, f0, f0_test, k_td) = problem_of(9)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(squared, k_dd, y)
        pair = predict_fn(5.0, f0, f0_test, k_td)
        assert isinstance(pair, tuple)
        np.testing.assert_allclose(predict_fn(5.0, f0), pair[0], rtol=1e-7, atol=1e-8)
        np.testing.assert_array_equal(predict_fn(5.0, f0, None, k_td), predict_fn(5.0, f0))
        without_train = predict_fn(5.0, None, f0_test, k_td)
        np.testing.assert_array_equal(without_train, predict_fn(5.0, 0.0, f0_test, k_td)[1])
        scalar = predict_fn(5.0, 0.0, 0.0, k_td)[1]
        np.testing.assert_allclose(scalar, without_train - f0_test, rtol=1e-6, atol=1e-8)
        state = predict_fn(5.0, ODEState(f0, f0_test), None, k_td)
        assert isinstance(state, ODEState) and state.qx_train is state.qx_test is None
        np.testing.assert_array_equal(state.fx_train, pair[0])
        np.testing.assert_array_equal(state.fx_test, pair[1])
        assert predict_fn(np.zeros((0, 2)), f0).shape == (0, 2, 4, 3)


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_resuming(momentum):
    problem, (k_dd, y, f0, f0_test, k_td) = problem_of(10)
    velocities = () if momentum is None else (0.5, -2.0)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(cross_entropy, k_dd, y, 0.4, momentum)
        start = ODEState(f0, f0_test, *velocities)
        state = predict_fn(3.0, start, None, k_td)
        later = predict_fn(np.array([[7.0, 37.0]]), state, k_test_train=k_td)
        last = predict_fn(30.0, jax.tree.map(lambda a: a[0, 0], later), k_test_train=k_td)
        at_once = predict_fn(40.0, start, k_test_train=k_td)
    want = solution(problem, cross_entropy_gradient, 0.4, momentum, 40.0, *velocities)
    for resumed in (at_once, jax.tree.map(lambda a: a[0, 1], later), last):
        assert len(jax.tree.leaves(resumed)) == len(want)
        for a, b in zip(jax.tree.leaves(resumed), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_states_without_all_attributes():
    problem, (k_dd, y, f0, _, k_td) = problem_of(11, np.float32)
    predict_fn = predict.gradient_descent(squared, k_dd, y, momentum=0.5)
    state = predict_fn(1.0, ODEState(fx_train=f0))
    assert [a is None for a in (state.fx_train, state.fx_test, state.qx_train, state.qx_test)] == [False, True] * 2
    state = predict_fn(1.0, ODEState(fx_test=0.0), k_test_train=k_td)
    want = predict_fn(1.0, ODEState(0.0, 0.0, 0.0, 0.0), k_test_train=k_td)
    assert len(jax.tree.leaves(want)) == 4
    assert jax.tree.all(jax.tree.map(np.array_equal, state, want))


def test_states_are_frozen_pytrees():
    state = ODEState(np.zeros(2), qx_train=1.0)
    leaves, structure = jax.tree.flatten(state)
    assert len(leaves) == 2 and jax.tree.unflatten(structure, leaves).fx_test is None
    with pytest.raises(AttributeError):
        state.fx_train = 1.0


# Transformations.


@pytest.mark.slow
def test_jit_scan_and_vmap():
    _, (k_dd, y, *rest) = problem_of(12, np.float32)
    t = np.array([[0.0, 2.0, 3.0], [7.0, 20.0, 21.0]], np.float32)
    predict_fn = predict.gradient_descent(cross_entropy, k_dd, y, 0.5, 0.9)
    want = predict_fn(t, *rest)
    in_scan = jax.lax.scan(lambda _, t: (None, predict_fn(t, *rest)), None, t)[1]
    in_vmap = jax.vmap(jax.vmap(lambda t: predict_fn(t, *rest)))(t)
    everything_traced = train(cross_entropy, k_dd, y, t, *rest, 0.5, 0.9)
    for got in (in_scan, in_vmap, everything_traced):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_compiled_once(monkeypatch):
    traces = []
    monkeypatch.setattr(_ode, "integrate", lambda *arguments: traces.append(1) or integrate(*arguments))
    predict_fn = predict.gradient_descent(squared, np.eye(2), np.ones((2, 1)))
    for t in (1.0, 2.0, None):
        predict_fn(t, 0.5)
    assert len(traces) == 1


@pytest.mark.slow
def test_gradients():
    """Of everything, with what the loss closes over, against finite differences."""
    problem, (k_dd, y, f0, f0_test, k_td) = problem_of(14)

    def total(t, k_dd, k_td, y, f0, learning_rate, temperature, momentum):
        def loss(f, y):
            return cross_entropy(f / temperature, y)

        f_train, f_test = train.__wrapped__(loss, k_dd, y, t, f0, f0_test, k_td, learning_rate, momentum)
        return jnp.sum(jnp.sin(f_train)) + jnp.sum(f_test**2)

    with jax.enable_x64(True):
        arguments = [jnp.asarray(a) for a in (np.array([0.2, 1.0, 9.0]), k_dd, k_td, y, f0, 0.8, 1.3, 0.7)]
        check_grads(jax.jit(total), arguments, 1, modes=["rev"], rtol=1e-4, atol=1e-4)


def test_gradients_at_long_times():
    """Where integration back in time would be off by a factor of e^300, at infinity, and in `t` at 0."""
    _, (k_dd, y, f0, f0_test, k_td) = problem_of(15)

    def gradients(predictor):
        def total(k_dd, k_td, y, f0, learning_rate, t):
            f_train, f_test = predictor(10 * (k_dd + k_dd.T), y, learning_rate)(t, f0, f0_test, k_td)
            return jnp.sum(jnp.sin(f_train)) + jnp.sum(f_test**2)

        return jax.jit(jax.grad(total, range(6)))

    with jax.enable_x64(True):
        got_fn = gradients(lambda *a: predict.gradient_descent(squared, *a))
        want_fn = gradients(predict.gradient_descent_mse)
        arguments = k_dd, k_td, y, f0, 0.8
        for last in (1e3, np.inf):
            got, want = (f(*arguments, np.array([0.0, 1.0, last])) for f in (got_fn, want_fn))
            if np.isinf(last):
                assert np.isfinite(got[4]) and got[5][2] == 0
            for a, b in zip(got[: 4 if np.isinf(last) else 6], want, strict=False):
                np.testing.assert_allclose(a, b, atol=1e-5)
            np.testing.assert_allclose(got[5][:2], want[5][:2], atol=1e-5)


@pytest.mark.slow
def test_gradients_with_integers_and_random_keys_in_the_loss():
    labels, k_dd = np.array([[0], [1], [0]]), np.diag([1.0, 2.0, 3.0])

    @jax.jit
    def total(k_dd, labels, key):
        def loss(f, y):
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(f), labels, 1)) * jax.random.uniform(key)

        return jnp.sum(jnp.sin(predict.gradient_descent(loss, k_dd, np.zeros((3, 2)))(3.0, 0.5)))

    with jax.enable_x64(True):
        check_grads(lambda k_dd: total(k_dd, labels, jax.random.key(0)), [k_dd], 1, modes=["rev"], rtol=1e-4)


@pytest.mark.slow
def test_gradients_of_many_networks():
    """`vmap` over `grad`, of integrations with different numbers of steps."""

    def total(scale):
        return jnp.sum(predict.gradient_descent(squared, scale * jnp.diag(jnp.array([1.0, 2.0])), np.ones((2, 1)))(4.0))

    with jax.enable_x64(True):
        scales = np.array([0.1, 1.0, 10.0])
        want = sum(2 * k * np.exp(-2 * k * scales) for k in (1.0, 2.0))
        np.testing.assert_allclose(jax.vmap(jax.grad(total))(scales), want, rtol=1e-6, atol=1e-8)


# What cannot be done.


@pytest.mark.slow
def test_times_out_of_reach(monkeypatch):
    """More steps than are allowed: an error where it can be raised, else NaN, also of derivatives."""
    monkeypatch.setattr(_integrate, "MAX_STEPS", 64)
    predict_fn = predict.gradient_descent(squared, np.diag([1.0, 1e5]).astype(np.float32), np.ones((2, 1), np.float32))
    t = np.array([1e-5, 100.0, 200.0], np.float32)
    with pytest.raises(RuntimeError, match="did not reach t = 100.0: it takes more than"):
        predict_fn(t, 0.0)
    f_train = jax.jit(predict_fn)(t, 0.0)
    assert np.isfinite(f_train[0]).all() and np.isnan(f_train[1:]).all()
    assert np.isnan(jax.grad(lambda f0: predict_fn(t, f0)[0].sum())(0.0))


def test_losses_that_are_not_finite():
    def loss(f, y):
        return jnp.sum(jnp.log(2 - f))  # f grows to 2 in a finite time

    predict_fn = predict.gradient_descent(loss, np.eye(1), np.ones((1, 1)))
    np.testing.assert_allclose(predict_fn(1.0, 0.0), 2 - 2**0.5, rtol=1e-5)
    with pytest.raises(RuntimeError, match="gradient of `loss` is not finite"):
        predict_fn(4.0, 0.0)
    with pytest.raises(ValueError, match="finite numbers in `fx_train_or_state_0`"):
        predict_fn(1.0, np.nan)
    assert np.isnan(jax.jit(predict_fn)(4.0, 0.0)).all()


def test_traced_times_that_are_wrong():
    predict_fn = jax.jit(predict.gradient_descent(squared, np.eye(2), np.ones((2, 1))))
    for t, good in (([1.0, 2.0, 1.5, 3.0], 2), ([-1.0, 1.0, 2.0, 3.0], 0), ([np.nan, 1.0, 2.0, 3.0], 0)):
        f_train = predict_fn(np.array(t))
        assert np.isfinite(f_train[:good]).all() and np.isnan(f_train[good:]).all()


def test_shapes_that_do_not_match():
    problem = linear_models.problem((4, 3), (-1,), 16)
    with pytest.raises(ValueError, match=r"`k_train_train` of shape \(5, 5\) .* got shape \(4, 4\).*Pass"):
        predict.gradient_descent(squared, problem.ntk["dd"], np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"axis 2"):
        predict.gradient_descent(squared, problem.ntk["dd"], problem.y, trace_axes=(2,))
    predict_fn = predict.gradient_descent(squared, problem.ntk["dd"], problem.y, momentum=0.9)
    with pytest.raises(ValueError, match=r"`k_test_train` of shape \(test0, 4\) .* got shape \(4, 2\)"):
        predict_fn(1.0, 0.0, 0.0, problem.ntk["td"].T)
    wrong = np.ones((4, 1))
    with pytest.raises(ValueError, match=r"`fx_train_or_state_0` to be a scalar or of shape \(4, 3\), got"):
        predict_fn(1.0, wrong)
    with pytest.raises(ValueError, match=r"`fx_test_0` to be a scalar or of shape \(2, 3\), got shape \(4, 1\)"):
        predict_fn(1.0, 0.0, wrong, problem.ntk["td"])
    for name in ("fx_train", "fx_test", "qx_train", "qx_test"):
        with pytest.raises(ValueError, match=f"`{name}` to be a scalar or of shape"):
            predict_fn(1.0, ODEState(**(dict(fx_train=0.0, fx_test=0.0) | {name: wrong})), None, problem.ntk["td"])
    for loss in (lambda f, y: (f - y) ** 2, lambda f, y: (squared(f, y), f)):
        with pytest.raises(ValueError, match="to return a scalar"):
            predict.gradient_descent(loss, problem.ntk["dd"], problem.y)


def test_values_that_make_no_sense():
    problem = linear_models.problem((4, 3), (-1,), 17)
    k_dd, k_td, y = problem.ntk["dd"], problem.ntk["td"], problem.y
    for learning_rate in (0.0, -1.0):
        with pytest.raises(ValueError, match="`learning_rate` > 0, got"):
            predict.gradient_descent(squared, k_dd, y, learning_rate)
    for momentum in (-0.1, 1.1):
        with pytest.raises(ValueError, match="`momentum` from 0 to 1, got"):
            predict.gradient_descent(squared, k_dd, y, 1.0, momentum)
    with pytest.raises(TypeError, match="`learning_rate` to be a number, got an array of shape"):
        predict.gradient_descent(squared, k_dd, y, np.ones(4))
    with pytest.raises(ValueError, match="to be a scalar, got shape"):
        predict.gradient_descent(squared, k_dd, y, 1.0, np.ones(4))
    predict_fn = predict.gradient_descent(squared, k_dd, y)
    for t in (-1.0, [-2.0, 0.0], jnp.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="times `t` >= 0, got"):
            predict_fn(t)
    for t in ([2.0, 1.0], jnp.array([1.0, 1.0]), [[0.0, 2.0], [1.0, 3.0]], [np.inf, np.inf]):
        with pytest.raises(ValueError, match="strictly increasing times `t`, got"):
            predict_fn(t)
    for start in (None, ODEState()):
        with pytest.raises(ValueError, match="got None for both"):
            predict_fn(1.0, start)
    for arguments in ((0.0, 0.0), (ODEState(0.0, 0.0),)):
        with pytest.raises(ValueError, match="Pass `k_test_train`"):
            predict_fn(1.0, *arguments)
    with pytest.raises(ValueError, match="no `fx_test_0` besides a state"):
        predict_fn(1.0, ODEState(0.0), 0.0, k_td)
    for state in (ODEState(0.0, qx_train=0.0), ODEState(0.0, 0.0, qx_test=0.0)):
        with pytest.raises(ValueError, match="since `momentum` is None, got `qx_"):
            predict_fn(1.0, state, None, k_td)
    with_momentum = predict.gradient_descent(squared, k_dd, y, momentum=0.9)
    for state in (ODEState(fx_test=0.0, qx_train=0.0), ODEState(fx_train=0.0, qx_test=0.0)):
        with pytest.raises(ValueError, match="a state with `fx_t.*Pass both"):
            with_momentum(1.0, state, None, k_td)
    with pytest.raises(TypeError, match="unexpected keyword"):
        predict_fn(1.0, fx_train_0=0.0)


def test_one_kernel_only():
    problem = linear_models.problem((4, 3), (-1,), 18)

    class Several:
        ntk = problem.ntk["dd"]

    with pytest.raises(ValueError, match=r"to be one array, got Several.*\.ntk"):
        predict.gradient_descent(squared, Several(), problem.y)


def test_types_of_arguments(dtype):
    predict_fn = predict.gradient_descent(squared, np.eye(2, dtype=dtype), [[1], [0]], 1)
    for t, f0 in (([1, 2], 0), (np.array([1, 2]), jnp.zeros((2, 1), int)), (jnp.array([1.0, 2.0]), [[0.0], [0.0]])):
        f_train = predict_fn(t, f0)
        assert isinstance(f_train, jax.Array) and f_train.dtype == dtype
        np.testing.assert_allclose(f_train[:, 0, 0], 1 - np.exp([-0.5, -1]), rtol=1e-5)
