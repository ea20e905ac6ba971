"""Axes of kernels: which are kept, in which order, and the average over the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import assert_close, normal, reduced

from neural_tangents.empirical._output_axes import OutputAxes, check_axes


@pytest.mark.parametrize(
    ("trace_axes", "diagonal_axes", "expected"),
    [
        ((-1,), (), ((2,), ())),
        ((2, -3, 2), (), ((0, 2), ())),
        (-1, (1, 0), ((2,), (0, 1))),
        ((), -2, ((), (1,))),
    ],
)
def test_axes_count_from_the_front(trace_axes, diagonal_axes, expected):
    assert check_axes(trace_axes, diagonal_axes, 3) == expected


def test_axes_that_do_not_fit():
    with pytest.raises(TypeError, match=r"`trace_axes` and `diagonal_axes` overlap in \[0, 2\].*Name each axis"):
        check_axes((-1, 0), (2, 0), 3)
    with pytest.raises(ValueError, match=r"`trace_axes=\(3,\)` does not fit an output of the network with 3 axes"):
        check_axes((3,), (), 3)
    with pytest.raises(ValueError, match=r"`diagonal_axes=\(-4,\)` does not fit an output of the network with 3 axes"):
        check_axes((), (-4,), 3)
    with pytest.raises(ValueError, match=r"`trace_axes=\(-1,\)` does not fit.*choose axes that all have"):
        check_axes((-1,), (), 0)


def test_sizes_that_do_not_fit():
    for sets in (((1,), ()), ((), (1,))):
        with pytest.raises(ValueError, match=r"Axis 1 is traced or diagonal.*\(3, 4\) and \(2, 5\)"):
            OutputAxes.create((3, 4), (2, 5), *sets, float)
    with pytest.raises(ValueError, match=r"equally many axes for x1 and x2, got shapes \(3,\) and \(3, 1\)"):
        OutputAxes.create((3,), (3, 1), (), (), float)


@pytest.mark.parametrize(
    ("trace_axes", "diagonal_axes", "shape"),
    [
        ((), (), (2, 3, 4, 4, 5, 5)),
        ((-1,), (), (2, 3, 4, 4)),
        ((), (-2,), (2, 3, 4, 5, 5)),
        ((2,), (1,), (2, 3, 4)),
        ((1, 2), (), (2, 3)),
        ((), (2, 1), (2, 3, 4, 5)),
    ],
)
def test_kernel_keeps_pairs_in_order(trace_axes, diagonal_axes, shape):
    with jax.enable_x64(True):
        first, second = normal(2, 4, 5), normal(3, 4, 5)
        axes = OutputAxes.create(first.shape, second.shape, trace_axes, diagonal_axes, first.dtype)
        assert axes.kernel_shape == shape
        kernel = axes.kernel([jnp.asarray(first), jnp.asarray(second)], [axes.labels1, axes.labels2])
        assert_close(kernel, reduced(np.multiply.outer(first, second), trace_axes, diagonal_axes), 1e-14)


def test_empty_traces_are_zero():
    axes = OutputAxes.create((0, 3), (0, 2), (0,), (), float)
    kernel = axes.kernel([jnp.ones((0, 3)), jnp.ones((0, 2))], [axes.labels1, axes.labels2])
    np.testing.assert_array_equal(kernel, np.zeros((3, 2)))
