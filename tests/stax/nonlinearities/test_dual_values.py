"""The moments of every nonlinearity, from tiny to large variances, against quadrature of the function itself."""

import functools

import dual_truth as truth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_cases import CASES


@functools.cache
def truths(name):
    case = CASES[name]
    moments = []
    for order, g in enumerate((case.f, case.df)):
        if g is None:
            moments.append(None)
        elif case.degree is None:
            moments.append(truth.smooth_moment(g, case.sharpness, case.reach, case.variances))
        else:
            moments.append(truth.homogeneous_moment(g, max(case.degree - order, 0)))
    return moments


@pytest.mark.parametrize("x64, tolerance", [(True, 1e-10), (False, 1e-5)], ids=["f64", "f32"])
@pytest.mark.parametrize("name", CASES)
def test_moments(name, x64, tolerance):
    case = CASES[name]
    dtype = np.float64 if x64 else np.float32
    with jax.enable_x64(x64):
        arrays = [jnp.asarray(x, dtype) for x in truth.grid(case.variances)]
        computed = case.dual.moments(*arrays)
        for got, want in zip(computed, truths(name), strict=True):
            assert got.dtype == dtype and got.shape == arrays[0].shape
            if want is not None:
                error = np.abs(np.asarray(got, np.float64) - want)
                assert np.max(error - tolerance * truth.scale(want)) <= 0, np.nanmax(error / truth.scale(want))
