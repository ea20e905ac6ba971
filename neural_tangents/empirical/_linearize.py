"""Taylor series of a network in its parameters."""

import functools
from collections.abc import Callable
from operator import index
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.mesh_axes import varying_like
from neural_tangents._core.types import PyTree
from neural_tangents.empirical._checks import (
    as_arrays,
    check_differentiable,
    check_function,
    check_parameters,
    forward_mode,
)

Terms = Callable[[PyTree], tuple[PyTree, ...]]


def linearize(f: Callable[..., PyTree], params: PyTree) -> Callable[..., PyTree]:
    """The network that is linear in its parameters, and equal to `f` up to first order around `params`.

    `f_lin(p, *args, **kwargs) = f(params, *args, **kwargs) + J(params, *args, **kwargs) (p - params)`

    Args:
      f: a function whose first argument is a tree of arrays, and which returns one.
      params: the first argument around which to expand, a tree of real or complex arrays.

    Returns:
      `f_lin(p, *args, **kwargs)`; `p` is like `params`, all else like the arguments and outputs of `f`.

    Raises:
      TypeError: `f` is not a function, or `params` has leaves that are not of real or complex type.

    Example:
      >>> import jax.numpy as jnp
      >>> import neural_tangents as nt
      >>> f = lambda params, x: x * jnp.exp(params)
      >>> f_lin = nt.linearize(f, jnp.asarray(0.0))
      >>> print(f_lin(0.5, 2.0))  # 2 + 2 * 0.5
      3.0

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    check_function(f, "linearize(f, params)")
    return taylor_expand(f, params, 1)


def taylor_expand(f: Callable[..., PyTree], params: PyTree, degree: int) -> Callable[..., PyTree]:
    """The Taylor polynomial of the network `f` in its parameters around `params`.

    `f_tayl(p, *args, **kwargs) = sum_{k=0}^{degree} (1 / k!) (d/ds)^k f(params + s (p - params), *args, **kwargs)`,
    with derivatives at `s = 0`.

    Args:
      f: a function whose first argument is a tree of arrays, and which returns one.
      params: the first argument around which to expand, a tree of real or complex arrays.
      degree: of the polynomial; 0 for the constant `f(params, ...)`.

    Returns:
      `f_tayl(p, *args, **kwargs)`; `p` is like `params`, all else like the arguments and outputs of `f`. The cost grows
      as `2^degree`.

    Raises:
      TypeError: `f` is not a function, `params` has leaves that are not of real or complex type, or `degree` is not an
        integer.
      ValueError: `degree` is negative.

    Source: Bai and Lee, "Beyond Linearization: On Quadratic and Higher-Order Approximation of Wide Neural Networks",
    2020, https://arxiv.org/abs/1910.01619, for polynomials of higher degree.
    """
    check_function(f, "taylor_expand(f, params, degree)")
    check_parameters(params)
    try:
        order = index(degree)
    except TypeError:
        raise TypeError(f"Expected `degree` to be an integer, got {type(degree).__name__}.") from None
    if order < 0:
        raise ValueError(f"Expected `degree` of a Taylor expansion to be 0 or more, got {degree}.")

    def expanded_fn(p: PyTree, *args: Any, **kwargs: Any) -> PyTree:
        """The Taylor polynomial of the network around its centre, the parameters that it was expanded around.

        `sum_{k=0}^{degree} (1 / k!) (d/ds)^k f(centre + s (p - centre), *args, **kwargs)`, with derivatives at `s = 0`.

        Args:
          p: parameters, with the tree and the shapes of the centre.
          *args: further arguments of `f`, such as inputs.
          **kwargs: keyword arguments of `f`.

        Returns:
          The value of the polynomial, with the tree, shapes and types of `f(p, *args, **kwargs)`.

        Raises:
          TypeError: outputs of `f` are not of real or complex type, or have no derivative in forward mode.
          ValueError: the tree or the shapes of `p` are not those of the centre.
        """
        # NumPy's arrays get a precision that jax has: differentiated, they may reach compiled operators as they are.
        centre = varying_like(jax.tree.map(jnp.asarray, params) if order else params, p)
        direction = varying_like(_difference(p, centre), centre)

        def along(params: PyTree) -> PyTree:
            outputs = as_arrays(f(params, *args, **kwargs))
            if order:
                check_differentiable(outputs)
            return outputs

        terms = functools.reduce(functools.partial(_one_more, direction), range(1, order + 1), lambda p: (along(p),))
        with forward_mode("Write it with `jax.custom_jvp`."):
            return functools.reduce(functools.partial(jax.tree.map, jnp.add), terms(centre))

    return expanded_fn


def _one_more(direction: PyTree, terms: Terms, k: int) -> Terms:
    """Terms `0, ..., k` of a Taylor series, as a function of its centre, from terms `0, ..., k - 1`."""

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
