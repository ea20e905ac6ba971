"""`explain`: how a network will be evaluated, in words."""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.trees import is_node, is_shape, tree_leaves
from neural_tangents._core.types import Get
from neural_tangents.stax._spec import Step
from neural_tangents.stax._streaming.numba_loop import torus_of
from neural_tangents.stax._streaming.runs import Run
from neural_tangents.stax._streaming.slabs import slab_bytes


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers that are evaluated together.

    Attributes:
      layers: their text, in order; nested `serial`s are flattened.
      streamed: whether they are evaluated slab by slab, in bounded memory; else one after the other, at once.
      reason: why the stage ends where it does, or is evaluated in this way.
      memory: about how many bytes covariances take: those of a slab, or the largest ones after a layer.
      depth: how many other stages it is part of, as are branches of `parallel` and the layer of `repeat`.
      by_numba: whether values are computed by loops that Numba compiles; derivatives never are.
    """

    layers: tuple[str, ...]
    streamed: bool
    reason: str
    memory: int
    depth: int
    by_numba: bool = False

    def __str__(self) -> str:
        first, last = (" ".join(text.split()) for text in (self.layers[0], self.layers[-1]))
        names = first if len(self.layers) == 1 else f"{_short(first)} ... {_short(last)} ({len(self.layers)} layers)"
        how = "slab by slab" if self.streamed else "at once"
        numba = "; values by Numba" if self.by_numba else ""
        return f"{'  ' * self.depth}{names}: {how}, {_in_units(self.memory)}; {self.reason}{numba}"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a network will be evaluated; prints as one line for each stage.

    Attributes:
      stages: the stages in order, each before those that are parts of it. Equal ones are listed once.
    """

    stages: tuple[Stage, ...]

    def __repr__(self) -> str:
        return "\n".join(map(str, self.stages)) or "one layer, at once"


_found: contextvars.ContextVar[tuple[list[Stage], int] | None] = contextvars.ContextVar("stages found", default=None)


def explain(kernel_fn: Callable[..., Any], x1: Any, x2: Any = None, get: Get = None, **kwargs: Any) -> Evaluation:
    """Says how a network's `kernel_fn` will be evaluated, without evaluating it.

    Kernels of images hold all pairs of positions. Runs of convolutions and of layers that act on each pair separately
    are evaluated slab by slab, in memory that does not grow with the square of the number of positions; any other layer
    ends such a run. This function tells which layers are evaluated in which way, and why, and how much memory
    covariances take.

    Args:
      kernel_fn: the kernel function of a network.
      x1: inputs, or only their shape: an array, a `jax.ShapeDtypeStruct`, a tuple of integers, or a network tree of
        these.
      x2: inputs of the second batch likewise; None stands for `x1`.
      get: as for `kernel_fn`.
      **kwargs: as for `kernel_fn`; `memory_budget` among them.

    Returns:
      An `Evaluation`. Print it.

    Raises:
      TypeError: `kernel_fn` is not one of this library.
      Exception: whatever `kernel_fn` would raise for such inputs.

    Example:
      >>> from neural_tangents import stax
      >>> block = [stax.Conv(64, (3, 3), padding="SAME"), stax.Relu()]
      >>> _, _, kernel_fn = stax.serial(*block * 6, stax.GlobalAvgPool(), stax.Dense(10))
      >>> stax.explain(kernel_fn, (8, 32, 32, 3), get="ntk")
      Conv(64, (3, 3), padding='SAME') ... GlobalAvgPool() (13 layers): slab by slab, 17 MiB; ...
      Dense(10): at once, ...
    """
    if not hasattr(kernel_fn, "input_req"):
        raise TypeError(
            f"Expected the `kernel_fn` of a network, got {kernel_fn!r}. Pass the last one of the three functions that "
            "`stax.serial` or a layer returns."
        )
    stages: list[Stage] = []
    token = _found.set((stages, 0))
    try:
        jax.eval_shape(lambda a, b: kernel_fn(a, b, get, **kwargs), _abstract(x1), _abstract(x2))
    finally:
        _found.reset(token)
    return Evaluation(tuple(stages))


@contextlib.contextmanager
def observed(
    steps: Sequence[Step], run: Run | None, reason: str, budget: int, k: Any, kwargs: Mapping[str, Any]
) -> Iterator[None]:
    """Records how the layers evaluated inside are evaluated, if `explain` asks for it."""
    asked = _found.get()
    if asked is None:
        yield
        return
    stages, depth = asked
    token = _found.set(None)  # the memory of this stage is found by evaluating its layers, which is not to be recorded
    try:
        memory = _largest(steps, k, kwargs) if run is None else slab_bytes(run, budget, k)
        by_numba = run is not None and torus_of(run, k) is not None
        stage = Stage(tuple(str(step.spec) for step in steps), run is not None, reason, memory, depth, by_numba)
        if stage not in stages:
            stages.append(stage)
        if run is None:
            _found.set((stages, depth + 1))
        yield
    finally:
        _found.reset(token)


def _largest(steps: Sequence[Step], kernels: Any, kwargs: Mapping[str, Any]) -> int:
    """Bytes of the largest covariances after any layer of a sequence."""
    largest = 0
    for step in steps:
        kernels = jax.eval_shape(functools.partial(step.kernel, kwargs=kwargs), kernels)
        largest = max(largest, sum(map(_bytes, tree_leaves(kernels))))
    return largest


def _bytes(k: Kernel) -> int:
    covariances = (k.nngp, k.ntk, k.cov1, k.cov2)
    return sum(math.prod(cov.shape) * cov.dtype.itemsize for cov in covariances if cov is not None)


def _abstract(x: Any) -> Any:
    """Inputs without their values: shapes and types."""
    if is_shape(x):
        return jax.ShapeDtypeStruct(x, jnp.zeros(()).dtype)
    return type(x)(map(_abstract, x)) if is_node(x) else x


def _in_units(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.3g} {unit}"
        n /= 1024
    return f"{n:.3g} GiB"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
