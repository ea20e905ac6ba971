"""Derivatives of kernels of vectors, by way of the covariance and the variances of each pair of inputs.

An entry of such a kernel is a function of three numbers, the covariance `k` and the variances `q1`, `q2` of two inputs,
and of the numbers of layers, such as `W_std`:

    dK = dK/dk dk + dK/dq1 dq1 + dK/dq2 dq2 + sum_i dK/dw_i dw_i.

These partial derivatives are carried from layer to layer beside the kernels. A pass backward would have to keep what
all layers get, and to sum over rows and columns in each of them; here, only the products above are transposed.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.compiled import separated
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.cosine_distance import with_derivatives
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.moving import moved, moving
from neural_tangents._core.numerics import along_rows, length
from neural_tangents._core.trees import tree_map
from neural_tangents._core.undivided import undivided_in_loop

# With derivatives in more numbers, a pass backward takes less time. Where it is differentiated once more, forward, jax
# drops the rules of `cosine_distance.py`: that matters for half-lines at inputs that are zero, in networks with biases.
_MOST = 5
# Places of the covariances and variances among the arguments of a function of pairs; numbers follow.
_PAIRS, _ROWS, _COLUMNS = 0, 1, 2


def of_pairs(fn: Callable[..., Any], k: Kernel, *values: Any) -> Any:
    """`fn(k, *values)`, kernels that are differentiated pair by pair.

    Args:
      fn: maps each pair of inputs by itself; it depends on no traced values but its arguments.
      k: the kernel of two batches of vectors, with their variances.
      *values: pytrees of numbers.
    """
    numbers, of_values = separated(values, lambda x: not is_concrete(x))
    fixed, of_kernel = separated(k.replace(nngp=None, cov1=None, cov2=None, distance=k.distance), _is_array)

    def after(nngp: Array, q1: Array, q2: Array, *others: Array) -> Any:
        known = of_kernel.filled(others[: len(fixed)])
        r1, r2 = known.layout.spread(length(q1), length(q2))
        distance = None if known.distance is None else with_derivatives(known.distance, nngp, r1, r2)
        inputs = known.replace(nngp=nngp, cov1=q1, cov2=q2, distance=distance)
        found = fn(inputs, *of_values.filled(others[len(fixed) :]))
        return tree_map(lambda k: dataclasses.replace(k, x1_is_x2=None), found)

    differentiated = jax.custom_jvp(after)
    differentiated.defjvp(functools.partial(_derivative, after), symbolic_zeros=True)
    found = differentiated(k.nngp, k.cov1, k.cov2, *map(lax.stop_gradient, fixed), *numbers)
    return tree_map(lambda found: dataclasses.replace(found, x1_is_x2=k.x1_is_x2), found)


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array)


def _derivative(fn: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """`fn` of covariances, variances and numbers, and its derivative along tangents."""
    places = moving(tangents)
    changes = [tangents[i] for i in places]

    def along(directions: Sequence[Array], *primals: Array) -> tuple[Any, Any]:
        def of_moving(*some: Array) -> Any:
            return fn(*moved(primals, places, some))

        return jax.jvp(of_moving, [primals[i] for i in places], list(directions))

    if len(places) > _MOST:
        return along(changes, *primals)

    def along_each(*primals: Array) -> tuple[Any, Any]:
        each = [jnp.stack([jnp.full_like(primals[i], i == j) for j in places]) for i in places]
        return jax.vmap(lambda directions: along(directions, *primals), out_axes=(None, 0))(each)

    found, partial = undivided_in_loop(along_each, ~(primals[_ROWS][0] < 0), *primals)
    return found, tree_map(functools.partial(_change, list(zip(places, changes, strict=True))), partial)


def _change(changes: Sequence[tuple[int, Array]], partial: Kernel) -> Kernel:
    """The change of a kernel, from those of arguments and the partial derivatives in these."""

    def total(terms: list[Array], partial: Array) -> Array:
        return functools.reduce(operator.add, terms, jnp.zeros(partial.shape[1:], partial.dtype))

    def of_pairs(partial: Array) -> Array:
        if partial.ndim == 1:  # a scalar, which is zero
            return total([], partial)
        terms = zip(changes, partial, strict=True)
        return total([part * _of_pairs(place, change, part.shape) for (place, change), part in terms], partial)

    def of_inputs(own: int, partial: Array) -> Array:
        terms = zip(changes, partial, strict=True)
        return total([part * change for (place, change), part in terms if place == own or place > _COLUMNS], partial)

    assert partial.cov2 is not None
    changed = {name: jax.tree.map(of_pairs, getattr(partial, name)) for name in ("nngp", "ntk", "distance")}
    cov1, cov2 = of_inputs(_ROWS, partial.cov1), of_inputs(_COLUMNS, partial.cov2)
    return dataclasses.replace(partial, cov1=cov1, cov2=cov2, **changed)


def _of_pairs(place: int, change: Array, shape: tuple[int, ...]) -> Array:
    """The change of an argument, for each pair."""
    if place == _ROWS:
        return along_rows(change[:, None], shape)
    return change[None] if place == _COLUMNS else change
