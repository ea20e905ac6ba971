"""Stores of kernels that can be checked by hand, and processes that fill them."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
from simulated_devices import environment

from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents.batching import KernelStore
from neural_tangents.batching._store.creation import create_store


def inputs(n: int, features: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).normal(size=(n, features)).astype(np.float32)


def kernel_pair(scale: float = 1.0):
    """A kernel function with two results. It is made by a function so that other processes can get it."""

    def kernel_fn(x1, x2=None, get=("nngp", "ntk"), factor=1.0):
        product = scale * factor * (x1 @ (x1 if x2 is None else x2).T)
        kernels = {"nngp": product, "ntk": jnp.tanh(product)}
        return kernels[get] if isinstance(get, str) else kernels

    return kernel_fn


def make(target, *args, kernel_fn=None, batch_size=4, devices: int = 1, **kwargs) -> KernelStore:
    """A store of tiles of at most `batch_size` inputs."""
    settings = TileSettings(batch_size, devices, store_on_device=False)
    return create_store(kernel_fn or kernel_pair(), settings, target, args, kwargs)


def run(script: str, *args, env=None, timeout: float = 120) -> str:
    """Runs a script in another process, and returns what it prints."""
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, env=env or environment(1), timeout=timeout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
