"""Prints the errors of every nonlinearity without a closed form.

    python benchmarks/nonlinearity_errors.py [--names Tanh Selu]

Kernels of `stax.serial(stax.Dense(1), layer)` for pairs of inputs in the plane, in both precisions, with all pairs of
variances 0.001, 0.1, 1, 10 and 100, and correlations -1, -0.99999, -0.9, -0.3, 0, 0.3, 0.9, 0.99999 and 1. The truth is
nested quadrature of the function itself, between its kinks, at these numbers, not at inputs that are rounded to them.
Errors are relative to `sqrt(K(x, x) K(y, y))` of the same function, `f` or its derivative, the worst of all pairs.
"""

import argparse
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "stax" / "nonlinearities"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import dual_cases
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
    print(f"{'':14}{'float32 f':>12}{'f-prime':>12}{'float64 f':>12}{'f-prime':>12}")
    for name in parser.parse_args().names:
        print(f"{name:14}" + "".join(f"{error:12.1e}" for error in errors(name)), flush=True)


if __name__ == "__main__":
    main()
