"""`repeat`: copies of one layer, compiled once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random

from neural_tangents._core.compiled import compiled
from neural_tangents._core.layer import InternalLayer
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.trees import tree_map
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._combinators import network_text
from neural_tangents.stax._custom import as_spec
from neural_tangents.stax._hyperparameters import integer
from neural_tangents.stax._loop import form_of, scan
from neural_tangents.stax._spec import Form, LayerSpec, places
from neural_tangents.stax._streaming.run_geometry import after_layer


@public_layer
def repeat(layer: InternalLayer, n: int) -> LayerSpec:
    """Composes `n` copies of a layer, with independent parameters; equals `serial(*[layer] * n)`.

    The layer is traced and compiled once, as the body of a loop, so that depth costs no compile time.

    Args:
      layer: a layer whose outputs have the shape of its inputs.
      n: number of copies, at least 0. Parameters are those of the layer, with a new leading axis of size `n`.

    Returns:
      The network, itself a layer.

    Raises:
      ValueError: `n` is negative, or the layer changes the shape of its inputs.
      TypeError: the second application of the layer gives a kernel of another form than the first, so that there can
        be no loop.
    """
    integer("repeat", "n", n, least=None)
    if n < 0:
        raise ValueError(f"repeat needs a number of copies n >= 0, got {n}.")
    return _repeat(as_spec(layer), n)


def _repeat(spec: LayerSpec, n: int) -> LayerSpec:
    (place,) = places("repeat", [spec])

    def out_shape(shapes: Any) -> Any:
        if not n:
            return shapes
        with place.noted():
            out = spec.out_shape(shapes)
        if out != shapes:
            raise ValueError(
                f"repeat needs a layer that keeps the shape of its inputs; {spec.name} makes {out} of {shapes}. "
                "Use `serial`, or put layers that change the shape before `repeat`."
            )
        return shapes

    def init(rng: Any, shapes: Any) -> Any:
        keys: Any = lax.scan(lambda key, _: tuple(random.split(key)), rng, length=n)[1]
        return out_shape(shapes), jax.vmap(lambda key: spec.init(key, shapes)[1])(keys)

    def apply_step(inputs: Any, param_and_key: Any, kwargs: dict[str, Any]) -> Any:
        param, key = param_and_key
        with place.noted():
            return spec.apply(param, inputs, **(kwargs if key is None else {**kwargs, "rng": key}))

    def kernel_step(kernels: Any, _: Any, kwargs: dict[str, Any]) -> Any:
        with place.noted():
            return spec.kernel(kernels, **kwargs)

    apply_all, kernel_all = (_repeated(step, n, spec.name) for step in (apply_step, kernel_step))

    def apply(params: Any, inputs: Any, rng: Any = None, **kwargs: Any) -> Any:
        keys = None if rng is None or not n else random.split(rng, n)
        return apply_all(inputs, (params, keys), kwargs) if n else inputs

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        out_shape(tree_map(lambda k: k.shape1, kernels))
        return kernel_all(kernels, jnp.arange(n), kwargs) if n else kernels

    def randomness(sources: Any, shapes: Any, new_source: Any) -> Any:
        for _ in range(min(n, 2)):
            sources = spec.randomness(sources, shapes, new_source)
        return sources

    return LayerSpec(
        name="repeat",
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        randomness=randomness,
        requirements=spec.requirements >> spec.requirements if n > 1 else spec.requirements if n else Requirements(),
        keywords=spec.keywords,
        text=lambda: network_text("repeat", [spec], suffix=f", n={n}"),
        form=Form.of_all(("repeat", n), [spec], lambda specs: _repeat(specs[0], n)),
        positions=lambda geometry: functools.reduce(lambda g, _: after_layer(spec, g), range(n), geometry),
    )


def _repeated(step: Callable[[Any, Any, dict[str, Any]], Any], n: int, name: str) -> Callable[..., Any]:
    """The function `(inputs, xs, keywords)` that applies `step` for each of the `n` elements of `xs` in turn."""

    # Compiled here, not at each call: outside of a user's `jit`, every new function would be compiled anew.
    @compiled
    def loop(first: Any, xs: Any, kwargs: dict[str, Any]) -> Any:
        return scan([lambda carry, x: step(carry, x, kwargs)], first, xs, n - 1)

    def repeated(inputs: Any, xs: Any, kwargs: dict[str, Any]) -> Any:
        # The first step is not part of the loop, as inputs may differ in form from what the layer returns.
        first = step(inputs, _at(xs, 0), kwargs)
        if n == 1:
            return first
        second = jax.eval_shape(lambda x, element: step(x, element, kwargs), first, _at(xs, 1))
        if form_of(first) != form_of(second):
            raise TypeError(
                f"repeat needs a layer that gives outputs of equal form each time; {name} gives\n{first}\nfirst, and "
                f"then\n{second}.\nUse `serial(*[layer] * n)` instead."
            )
        return loop(first, _at(xs, slice(1, None)), kwargs)

    return repeated


def _at(xs: Any, index: Any) -> Any:
    """One element, or a slice, of a pytree of arrays stacked along their first axis."""
    return jax.tree.map(lambda x: x[index], xs)
