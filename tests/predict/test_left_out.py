"""Points and groups that are left out, compared with fitting again without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_models import problem, undense
from tile_stores import stored

from neural_tangents import predict
from neural_tangents.predict import _arguments, _stored_algebra

TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
OPTIONS = {"diag_reg": 0.2, "diag_reg_absolute_scale": True}
CASES = [((4,), ()), ((4, 3), (-1,)), ((3, 2, 3), (1,))]


def noise_of(shape):
    return np.linspace(0.1, 0.3, shape[0])


def without(matrix, shape, group):
    """Which outputs belong to a group of points and which do not, and the regularised dense matrix of all."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    inside, outside = numbers[list(group)].ravel(), np.delete(numbers, list(group), axis=0).ravel()
    noise = np.broadcast_to(noise_of(shape).reshape(-1, *[1] * (len(shape) - 1)), shape).ravel()
    return inside, outside, matrix + np.diag(0.2 + noise)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "trace_axes"), CASES, ids=str)
def test_leaving_out_is_fitting_again(shape, trace_axes, dtype):
    given = problem(shape, trace_axes, seed=1)
    matrix, kernel, y = given.dense(given.ntk, "dd"), given.ntk["dd"].astype(dtype), given.y.astype(dtype)
    predict_fn = predict.gp_inference(kernel, y, trace_axes=trace_axes, noise_variance=noise_of(shape), **OPTIONS)
    groups = np.array([[0, 2], [2, 1], [1, 0]])
    found = predict_fn.leave_out(groups)
    assert found.mean.shape == (3, 2, *shape[1:]) and found.mean.dtype == found.covariance.dtype == dtype
    one, each = predict_fn.leave_out([1]), predict_fn.leave_one_out()
    of_shape = (2, *shape[1:])
    for i, group in enumerate(groups):
        inside, outside, regularised = without(matrix, shape, group)
        weights = np.linalg.solve(regularised[np.ix_(outside, outside)], regularised[np.ix_(outside, inside)]).T
        mean = weights @ given.y.ravel()[outside]
        covariance = regularised[np.ix_(inside, inside)] - weights @ regularised[np.ix_(outside, inside)]
        expected = undense(covariance, of_shape, of_shape, trace_axes)
        np.testing.assert_allclose(np.ravel(found.mean[i]), mean, rtol=0, atol=TOLERANCE[dtype.name])
        np.testing.assert_allclose(found.covariance[i], expected, rtol=0, atol=TOLERANCE[dtype.name])
        assert found.covariance[i].shape == expected.shape
    single, alone = predict_fn.leave_out(None), predict_fn.leave_out(np.arange(shape[0])[:, None])
    np.testing.assert_array_equal(single.mean, alone.mean)
    np.testing.assert_allclose(one.mean[0], each.mean[1], rtol=0, atol=TOLERANCE[dtype.name])
    np.testing.assert_allclose(one.covariance[0, 0], each.covariance[1], rtol=0, atol=TOLERANCE[dtype.name])
    np.testing.assert_allclose(single.variance[:, 0], alone.variance[:, 0])


def test_many_groups_of_many_points():
    """More rows than are solved for at once, in an order of their own."""
    rng = np.random.default_rng(0)
    points, y = rng.normal(size=(600, 8)), rng.normal(size=(600, 2))
    kernel = np.exp(-np.sum((points[:, None] - points) ** 2, -1) / 8)
    groups = rng.permutation(600).reshape(3, 4, 50)
    with jax.enable_x64(True):
        found = predict.gp_inference(kernel, y, noise_variance=0.1).leave_out(groups)
        assert found.mean.shape == (3, 4, 50, 2) and found.covariance.shape == (3, 4, 50, 50)
        for place in [(0, 0), (2, 3)]:
            group, rest = groups[place], np.setdiff1d(np.arange(600), groups[place])
            cross = kernel[np.ix_(rest, group)]
            weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.1 * np.eye(550), cross)
            covariance = kernel[np.ix_(group, group)] + 0.1 * np.eye(50) - weights.T @ cross
            np.testing.assert_allclose(found.mean[place], weights.T @ y[rest], rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.covariance[place], covariance, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_kernels_in_stores(monkeypatch):
    monkeypatch.setattr(_arguments, "LOADED", 0)
    monkeypatch.setattr(_stored_algebra, "_SIDE", 1)
    points = np.random.default_rng(2).normal(size=(30, 5))
    kernel = np.exp(-np.sum((points[:, None] - points) ** 2, -1) / 4).astype("float32")
    y, groups = points[:, :2].astype("float32"), np.array([[[8, 3, 29]], [[0, 1, 15]], [[22, 23, 24]]])
    expected_fn, predict_fn = (predict.gp_inference(k, y, noise_variance=0.1) for k in (kernel, stored(kernel)))
    for expected, found in [
        (expected_fn.leave_out(groups), predict_fn.leave_out(groups)),
        (expected_fn.leave_out(np.arange(30)[::-1]), predict_fn.leave_out(np.arange(30)[::-1])),
        (expected_fn.leave_one_out(), predict_fn.leave_one_out()),
    ]:
        for a, b in zip(expected, found, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE["float32"])


def test_compiled_and_of_traced_groups():
    kernel, y = jnp.eye(4) + 0.5, jnp.arange(8.0).reshape(4, 2)
    groups = jnp.array([[0, 3], [1, 2]])

    def leave_out(kernel, groups):
        return predict.gp_inference(kernel, y).leave_out(groups)

    expected = leave_out(kernel, groups)
    for found in (jax.jit(leave_out)(kernel, groups), jax.vmap(lambda g: leave_out(kernel, g))(groups)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([0, 4], ValueError, "from 0 to 3, got 0 to 4"),
        ([[0, -1]], ValueError, "from 0 to 3, got -1 to 0"),
        ([[0, 1], [2, 2]], ValueError, "one twice in a group"),
        (1, ValueError, "of shape"),
        (np.zeros((2, 0), int), ValueError, "S >= 1"),
        ([True, False, True, True], TypeError, "jnp.nonzero"),
        ([0.0, 1.0], TypeError, "integers"),
        ([[0], [1, 2]], TypeError, "array of numbers"),
        ("all", TypeError, "array of numbers"),
    ],
    ids=str,
)
def test_errors_in_groups(groups, error, message):
    predict_fn = predict.gp_inference(np.eye(4), np.ones((4, 2)))
    with pytest.raises(error, match=message):
        predict_fn.leave_out(groups)
