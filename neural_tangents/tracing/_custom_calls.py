"""Functions with derivatives of their own: whether these are the derivatives of what the functions compute."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._compat import bind, is_literal, opened

_known: dict[tuple[str, ...], bool] = {}
_TOLERANCE = 1e-3


def agrees(jaxpr: Any, eqn: Any, inner: Any) -> bool:
    """Whether the derivative that a call defines is that of its body, at random numbers.

    Args:
      jaxpr: the program that the call is in.
      eqn: the call.
      inner: the body, a jaxpr.
    """
    body, constants = opened(inner)
    shapes = [atom.aval for atom in eqn.invars]
    literal = [is_literal(atom) for atom in eqn.invars]
    floats = [i for i, aval in enumerate(shapes) if not literal[i] and jnp.issubdtype(aval.dtype, jnp.floating)]
    if not floats:
        return True
    forward = eqn.primitive.name == "custom_jvp_call"

    def derivative(of_call: bool) -> Any:
        def product(values: Sequence[Any], direction: Sequence[Any]) -> Any:
            def fn(*some: Any) -> list[Any]:
                full = list(values)
                for i, x in zip(floats, some, strict=True):
                    full[i] = x
                results = bind(jaxpr, eqn, full) if of_call else jax.core.eval_jaxpr(body, constants, *full)
                return [r for r in results if jnp.issubdtype(r.dtype, jnp.floating)]

            some = [values[i] for i in floats]
            if forward:
                return jax.jvp(fn, some, list(direction))[1]
            results, pullback = jax.vjp(fn, *some)
            return pullback([jnp.ones_like(r) for r in results])

        return product

    values = [atom.val if literal[i] else _numbers(atom.aval, i) for i, atom in enumerate(eqn.invars)]
    direction = [_numbers(shapes[i], 10 + i) for i in floats]
    key = tuple(_without_shapes(str(jax.make_jaxpr(derivative(flag))(values, direction))) for flag in (True, False))
    if key not in _known:
        with jax.ensure_compile_time_eval():
            first, second = (jax.tree.leaves(derivative(flag)(values, direction)) for flag in (True, False))
        close = (
            np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), _TOLERANCE, _TOLERANCE)
            for a, b in zip(first, second, strict=True)
        )
        _known[key] = all(close)
    return _known[key]


def _numbers(aval: Any, seed: int) -> Any:
    if not jnp.issubdtype(aval.dtype, jnp.floating):
        return np.zeros(aval.shape, aval.dtype)
    return jnp.asarray(np.random.RandomState(seed).normal(size=aval.shape), aval.dtype)


def _without_shapes(text: str) -> str:
    return re.sub(r"\[[\d,]*\]|shape=\([\d, ]*\)|0x[0-9a-f]+", "", text)
