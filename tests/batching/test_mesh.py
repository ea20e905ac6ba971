"""Kernels spread over a mesh of devices: of one process, and of two that `jax.distributed` joins."""

import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from simulated_devices import environment, run

import neural_tangents as nt
from neural_tangents import stax

COMMON = """
import jax, jax.numpy as jnp, numpy as np, neural_tangents as nt
from neural_tangents import stax
_, _, kernel_fn = stax.serial(stax.Dense(1, b_std=0.1), stax.Relu(), stax.Dropout(0.5), stax.Dense(1))
init_fn, apply_fn, _ = stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(2))
params = init_fn(jax.random.key(0), (-1, 3))[1]
x1, x2 = (np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32) for n in (12, 8))
x1[4:8] = x1[:4]  # duplicates are different inputs
"""

ONE_PROCESS = """
for shape in ((4,), (2, 2), (3, 1), (1, 4)):
    mesh = jax.make_mesh(shape, ("rows", "columns")[: len(shape)], devices=jax.devices()[: int(np.prod(shape))])
    for size in (0, 2, 100):
        for second in (None, x2, x1.copy()):
            if len(shape) == 2 and second is x2 and size == 100:
                continue
            found = nt.batch(kernel_fn, size, mesh=mesh)(x1, second, ("nngp", "cov1"))
            for a, b in zip(found, kernel_fn(x1, second, ("nngp", "cov1"))):
                np.testing.assert_allclose(a, b, rtol=1e-4, err_msg=str((shape, size)))
            assert found.nngp.addressable_shards[0].data.shape == tuple(
                n // d for n, d in zip(found.nngp.shape, (*shape, 1)[:2]))
mesh = jax.make_mesh((4,), ("rows",))
ntk_fn = nt.empirical_ntk_fn(apply_fn, trace_axes=())
found = nt.batch(ntk_fn, 2, mesh=mesh)
np.testing.assert_allclose(found(x1, x2, params), ntk_fn(x1, x2, params), rtol=1e-4, atol=1e-5)
total = lambda fn: lambda x: jnp.sum(jnp.sin(fn(x, None, params)))
np.testing.assert_allclose(jax.jit(jax.grad(total(found)))(x1), jax.grad(total(ntk_fn))(x1), rtol=1e-3, atol=1e-4)
for n in (10, 0):
    try:
        found(x1[:n], x2, params)
    except ValueError as error:
        print(error)
"""

TWO_PROCESSES = """
import sys
jax.distributed.initialize(f"localhost:{sys.argv[2]}", num_processes=2, process_id=int(sys.argv[1]))
from jax.experimental.multihost_utils import process_allgather
assert jax.device_count() == 4 and jax.local_device_count() == 2
mesh = jax.make_mesh((4,), ("rows",))
for second in (None, x2):
    found = nt.batch(kernel_fn, 2, mesh=mesh)(x1, second, "ntk")
    assert not found.is_fully_addressable and found.addressable_shards[0].data.shape[0] == 3
    # Each process computes the whole by itself too, on its own devices.
    alone = nt.batch(kernel_fn, 2, store_on_device=False)(x1, second, "ntk")
    np.testing.assert_allclose(process_allgather(found, tiled=True), alone, rtol=1e-4, atol=1e-6)
print("done", jax.process_index())
"""


@pytest.mark.slow
def test_mesh_of_one_process():
    assert run(COMMON + ONE_PROCESS, 4).count("number of inputs in x1 to be a multiple of 4") == 2


@pytest.mark.slow
def test_two_processes():
    script = COMMON.replace("init_fn,", "jax.config.update('jax_cpu_collectives_implementation', 'gloo')\ninit_fn,", 1)
    head, _, rest = TWO_PROCESSES.partition("from jax.experimental")
    script = "import jax\n" + head + script + "from jax.experimental" + rest
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), str(port)],
            env=environment(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(processes):
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0 and f"done {rank}" in out, error


def test_errors():
    kernel_fn = stax.Dense(1)[2]
    devices = np.asarray(jax.devices()[:1])
    for mesh, error, message in (
        (devices, TypeError, "`mesh` to be a `jax.sharding.Mesh`, got ndarray"),
        (jax.sharding.Mesh(devices.reshape(1, 1, 1), ("a", "b", "c")), ValueError, "an axis for rows"),
    ):
        with pytest.raises(error, match=message):
            nt.batch(kernel_fn, 2, mesh=mesh)
    mesh = jax.sharding.Mesh(devices, ("rows",))
    with pytest.raises(ValueError, match='a number where there is a mesh, got "auto"'):
        nt.batch(kernel_fn, "auto", mesh=mesh)(np.ones((4, 3)))
    with pytest.raises(TypeError, match="without a mesh"):
        nt.batch(kernel_fn, 2, mesh=mesh).estimate(np.ones((4, 3)))
