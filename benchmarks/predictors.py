"""Times and memory of predictors from a kernel, of whichever `neural_tangents` its interpreter finds.

    python benchmarks/predictors.py --reference /path/to/reference/bin/python --points 1000 5000

Each line is a process of its own, in turn for this library, the reference, and `cho_factor` and `cho_solve` of jax. The
kernel is positive definite, with 50 test points and one target. Memory is in units of the kernel: the peak of resident
memory above what was there with the kernel, what arrays a predictor holds after its predictions, and what arrays are
left when it is gone. Linux only.
"""

import argparse
import collections
import gc
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would compete with those of XLA

import numpy as np
from worker import stub_tensorflow

TEST = 50
KINDS = ("gp_inference", "gradient_descent_mse", "gradient_descent_mse_ensemble")


def kernel(n, dtype):
    """That of an Ornstein-Uhlenbeck process, with noise."""
    i = np.arange(n, dtype=dtype)
    k = i[:, None] - i
    np.exp(np.multiply(np.abs(k, out=k), -50 / n, out=k), out=k)
    k[np.arange(n), np.arange(n)] += 0.1
    return k


def predictor(kind, k, y, k_td):
    """A function of no arguments that predicts mean and covariance, or at a finite time the mean, on the test set."""
    import jax

    if kind == "plain":
        factor = jax.scipy.linalg.cho_factor(k)
        return lambda: [k_td @ jax.scipy.linalg.cho_solve(factor, b) for b in (y, k_td.T)]
    from neural_tangents import predict

    if kind == "gp_inference":
        predict_fn = predict.gp_inference(k, y)
        return lambda: predict_fn("nngp", k_td, k_td[:, :TEST])
    if kind == "gradient_descent_mse":
        predict_fn = predict.gradient_descent_mse(k, y)
        return lambda: predict_fn(10.0, 0.0, 0.0, k_td)
    x = np.arange(len(k))[:, None]
    kernels = collections.namedtuple("Kernels", ["nngp", "ntk"])

    def kernel_fn(x1, x2, get, **_):
        found = (k if len(x1) == len(x) else k_td[:, :TEST]) if x2 is None else k_td
        return found if isinstance(get, str) else kernels(found, found)

    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, y)
    return lambda: predict_fn(t=10.0, x_test=x[:TEST], get="ntk", compute_cov=True)


def resident(key):
    """A number of this process, in bytes."""
    return 1024 * int(pathlib.Path("/proc/self/status").read_text().split(key + ":")[1].split()[0])


def measure(kind, points, dtype):
    """Prints the numbers of one process."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", dtype == "float64")
    for n in (2 * TEST, points):  # the small one first, for what is paid once
        k = jnp.array(kernel(n, dtype))
        y, k_td = jnp.sin(jnp.arange(n) / 100)[:, None].astype(dtype), k[:TEST] * 1
        jax.block_until_ready((k, y, k_td))
        gc.collect()
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before, arrays = resident("VmRSS"), sum(a.nbytes for a in jax.live_arrays())
        first = time.perf_counter()
        predict = predictor(kind, k, y, k_td)
        jax.block_until_ready(predict())
        first = time.perf_counter() - first
    peak = (resident("VmHWM") - before) / k.nbytes
    gc.collect()
    held = (sum(a.nbytes for a in jax.live_arrays()) - arrays) / k.nbytes
    again, others = [], []
    makes = (again, lambda predict=predict: predict), (others, lambda: predictor(kind, k, y, k_td))
    for times, make in makes:
        for _ in range(3):
            start = time.perf_counter()
            jax.block_until_ready(make()())
            times.append(time.perf_counter() - start)
    del predict, make, makes
    gc.collect()
    left = (sum(a.nbytes for a in jax.live_arrays()) - arrays) / k.nbytes
    print(f"{first:6.2f} s {min(others):6.2f} s {1e3 * min(again):6.0f} ms {peak:5.1f} {held:5.1f} {left:5.1f}")


def main():
    """Runs one measurement, or all of them in processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="the interpreter of the reference's environment")
    parser.add_argument("--points", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--measure", choices=("plain", *KINDS), help="measure one kind in this process")
    parser.add_argument("--stub-tensorflow", action="store_true", help="the library imports TensorFlow: do without it")
    arguments = parser.parse_args()
    if arguments.measure:
        if arguments.stub_tensorflow:
            stub_tensorflow()
        else:
            sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
        measure(arguments.measure, arguments.points[0], arguments.dtypes[0])
        return
    print("points, type, predictor, library: first call, another predictor, next calls; peak, held, left in kernels")
    for points in arguments.points:
        for dtype in arguments.dtypes:
            for kind in ("plain", *arguments.kinds):
                libraries = {"jax" if kind == "plain" else "here": [sys.executable]}
                if arguments.reference and kind != "plain":
                    libraries["reference"] = [arguments.reference]
                for library, interpreter in libraries.items():
                    command = [*interpreter, __file__, "--measure", kind, "--points", str(points), "--dtypes", dtype]
                    command += ["--stub-tensorflow"] * (library == "reference")
                    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
                    print(f"{points} {dtype} {kind:30} {library:10} {out}", flush=True)


if __name__ == "__main__":
    main()
