"""Variances and standard deviations of predictions, against the diagonal of the covariance taken with NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import predict
from neural_tangents.predict import Gaussian

CASES = [  # times, shape of outputs, trace_axes
    ((), (4, 3), (-1,)),
    ((), (3, 3), (-1,)),  # shapes alone would also allow axis 0
    ((5,), (4, 3), (-1,)),
    ((2, 5), (4, 3), (-1,)),
    ((), (4, 2, 3), (-1,)),
    ((), (4,), ()),
    ((5,), (4,), ()),
    ((), (4, 3), ()),
    ((2,), (4, 3), ()),
    ((), (4, 3, 2), (1,)),
    ((5,), (4, 3, 2), (1, 2)),
    ((), (4, 3), (0,)),
    ((), (4, 3), (0, 1)),
    ((), (1, 1), (-1,)),
    ((), (0, 3), (-1,)),
]


def gaussian_with(times, shape, trace_axes, seed=0):
    """A Gaussian, and its variances, entry by entry."""
    rng = np.random.default_rng(seed)
    described = [axis for axis in range(len(shape)) if axis not in [a % len(shape) for a in trace_axes]]
    covariance = rng.normal(size=(*times, *(shape[axis] for axis in described for _ in range(2)))).astype(np.float32)
    variance = np.empty((*times, *shape), np.float32)
    for time in np.ndindex(*times):
        for index in np.ndindex(*shape):
            variance[time + index] = covariance[time + tuple(index[axis] for axis in described for _ in range(2))]
    return Gaussian(jnp.zeros((*times, *shape)), jnp.asarray(covariance)), variance


@pytest.mark.parametrize(("times", "shape", "trace_axes"), CASES, ids=str)
def test_variance_is_the_diagonal_of_the_covariance(times, shape, trace_axes):
    gaussian, variance = gaussian_with(times, shape, trace_axes)
    np.testing.assert_array_equal(gaussian.variance, variance)
    np.testing.assert_array_equal(jax.jit(lambda g: g.variance)(gaussian), variance)
    np.testing.assert_allclose(gaussian.stddev, np.sqrt(np.maximum(variance, 0)), rtol=1e-6)
    assert gaussian.stddev.shape == gaussian.mean.shape


def test_variances_of_each_point_left_out():
    kernel = np.array([[2.0, 0.5, 0.0], [0.5, 1.5, 0.25], [0.0, 0.25, 1.0]], np.float32)
    found = predict.gp_inference(kernel, np.ones((3, 2)), noise_variance=0.5).leave_one_out()
    inverse = np.linalg.inv(kernel + 0.5 * np.eye(3))
    np.testing.assert_allclose(found.variance, np.repeat(1 / np.diag(inverse)[:, None], 2, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("mean", "covariance", "found"),
    [((4, 3), (5, 5), "none"), ((2, 2, 3), (2, 2, 3, 3), r"\(\), \(0,\), \(1,\)"), ((4, 3), (3, 4, 3), "none")],
)
def test_shapes_that_do_not_tell(mean, covariance, found):
    gaussian = Gaussian(jnp.zeros(mean), jnp.zeros(covariance))
    for name in ("variance", "stddev"):
        with pytest.raises(ValueError, match=f"which fit {found}. Take the diagonal"):
            getattr(gaussian, name)


def test_stddev_where_variances_are_zero_or_negative():
    def total(diagonal):
        return jnp.sum(Gaussian(jnp.zeros((3, 1)), jnp.diag(diagonal)).stddev)

    value, gradient = jax.value_and_grad(total)(jnp.array([-1e-7, 0.0, 4.0]))
    assert value == 2.0
    np.testing.assert_array_equal(gradient, [0.0, 0.0, 0.25])
