"""Rows summed up over windows, against products of whole covariances with matrices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.stax._streaming.pool_sums import PoolSum, add_up
from neural_tangents.stax._streaming.run_geometry import MixesOffsets, RunGeometry
from neural_tangents.stax._window import Padding, Window

RANDOM = np.random.RandomState(91)


def pool_sums(n, wraps):
    """Pools that may follow a run, with their matrices `(windows, positions)`."""
    reach = RunGeometry((n,), (1,), (n,), (n + (0 if wraps else 2),), wraps)
    for size, stride, padding in itertools.product((1, 3, 4), (1, 2, 3), Padding):
        window = Window(size, stride, padding)
        if padding is Padding.VALID and size > n:
            continue
        try:
            (offset_axis,) = reach.offset_axes((window,))
        except MixesOffsets:
            continue
        yield PoolSum(offset_axis, window), np.asarray(window.sums(jnp.eye(n), (0,)))


def rows_of(pool_sum, cov):
    """All rows of a covariance `(1, 1, n, n)`, anything in their gap, and what stands where."""
    rows = jnp.arange(-(-pool_sum.offset_axis.period // pool_sum.group) * pool_sum.group)
    positions = pool_sum.offset_axis.positions(rows)
    weights = (rows < pool_sum.offset_axis.period).astype(float)
    return jnp.where(positions.present, cov[..., positions.first, positions.second], 7.0), positions, weights


@pytest.mark.slow
@pytest.mark.parametrize("wraps", [False, True], ids=["zeros", "periodic"])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_sums_over_windows(n, wraps):
    cov, count = RANDOM.normal(size=(1, 1, n, n)), 0
    with jax.enable_x64(True):
        for pool_sum, matrix in pool_sums(n, wraps):
            rows, positions, weights = rows_of(pool_sum, jnp.asarray(cov))
            sums = add_up(rows, [pool_sum], [positions], [weights])
            assert sums.shape[2:] == pool_sum.sums(len(weights))
            want = matrix @ cov[0, 0] @ matrix.T
            np.testing.assert_allclose(
                pool_sum.ordered(sums, 2)[0, 0], want, rtol=1e-12, atol=1e-12, err_msg=f"{pool_sum}"
            )
            count += 1
    assert count >= 8


@pytest.mark.slow
def test_several_axes():
    n = 4
    with jax.enable_x64(True):
        pairs = itertools.product(list(pool_sums(n, False))[::3], repeat=2)
        for (fold1, matrix1), (fold2, matrix2) in itertools.islice(pairs, 0, None, 8):
            cov = RANDOM.normal(size=(1, 1, n, n)), RANDOM.normal(size=(1, 1, n, n))
            (rows1, *rest1), (rows2, *rest2) = rows_of(fold1, jnp.asarray(cov[0])), rows_of(fold2, jnp.asarray(cov[1]))
            rows = rows1[..., None, None] * rows2[:, :, None, None]
            sums = add_up(rows, [fold1, fold2], *zip(rest1, rest2, strict=True))
            got = fold2.ordered(fold1.ordered(sums, 2), 4)[0, 0]
            want1, want2 = matrix1 @ cov[0][0, 0] @ matrix1.T, matrix2 @ cov[1][0, 0] @ matrix2.T
            np.testing.assert_allclose(got, want1[..., None, None] * want2, rtol=1e-11, atol=1e-11)
