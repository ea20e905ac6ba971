"""Prints the errors of every nonlinearity without a closed form.

    python benchmarks/nonlinearity_errors.py [--names tanh selu] [--exact]

Kernels of `stax.serial(stax.Dense(1), layer)` for pairs of inputs in the plane, in both precisions, with all pairs of
variances 0.001, 0.1, 1, 10 and 100, and correlations -1, -0.99999, -0.9, -0.3, 0, 0.3, 0.9, 0.99999 and 1. The truth is
nested quadrature of the function itself, between its kinks, at these numbers, not at inputs that are rounded to them.
Errors are relative to `sqrt(K(x, x) K(y, y))` of the same function, `f` or its derivative, the worst of all pairs.
With `--exact`, the last column is the largest difference of nested quadrature from mpmath, at some of the pairs; that
takes a minute for each function.
"""

import argparse
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "stax" / "nonlinearities"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import dual_cases
import exact_truth
import jax
import nested_truth
import numpy as np

from neural_tangents import stax

VARIANCES = np.array([1e-3, 0.1, 1.0, 10.0, 100.0])
CORRELATIONS = np.array([-1, -0.99999, -0.9, -0.3, 0, 0.3, 0.9, 0.99999, 1])


def kernels(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """The NNGP and the dual of the derivative of all pairs, `(q1, q2, rho)`."""
    rho = CORRELATIONS
    # Inputs of two dimensions; `Dense(1)` divides by their number. Turned, so that no coordinate is special.
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * np.sqrt(2)
    x2 = np.sqrt(VARIANCES)[:, None, None] * (np.stack([rho, np.sqrt(1 - rho**2)], axis=-1) @ turn.T)
    x1 = np.sqrt(VARIANCES)[:, None] * turn[:, 0]
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    kernel_fn = stax.serial(stax.Dense(1), layer)[2]
    nngp, ntk = kernel_fn(x1.astype(dtype), x2.reshape(-1, 2).astype(dtype), ("nngp", "ntk"))
    shape = (len(VARIANCES), len(VARIANCES), len(rho))
    # The NTK is that of `Dense`, its covariance, times the dual of the derivative.
    covariance = np.asarray(stax.Dense(1)[2](x1.astype(dtype), x2.reshape(-1, 2).astype(dtype), "nngp"))
    k_dot = np.where(np.abs(covariance) > 0, np.asarray(ntk) / np.where(covariance == 0, 1, covariance), np.nan)
    return np.asarray(nngp).reshape(shape), k_dot.reshape(shape)


def error_of_truth(name: str) -> float:
    """The largest difference of nested quadrature from mpmath, of `f`."""
    case, worst = dual_cases.SERIES[name], 0.0
    for q1, q2, rho in (
        (1e-3, 0.1, 0.9),
        (1.0, 1.0, -0.3),
        (100.0, 0.1, -0.9),
        (100.0, 10.0, 0.3),
        (100.0, 100.0, 0.9),
    ):
        truth = nested_truth.moment(case.f, case.kinks, np.array([q1, q2]), np.array([rho, 1.0]))
        exact = exact_truth.moment(exact_truth.FUNCTIONS[name], [0.0, *case.kinks], q1, q2, rho)
        worst = max(worst, abs(float(truth[0, 1, 0] - exact)) / nested_truth.scale(truth)[0, 1, 0])
    return worst


def errors(name: str) -> list[float]:
    """Those of `f` and of `f'` in single precision, and of both in double precision."""
    case = dual_cases.SERIES[name]
    truths = [nested_truth.moment(f, case.kinks, VARIANCES, CORRELATIONS) for f in (case.f, case.df)]
    scales = [nested_truth.scale(truth) for truth in truths]
    found = []
    for double in (False, True):
        with jax.enable_x64(double):
            for got, truth, scale in zip(kernels(case.layers[0]()), truths, scales, strict=True):
                found.append(float(np.nanmax(np.abs(got - truth) / scale)))
    return found


def main() -> None:
    """Prints the table."""
    names = [name for name, case in dual_cases.SERIES.items() if case.layers]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", nargs="*", default=names, choices=names, help="of `dual_cases.SERIES`")
    parser.add_argument("--exact", action="store_true", help="check the truth with mpmath")
    options = parser.parse_args()
    columns = ["float32 f", "f-prime", "float64 f", "f-prime", *(["truth f"] if options.exact else [])]
    print(" " * 14 + "".join(f"{column:>12}" for column in columns))
    for name in options.names:
        known = options.exact and name in exact_truth.FUNCTIONS
        found = [*errors(name), *([error_of_truth(name)] if known else [])]
        print(f"{name:14}" + "".join(f"{error:12.1e}" for error in found), flush=True)


if __name__ == "__main__":
    main()
