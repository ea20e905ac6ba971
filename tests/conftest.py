"""Settings that every test runs under."""

import os

# LAPACK on CPU is SciPy's OpenBLAS, whose threads fight XLA's and those of the other test processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests compile many small programs and run each once, so most of their time would go into optimising these.
# `XLA_FLAGS= python -m pytest` compiles them as users do.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false",
)

import jax
import numpy as np
import pytest

# Users run with this setting, so nothing in the library may rely on implicit rank promotion.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def optimised():
    """Options of `jax.jit` for a program that is compiled as users compile it."""
    return {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
        "xla_cpu_use_fusion_emitters": True,
    }


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each of the two floating types in turn, with jax able to hold it."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)
