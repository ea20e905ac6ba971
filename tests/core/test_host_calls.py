"""Functions that programs for CPUs call, and what takes their place elsewhere."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.host_calls import host_call, on_cpu


def doubled(counted):
    """`2 x`, and `3 x` where no program for this CPU is made."""

    def double(x):
        assert isinstance(x, np.ndarray)
        counted.append(x.shape)
        return [2 * x]

    def here(x):
        return {"result": host_call(double, [jax.ShapeDtypeStruct(x.shape, x.dtype)], x)[0]}

    return lambda x: on_cpu(here, lambda x: {"result": 3 * x}, x)["result"]


def test_is_called_by_programs_for_this_cpu():
    counted = []
    fn = jax.jit(doubled(counted))
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(fn(x), 2 * x)
    np.testing.assert_array_equal(jax.jit(jax.checkpoint(fn))(x), 2 * x)
    assert counted == [(3,), (3,)]


def test_outside_of_programs_and_in_exported_ones_something_else_takes_its_place():
    counted = []
    fn = doubled(counted)
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(fn(x), 3 * x)
    np.testing.assert_array_equal(jax.export.export(jax.jit(fn))(x).call(x), 3 * x)
    np.testing.assert_array_equal(jax.export.export(jax.jit(fn), platforms=("cpu", "tpu"))(x).call(x), 3 * x)
    assert not counted


def test_vmap_calls_it_for_one_after_the_other():
    counted = []
    x = jnp.arange(12.0).reshape(3, 4)
    fn = doubled(counted)
    np.testing.assert_array_equal(jax.jit(jax.vmap(fn, 1, 1))(x), 2 * x)
    assert counted == [(3,)] * 4
    np.testing.assert_array_equal(jax.vmap(fn)(x), 3 * x)


def test_vmap_of_some_arguments():
    def here(x, y):
        return host_call(lambda x, y: [x + 10 * y], [jax.ShapeDtypeStruct((2,), x.dtype)], x, y)[0]

    x, y = jnp.arange(6.0).reshape(3, 2), jnp.arange(2.0)
    fn = jax.jit(jax.vmap(lambda x: on_cpu(here, lambda x, y: x, x, y)))
    np.testing.assert_array_equal(fn(x), x + 10 * y[None])


ONE_CORE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
import jax, jax.numpy as jnp
from neural_tangents._core.host_calls import host_call, on_cpu

def fn(x):
    shape = jax.ShapeDtypeStruct((), x.dtype)
    return on_cpu(lambda x: host_call(lambda x: [x.sum()], [shape], x)[0], lambda x: x[0], x)

x = jnp.ones(2**22)
print([float(y) for y in [jax.jit(fn)(x) for _ in range(5)]])
"""


def test_one_core_is_enough():
    """A call that waited for another thread of XLA would wait for ever."""
    done = subprocess.run([sys.executable, "-c", ONE_CORE], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str([2.0**22] * 5), done.stderr


PENDING = """
import time
import jax, jax.numpy as jnp
from neural_tangents._core.host_calls import host_call, on_cpu

def slow(x):
    time.sleep(0.3)
    return [x + 1]

@jax.jit
def fn(x):
    return on_cpu(lambda x: host_call(slow, [jax.ShapeDtypeStruct(x.shape, x.dtype)], x)[0], lambda x: x, x)

x = jnp.ones(1000)
results = [fn(x + i) for i in range(4)]
for i in range(3):
    fn(x - i)  # nobody refers to these
"""


def test_a_process_may_end_while_programs_run():
    done = subprocess.run([sys.executable, "-c", PENDING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
