"""Functions that jax does not divide into parts when it differentiates a loop backward."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core import mesh_axes


def undivided(fn: Callable[..., Any], *args: Any) -> Any:
    """`fn(*args)`, from which jax moves no constants out of loops, and in which it keeps custom rules for derivatives.

    To differentiate backward, jax divides a loop into what is known before and what is not, and computes what is the
    same in all steps before the first: also zeros and ones, as arrays that each step has to read. It does not look into
    a function with a custom rule, if all arguments are known before.

    Args:
      fn: a function of arrays, all of them known before a pass backward; it depends on no traced values but these.
      *args: its arguments.
    """
    whole = jax.custom_jvp(fn)
    whole.defjvp(lambda primals, tangents: jax.jvp(fn, primals, tangents))
    return whole(*args)


def undivided_in_loop(fn: Callable[..., Any], opaque_true: Array, *args: Any) -> Any:
    """The same in a loop: jax does not look into a conditional that depends on the step.

    Args:
      fn: see `undivided`.
      opaque_true: a boolean that is true, but depends on the step, and which the compiler must not be able to tell.
      *args: see `undivided`.
    """
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fn, *args))
    return mesh_axes.cond(opaque_true, functools.partial(undivided, fn), lambda *_: zeros, *args)
