"""Runs of convolutions and half-lines on CPUs, compiled by Numba where it is installed.

XLA:CPU takes seven passes over a slab for each layer. Here a slab is one offset of one pair of images, small enough for
the first-level cache, and each layer takes a pass for each axis of its filter and one for all the rest. Images are
stored as `torus.py` says.

Only values are computed here. Derivatives, other layers and other devices take `slabs.py`.

Numba takes a few seconds to compile these loops on the first call that a machine makes of them, and keeps them on disk.
So they take part where there is much to compute, or always if the environment variable `NEURAL_TANGENTS_NUMBA` is 1,
and never if it is 0. A program calls them by way of Python (`_core/host_calls.py`).
"""

import concurrent.futures
import dataclasses
import functools
import importlib
import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.host_calls import host_call
from neural_tangents._core.mesh_axes import inside_shard_map
from neural_tangents.stax._streaming.runs import Run
from neural_tangents.stax._streaming.torus import Torus

# Imported only where Numba is.
_FUNCTIONS = "neural_tangents.stax._streaming.numba_functions"

# The environment variable: 1 for always, 0 for never.
_SETTING = "NEURAL_TANGENTS_NUMBA"
# From so many covariances on, of all pairs, offsets and layers, they take part if nothing is said. XLA takes 1 ns for
# each on two cores.
_MUCH = 2**24
# With more channels for each layer, products of inputs would take most of the time; XLA multiplies matrices.
_CHANNELS = 32
# At most so many inputs of each batch are evaluated at a time.
_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class NumbaLoop:
    """Evaluates a run as `SlabLoop` does, one pair of images and one offset at a time.

    Attributes:
      torus: where positions are.
      formulas: those of the layers, convolutions and half-lines in turn.
      dtype: type of the inputs.
      budget: how many bytes variances and results of some inputs may take.
    """

    torus: Torus
    formulas: Sequence[Any]
    dtype: Any
    budget: int

    @classmethod
    def of(cls, run: Run, k: Any, budget: int) -> "NumbaLoop | None":
        """The loop that evaluates a run; None if it cannot, here or at all, or if it is not worth while."""
        torus = torus_of(run, k)
        if torus is None or not _works(k.inputs1.dtype.name):
            return None
        return cls(torus, _formulas(run), k.inputs1.dtype, budget)

    @functools.cached_property
    def numbers(self) -> Array:
        """Of each pair of layers: factor and shift of the convolution, and factors of `k` and of arc-cosine functions.

        `(pairs of layers, 4)`.
        """
        rows = []
        for mean, lines in zip(self.formulas[0::2], self.formulas[1::2], strict=True):
            size = math.prod(window.size for window in mean.windows)
            bias, a, b = 0.0 if mean.b_std is None else mean.b_std, lines.a, lines.b
            rows.append((mean.W_std**2 / size, bias**2, a * b, (a - b) ** 2 / (2 * math.pi)))
        return jnp.stack([jnp.stack([jnp.asarray(x, self.dtype).reshape(()) for x in row]) for row in rows])

    def cross(self, covariances: Any, like: Any, first: Any, second: Any) -> tuple[Array, Array]:
        """As `SlabLoop.cross`, of inputs."""
        nngp, ntk = self._sums(first.inputs, second.inputs, like.cov2 is None)
        return nngp, ntk

    def own(self, cov: Any, like: Any, batch: Any) -> Array:
        """As `SlabLoop.own`, of inputs."""
        return self._sums(batch.inputs, None, True)[0][:, 0]

    def _sums(self, x1: Array, x2: Array | None, symmetric: bool) -> list[Array]:
        of_pairs = functools.partial(_sums_of_pairs, self.torus, self.budget, symmetric)
        shape = (len(x1), 1 if x2 is None else len(x2), *self.torus.pooled)
        results = [jax.ShapeDtypeStruct(shape, x1.dtype)] * 2
        return host_call(of_pairs, results, self.numbers, x1, *([] if x2 is None else [x2]))


def torus_of(run: Run, k: Any) -> Torus | None:
    """Where positions of a run are, if Numba can evaluate it here, should it work, and if that is worth while."""
    setting = os.environ.get(_SETTING)
    torus = None if setting == "0" else Torus.of(run, k, _formulas(run))
    if torus is None or not _is_alone() or k.inputs1.shape[-1] > _CHANNELS * len(torus.windows):
        return None
    pairs = len(k.inputs1) * len(k.inputs1 if k.inputs2 is None else k.inputs2)
    worth = importlib.util.find_spec("numba") is not None and pairs * torus.work >= _MUCH
    return torus if setting == "1" or worth else None


def _formulas(run: Run) -> list[Any]:
    return [step.spec.formula for step in run.steps]


def _is_alone() -> bool:
    """Whether the CPU is the only device: XLA cannot spread over several ones what it does not compile itself."""
    return jax.default_backend() == "cpu" and jax.device_count() == 1 and not inside_shard_map()


def _sums_of_pairs(
    torus: Torus, budget: int, symmetric: bool, numbers: Any, x1: Any, x2: Any = None
) -> tuple[np.ndarray, ...]:
    """Sums of the NNGP and the NTK over pairs of positions in each pair of windows, `(N1, N2, *torus.pooled)` each.

    Args:
      torus: where positions are.
      budget: see `NumbaLoop`.
      symmetric: whether both batches are the same.
      numbers: see `NumbaLoop`.
      x1: inputs, `(N1, C, *sizes)`.
      x2: inputs, `(N2, C, *sizes)`; None for pairs of an input with itself only, `(N1, 1, *torus.pooled)`.
    """
    sums = np.zeros((2, len(x1), 1 if x2 is None else len(x2), *torus.pooled), x1.dtype)
    size = _block(torus, budget, x1.dtype.itemsize)
    with concurrent.futures.ThreadPoolExecutor(_cores()) as threads:
        blocks = _Blocks(torus, np.array(numbers), threads)
        for start1 in range(0, len(x1), size):
            first = blocks.prepared(x1[start1 : start1 + size])
            if x2 is None:
                sums[:, start1 : start1 + size] = blocks.sums(first, first, _SELF)
                continue
            for start2 in range(start1 if symmetric else 0, len(x2), size):
                same = symmetric and start1 == start2
                second = first if same else blocks.prepared(x2[start2 : start2 + size])
                found = blocks.sums(first, second, _ORDERED if same else _ALL)
                sums[:, start1 : start1 + size, start2 : start2 + size] = found
                if symmetric:
                    below = sums[:, start2 : start2 + size, start1 : start1 + size]
                    rows, columns = np.tril_indices(len(found[0]), -1) if same else np.indices(below.shape[1:3])
                    below[:, rows, columns] = _transposed(found[:, columns, rows])
    return tuple(sums + _transposed(sums) if x2 is None else sums)


def _block(torus: Torus, budget: int, itemsize: int) -> int:
    """How many inputs of each batch are evaluated at a time."""
    variances = 2 * len(torus.windows) * torus.sizes[0] * torus.row
    results = 1 if torus.one_window else 2 * math.prod(torus.pooled)
    most = min(budget // (2 * variances * itemsize), math.isqrt(budget // (results * itemsize)))
    return max(1, min(_BLOCK, most))


def _transposed(sums: np.ndarray) -> np.ndarray:
    """`K[..., P', P, Q', Q]` of `K[..., P, P', Q, Q']`."""
    return np.swapaxes(np.swapaxes(sums, -4, -3), -2, -1)


# Which pairs of a block are wanted: all, those of inputs in order, or those of an input with itself, in half.
_ALL, _ORDERED, _SELF = range(3)


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """Evaluates some inputs of each batch.

    Attributes:
      torus: where positions are.
      numbers: see `NumbaLoop`.
      threads: take part in it.
    """

    torus: Torus
    numbers: np.ndarray
    threads: concurrent.futures.Executor

    def spread(self, function: Callable[[Any], None], tasks: Sequence[Any]) -> None:
        """Calls a function for each task, in all threads."""
        begun = []
        for task in tasks:
            try:
                begun.append(self.threads.submit(function, task))
            except RuntimeError:  # at the end of a process, threads take no new tasks, but programs still end well
                function(task)
        for future in begun:
            future.result()

    def prepared(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs, `(N, C, places)`, and roots of their variances, `(N, layers, 2, places)`."""
        torus, least = self.torus, np.finfo(x.dtype).tiny
        x = np.pad(x, [(0, 0)] * 3 + [(0, torus.halves[1])]).reshape(*x.shape[:2], -1)
        roots = np.empty((len(x), len(torus.windows), 2, x.shape[2]), x.dtype)
        there, windows = torus.there(x.dtype), np.array(torus.windows)

        def of_some(some: slice) -> None:
            _functions().roots(x[some], torus.geometry, windows, there, self.numbers, least, roots[some])

        size = -(-len(x) // (2 * _cores()))
        self.spread(of_some, [slice(i, i + size) for i in range(0, len(x), size)])
        return x, roots

    def sums(self, first: Any, second: Any, pairs: int) -> np.ndarray:
        """Sums of the NNGP and the NTK for pairs of inputs: `(2, N1, N2, *torus.pooled)`, of `_SELF` `N2` is 1."""
        torus, (n_dy, n_dx), dtype = self.torus, self.torus.offsets, first[0].dtype
        rows, columns = torus.numbers_of_windows()
        settings = np.array(torus.windows), self.numbers, dtype.type(4 * np.finfo(dtype).eps), rows, columns
        shape = (2, len(first[0]), 1 if pairs == _SELF else len(second[0]), *torus.pooled)
        dxs = range(n_dx // 2 + 1 if pairs == _SELF else n_dx)
        if torus.one_window:  # there are sums for each `dx`, so that each can be a task
            parts, ranges = np.zeros((len(dxs), *shape), np.float64), [(dx, dx + 1) for dx in dxs]
        else:
            parts, ranges = np.zeros((1, *shape), dtype), [(0, len(dxs))]

        def add(task: tuple[int, slice, slice]) -> None:
            part, some1, some2 = task
            inputs = (*(x[some1] for x in first), *(x[some2] for x in second))
            offsets, start = (n_dy, *ranges[part], n_dx), (some1.start, some2.start, pairs)
            _functions().add_slabs(*inputs, torus.geometry, offsets, *settings, parts[part], start)

        self.spread(add, [(part, *some) for part in range(len(ranges)) for some in self._tasks(first, second, pairs)])
        return parts.sum(0, dtype=parts.dtype) if torus.one_window else parts[0]

    def _tasks(self, first: Any, second: Any, pairs: int) -> list[tuple[slice, slice]]:
        """Which inputs of both batches a task is about.

        Variances of an input of the second batch are shifted once for a task; without offsets, nothing is shifted.
        """
        n1, n2, size1, size2 = len(first[0]), len(second[0]), 1, 1
        if self.torus.same_positions:
            size1, size2 = -(-n1 // (4 * _cores())), n2
        elif self.torus.one_window:
            size1 = n1
        if pairs == _SELF:
            size1 = size2 = 1
        starts = [(i, j) for i in range(0, n1, size1) for j in range(0, n2, size2)]
        slices = [(slice(i, i + size1), slice(j, j + size2)) for i, j in starts]
        if pairs == _SELF:
            return [some for some in slices if some[0] == some[1]]
        return [some for some in slices if pairs == _ALL or some[0].start < some[1].stop]


def _functions() -> Any:
    return importlib.import_module(_FUNCTIONS)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _works(dtype: str) -> bool:
    """Whether Numba is there, and compiles the functions for a type of numbers; warns if not."""
    x = np.ones((1, 1, 1, 1), dtype)
    one_position = Torus((1, 1), (0, 0), ((1, 1),), ((0, 1, 0, 1),), (1, 1), True)
    try:
        _sums_of_pairs(one_position, 0, True, np.ones((1, 4), dtype), x, x)
    except Exception as error:  # whatever is wrong with it, nothing needs it
        warnings.warn(
            "Numba does not compile kernels here, so that XLA takes its place, which is slower. Run `pip install "
            f"'neural-tangents-jax[numba]'`, or set the environment variable {_SETTING} to 0 if you do not want it. "
            f"The error was: {type(error).__name__}: {error}",
            UserWarning,
            stacklevel=2,
        )
        return False
    return True
