"""How kernels grow: time of an entry, compile time and memory, by side, depth and number of inputs.

    python benchmarks/growth.py
    NEURAL_TANGENTS_NUMBA=0 python benchmarks/growth.py --cases depth

Each case has a process of its own, so that its memory is its own. Times are the shortest of some calls; an entry is a
pair of inputs. Memory is what the process took at most, with results, beyond what it took for two inputs of each batch.
"""

import argparse
import resource
import subprocess
import sys
import time

# (number of inputs, side, layers) of `21 x (Conv 3x3 SAME, ReLU), GlobalAvgPool`; (inputs, layers) of `Dense, ReLU`.
IMAGES = {
    "side": [(4, 16, 21), (4, 32, 21), (4, 64, 21)],
    "depth": [(4, 32, 7), (4, 32, 21), (4, 32, 41), (4, 32, 81)],
    "batch": [(2, 32, 21), (4, 32, 21), (8, 32, 21), (16, 32, 21), (64, 32, 21)],
}
VECTORS = {"vectors": [(1_000, 10), (2_000, 10), (5_000, 10), (10_000, 10), (20_000, 10)]}


def measure(n: int, side: int, depth: int, calls: int) -> str:
    """Times the NTK of two batches of `n` inputs; `side` 0 stands for vectors of 128 entries."""
    import jax
    import numpy as np

    from neural_tangents import stax

    layer = [stax.Conv(1, (3, 3), padding="SAME"), stax.Relu()] if side else [stax.Dense(512, 1.5, 0.05), stax.Relu()]
    pool = [stax.GlobalAvgPool()] if side else [stax.Dense(1)]
    kernel_fn = jax.jit(stax.serial(*layer * depth, *pool)[2], static_argnums=2)
    x = np.random.default_rng(0).normal(size=(2, n, *((side, side, 3) if side else (128,)))).astype(np.float32)
    jax.block_until_ready(kernel_fn(x[0, :2], x[1, :2], "ntk"))  # loads what is needed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    compiled = kernel_fn.lower(x[0], x[1], "ntk").compile()
    compile_time, times = time.perf_counter() - start, []
    for _ in range(calls):
        start = time.perf_counter()
        compiled(x[0], x[1]).block_until_ready()
        times.append(time.perf_counter() - start)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    each = min(times) / n**2
    figure = f"{each * 1e3:10.3f} ms" if side else f"{each * 1e9:10.2f} ns"
    return f"{figure} an entry   {min(times):8.3f} s a call   compile {compile_time:5.2f} s   {memory:6.0f} MiB"


def main() -> None:
    """Prints one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=[*IMAGES, *VECTORS], default=[*IMAGES, *VECTORS])
    parser.add_argument("--calls", type=int, default=3, help="how many calls to time")
    parser.add_argument("--one", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(measure(*args.one, args.calls))
        return
    for name in args.cases:
        for case in IMAGES.get(name) or [(n, 0, depth) for n, depth in VECTORS[name]]:
            command = [sys.executable, __file__, "--one", *map(str, case), "--calls", str(args.calls)]
            line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            n, side, depth = case
            what = f"{n} x {n} images of side {side}" if side else f"{n} x {n} vectors"
            print(f"{what:32} {depth:3} layers {line}", flush=True)


if __name__ == "__main__":
    main()
