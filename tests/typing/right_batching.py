"""Right uses of kernels in tiles and in stores: type checkers accept all of them, and they run."""

import functools
from typing import assert_type

import jax

import neural_tangents as nt
from neural_tangents import batching, stax
from neural_tangents.typing import KernelFn

kernel_fn: KernelFn = stax.serial(stax.Dense(16), stax.Erf(), stax.Dense(1)).kernel_fn
x = jax.random.normal(jax.random.key(1), (5, 3))

batched = nt.batch(kernel_fn, batch_size=2, device_count=0, store_on_device=False)
assert_type(batched, batching.BatchedKernelFn)
kernel: jax.Array = batched(x, None, "ntk")
assert kernel.shape == (5, 5)
assert batched(x, None, get=("nngp", "ntk")).nngp.shape == (5, 5)
assert functools.partial(batched, get="ntk")(x, x[:2]).shape == (5, 2)
assert nt.batch(kernel_fn, "auto", memory_budget=2**20)(x, None, "ntk").shape == (5, 5)


def fill(target: str) -> batching.KernelStore:
    """A kernel in a folder."""
    estimate = batched.estimate(x, None, "ntk")
    assert_type(estimate.seconds, float)
    store = batched.store(target, x, None, "ntk")
    store.fill(share=(0, 2))
    store.fill(progress=False)
    for i, j in store.missing():
        batching.fill_tile(store, i, j)
    assert store.ntk.shape == store["ntk"][:, :].shape
    return batching.open_store(target)
