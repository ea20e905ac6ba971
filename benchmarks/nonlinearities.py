"""Times every nonlinearity without a closed form against `Erf`, `Gelu` and `ElementwiseNumerical`, in one run.

    python benchmarks/nonlinearities.py [--size 1000] [--repetitions 7] [--double]

NNGP and NTK of `size` inputs after the nonlinearity, compiled, CPU time of the shortest call in milliseconds: for
inputs of one variance, for variances from 0.2 to 1.5, and for those from 0.2 to 90.
"""

import argparse
import pathlib
import sys
import time
import warnings
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents import stax

NAMES = (
    *("Erf", "Gelu", "Tanh", "Sigmoid", "Silu", "Softplus", "Mish", "Squareplus", "LogCosh", "Softsign"),
    *("Elu", "Selu", "HardTanh", "Relu6"),
)
DEVIATIONS = {"one": (1.0, 1.0), "small": (0.45, 1.22), "large": (0.45, 9.5)}


def inputs(size: int, low: float, high: float, dtype: Any) -> np.ndarray:
    """Vectors of lengths between two numbers, in units of the square root of the dimension."""
    x = np.random.default_rng(0).normal(size=(size, 64))
    x *= np.linspace(low, high, size)[:, None] / np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    return x.astype(dtype)


def shortest(layer: Any, x: np.ndarray, repetitions: int) -> float:
    """CPU time of the shortest call, in milliseconds."""
    kernel = stax.Dense(1)[2](x)
    compiled = jax.jit(lambda kernel: layer[2](kernel).asdict())
    jax.block_until_ready(compiled(kernel))
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        jax.block_until_ready(compiled(kernel))
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=1000, help="number of inputs")
    parser.add_argument("--repetitions", type=int, default=7, help="calls of each kernel")
    parser.add_argument("--double", action="store_true", help="in double precision")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", arguments.double)
    layers = {name: getattr(stax, name)() for name in NAMES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layers["ElementwiseNumerical"] = stax.ElementwiseNumerical(jnp.tanh, deg=25)
    data = {
        column: inputs(arguments.size, *limits, np.float64 if arguments.double else np.float32)
        for column, limits in DEVIATIONS.items()
    }
    print(f"{'':22}" + "".join(f"{column:>10}" for column in data))
    for name, layer in layers.items():
        few = min(2, arguments.repetitions) if name == "ElementwiseNumerical" else arguments.repetitions
        row = [shortest(layer, x, few) for x in data.values()]
        print(f"{name:22}" + "".join(f"{milliseconds:10.1f}" for milliseconds in row), flush=True)


if __name__ == "__main__":
    main()
