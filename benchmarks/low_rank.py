"""Trains and predicts by kernels of low rank, and compares with an exact solution of a part of the data.

    python benchmarks/low_rank.py --points 45000 --rank 500 1000 2000
    python benchmarks/low_rank.py --csv CASP.csv --rank 500 1000 2000

Mean and variances after infinite time of the NTK ensemble of networks with two hidden layers of ReLU, on 1,000 test
points, in float32. Data are made, or read from a file with a line of names and the target in the first column. Memory
is the largest that the process had at any time, less what it had before the call. Use one rank for each process.
"""

import argparse
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would compete with those of XLA

import jax
import jax.numpy as jnp
import numpy as np
from large_systems import data, peak

from neural_tangents import predict, stax

TEST = 1000

DENSE = stax.Dense(1, W_std=1.5, b_std=0.5)
LAYERS = stax.serial(DENSE, stax.Relu(), DENSE, stax.Relu(), DENSE)
KERNEL_FN = jax.jit(LAYERS[2], static_argnames="get")


def from_file(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a file, in random order, with mean 0 and variance 1."""
    table = np.random.default_rng(0).permutation(np.loadtxt(path, delimiter=",", skiprows=1))
    table = (table - table.mean(0)) / table.std(0)
    return table[:, 1:], table[:, :1]


def report(label: str, found: predict.Marginals, y: np.ndarray, rest: str = "") -> None:
    """The error of the mean, and the standard deviation that it was given."""
    error, spread = (np.sqrt(np.mean(np.square(a))) for a in (found.mean - y, found.stddev))
    print(f"{label:26}  {error:9.4f}  {spread:9.4f}  {rest}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="the file with the data; by default they are made")
    parser.add_argument("--points", type=int, default=45000, help="of the training set, at most")
    parser.add_argument("--rank", type=int, nargs="+", default=[1000])
    parser.add_argument("--diag-reg", type=float, default=0.01)
    parser.add_argument("--exact", type=int, default=4000, help="points of the exact solution")
    args = parser.parse_args()

    x, y = from_file(args.csv) if args.csv else data(args.points + TEST)
    x, y = (jnp.asarray(a[: args.points + TEST], "float32") for a in (x, y))
    x_test, y_test, x, y = x[:TEST], np.asarray(y[:TEST]), x[TEST:], y[TEST:]
    options = dict(diag_reg=args.diag_reg)
    predict.low_rank_ensemble(KERNEL_FN, x[:500], y[:500], 200, **options)(
        None, x_test, "ntk", "diag"
    )  # loads all code
    print(
        f"{len(x)} training points, {x.shape[1]} inputs, {y.shape[1]} targets; "
        f"a kernel takes {4e-9 * len(x) ** 2:.1f} GB"
    )
    print(f"{'':26}  {'error':>9}  {'expected':>9}  (root mean squares)")
    part, options = (x[: args.exact], y[: args.exact]), dict(diag_reg=args.diag_reg)
    start = time.perf_counter()
    exact = predict.gradient_descent_mse_ensemble(KERNEL_FN, *part, **options)(None, x_test, "ntk", "diag")
    report(f"exact, {args.exact} points", exact, y_test, f"{time.perf_counter() - start:.1f} s")
    for rank in args.rank:
        few = predict.low_rank_ensemble(KERNEL_FN, *part, min(rank, args.exact), **options)(None, x_test, "ntk", "diag")
        distance = np.linalg.norm(few.mean - exact.mean) / np.linalg.norm(exact.mean)
        report(f"rank {rank}, {args.exact} points", few, y_test, f"mean differs from the exact one by {distance:.4f}")
        before, start, cpu = peak(), time.perf_counter(), time.process_time()
        found = predict.low_rank_ensemble(KERNEL_FN, x, y, rank, **options)(None, x_test, "ntk", "diag")
        found.mean.block_until_ready()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        memory = (peak() - before) / 1e9
        report(f"rank {rank}, {len(x)} points", found, y_test, f"{seconds:.1f} s, CPU {cpu:.1f} s, {memory:.2f} GB")


if __name__ == "__main__":
    main()
