"""Marginal likelihood and leave-one-out predictions, compared with their definitions, and draws from predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from neural_tangents import predict, stax
from neural_tangents.predict import Gaussian

SHAPES = [((5,), ()), ((5, 3), (-1,)), ((4, 2), ()), ((3, 2, 2), (1,)), ((3, 2, 2), ())]
OPTIONS = {"diag_reg": 0.3, "diag_reg_absolute_scale": True}


def described_sizes(shape, trace_axes):
    return [n for axis, n in enumerate(shape) if axis - len(shape) not in trace_axes and axis not in trace_axes]


def problem(shape, trace_axes, seed=0):
    """A positive definite matrix over the described outputs, the same as an interleaved kernel, and targets."""
    rng = np.random.default_rng(seed)
    sizes = described_sizes(shape, trace_axes)
    n, size = len(sizes), int(np.prod(sizes))
    root = rng.normal(size=(size, size))
    matrix = root @ root.T / size
    pairs = [axis for i in range(n) for axis in (i, n + i)]
    return matrix, np.transpose(matrix.reshape(*sizes, *sizes), pairs), rng.normal(size=shape)


def columns(y, trace_axes):
    """Targets as columns, one for each place along traced axes."""
    traced = sorted({axis % y.ndim for axis in trace_axes})
    kept = [axis for axis in range(y.ndim) if axis not in traced]
    return np.transpose(y, kept + traced).reshape(int(np.prod([y.shape[axis] for axis in kept])), -1)


@pytest.mark.parametrize(("shape", "trace_axes"), SHAPES, ids=str)
def test_log_marginal_likelihood_is_a_density(shape, trace_axes):
    matrix, kernel, y = problem(shape, trace_axes)
    density = multivariate_normal(cov=matrix + 0.3 * np.eye(len(matrix)))
    expected = sum(density.logpdf(column) for column in columns(y, trace_axes).T)
    with jax.enable_x64(True):
        predict_fn = predict.gp_inference(kernel, y, trace_axes=trace_axes, **OPTIONS)
        np.testing.assert_allclose(predict_fn.log_marginal_likelihood(), expected, rtol=1e-9)


@pytest.mark.parametrize(("shape", "trace_axes"), SHAPES, ids=str)
def test_leave_one_out_is_inference_without_the_point(shape, trace_axes):
    matrix, kernel, y = problem(shape, trace_axes, 1)
    with jax.enable_x64(True):
        found = predict.gp_inference(kernel, y, trace_axes=trace_axes, **OPTIONS).leave_one_out()
        assert found.mean.shape == y.shape
        n_described = len(described_sizes(shape, trace_axes))
        for i in range(shape[0]):
            rest = np.delete(np.arange(shape[0]), i)
            train = kernel[np.ix_(rest, rest)]
            test_train, test_test = kernel[[i]][:, rest], kernel[[i]][:, [i]]
            predict_fn = predict.gp_inference(train, y[rest], trace_axes=trace_axes, **OPTIONS)
            without = predict_fn("nngp", test_train, test_test)
            np.testing.assert_allclose(found.mean[i], without.mean[0], rtol=1e-8)
            covariance = np.asarray(without.covariance[0, 0])
            size = int(np.sqrt(covariance.size))
            pairs = [*range(0, 2 * n_described - 2, 2), *range(1, 2 * n_described - 2, 2)]
            noise = 0.3 * np.eye(size)
            as_matrix = np.transpose(covariance, pairs).reshape(size, size) + noise
            own = np.transpose(np.asarray(found.covariance[i]), pairs).reshape(size, size)
            np.testing.assert_allclose(own, as_matrix, rtol=1e-8, atol=1e-12)


def test_both_processes_and_no_other():
    matrix, _, y = problem((4, 1), (-1,))
    other, _, _ = problem((4, 1), (-1,), 5)
    with jax.enable_x64(True):
        kernels = stax.serial(stax.Dense(1))[2](jnp.ones((4, 2)), None).replace(nngp=matrix, ntk=other)
        predict_fn = predict.gp_inference(kernels, y, **OPTIONS)
        for name, kernel in (("nngp", matrix), ("ntkgp", other)):
            alone = predict.gp_inference(kernel, y, **OPTIONS)
            assert predict_fn.log_marginal_likelihood(name) == alone.log_marginal_likelihood(name)
            np.testing.assert_array_equal(predict_fn.leave_one_out(name).mean, alone.leave_one_out(name).mean)
        assert set(predict_fn.diagnostics()) == {"nngp", "ntk"}
    with pytest.raises(ValueError, match="no Gaussian process"):
        predict_fn.log_marginal_likelihood("ntk")
    with pytest.raises(AttributeError, match="Expected `get`"):
        predict_fn.leave_one_out("other")


def test_points_that_the_kernel_averages_over_cannot_be_left_out():
    predict_fn = predict.gp_inference(np.eye(2), np.ones((4, 2)), trace_axes=(0,))
    with pytest.raises(ValueError, match="axis 0 of `y_train`"):
        predict_fn.leave_one_out()


@pytest.mark.slow
def test_derivatives_in_hyperparameters():
    """Of a network's weight and bias variances and of the noise, against differences."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))

    def objectives(values):
        w_std, b_std, noise = values
        _, _, kernel_fn = stax.serial(stax.Dense(1, w_std, b_std), stax.Relu(), stax.Dense(1, w_std, b_std))
        predict_fn = predict.gp_inference(kernel_fn(x, None, "nngp"), y, noise_variance=noise)
        loo = predict_fn.leave_one_out()
        return jnp.stack([predict_fn.log_marginal_likelihood(), jnp.mean((loo.mean - y) ** 2), jnp.sum(loo.covariance)])

    with jax.enable_x64(True):
        values, h = np.asarray([1.3, 0.2, 0.1]), 1e-5
        exact = jax.jit(jax.jacobian(objectives))(values)
        for i in range(3):
            step = h * np.eye(3)[i]
            numeric = (objectives(values + step) - objectives(values - step)) / (2 * h)
            np.testing.assert_allclose(exact[:, i], numeric, rtol=1e-6, atol=1e-8)


# Draws.


@pytest.mark.parametrize("times", [(), (2,), (2, 1)], ids=str)
@pytest.mark.parametrize(("shape", "trace_axes"), SHAPES, ids=str)
def test_draws_have_the_moments_of_the_prediction(shape, trace_axes, times):
    matrix, kernel, mean = problem(shape, trace_axes, 3)
    scales = np.arange(1, 1 + int(np.prod(times)), dtype=float).reshape(times)
    gaussian = Gaussian(
        jnp.asarray(mean * np.expand_dims(scales, (*range(-mean.ndim, 0),))),
        jnp.asarray(kernel * np.expand_dims(scales, (*range(-kernel.ndim, 0),))),
    )
    n = 4000
    draws = np.asarray(gaussian.sample_posterior(jax.random.key(0), n, trace_axes))
    assert draws.shape == (n, *times, *shape)
    for time in np.ndindex(*times):
        steps = draws[(slice(None), *time)] - np.asarray(gaussian.mean[time])
        each = np.stack([columns(step, trace_axes) for step in steps])
        covariance = np.einsum("nit,njs->itjs", each, each) / n
        expected = scales[time] * np.einsum("ij,ts->itjs", matrix, np.eye(each.shape[-1]))
        largest = np.max(np.diag(matrix)) * scales[time]
        assert np.max(np.abs(covariance - expected)) < 6 * largest * np.sqrt(2 / n)
        assert np.max(np.abs(each.mean(0))) < 5 * np.sqrt(largest / n)


def test_draws_of_what_is_certain():
    gaussian = predict.gp_inference(np.eye(3), np.arange(6.0).reshape(3, 2))("nngp", None, True)
    draws = jax.jit(lambda key: gaussian.sample_posterior(key, 4))(jax.random.key(1))
    np.testing.assert_array_equal(draws, np.broadcast_to(gaussian.mean, (4, 3, 2)))


def test_draws_need_the_trace_axes_of_the_predictor():
    gaussian = Gaussian(jnp.zeros((3, 2)), jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="Pass the `trace_axes`"):
        gaussian.sample_posterior(jax.random.key(0), 1, ())
