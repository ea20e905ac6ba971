"""Times predictions of an ensemble for 5,000 training points with whichever `neural_tangents` its interpreter finds.

    python benchmarks/inference.py                                      (this library, from the root of the repository)
    /path/to/reference/bin/python benchmarks/inference.py --stub-tensorflow

Mean and covariance at 20 times for 10 outputs and 200 test points: the first call, which decomposes kernels, and the
second, which has them. Sums of both are printed for comparison.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would compete with those of XLA
os.environ["JAX_ENABLE_X64"] = "1"

import numpy as np
from worker import call_timed, peak_memory_mb, stub_tensorflow


def main() -> None:
    """Runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stub-tensorflow", action="store_true", help="the library imports TensorFlow: do without it")
    parser.add_argument("--points", type=int, default=5000, help="number of training points")
    arguments = parser.parse_args()
    if arguments.stub_tensorflow:
        stub_tensorflow()
    else:
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

    import jax.numpy as jnp

    from neural_tangents import predict, stax

    layers = [stax.Dense(1, 1.5, 0.1), stax.Erf(), stax.Dense(1, 1.5, 0.1)]
    _, _, kernel_fn = stax.serial(*layers)
    random = np.random.RandomState(0)
    x, x_test = (jnp.asarray(random.normal(size=(n, 20))) for n in (arguments.points, 200))
    y = jnp.asarray(random.normal(size=(arguments.points, 10)))
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=1e-3)
    times = jnp.asarray(np.geomspace(1, 1e7, 20))
    for call in ("first", "second"):
        found, seconds = call_timed(predict_fn, times, x_test, "ntk", True)
        sums = f"{float(jnp.sum(jnp.abs(found.mean))):.8g} {float(jnp.sum(jnp.abs(found.covariance))):.8g}"
        print(f"{call} call {seconds:.2f} s, sums {sums}, peak {peak_memory_mb():.0f} MB", flush=True)


if __name__ == "__main__":
    main()
