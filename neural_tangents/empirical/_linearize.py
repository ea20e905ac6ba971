"""Taylor series of a network in its parameters."""

import functools
from collections.abc import Callable
from operator import index
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.types import PyTree
from neural_tangents.empirical._batches import check_parameters

Terms = Callable[[PyTree], tuple[PyTree, ...]]


def linearize(f: Callable[..., PyTree], params: PyTree) -> Callable[..., PyTree]:
    """The network that is linear in its parameters, and equal to `f` up to first order around `params`.

    `f_lin(p, *args, **kwargs) = f(params, *args, **kwargs) + J(params, *args, **kwargs) (p - params)`

    Args:
      f: a function whose first argument is a tree of arrays, and which returns one.
      params: the first argument around which to expand.

    Returns:
      `f_lin(p, *args, **kwargs)`; `p` is like `params`, all else like the arguments and outputs of `f`.

    Raises:
      TypeError: `params` has leaves that are not of real or complex type.
      ValueError: trees or shapes of `p` and `params` differ.

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    return taylor_expand(f, params, 1)


def taylor_expand(f: Callable[..., PyTree], params: PyTree, degree: int) -> Callable[..., PyTree]:
    """The Taylor polynomial of the network `f` in its parameters around `params`.

    `f_tayl(p, *args, **kwargs) = sum_{k=0}^{degree} (1 / k!) (d/ds)^k f(params + s (p - params), *args, **kwargs)`,
    with derivatives at `s = 0`.

    Args:
      f: a function whose first argument is a tree of arrays, and which returns one.
      params: the first argument around which to expand.
      degree: of the polynomial; 0 for the constant `f(params, ...)`.

    Returns:
      `f_tayl(p, *args, **kwargs)`; `p` is like `params`, all else like the arguments and outputs of `f`. The cost grows
      as `2^degree`.

    Raises:
      TypeError: `params` has leaves that are not of real or complex type, or `degree` is not an integer.
      ValueError: `degree` is negative, or trees or shapes of `p` and `params` differ.
    """
    check_parameters(params)
    if index(degree) < 0:
        raise ValueError(f"Expected `degree` of a Taylor expansion to be 0 or more, got {degree}.")

    def expanded(p: PyTree, *args: Any, **kwargs: Any) -> PyTree:
        direction = _difference(p, params)

        def along(params: PyTree) -> PyTree:
            return jax.tree.map(jnp.asarray, f(params, *args, **kwargs))

        terms = functools.reduce(functools.partial(_one_more, direction), range(1, degree + 1), lambda p: (along(p),))
        return functools.reduce(functools.partial(jax.tree.map, jnp.add), terms(params))

    return expanded


def _one_more(direction: PyTree, terms: Terms, k: int) -> Terms:
    """Terms `0, ..., k` of a Taylor series, as a function of the point of expansion, from terms `0, ..., k - 1`."""

    def with_next(params: PyTree) -> tuple[PyTree, ...]:
        values, derivatives = jax.jvp(terms, (params,), (direction,))
        return (*values, jax.tree.map(lambda x: x / k, derivatives[-1]))

    return with_next


def _difference(p: PyTree, params: PyTree) -> PyTree:
    structure: Any  # jax's annotation of `flatten` allows no comparison
    leaves, structure = jax.tree.flatten(p)
    around, structure0 = jax.tree.flatten(params)
    shapes, shapes0 = ([jnp.shape(leaf) for leaf in x] for x in (leaves, around))
    if structure != structure0 or shapes != shapes0:
        raise ValueError(
            "Expected parameters with the tree and the shapes of those that the network was expanded around, "
            f"{structure0} with {shapes0}; got {structure} with {shapes}."
        )
    return jax.tree.map(lambda a, b: jnp.asarray(a - b, jnp.result_type(b)), p, params)
