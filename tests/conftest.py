"""Settings that every test runs under."""

import os

# LAPACK on CPU is SciPy's OpenBLAS, whose threads fight XLA's and those of the other test processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pytest

# Users run with this setting, so nothing in the library may rely on implicit rank promotion.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tests compile many small programs and run each once, so most of their time would go into optimising these.
# `JAX_DISABLE_MOST_OPTIMIZATIONS=0 python -m pytest` compiles them as users do.
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def optimised():
    """Options of `jax.jit` for a program that is compiled as users compile it."""
    return {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each of the two floating types in turn, with jax able to hold it."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)
