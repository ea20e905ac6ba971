"""Settings that every test runs under."""

import contextlib
import importlib.metadata
import os

# LAPACK on CPU is SciPy's OpenBLAS, whose threads fight XLA's and those of the other test processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests compile many small programs and run each once, so most of their time would go into optimising these.
# `JAX_DISABLE_MOST_OPTIMIZATIONS=0 python -m pytest` compiles them as users do.
OPTIMISES = "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ
# Emitting fusions takes most of the rest. Later releases have no other way, and end the process at a flag they lack.
HAS_EMITTERS_FLAG = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11)
if not OPTIMISES:
    # One thread for each program: cutting them into parts costs more than the other cores save, as all are busy.
    flags = "--xla_cpu_parallel_codegen_split_count=1"
    flags += " --xla_cpu_use_fusion_emitters=false" if HAS_EMITTERS_FLAG else ""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"

import jax
import numpy as np
import pytest
import simulated_devices

if not OPTIMISES:
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_traceback_in_locations_limit", 0)  # no test reads where a line of a program comes from
# Users run with this setting, so nothing in the library may rely on implicit rank promotion.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def optimised():
    """Options of `jax.jit` for a program that is compiled as users compile it."""
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    return {**options, "xla_cpu_use_fusion_emitters": True} if HAS_EMITTERS_FLAG else options


@pytest.fixture
def four_devices():
    """The environment of a process whose CPU stands for four devices."""
    return simulated_devices.environment(4)


@pytest.fixture
def count_compilations():
    """A context manager that counts programs that are traced or compiled in it."""
    events: list[str] = []
    listening = [True]

    def listen(event, duration, **_):
        if listening[0] and ("jaxpr_trace" in event or "backend_compile" in event):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)

    @contextlib.contextmanager
    def count():
        events.clear()
        yield lambda: len(events)

    yield count
    listening[0] = False  # there is no public way to take a listener away


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each of the two floating types in turn, with jax able to hold it."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)
