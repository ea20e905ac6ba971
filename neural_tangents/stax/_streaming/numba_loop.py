"""Runs of convolutions and half-lines on CPUs, compiled by Numba where it is installed.

XLA:CPU takes seven passes over a slab for each layer. Here a slab is one offset of one pair of images, small enough for
the first-level cache, and each layer takes a pass for each axis of its filter and one for all the rest.

Padding with zeros is a convolution on a torus: an image of `n` positions, and as many zeros after it as a filter
reaches over its edge, is periodic with the period `n + half`. Covariances of one offset, `K[p, p + d]`, are then an
image of the same kind for each `d`, with zeros where `p` or `p + d` is none of the `n` positions. Its rows, one after
the other, are one long row: what a filter reads beyond the end of a row are the zeros after it. Positions that padding
`VALID` drops become zeros too.

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
import itertools
import math
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.host_calls import host_call
from neural_tangents._core.mesh_axes import inside_shard_map
from neural_tangents.stax._inputs import InputBatches
from neural_tangents.stax._spec import HalfLines, WindowMean
from neural_tangents.stax._streaming.runs import Run
from neural_tangents.stax._window import Padding, Window

# Imported only where Numba is.
_FUNCTIONS = "neural_tangents.stax._streaming.numba_functions"

# The environment variable: 1 for always, 0 for never.
_SETTING = "NEURAL_TANGENTS_NUMBA"
# From so many covariances on, of all pairs, offsets and layers, they take part if nothing is said. XLA takes 1 ns for
# each on two cores.
_MUCH = 2**26
# Inputs of each batch whose variances are held at a time.
_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class NumbaLoop:
    """Evaluates a run as `SlabLoop` does, one pair of images and one offset at a time.

    Attributes:
      torus: where positions are.
      numbers: those of each pair of layers, a row for each: factor and shift of the convolution, and the factors of `k`
        and of the arc-cosine functions after it.
    """

    torus: "Torus"
    numbers: Array

    @classmethod
    def of(cls, run: Run, k: Any) -> "NumbaLoop | None":
        """The loop that evaluates a run; None if it cannot, here or at all, or if it is not worth while."""
        setting = os.environ.get(_SETTING)
        formulas: list[Any] = [step.spec.formula for step in run.steps]
        torus = None if setting == "0" else Torus.of(run, k, formulas)
        if torus is None or not _is_alone():
            return None
        pairs = len(k.inputs1) * len(k.inputs1 if k.inputs2 is None else k.inputs2)
        worth = importlib.util.find_spec("numba") is not None and pairs * torus.work >= _MUCH
        if not (setting == "1" or worth) or not _works(k.inputs1.dtype.name):
            return None
        rows = []
        for mean, lines in zip(formulas[0::2], formulas[1::2], strict=True):
            size = math.prod(window.size for window in mean.windows)
            bias, a, b = 0.0 if mean.b_std is None else mean.b_std, lines.a, lines.b
            rows.append((mean.W_std**2 / size, bias**2, a * b, (a - b) ** 2 / (2 * math.pi)))
        dtype = k.inputs1.dtype
        return cls(torus, jnp.stack([jnp.stack([jnp.asarray(x, dtype).reshape(()) for x in row]) for row in rows]))

    def cross(self, covariances: Any, like: Any, first: Any, second: Any) -> tuple[Array, Array]:
        """As `SlabLoop.cross`, of inputs."""
        nngp, ntk = self._sums(first.inputs, second.inputs, like.cov2 is None, False)
        return nngp[:, :, None, None, None, None], ntk[:, :, None, None, None, None]

    def own(self, cov: Any, like: Any, batch: Any) -> Array:
        """As `SlabLoop.own`, of inputs."""
        nngp = self._sums(batch.inputs, batch.inputs, True, True)[0]
        return jnp.diagonal(nngp)[:, None, None, None, None]

    def _sums(self, x1: Array, x2: Array, symmetric: bool, diagonal: bool) -> tuple[Array, Array]:
        shape = jax.ShapeDtypeStruct((len(x1), len(x2)), x1.dtype)
        nngp, ntk = host_call(
            functools.partial(_sums_of_pairs, self.torus, symmetric, diagonal), (shape, shape), x1, x2, self.numbers
        )
        return nngp, ntk


class Torus(NamedTuple):
    """Images, with zeros after each row of each axis, and what layers do to them.

    Attributes:
      sizes: numbers of positions along both axes.
      halves: numbers of zeros.
      windows: sizes of the filter of each convolution.
      regions: `(top, bottom, left, right)`, which positions there are after it.
      same_positions: whether only pairs of equal positions are wanted.
    """

    sizes: tuple[int, int]
    halves: tuple[int, int]
    windows: tuple[tuple[int, ...], ...]
    regions: tuple[tuple[int, ...], ...]
    same_positions: bool

    @classmethod
    def of(cls, run: Run, k: Any, formulas: Sequence[Any]) -> "Torus | None":
        """The torus of a run; None if not all of it is of this kind."""
        means, lines = formulas[0::2], formulas[1::2]
        if (
            not isinstance(k, InputBatches)
            or k.mask1 is not None
            or k.mask2 is not None
            or len(run.sizes) != 2
            or len(means) != len(lines)
            or not all(isinstance(formula, WindowMean) and len(formula.windows) == 2 for formula in means)
            or not all(isinstance(formula, HalfLines) for formula in lines)
            or any(step.spec.form is None for step in run.steps)  # their numbers are to be found there
            or not all(map(_is_plain, itertools.chain.from_iterable(mean.windows for mean in means)))
            or not all(map(_covers, run.pool.windows(run.geometry.sizes), run.geometry.sizes))
        ):
            return None
        region, regions = (0, run.sizes[0], 0, run.sizes[1]), []
        for mean in means:
            cuts = [w.size // 2 if w.padding is Padding.VALID else 0 for w in mean.windows for _ in range(2)]
            region = tuple(x + cut * (-1) ** i for i, (x, cut) in enumerate(zip(region, cuts, strict=True)))
            regions.append(region)
        windows = tuple(tuple(window.size for window in mean.windows) for mean in means)
        halves = [max(sizes) // 2 for sizes in zip(*windows, strict=True)]
        return cls(run.sizes, tuple(halves), windows, tuple(regions), run.pool.same_positions)  # type: ignore[arg-type]

    @property
    def row(self) -> int:
        """Length of a row, with the zeros after it."""
        return self.sizes[1] + self.halves[1]

    @property
    def offsets(self) -> tuple[int, int]:
        """How many offsets are wanted along each axis."""
        return (1, 1) if self.same_positions else (self.sizes[0] + self.halves[0], self.row)

    @property
    def work(self) -> int:
        """How many covariances each pair of inputs has, of all offsets and layers."""
        return math.prod(self.offsets) * self.sizes[0] * self.row * len(self.windows)

    def there(self, dtype: Any) -> np.ndarray:
        """1 for each position that there is after each convolution, else 0, `(layers, places)`."""
        out = np.zeros((len(self.windows), self.sizes[0], self.row), dtype)
        for layer, (top, bottom, left, right) in zip(out, self.regions, strict=True):
            layer[top:bottom, left:right] = 1
        return out.reshape(len(out), -1)


def _is_plain(window: Any) -> bool:
    """Whether a filter is centred, and moves by one position, over an image that is padded with zeros if at all."""
    known = isinstance(window, Window) and window.padding is not Padding.CIRCULAR
    return known and window.stride == 1 and window.size % 2 == 1


def _covers(window: Window, size: int) -> bool:
    """Whether a window of a pool is the whole image, once."""
    return window.size == size and window.count(size) == 1 and window.padding is not Padding.CIRCULAR


def _is_alone() -> bool:
    """Whether the CPU is the only device: XLA cannot spread over several ones what it does not compile itself."""
    return jax.default_backend() == "cpu" and jax.device_count() == 1 and not inside_shard_map()


def _sums_of_pairs(
    torus: Torus, symmetric: bool, diagonal: bool, x1: Any, x2: Any, numbers: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the NNGP and the NTK over pairs of positions, `(N1, N2)` each.

    Args:
      torus: where positions are.
      symmetric: whether both batches are the same.
      diagonal: whether only pairs of an input with itself are wanted; others are zero.
      x1: inputs, `(N1, C, *sizes)`.
      x2: inputs, `(N2, C, *sizes)`.
      numbers: see `NumbaLoop`.
    """
    compiled = importlib.import_module(_FUNCTIONS)
    x1, x2, numbers = np.asarray(x1), np.asarray(x2), np.array(numbers)
    limits = np.finfo(x1.dtype)
    least, noise = limits.tiny, limits.dtype.type(4 * limits.eps)
    geometry, (n_dy, n_dx) = (*torus.sizes, torus.row, torus.halves[0]), torus.offsets
    windows, there = np.array(torus.windows), torus.there(x1.dtype)
    sums = np.zeros((2, len(x1), len(x2)))

    def with_roots(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.pad(x, [(0, 0)] * 3 + [(0, torus.halves[1])]).reshape(*x.shape[:2], -1)
        roots = np.empty((len(x), len(windows), 2, x.shape[2]), x.dtype)
        list(
            pool.map(lambda i: compiled.roots(x[i], geometry, windows, there, numbers, least, roots[i]), range(len(x)))
        )
        return x, roots

    def add(first: Any, second: Any, parts: np.ndarray, some: Sequence[slice], task: tuple[int, int]) -> None:
        dx, j = task
        inputs = (*(x[some[j]] for x in first), *(x[j] for x in second))
        compiled.add_slabs(*inputs, geometry, n_dy, windows, numbers, noise, parts, dx, some[j].start, j)

    with concurrent.futures.ThreadPoolExecutor(_cores()) as pool:
        for start1 in range(0, len(x1), _BLOCK):
            first = with_roots(x1[start1 : start1 + _BLOCK])
            for start2 in range(0, len(x2), _BLOCK):
                same = symmetric and start1 == start2
                if symmetric and start1 > start2 or diagonal and not same:
                    continue
                second = first if same else with_roots(x2[start2 : start2 + _BLOCK])
                count = range(len(second[0]))
                some = [slice(j if diagonal else 0, j + 1 if same else None) for j in count]
                parts = np.zeros((2, n_dx, len(first[0]), len(second[0])))
                tasks = itertools.product(range(n_dx), reversed(count))  # those of most pairs first
                list(pool.map(functools.partial(add, first, second, parts, some), tasks))
                sums[:, start1 : start1 + _BLOCK, start2 : start2 + _BLOCK] = parts.sum(1)
    if symmetric:
        sums = np.triu(sums) + np.swapaxes(np.triu(sums, 1), 1, 2)
    nngp, ntk = sums.astype(x1.dtype)
    return nngp, ntk


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _works(dtype: str) -> bool:
    """Whether Numba is there, and compiles the functions for a type of numbers; warns if not."""
    x, one_position = np.ones((1, 1, 1, 1), dtype), Torus((1, 1), (0, 0), ((1, 1),), ((0, 1, 0, 1),), True)
    try:
        _sums_of_pairs(one_position, True, True, x, x, np.ones((1, 4), dtype))
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
