"""Functions of NumPy arrays that programs for CPUs call, and what takes their place where no program can.

`jax.pure_callback` makes arrays of jax of what it passes on. On a CPU that takes a thread of XLA, while the call
occupies one: with few cores, both wait for ever. What is called here gets NumPy arrays, and needs no thread of XLA.

A process that ends while programs still run would abort at their next call, for which Python is gone. So it waits: for
all results that something still refers to, and for calls that have begun.
"""

import atexit
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._compat import is_for_this_cpu, lowered_function, lowered_host_call, new_primitive
from neural_tangents._core.types import PyTree


def host_call(function: Callable[..., Sequence[Any]], results: Sequence[Any], *arrays: Array) -> list[Array]:
    """What a function makes of NumPy arrays; only within the first argument of `on_cpu`.

    Args:
      function: takes NumPy arrays, and returns as many arrays as `results` has.
      results: their shapes and types.
      *arrays: its arguments.
    """
    return _HOST_CALL.bind(*arrays, function=_CALLS.counted(function), results=tuple(results))


def on_cpu(function: Callable[..., PyTree], elsewhere: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """`function(*args)` in programs that run here, on a CPU; `elsewhere(*args)` outside of programs and in all others.

    Args:
      function: may make use of `host_call`.
      elsewhere: has results of the same shapes and types.
      *args: all that either depends on and that may be traced.
    """
    leaves, structure = jax.tree.flatten(args)

    def flat(*leaves: Array) -> PyTree:
        return function(*jax.tree.unflatten(structure, leaves))

    def flat_elsewhere(*leaves: Array) -> list[Array]:
        return jax.tree.leaves(elsewhere(*jax.tree.unflatten(structure, leaves)))

    make_program: Any = jax.make_jaxpr(flat, return_shape=True)
    program, shapes = make_program(*leaves)
    here = functools.partial(jax.core.eval_jaxpr, program.jaxpr, program.consts)
    results, outer = jax.tree.flatten(shapes)
    found = _ON_CPU.bind(*leaves, here=here, elsewhere=flat_elsewhere, results=tuple(results))
    return jax.tree.unflatten(outer, found)


class _Calls:
    """Counts calls, and waits for them when the process ends."""

    def __init__(self) -> None:
        self._running, self._waits, self._lock = 0, False, threading.Lock()

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are counted while they last."""
        if not self._waits:
            atexit.register(self.finish)  # not before jax has registered what it does at the end, which must come after
            self._waits = True

        @functools.wraps(function, updated=())
        def call(*args: Any) -> Any:
            self._add(1)
            try:
                return function(*args)
            finally:
                self._add(-1)

        return call

    def finish(self) -> None:
        """Waits until nothing is running, and nothing begins for a tenth of a second."""
        for x in jax.live_arrays():
            with contextlib.suppress(RuntimeError):  # deleted ones, and errors that nobody has asked about
                x.block_until_ready()
        idle = 0
        while idle < 10:
            time.sleep(0.01)
            idle = 0 if self._running else idle + 1

    def _add(self, n: int) -> None:
        with self._lock:
            self._running += n


def _lowered(ctx: Any, *leaves: Any, here: Any, elsewhere: Any, results: Any) -> Any:
    return lowered_function(here if is_for_this_cpu(ctx) else elsewhere, ctx, leaves)


def _batched(leaves: Sequence[Array], axes: Sequence[Any], *, here: Any, elsewhere: Any, results: Any) -> Any:
    found = on_cpu(jax.vmap(here, axes), jax.vmap(elsewhere, axes), *leaves)
    return found, [0] * len(found)


def _lowered_call(ctx: Any, *arrays: Any, function: Any, results: Any) -> Any:
    return lowered_host_call(function, ctx, arrays)


def _batched_call(arrays: Sequence[Array], axes: Sequence[Any], *, function: Any, results: Any) -> Any:
    """One call after the other."""
    mapped = [jnp.moveaxis(x, axis, 0) for x, axis in zip(arrays, axes, strict=True) if axis is not None]

    def of_one(some: list[Array]) -> list[Array]:
        rest = iter(some)
        args = [x if axis is None else next(rest) for x, axis in zip(arrays, axes, strict=True)]
        return host_call(function, results, *args)

    found = jax.lax.map(of_one, mapped)
    return found, [0] * len(found)


_CALLS = _Calls()
_HOST_CALL = new_primitive("host_call", _lowered_call, _batched_call)
_ON_CPU = new_primitive("on_cpu", _lowered, _batched)
_ON_CPU.def_impl(lambda *leaves, here, elsewhere, results: elsewhere(*leaves))
