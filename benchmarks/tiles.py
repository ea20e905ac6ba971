"""Compares kernels in tiles with one call, in one run: CPU time of `nt.batch` over that of the compiled `kernel_fn`.

    python benchmarks/tiles.py [--case NAME] [--repetitions 5]

Columns: the whole square (two batches), the triangle (`x2=None`), and the same with results on the host. Calls take
turns; each number is a ratio of the shortest times. The last column counts what further calls trace or compile.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import numpy as np

import neural_tangents as nt
from neural_tangents import stax


def fully_connected() -> tuple[Any, tuple[Any, ...], tuple[int, ...], int]:
    """Ten layers on 4,096 inputs."""
    return stax.serial(*[stax.Dense(1, 1.4, 0.1), stax.Relu()] * 10, stax.Dense(1))[2], ("ntk",), (4096, 64), 512


def convolutional(pool: Any, n: int, tile: int) -> tuple[Any, tuple[Any, ...], tuple[int, ...], int]:
    """Twenty-one layers on images of 32 x 32 pixels."""
    conv = stax.Conv(1, (3, 3), padding="SAME", W_std=1.4, b_std=0.1)
    return stax.serial(*[conv, stax.Relu()] * 20, pool, stax.Dense(1))[2], ("ntk",), (n, 32, 32, 3), tile


def empirical() -> tuple[Any, tuple[Any, ...], tuple[int, ...], int]:
    """The NTK of a network of three layers of 512 units with 10 outputs, in tiles of half of the inputs."""
    init_fn, apply_fn, _ = stax.serial(*[stax.Dense(512), stax.Relu()] * 3, stax.Dense(10))
    params = init_fn(jax.random.key(0), (-1, 64))[1]
    return nt.empirical_ntk_fn(apply_fn, vmap_axes=0), (params,), (1024, 64), 512


CASES: dict[str, Callable[[], tuple[Any, tuple[Any, ...], tuple[int, ...], int]]] = {
    "fc10": fully_connected,
    "cnn21_flatten": lambda: convolutional(stax.Flatten(), 128, 16),
    "cnn21_pooled": lambda: convolutional(stax.GlobalAvgPool(), 16, 2),
    "entk": empirical,
}


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="which case to run; by default all")
    parser.add_argument("--repetitions", type=int, default=4, help="calls of each function")
    arguments = parser.parse_args()
    compiled: list[str] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if "jaxpr_trace" in event or "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    heads = f"{'whole':>9}{'triangle':>9}{'whole, host':>13}{'triangle, host':>16}{'compiled':>10}"
    print(f"{'case':<15}{'one call':>10}{heads}")
    for name in arguments.case or CASES:
        kernel_fn, args, shape, tile = CASES[name]()
        x1, x2 = (np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in (0, 1))
        static = tuple(i + 2 for i, arg in enumerate(args) if isinstance(arg, str))
        device, host = (nt.batch(kernel_fn, tile, 0, store) for store in (True, False))
        calls = [
            (jax.jit(kernel_fn, static_argnums=static), x2),
            (device, x2),
            (device, None),
            (host, x2),
            (host, None),
        ]
        for fn, second in calls:
            jax.block_until_ready(fn(x1, second, *args))
        compiled.clear()
        times = np.full((arguments.repetitions, len(calls)), np.inf)
        for repetition in range(arguments.repetitions):
            for i, (fn, second) in enumerate(calls):
                start = time.process_time()
                jax.block_until_ready(fn(x1, second, *args))
                times[repetition, i] = time.process_time() - start
        best = times.min(axis=0)
        ratios = best[1:] / best[0]
        columns = f"{ratios[0]:>9.2f}{ratios[1]:>9.2f}{ratios[2]:>13.2f}{ratios[3]:>16.2f}"
        print(f"{name:<15}{best[0]:>8.2f} s{columns}{len(compiled):>10}", flush=True)


if __name__ == "__main__":
    main()
