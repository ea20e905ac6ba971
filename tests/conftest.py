"""Settings that every test runs under."""

import os

# LAPACK on CPU is SciPy's OpenBLAS, whose threads fight XLA's and those of the other test processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pytest

# Users run with this setting, so nothing in the library may rely on implicit rank promotion.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each of the two floating types in turn, with jax able to hold it."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)
