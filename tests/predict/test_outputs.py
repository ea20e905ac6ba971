"""Kernels of outputs with several axes as matrices, against the identity spelled out."""

import linear_models
import numpy as np
import pytest

from neural_tangents.predict._outputs import Outputs


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES)
def test_matrix_times_columns_is_the_full_kernel_times_outputs(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [50, len(shape), len(trace_axes)])
    train = Outputs.create(shape, trace_axes)
    k_td = problem.ntk["td"].astype(np.float32)
    test = train.held_out(k_td, "k")
    assert test.shape == problem.f0_test.shape
    assert train.size == problem.y.size
    got = test.from_columns(train.matrix(k_td) @ train.columns(problem.y.astype(np.float32)))
    want = (problem.dense(problem.ntk, "td") @ problem.y.ravel()).reshape(test.shape)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES)
def test_there_and_back(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [51, len(shape), len(trace_axes)])
    outputs = Outputs.create(shape, trace_axes)
    y, k_dd = problem.y.astype(np.float32), problem.ntk["dd"].astype(np.float32)
    outputs.check(k_dd, "k")
    np.testing.assert_array_equal(outputs.from_columns(outputs.columns(y)), y)
    np.testing.assert_array_equal(outputs.covariance(outputs.matrix(k_dd)), k_dd)
    lead = np.ones((5, 1, 1), np.float32)
    np.testing.assert_array_equal(outputs.from_columns(lead * outputs.columns(y)[None]), np.stack([y] * 5))
    np.testing.assert_array_equal(outputs.covariance(lead * outputs.matrix(k_dd)[None]), np.stack([k_dd] * 5))


def test_empty_test_set():
    train = Outputs.create((4, 3), (-1,))
    test = train.held_out(np.zeros((0, 4)), "k")
    assert train.matrix(np.zeros((0, 4))).shape == (0, 4)
    assert test.from_columns(np.zeros((2, 0, 3))).shape == (2, 0, 3)
