"""Solves a kernel system of many points by conjugate gradients, and reports iterations, residual, time and memory.

    python benchmarks/large_systems.py --points 20000

The kernel is the NTK of a network with two hidden layers, in float32. Memory is the largest that the process had at any
time, less what it had before the kernel was made; so let nothing else be solved by the same process before.
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents import predict, stax

TARGETS = 10
INPUTS = 10


def kernel_of(x: jax.Array, rows: int) -> jax.Array:
    """The NTK of all points with all, made a few rows at a time and in place."""
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1), stax.Relu(), stax.Dense(1))

    @jax.jit
    def fill(x):
        def step(i, kernel):
            start = jnp.minimum(i * rows, len(x) - rows)
            block = kernel_fn(lax.dynamic_slice_in_dim(x, start, rows), x, "ntk")
            return lax.dynamic_update_slice_in_dim(kernel, block, start, 0)

        return lax.fori_loop(0, -(-len(x) // rows), step, jnp.zeros((len(x), len(x)), x.dtype))

    return fill(x)


def data(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and noisy targets that depend on them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(points, INPUTS))
    y = np.tanh(x @ rng.normal(size=(INPUTS, 50))) @ rng.normal(size=(50, TARGETS)) / 7
    return x, y + 0.1 * rng.normal(size=y.shape)


def peak() -> int:
    """The largest memory of this process up to now, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def solve(kernel: jax.Array, y: np.ndarray, args: argparse.Namespace, rank: int | None) -> predict.ConjugateGradients:
    with jax.enable_x64(args.targets == "float64"):
        return predict.conjugate_gradients(
            kernel, y.astype(args.targets), diag_reg=args.diag_reg, rank=rank, tolerance=args.tolerance
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--diag-reg", type=float, default=1e-3)
    parser.add_argument(
        "--rank", type=int, nargs="+", default=[None], help="of preconditioners; by default that of `predict`"
    )
    parser.add_argument("--targets", choices=("float32", "float64"), default="float64", help="their type")
    parser.add_argument("--tolerance", type=float)
    args = parser.parse_args()

    x, y = data(args.points)
    solve(kernel_of(jnp.asarray(x[:100], "float32"), 10), y[:100], args, args.rank[0])  # loads all code
    before = peak()
    kernel = kernel_of(jnp.asarray(x, "float32"), min(args.points, 200)).block_until_ready()
    print(f"kernel: {kernel.shape}, {kernel.dtype}, {kernel.nbytes / 1e9:.2f} GB; targets: {y.shape}, {args.targets}")
    print(f"memory: {(peak() - before) / kernel.nbytes:.3f} times the kernel when it is made")
    print("rank  iterations  relative residual  seconds  memory / kernel")
    for rank in args.rank:
        start = time.perf_counter()
        found = solve(kernel, y, args, rank)
        seconds = time.perf_counter() - start
        memory = (peak() - before) / kernel.nbytes
        print(
            f"{rank or '-':>4}  {found.iterations:10}  {found.residual:17.1e}  {seconds:7.1f}  {memory:15.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
