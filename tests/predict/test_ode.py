"""`gradient_descent` against matrix exponentials, SciPy's solvers, and gradient descent on weights of linear models."""

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


# Values.


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES[::2] + [((3, 2, 3), (0, 1, 2))])
def test_squared_loss_has_a_closed_form(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [1, len(shape), len(trace_axes)])
    t = np.array([[0.0, 0.3, 2.0], [5.0, 60.0, 61.0]])
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(squared, problem.ntk["dd"], problem.y, 0.6, trace_axes=trace_axes)
        train, test = predict_fn(t, problem.f0, problem.f0_test, problem.ntk["td"])
    assert train.shape == t.shape + shape
    assert test.shape == t.shape + problem.f0_test.shape
    dense = [problem.dense(problem.ntk, block) for block in ("dd", "td")]
    start = np.concatenate([(problem.f0 - problem.y).ravel(), problem.f0_test.ravel()])
    for index in np.ndindex(t.shape):
        end = linear_models.flow(*dense, 0.6 * t[index] / problem.y.size) @ start
        want_train, want_test = np.split(end, [problem.y.size])
        np.testing.assert_allclose(train[index], want_train.reshape(shape) + problem.y, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(test[index], want_test.reshape(test[index].shape), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("momentum", [None, 0.9, 0.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_against_another_solver(loss, momentum):
    problem = linear_models.problem((3, 2, 3), (1,), [2, len(loss)])
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(LOSSES[loss][0], problem.ntk["dd"], problem.y, 0.3, momentum, (1,))
        got = predict_fn(np.array([0, 40.0]), problem.f0, problem.f0_test, problem.ntk["td"])
    for a, f0, want in zip(
        got, (problem.f0, problem.f0_test), solution(problem, LOSSES[loss][1], 0.3, momentum, 40.0)[:2], strict=True
    ):
        np.testing.assert_array_equal(a[0], f0)
        np.testing.assert_allclose(a[1], want, rtol=1e-7, atol=1e-8)


def test_without_friction_energy_is_conserved():
    """Momentum 1 on the squared loss: every eigenvector of the kernel oscillates for ever."""
    with jax.enable_x64(True):
        k_dd, y = np.diag([4.0, 1.0]), np.zeros((2, 1))
        t = np.linspace(0.0, 30.0, 7)
        train = predict.gradient_descent(squared, k_dd, y, 0.25, 1.0)(t, np.ones((2, 1)))
    frequencies = (np.array([4.0, 1.0]) / 2) ** 0.5
    np.testing.assert_allclose(train[..., 0], np.cos(0.5 * t[:, None] * frequencies), atol=1e-7)


@pytest.mark.parametrize("momentum", [None, 1 - 0.8 * 0.01])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_descent_on_the_weights(loss, momentum):
    """A long training of a linear model by gradient descent, or by the heavy-ball method, with small steps."""
    rng = np.random.default_rng(3)
    phi, phi_test = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    y = np.eye(3)[[0, 1, 2, 1, 0]]
    w = previous = w0 = rng.normal(size=(8, 3))
    learning_rate = 1e-3 if momentum is None else 1e-4
    times = [0, 1000, 6000]
    outputs = [(phi @ w, phi_test @ w)]
    for step in range(1, times[-1] + 1):
        gradient = phi.T @ LOSSES[loss][1](phi @ w, y)
        w, previous = w - learning_rate * gradient + (momentum or 0.0) * (w - previous), w
        if step in times:
            outputs.append((phi @ w, phi_test @ w))
    predict_fn = predict.gradient_descent(LOSSES[loss][0], phi @ phi.T, y, learning_rate, momentum)
    got = predict_fn(np.array(times), phi @ w0, phi_test @ w0, phi_test @ phi.T)
    assert np.abs(outputs[-1][0] - outputs[0][0]).max() > 1
    for a, want in zip(got, zip(*outputs, strict=True), strict=True):
        np.testing.assert_allclose(a, np.stack(want), atol=5e-3 if momentum is None else 2e-2)


def test_rounding(dtype):
    problem = linear_models.problem((4, 3), (-1,), 4)
    k_dd, k_td, y, f0, f0_test = (
        np.asarray(a, dtype) for a in (problem.ntk["dd"], problem.ntk["td"], problem.y, problem.f0, problem.f0_test)
    )
    t = np.array([0.5, 10.0, 1e3], dtype)
    want = predict.gradient_descent_mse(k_dd, y)(t, f0, f0_test, k_td)
    got = predict.gradient_descent(squared, k_dd, y)(t, f0, f0_test, k_td)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, atol=2e-5 if dtype == np.float32 else 1e-8)


def test_outputs_and_kernels_of_any_size(dtype):
    """The tolerance is relative: nothing depends on the units of outputs, kernels and time."""
    problem = linear_models.problem((4, 3), (-1,), 5)
    for units in (1e-12, 1e12):
        k_dd, k_td = (np.asarray(problem.ntk[block] * units, dtype) for block in ("dd", "td"))
        y, f0, f0_test = (np.asarray(a / units, dtype) for a in (problem.y, problem.f0, problem.f0_test))
        t = np.array([5 / units, 50 / units], dtype)
        want = predict.gradient_descent_mse(k_dd, y)(t, f0, f0_test, k_td)
        got = predict.gradient_descent(squared, k_dd, y)(t, f0, f0_test, k_td)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


# Infinite time.


def test_infinite_time(dtype):
    problem = linear_models.problem((4, 3), (-1,), 6)
    k_dd, k_td, y = (np.asarray(a, dtype) for a in (problem.ntk["dd"], problem.ntk["td"], problem.y))
    atol = 5e-5 if dtype == np.float32 else 1e-7
    want = predict.gradient_descent_mse(k_dd, y)(None, 0.3, 0.2, k_td)
    for momentum, times in (None, [None, np.inf, np.array([1.0, np.inf], dtype)]), (0.8, [None]):
        predict_fn = predict.gradient_descent(squared, k_dd, y, 0.5, momentum)
        for t in times:
            for a, b in zip(predict_fn(t, 0.3, 0.2, k_td), want, strict=True):
                assert a.shape == np.shape(t) + b.shape
                np.testing.assert_allclose(a if a.ndim == b.ndim else a[-1], b, atol=atol)


def test_infinite_time_from_where_nothing_moves():
    """At a minimum, and at a critical point of a flat loss."""
    for loss in (squared, lambda f, y: 0.0 * jnp.sum(f)):
        np.testing.assert_array_equal(predict.gradient_descent(loss, np.eye(2), np.ones((2, 1)))(None, 1.0), 1.0)


def test_infinite_time_with_a_minimum_of_the_cross_entropy():
    problem = linear_models.problem((4, 3), (-1,), 7)
    y = np.asarray(jax.nn.softmax(problem.y), np.float32)
    train = predict.gradient_descent(cross_entropy, problem.ntk["dd"], y)(None, problem.f0)
    np.testing.assert_allclose(jax.nn.softmax(train), y, atol=1e-4)


@pytest.mark.parametrize("most", [_integrate.MAX_STEPS, 50])
def test_infinite_time_without_a_minimum(monkeypatch, most):
    monkeypatch.setattr(_integrate, "MAX_STEPS", most)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(cross_entropy, np.eye(2), np.eye(2))
        with pytest.warns(UserWarning, match="still change"):
            train = predict_fn(None, 0.1)
        assert np.isfinite(train).all() and train[0, 0] > 1 and train[1, 1] > 1
        np.testing.assert_array_equal(train, jax.jit(predict_fn)(None, 0.1))


# What is returned.


def test_what_is_predicted():
    problem = linear_models.problem((4, 3), (-1,), 8)
    k_td = problem.ntk["td"]
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(squared, problem.ntk["dd"], problem.y)
        pair = predict_fn(5.0, problem.f0, problem.f0_test, k_td)
        assert isinstance(pair, tuple)
        np.testing.assert_allclose(predict_fn(5.0, problem.f0), pair[0], rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(predict_fn(5.0, problem.f0, k_test_train=k_td), pair[0], rtol=1e-7, atol=1e-8)
        without_train = predict_fn(5.0, None, problem.f0_test, k_td)
        np.testing.assert_array_equal(without_train, predict_fn(5.0, 0.0, problem.f0_test, k_td)[1])
        scalar = predict_fn(5.0, 0.0, 0.0, k_td)[1]
        np.testing.assert_allclose(scalar, without_train - problem.f0_test, rtol=1e-6, atol=1e-8)
        state = predict_fn(5.0, ODEState(problem.f0, problem.f0_test), None, k_td)
        assert isinstance(state, ODEState) and state.qx_train is state.qx_test is None
        np.testing.assert_array_equal(state.fx_train, pair[0])
        np.testing.assert_array_equal(state.fx_test, pair[1])
        assert predict_fn(np.zeros((0, 2)), problem.f0).shape == (0, 2, 4, 3)


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_resuming(momentum):
    problem = linear_models.problem((4, 3), (-1,), 9)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(cross_entropy, problem.ntk["dd"], problem.y, 0.4, momentum)
        start = ODEState(problem.f0, problem.f0_test)
        at_once = predict_fn(np.array([3.0, 10.0, 40.0]), start, None, problem.ntk["td"])
        state = predict_fn(3.0, start, None, problem.ntk["td"])
        later = predict_fn(np.array([7.0, 37.0]), state, k_test_train=problem.ntk["td"])
        last = predict_fn(30.0, jax.tree.map(lambda a: a[0], later), k_test_train=problem.ntk["td"])
        want = solution(problem, cross_entropy_gradient, 0.4, momentum, 40.0)
    for resumed in (jax.tree.map(lambda a: a[-1], at_once), jax.tree.map(lambda a: a[-1], later), last):
        assert len(jax.tree.leaves(resumed)) == len(want)
        for a, b in zip(jax.tree.leaves(resumed), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_velocities_given():
    problem = linear_models.problem((4, 3), (-1,), 10)
    with jax.enable_x64(True):
        predict_fn = predict.gradient_descent(cross_entropy, problem.ntk["dd"], problem.y, 0.4, 0.7)
        state = predict_fn(5.0, ODEState(problem.f0, problem.f0_test, 0.5, -2.0), None, problem.ntk["td"])
    for a, b in zip(
        jax.tree.leaves(state), solution(problem, cross_entropy_gradient, 0.4, 0.7, 5.0, 0.5, -2.0), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_state_without_one_of_the_sets():
    problem = linear_models.problem((4, 3), (-1,), 11)
    predict_fn = predict.gradient_descent(squared, problem.ntk["dd"], problem.y, momentum=0.5)
    state = predict_fn(1.0, ODEState(fx_train=problem.f0))
    assert [a is None for a in (state.fx_train, state.fx_test, state.qx_train, state.qx_test)] == [False, True] * 2
    state = predict_fn(1.0, ODEState(fx_test=0.0), k_test_train=problem.ntk["td"])
    want = predict_fn(1.0, ODEState(0.0, 0.0), k_test_train=problem.ntk["td"])
    assert jax.tree.all(jax.tree.map(np.array_equal, state, want))


# Transformations.


def test_jit_and_vmap():
    problem = linear_models.problem((4, 3), (-1,), 12)
    t = np.array([[0.0, 2.0, 3.0], [7.0, 20.0, 21.0]], np.float32)

    def predictions(t, learning_rate, momentum, k_dd):
        predict_fn = predict.gradient_descent(cross_entropy, k_dd, problem.y, learning_rate, momentum)
        return predict_fn(t, problem.f0, problem.f0_test, problem.ntk["td"])

    arguments = (0.5, 0.9, np.asarray(problem.ntk["dd"], np.float32))
    want = predictions(t, *arguments)
    in_scan = jax.lax.scan(lambda _, t: (None, predictions(t, *arguments)), None, t.ravel())[1]
    for got in (
        jax.jit(predictions)(t, *arguments),
        jax.vmap(jax.vmap(lambda t: predictions(t, *arguments)))(t),
        jax.tree.map(lambda a: a.reshape(t.shape + a.shape[1:]), in_scan),
        jax.tree.map(lambda a: a[0], jax.vmap(predictions, (None, 0, None, None))(t, jnp.ones(2) / 2, *arguments[1:])),
    ):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_compiled_once(monkeypatch):
    traces = []
    monkeypatch.setattr(_ode, "integrate", lambda *arguments: traces.append(1) or integrate(*arguments))
    problem = linear_models.problem((4, 3), (-1,), 13)
    predict_fn = predict.gradient_descent(squared, problem.ntk["dd"], problem.y)
    for t in (1.0, 2.0, None):
        predict_fn(t, problem.f0)
    assert len(traces) == 1


@pytest.mark.parametrize("momentum", [None, 0.7])
def test_gradients(momentum):
    """Of everything, with what the loss closes over, against finite differences."""
    problem = linear_models.problem((3, 2), (-1,), [14, momentum is None])

    def total(t, k_dd, k_td, y, f0, learning_rate, temperature, momentum=None):
        def loss(f, y):
            return cross_entropy(f / temperature, y)

        predict_fn = predict.gradient_descent(loss, k_dd, y, learning_rate, momentum)
        train, test = predict_fn(t, f0, problem.f0_test, k_td)
        return jnp.sum(jnp.sin(train)) + jnp.sum(test**2)

    with jax.enable_x64(True):
        arguments = [np.array([0.2, 1.0, 9.0]), problem.ntk["dd"], problem.ntk["td"], problem.y, problem.f0, 0.8, 1.3]
        arguments = [jnp.asarray(a) for a in arguments + ([] if momentum is None else [momentum])]
        compiled = jax.jit(total)
        derivative = jax.jit(jax.grad(total))
        at_start, later = (derivative(arguments[0].at[0].set(t), *arguments[1:])[0] for t in (0.0, 1e-6))
        np.testing.assert_allclose(at_start, later, rtol=1e-4, atol=1e-4)
        assert (abs(at_start) > 0.1) == (momentum is None)
        check_grads(compiled, arguments, 1, modes=["rev"], eps=1e-4, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("t", [1e3, None], ids=str)
def test_gradients_at_long_times(t):
    """Where integration back in time would be off by a factor of e^300."""
    problem = linear_models.problem((4, 3), (-1,), 15)

    def gradients(predictor, *arguments):
        def total(k_dd, k_td, y, f0, learning_rate):
            train, test = predictor(10 * (k_dd + k_dd.T), y, learning_rate)(t, f0, problem.f0_test, k_td)
            return jnp.sum(jnp.sin(train)) + jnp.sum(test**2)

        return jax.jit(jax.grad(total, range(5)))(*arguments)

    with jax.enable_x64(True):
        arguments = problem.ntk["dd"], problem.ntk["td"], problem.y, problem.f0, 0.8
        got = gradients(lambda *a: predict.gradient_descent(squared, *a), *arguments)
        for a, b in zip(got, gradients(predict.gradient_descent_mse, *arguments), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_gradients_with_integers_and_random_keys_in_the_loss():
    y = np.zeros((3, 2), np.float32)

    @jax.jit
    def total(k_dd, labels, key):
        def loss(f, y):
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(f), labels, 1)) + 0 * jax.random.normal(key)

        return jnp.sum(predict.gradient_descent(loss, k_dd, y)(3.0, 0.5) ** 2)

    labels, k_dd = np.array([[0], [1], [0]]), np.diag([1.0, 2.0, 3.0]).astype(np.float32)
    got = jax.grad(total)(k_dd, labels, jax.random.key(0))

    def total_one_hot(k_dd):
        loss = lambda f, y: 2 * cross_entropy(f, y)  # noqa: E731
        return jnp.sum(predict.gradient_descent(loss, k_dd, np.eye(2, dtype=np.float32)[labels[:, 0]])(3.0, 0.5) ** 2)

    np.testing.assert_allclose(got, jax.grad(total_one_hot)(k_dd), rtol=1e-4, atol=1e-5)


def test_gradients_of_many_networks():
    """`vmap` over `grad`, of integrations with different numbers of steps."""
    with jax.enable_x64(True):
        y = np.ones((2, 1))

        def total(scale):
            return jnp.sum(predict.gradient_descent(squared, scale * jnp.diag(jnp.array([1.0, 2.0])), y)(4.0))

        scales = jnp.array([0.1, 1.0, 10.0])
        want = sum(2 * k * np.exp(-2 * k * scales) for k in (1.0, 2.0))
        np.testing.assert_allclose(jax.vmap(jax.grad(total))(scales), want, rtol=1e-6, atol=1e-8)


# What cannot be done.


def test_times_out_of_reach(monkeypatch):
    """More steps than are allowed: an error where it can be raised, else NaN, also of derivatives."""
    monkeypatch.setattr(_integrate, "MAX_STEPS", 64)
    predict_fn = predict.gradient_descent(squared, np.diag([1.0, 1e5]).astype(np.float32), np.ones((2, 1), np.float32))
    with pytest.raises(RuntimeError, match="did not reach t = 100.0: it takes more than"):
        predict_fn(np.array([1e-5, 100.0, 200.0]), 0.0)
    train = jax.jit(predict_fn)(np.array([1e-5, 100.0, 200.0]), 0.0)
    assert np.isfinite(train[0]).all() and np.isnan(train[1:]).all()
    assert np.isnan(jax.grad(lambda f0: predict_fn(100.0, f0).sum())(0.0))


def test_losses_that_are_not_finite():
    def loss(f, y):
        return jnp.sum(jnp.log(2 - f))  # grows to 2 in a finite time

    predict_fn = predict.gradient_descent(loss, np.eye(1), np.ones((1, 1)))
    np.testing.assert_allclose(predict_fn(1.0, 0.0), 2 - 2**0.5, rtol=1e-5)
    with pytest.raises(RuntimeError, match="gradient of `loss` is not finite"):
        predict_fn(4.0, 0.0)
    assert np.isnan(jax.jit(predict_fn)(4.0, 0.0)).all()
    for t in (1.0, None):
        with pytest.raises(RuntimeError, match="gradient of `loss` is not finite"):
            predict_fn(t, np.nan)


def test_traced_times_that_decrease():
    predict_fn = jax.jit(predict.gradient_descent(squared, np.eye(2), np.ones((2, 1))))
    train = predict_fn(np.array([1.0, 2.0, 1.5, 3.0]))
    assert np.isfinite(train[:2]).all() and np.isnan(train[2:]).all()
    assert np.isnan(predict_fn(np.array([-1.0, 1.0]))).all()
    assert np.isnan(predict_fn(np.nan)).all()


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
    for learning_rate in (0.0, -1.0, np.inf, jnp.array(np.nan)):
        with pytest.raises(ValueError, match="`learning_rate` > 0, got"):
            predict.gradient_descent(squared, k_dd, y, learning_rate)
    for momentum in (-0.1, 1.1, jnp.array(np.nan)):
        with pytest.raises(ValueError, match="`momentum` from 0 to 1, got"):
            predict.gradient_descent(squared, k_dd, y, 1.0, momentum)
    for arguments in ((np.ones(4),), (1.0, np.ones(4))):
        with pytest.raises(ValueError, match="to be a scalar, got shape"):
            predict.gradient_descent(squared, k_dd, y, *arguments)
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


def test_states_are_frozen_pytrees():
    state = ODEState(np.zeros(2), qx_train=1.0)
    leaves, structure = jax.tree.flatten(state)
    assert len(leaves) == 2 and jax.tree.unflatten(structure, leaves).fx_test is None
    with pytest.raises(AttributeError):
        state.fx_train = 1.0


def test_types_of_arguments(dtype):
    k_dd, y = np.eye(2, dtype=dtype), [[1], [0]]
    for convert in (np.asarray, jnp.asarray):
        out = predict.gradient_descent(squared, convert(k_dd), y)([1, 2], np.zeros((2, 1), int))
        assert isinstance(out, jax.Array) and out.dtype == dtype
