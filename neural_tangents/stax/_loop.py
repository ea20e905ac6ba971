"""How layers are compiled: loops over equal ones, so that compile time does not grow with depth; fusion barriers."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from neural_tangents._core import mesh_axes
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.trees import tree_map
from neural_tangents.stax._coding import coded, decoded
from neural_tangents.stax._spec import Step

# Fewer equal blocks are unrolled: XLA fuses them into one pass over memory, and few blocks compile fast.
# Chosen with the cases `fc_*` of `benchmarks/cases.py` on two cores of a CPU.
_FEWEST_ROLLED = 5
_LONGEST_PERIOD = 16


def equal_form(x: Any, y: Any) -> bool:
    """Whether two pytrees have equal structure, static metadata, shapes and dtypes."""
    structure_x: Any = jax.tree.structure(x)
    return bool(structure_x == jax.tree.structure(y)) and all(
        np.shape(a) == np.shape(b) and jax.dtypes.result_type(a) == jax.dtypes.result_type(b)
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    )


def scan(step: Callable[[Any, Any], Any], x: Any, xs: Any, n: int) -> Any:
    """`step` applied to `x` and each of `n` elements of `xs`, in a compiled loop that returns the last result."""
    if jax.default_backend() != "cpu":
        return mesh_axes.scan(lambda carry, element: (step(carry, element), None), x, xs, n)[0]

    # XLA:CPU computes each output of a loop in a separate pass over memory, and would compute the angle between two
    # inputs twice, for the NNGP and for the NTK. As parts of one complex array they share a pass: half the time.
    def body(carry: Any, element: Any) -> tuple[Any, None]:
        return _pack(step(_unpack(carry), element)), None

    return _unpack(mesh_axes.scan(body, _pack(x), xs, n)[0])


def _pack(kernels: Any) -> Any:
    """Joins the NNGP and the NTK of each kernel, as the real and the imaginary part of one array."""

    def pack(k: Any) -> Any:
        k = coded(k) if isinstance(k, Kernel) else k
        if not isinstance(k, Kernel) or k.ntk is None or k.ntk.shape != k.nngp.shape:
            return k
        return k.replace(nngp=lax.complex(k.nngp, k.ntk), ntk=None, distance=k.distance)

    return tree_map(pack, kernels)


def _unpack(kernels: Any) -> Any:
    """Inverse of `_pack`."""

    def unpack(k: Any) -> Any:
        if isinstance(k, Kernel) and jnp.iscomplexobj(k.nngp):
            k = k.replace(nngp=lax.real(k.nngp), ntk=lax.imag(k.nngp), distance=k.distance)
        return decoded(k) if isinstance(k, Kernel) else k

    return tree_map(unpack, kernels)


def iterate(step: Callable[[Any], Any], x: Any, n: int) -> Any:
    """`step` applied `n` times, in a compiled loop if `x` is traced and outputs have the form of inputs.

    The first application is not part of the loop, as the inputs of a network differ in form from the outputs of layers.
    """
    if n < _FEWEST_ROLLED:
        for _ in range(n):
            x = step(x)
        return x
    x = step(x)
    with contextlib.suppress(Exception):  # of layers of users, which may ask for what is not known in a loop
        if not is_concrete(x) and equal_form(x, jax.eval_shape(step, x)):
            return scan(lambda carry, _: step(carry), x, None, n - 1)
    for _ in range(n - 1):
        x = step(x)
    return x


def compiled_separately(fn: Callable[[Any], Any], x: Any, opaque_true: Array) -> Any:
    """`fn(x)`, compiled separately from what computes `x`.

    XLA:CPU computes the operand of a product or of a reshape in the order in which it is read there, which may take ten
    times as long as in its natural order. It does not do so across the border of a conditional.

    Args:
      fn: a function that is linear.
      x: its argument.
      opaque_true: a boolean that is true, which the compiler must not be able to tell.
    """
    if jax.default_backend() != "cpu":
        return fn(x)
    zeros = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(fn, x))
    return mesh_axes.cond(opaque_true, fn, lambda _: zeros, x)


def in_sequence(steps: Sequence[Step], kernels: Any, kwargs: Mapping[str, Any]) -> Any:
    """Passes kernels through layers one after the other; blocks of layers that repeat are compiled as loops."""
    for block, n in periodic_runs(steps):

        def through_block(ks: Any, block: Sequence[Step] = block) -> Any:
            for step in block:
                ks = step.kernel(ks, kwargs)
            return ks

        kernels = iterate(through_block, kernels, n)
    return kernels


def periodic_runs(steps: Sequence[Step]) -> list[tuple[Sequence[Step], int]]:
    """Splits a sequence of layers into blocks and how often each is repeated, `(a b a b c) -> [((a b), 2), ((c), 1)]`.

    From left to right, the shortest block of layers that repeats often enough for a loop is taken.
    """
    runs: list[tuple[Sequence[Step], int]] = []
    start = 0
    while start < len(steps):
        for period in range(1, _LONGEST_PERIOD + 1):
            count = 1
            end = start + period
            while end + period <= len(steps) and _equal(steps[start : start + period], steps[end : end + period]):
                count, end = count + 1, end + period
            if count >= _FEWEST_ROLLED:
                break
        else:
            period, count = 1, 1
        runs.append((steps[start : start + period], count))
        start += period * count
    return runs


def _equal(a: Sequence[Step], b: Sequence[Step]) -> bool:
    pairs = ((x.spec, y.spec) for x, y in zip(a, b, strict=True))
    return all(x is y or (x.key is not None and x.key == y.key) for x, y in pairs)
