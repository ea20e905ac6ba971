"""Checks of networks, their parameters and outputs, and notes on errors raised inside a network."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.types import PyTree

ORDER = "Kernels of finite networks take parameters last, after both batches of inputs: (x1, x2, params)."
_SHOWN = 6  # how many arrays of a tree an error lists


def check_function(fn: Any, usage: str, name: str = "f", of_layer: str = "apply_fn") -> None:
    """Raises `TypeError` if an argument is not a function.

    `usage` is a call of the public function that has the argument, and `of_layer` what a layer has for it.
    """
    if not callable(fn):
        raise TypeError(
            f"Expected `{name}` in `{usage}` to be a function, got {type(fn).__name__}. Of a layer "
            f"`(init_fn, apply_fn, kernel_fn)`, pass `{of_layer}`."
        )


def check_parameters(params: PyTree) -> None:
    """Raises `TypeError` if there are parameters one cannot differentiate with respect to."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = _dtype(leaf)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"Expected parameters of real or complex type, got {dtype or type(leaf).__name__} at "
                f"params{jax.tree_util.keystr(path)}. Take it out of `params` and give it to the function in another "
                "way, for example by a closure."
            )


def evaluate(f: Callable[..., PyTree], params: PyTree, x: PyTree, keywords: Mapping[str, Any]) -> PyTree:
    """`f(params, x, **keywords)`, as a tree of arrays; an error of `f` gets a note of what `f` was called with.

    Raises:
      TypeError: outputs are not arrays.
    """
    with noted(lambda: _call(params, x, keywords)):
        outputs = f(params, x, **keywords)
    return as_arrays(outputs)


def as_arrays(outputs: PyTree) -> PyTree:
    """The outputs of a network, with numbers as arrays.

    Raises:
      TypeError: there are no arrays, or other things than arrays.
    """
    expected = "Expected the network to return an array or a tree of arrays, got"
    leaves = jax.tree_util.tree_leaves_with_path(outputs)
    if not leaves:
        raise TypeError(f"{expected} {'None' if outputs is None else f'{type(outputs).__name__} without arrays'}.")
    for path, leaf in leaves:
        if _dtype(leaf) is None:
            raise TypeError(f"{expected} {type(leaf).__name__} at outputs{jax.tree_util.keystr(path)}.")
    return jax.tree.map(lambda x: jnp.asarray(float(x) if type(x) is int else x), outputs)


def check_differentiable(outputs: PyTree) -> None:
    """Raises `TypeError` if there are outputs without a derivative; they are arrays, or shapes and types of arrays."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(outputs):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"Expected outputs of real or complex type, got {leaf.dtype} at outputs{jax.tree_util.keystr(path)}. "
                "Leave it out of what the network returns."
            )


def check_vector(v: PyTree, outputs: PyTree) -> None:
    """Raises `ValueError` if the tree, the shapes or the types of a vector are not those of outputs for x2."""
    structure: Any = jax.tree.structure(outputs)  # jax's annotation allows no comparison
    same = structure == jax.tree.structure(v) and all(
        _type(a) in (_type(b), f"{complex_of(b.dtype)}{list(b.shape)}")
        for a, b in zip(jax.tree.leaves(v), jax.tree.leaves(outputs), strict=True)
        if jnp.issubdtype(b.dtype, jnp.inexact)  # vectors of integers have a type of their own, `float0`
    )
    if not same:
        raise ValueError(
            f"Expected a vector like the outputs for x2, that is {described('v', outputs)}; got {described('v', v)}."
        )


@contextlib.contextmanager
def noted(note: Callable[[], str], only: Callable[[Exception], bool] = lambda error: True) -> Iterator[None]:
    """Adds a note to errors raised inside, or to those for which `only` holds."""
    try:
        yield
    except Exception as error:
        if only(error):
            error.add_note(note())
        raise


def forward_mode(advice: str) -> contextlib.AbstractContextManager[None]:
    """Says what to do if a network has no derivatives in forward mode."""
    return noted(
        lambda: f"The network uses `jax.custom_vjp`, which has no derivative in forward mode. {advice}",
        lambda error: isinstance(error, TypeError) and "custom_vjp" in str(error),
    )


def described(name: str, tree: PyTree) -> str:
    """The arrays of a tree in a few words, such as `params['w']: float32[5, 3]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = [f"{name}{jax.tree_util.keystr(path)}: {_type(leaf)}" for path, leaf in leaves[:_SHOWN]]
    found += [f"and {len(leaves) - _SHOWN} more arrays"] * (len(leaves) > _SHOWN)
    return ", ".join(found) or f"{name}: {type(tree).__name__} without arrays"


def _call(params: PyTree, x: PyTree, keywords: Mapping[str, Any]) -> str:
    call = ", ".join(["params", "x", *(f"{name}=..." for name in keywords)])
    return f"The network was called as f({call}) with {described('params', params)}; {described('x', x)}. {ORDER}"


def complex_of(dtype: Any) -> Any:
    """The complex type of the precision of a real or complex one."""
    return jnp.result_type(dtype, jnp.complex64)


def _type(leaf: Any) -> str:
    dtype = _dtype(leaf)
    return type(leaf).__name__ if dtype is None else f"{dtype}{list(jnp.shape(leaf))}"


def _dtype(leaf: Any) -> Any:
    """The type of a number or an array; None for anything else."""
    with contextlib.suppress(TypeError, ValueError):
        return None if isinstance(leaf, str) else jnp.result_type(leaf)
    return None
