"""Compiled loops over kernels, and fusion barriers."""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from neural_tangents._core import mesh_axes
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.trees import tree_map
from neural_tangents.stax._coding import coded, decoded

_NAME = "kept"
_KEEP = jax.checkpoint_policies.save_only_these_names(_NAME)


def kept(x: Array) -> Array:
    """An array that derivatives keep of each step of a loop, rather than to compute it again."""
    return checkpoint_name(x, _NAME)


def form_of(x: Any) -> Hashable:
    """The structure of a pytree, with its static metadata, and the shapes and dtypes of its leaves."""
    leaves, structure = jax.tree.flatten(x)
    return structure, tuple((np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves)


def scan(steps: Sequence[Callable[[Any, Any], Any]], x: Any, xs: Any, n: int, which: Any = None) -> Any:
    """The last result of a compiled loop of `n` steps, `x = steps[which[i]](x, xs[i])`.

    Args:
      steps: functions that return what has the form of `x`.
      x: kernels, or a network tree of activations.
      xs: a pytree of arrays with one element for each step.
      n: number of steps.
      which: which function each step is, `(n,)`; None if there is one.
    """
    # XLA:CPU computes each output of a loop in a separate pass over memory, and would compute the angle between two
    # inputs twice, for the NNGP and for the NTK. As parts of one complex array they share a pass: half the time.
    pack, unpack = (_pack, _unpack) if jax.default_backend() == "cpu" else (lambda k: k, lambda k: k)
    packed = [lambda carry, element, step=step: pack(step(unpack(carry), element)) for step in steps]

    # Derivatives compute each step again, but for sums over windows: what they need of it is several times as large.
    @functools.partial(jax.checkpoint, prevent_cse=False, policy=_KEEP)
    def body(carry: Any, chosen: Any) -> tuple[Any, None]:
        index, element = chosen
        return packed[0](carry, element) if which is None else mesh_axes.switch(index, packed, carry, element), None

    return unpack(mesh_axes.scan(body, pack(x), (which, xs), n)[0])


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
