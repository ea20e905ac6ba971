"""Times networks that are lifted from Flax against the same networks written with `stax`, in one run.

    python benchmarks/lifting.py [--repetitions 15]

For each network, in CPU time: seconds to read its initialiser, and seconds until the first NTK is there, lifted and by
hand, each in a process of its own; and milliseconds of later calls in turns, lifted, by hand, and by pairs of
activations (`direct`), the shortest one of each. `differ` is the largest difference of these from the kernel by hand,
relative to its largest entry.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import flax.linen as nn
import jax
import numpy as np

from neural_tangents import stax, tracing
from neural_tangents.tracing._distribution import read_initialiser

WIDTH = 64


class Perceptron(nn.Module):
    """Three hidden layers, on inputs of any shape."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = x.reshape(len(x), -1)
        for _ in range(3):
            x = nn.relu(nn.Dense(WIDTH)(x))
        return nn.Dense(1)(x)


class Convolutional(nn.Module):
    """Seven convolutions and a pool."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(7):
            x = nn.relu(nn.Conv(WIDTH, (3, 3))(x))
        return nn.Dense(1)(x.mean((1, 2)))


class Residual(nn.Module):
    """Three groups of two residual blocks, of which the last two groups begin with a stride."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(WIDTH, (3, 3))(x)
        for i in range(6):
            strides = (2, 2) if i in (2, 4) else (1, 1)
            h = nn.relu(x)
            y = nn.Conv(WIDTH, (3, 3))(nn.relu(nn.Conv(WIDTH, (3, 3), strides)(h)))
            x = (nn.Conv(WIDTH, (3, 3), strides)(h) if i % 2 == 0 else x) + y
        return nn.Dense(1)(nn.relu(x).mean((1, 2)))


def dense(n: int = WIDTH) -> Any:
    """A layer of Flax, whose biases are 0."""
    return stax.Dense(n, 1.0, 0.0, parameterization="standard")


def conv(strides: tuple[int, int] = (1, 1)) -> Any:
    """A convolution of Flax."""
    return stax.Conv(WIDTH, (3, 3), strides, "SAME", 1.0, 0.0, parameterization="standard")


def block(first: bool, strides: tuple[int, int]) -> Any:
    """A residual block."""
    main = conv(strides), stax.Relu(), conv()
    if first:
        inner = stax.FanOut(2), stax.parallel(conv(strides), stax.serial(*main)), stax.FanInSum()
        return stax.serial(stax.Relu(), *inner)
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), stax.serial(stax.Relu(), *main)), stax.FanInSum())


def residual() -> Any:
    """`Residual` by hand."""
    blocks = [block(i % 2 == 0, (2, 2) if i in (2, 4) else (1, 1)) for i in range(6)]
    return stax.serial(conv(), *blocks, stax.Relu(), stax.GlobalAvgPool(), dense(1))


def perceptron() -> Any:
    """`Perceptron` by hand."""
    hidden = [layer for _ in range(3) for layer in (dense(), stax.Relu())]
    return stax.serial(*hidden, dense(1))


def convolutional() -> Any:
    """`Convolutional` by hand."""
    hidden = [layer for _ in range(7) for layer in (conv(), stax.Relu())]
    return stax.serial(*hidden, stax.GlobalAvgPool(), dense(1))


CASES: dict[str, tuple[type, Callable[[], Any], tuple[int, ...]]] = {
    "fully connected": (Perceptron, perceptron, (500, 100)),
    "the same, of images": (Perceptron, perceptron, (500, 16, 16, 3)),
    "7 convolutions, pool": (Convolutional, convolutional, (6, 8, 8, 3)),
    "residual": (Residual, residual, (6, 8, 8, 3)),
}


def inputs(name: str) -> Any:
    """A batch of inputs."""
    return jax.random.normal(jax.random.key(0), CASES[name][2])


def lifted(name: str, backend: Any = "auto") -> Callable[..., Any]:
    """The kernel function that is lifted."""
    x = inputs(name)
    model = CASES[name][0]()
    return tracing.lift(model.apply, lambda key: model.init(key, x[:1]), x, backend=backend).kernel_fn


def by_hand(name: str) -> Callable[..., Any]:
    """The kernel function of layers written by hand."""
    kernel_fn = CASES[name][1]()[2]
    if CASES[name][0] is not Perceptron:
        return kernel_fn
    return lambda x, *arguments: kernel_fn(x.reshape(len(x), -1), *arguments)


def reading(name: str) -> Callable[..., Any]:
    """Reads the initialiser; called for inputs."""
    model = CASES[name][0]()
    return lambda x, *_: read_initialiser(lambda key: model.init(key, x[:1]))


MAKERS = {"lifted": lifted, "by hand": by_hand, "reading": reading}


def first_call(name: str, who: str) -> None:
    """Prints how long it takes until the first kernel is there."""
    x = jax.block_until_ready(inputs(name))
    start = time.process_time()
    result = MAKERS[who](name)(x, None, "ntk")
    if who != "reading":
        jax.block_until_ready(result)
    print(json.dumps(time.process_time() - start))


def first_calls(name: str, who: str) -> float:
    """The first call, in a new process."""
    command = [sys.executable, __file__, "--first", name, who]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def later_calls(name: str, repetitions: int) -> dict[str, float]:
    """The shortest of later calls of each kernel, in milliseconds; and the largest relative difference."""
    x = inputs(name)
    functions = {"lifted": lifted(name), "by hand": by_hand(name), "direct": lifted(name, "direct")}
    results = {who: np.asarray(fn(x, None, "ntk")) for who, fn in functions.items()}
    times: dict[str, list[float]] = {who: [] for who in functions}
    for i in range(repetitions):
        for who, fn in functions.items():
            if who == "direct" and i >= 3:
                continue
            start = time.process_time()
            jax.block_until_ready(fn(x, None, "ntk"))
            times[who].append(1e3 * (time.process_time() - start))
    largest = np.max(np.abs(results["by hand"]))
    off = max(float(np.max(np.abs(k - results["by hand"]))) / largest for k in results.values())
    return {**{who: min(taken) for who, taken in times.items()}, "difference": off}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=15, help="later calls of each kernel")
    parser.add_argument("--first", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first:
        first_call(*arguments.first)
        return
    head = ("reading s", "lifted s", "by hand s", "more s", "lifted ms", "by hand ms", "ratio", "direct ms", "differ")
    print(f"{'':22}" + "".join(f"{column:>11}" for column in head))
    for name in CASES:
        read, lift, hand = (first_calls(name, who) for who in ("reading", "lifted", "by hand"))
        later = later_calls(name, arguments.repetitions)
        row = [read, lift, hand, lift - hand, later["lifted"], later["by hand"], later["lifted"] / later["by hand"]]
        text = "".join(f"{number:11.2f}" for number in [*row, later["direct"]])
        print(f"{name:22}{text}{later['difference']:11.0e}", flush=True)


if __name__ == "__main__":
    main()
