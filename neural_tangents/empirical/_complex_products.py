"""Products with a Jacobian, and with its transpose, that are linear over complex numbers.

Derivatives of jax are linear over real numbers only where a function has both real and complex arguments or values:
cotangents of real parameters are real parts, and so are tangents of real outputs. What they leave out is found by
turning a vector in the complex plane.

With respect to a complex parameter `x + i y`, the derivative of a complex output is that of a holomorphic function, and
of a real output it is `∂f/∂x - i ∂f/∂y`, as `jax.grad` has it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Linear = Callable[[list[Any]], Sequence[Any]]


def product_with_transpose(pull: Linear, outputs: Sequence[Any], vectors: Sequence[Any]) -> list[Any]:
    """`Jᵀ v`, for each leaf of the parameters.

    Args:
      pull: maps cotangents of all outputs to those of the parameters.
      outputs: all outputs.
      vectors: for each of them, its part of `v`, which may be complex even if the output is real; None for zero.
    """
    total: list[Any] = []
    for is_complex in (False, True):
        parts = [
            None if jnp.iscomplexobj(out) != is_complex or not _is_differentiable(out) else v
            for out, v in zip(outputs, vectors, strict=True)
        ]
        if all(v is None for v in parts):
            continue

        def of(turned: Callable[[Any], Any], parts: Sequence[Any] = parts) -> Sequence[Any]:
            return pull([_zeros(out) if v is None else turned(v) for out, v in zip(outputs, parts, strict=True)])

        found = list(of(_same if is_complex else jnp.real))
        if is_complex and not all(map(jnp.iscomplexobj, found)):
            rest = of(lambda v: -1j * v)
            found = [a if jnp.iscomplexobj(a) else a + 1j * b for a, b in zip(found, rest, strict=True)]
        elif not is_complex and any(map(jnp.iscomplexobj, parts)):
            found = [a + 1j * b for a, b in zip(found, of(jnp.imag), strict=True)]
        total = [a + b for a, b in zip(total, found, strict=True)] if total else found
    return total or list(pull([_zeros(out) for out in outputs]))


def product(push: Linear, params: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """`J s`, for each output.

    Args:
      push: maps tangents of all leaves of the parameters to those of the outputs.
      params: the leaves of the parameters.
      outputs: the outputs, or what stands for them.
      tangents: for each leaf, its part of `s`, which may be complex even if the parameter is real.
    """
    is_complex = [jnp.iscomplexobj(p) for p in params]
    pairs = list(zip(tangents, is_complex, strict=True))
    found = list(push([t if whole else jnp.real(t) for t, whole in pairs]))
    for complex_output in (False, True):
        # Of a real output, a complex parameter gives the real part only; of a complex one, all.
        kept_all = [complex_output if whole else not jnp.iscomplexobj(t) for t, whole in pairs]
        places = [i for i, out in enumerate(outputs) if _is_differentiable(out) and _is_complex(out) == complex_output]
        if all(kept_all) or not places:
            continue
        turned = [(-1j * t if whole else jnp.imag(t)) for t, whole in pairs]
        turned = [jnp.zeros_like(t) if kept else t for t, kept in zip(turned, kept_all, strict=True)]
        rest = push(turned)
        for i in places:
            found[i] = found[i] + 1j * rest[i]
    return found


def conjugate(leaves: Sequence[Any]) -> list[Any]:
    """The complex conjugates of arrays; arrays without derivatives stay as they are."""
    return [jnp.conj(leaf) if _is_complex(leaf) else leaf for leaf in leaves]


def _same(x: Any) -> Any:
    return x


def _is_complex(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.complexfloating))


def _is_differentiable(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _zeros(out: Any) -> Any:
    return jnp.zeros_like(out) if _is_differentiable(out) else np.zeros(out.shape, jax.dtypes.float0)
