"""Networks of layers: `serial`, `parallel`, `repeat`."""

import functools
import operator
import textwrap
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random

from neural_tangents._core.layer import InternalLayer
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.trees import is_node, is_shape, tree_map
from neural_tangents.stax._build import describe, public_layer
from neural_tangents.stax._custom import as_spec
from neural_tangents.stax._loop import equal_form, in_sequence, scan
from neural_tangents.stax._spec import LayerSpec, pick
from neural_tangents.stax._streaming.run_geometry import after_layer
from neural_tangents.stax._streaming.slabs import DEFAULT_BUDGET, find_run, streamed


def _children(name: str, layers: tuple[Any, ...]) -> tuple[LayerSpec, ...]:
    if not layers:
        raise ValueError(f"{name} needs at least one layer, got none. For a layer that does nothing use `Identity()`.")
    return tuple(as_spec(layer) for layer in layers)


def _text(name: str, specs: Sequence[LayerSpec], suffix: str = "") -> str:
    """The text of a combinator: its children one a line, unless all fit in one line."""
    texts = [describe(spec) for spec in specs]
    line = f"{name}({', '.join(texts)}{suffix})"
    if len(line) <= 88 and "\n" not in line:
        return line
    return f"{name}(\n" + "".join(textwrap.indent(text, "    ") + ",\n" for text in texts) + f"{suffix.lstrip(', ')})"


def _key(name: str, specs: Sequence[LayerSpec]) -> Hashable | None:
    keys = tuple(spec.key for spec in specs)
    return None if None in keys else (name, keys)


def _split(kwargs: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """The keyword arguments of each of `n` children, with independent random keys."""
    if kwargs.get("rng") is None:
        return [kwargs] * n
    return [{**kwargs, "rng": key} for key in random.split(kwargs["rng"], n)]


def _at(xs: Any, index: Any) -> Any:
    """One element, or a slice, of a pytree of arrays stacked along their first axis."""
    return jax.tree.map(lambda x: x[index], xs)


@public_layer
def serial(*layers: InternalLayer) -> LayerSpec:
    """Composes layers one after the other: `f(x) = f_n(... f_2(f_1(x)))`.

    Args:
      *layers: at least one layer. Parameters are a list of those of the layers.

    Returns:
      The network, itself a layer.

    Raises:
      ValueError: no layers, or layers that cannot follow each other.
    """
    specs = _children("serial", layers)

    def init(rng: Any, shapes: Any) -> Any:
        params = []
        for spec in specs:
            rng, key = random.split(rng)
            shapes, param = spec.init(key, shapes)
            params.append(param)
        return shapes, params

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        for spec, param, kw in zip(specs, params, _split(kwargs, len(specs)), strict=True):
            inputs = spec.apply(param, inputs, **pick(kw, spec))
        return inputs

    chain = tuple(layer for spec in specs for layer in spec.chain or (spec,))

    @functools.cache
    def streaming(start: int, stop: int, budget: int) -> Any:
        # Compiled, as a loop over slabs; here and not at each call, since each new function would be compiled anew.
        return jax.jit(functools.partial(streamed, chain[start:stop], budget))

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        start, budget = 0, kwargs.get("memory_budget") or DEFAULT_BUDGET
        while start < len(chain):
            n, streams = find_run(chain[start:], kernels)
            if streams:
                kernels = streaming(start, start + n, budget)(kernels)
            else:
                kernels = in_sequence(chain[start : start + n], kernels, kwargs)
            start += n
        return kernels

    def local(reach: Any) -> Any:
        for spec in specs:
            reach = after_layer(spec, reach)
        return reach

    def out_shape(shapes: Any) -> Any:
        for spec in specs:
            shapes = spec.out_shape(shapes)
        return shapes

    def randomness(sets: Any, new_source: Any) -> Any:
        for spec in specs:
            sets = spec.randomness(sets, new_source)
        return sets

    return LayerSpec(
        name="serial",
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        randomness=randomness,
        requirements=functools.reduce(operator.rshift, (spec.requirements for spec in specs)),
        keywords=frozenset({"memory_budget"}).union(*(spec.keywords for spec in specs)),
        text=lambda: _text("serial", specs),
        key=_key("serial", specs),
        local=local,
        chain=chain,
    )


@public_layer
def parallel(*layers: InternalLayer) -> LayerSpec:
    """Composes layers side by side: `f([x_1, ..., x_n]) = [f_1(x_1), ..., f_n(x_n)]`.

    Args:
      *layers: at least one layer. Inputs and outputs are lists or tuples of as many; parameters are a tuple.

    Returns:
      The network, itself a layer.

    Raises:
      ValueError: no layers, or at a call another number of inputs.
    """
    specs = _children("parallel", layers)

    def branches(inputs: Any, what: str) -> Any:
        if not is_node(inputs) or is_shape(inputs) or len(inputs) != len(specs):
            got = f"{len(inputs)}" if is_node(inputs) and not is_shape(inputs) else f"a single one ({type(inputs)})"
            raise ValueError(
                f"parallel of {len(specs)} layers needs a list or tuple of {len(specs)} {what}, got {got}. "
                "Put `FanOut` before it to copy one input to all branches."
            )
        return inputs

    def init(rng: Any, shapes: Any) -> Any:
        keys = random.split(rng, len(specs))
        calls = zip(specs, keys, branches(shapes, "input shapes"), strict=True)
        outputs, params = zip(*(spec.init(key, shape) for spec, key, shape in calls), strict=True)
        return type(shapes)(outputs), params

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        calls = zip(specs, params, branches(inputs, "inputs"), _split(kwargs, len(specs)), strict=True)
        return type(inputs)(spec.apply(param, x, **pick(kw, spec)) for spec, param, x, kw in calls)

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        pairs = zip(specs, branches(kernels, "kernels"), strict=True)
        return type(kernels)(spec.kernel(k, **pick(kwargs, spec)) for spec, k in pairs)

    def out_shape(shapes: Any) -> Any:
        pairs = zip(specs, branches(shapes, "input shapes"), strict=True)
        return type(shapes)(spec.out_shape(shape) for spec, shape in pairs)

    def randomness(sets: Any, new_source: Any) -> Any:
        if isinstance(sets, frozenset):  # of a user's layer, whose outputs may be several
            sets = [frozenset({next(new_source)}) for _ in specs]
        pairs = zip(specs, branches(sets, "kernels"), strict=True)
        return type(sets)(spec.randomness(s, new_source) for spec, s in pairs)

    return LayerSpec(
        name="parallel",
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        randomness=randomness,
        requirements=functools.reduce(operator.and_, (spec.requirements for spec in specs)),
        keywords=frozenset[str]().union(*(spec.keywords for spec in specs)),
        text=lambda: _text("parallel", specs),
        key=_key("parallel", specs),
        local=lambda reaches: [
            after_layer(spec, r) for spec, r in zip(specs, branches(reaches, "kernels"), strict=True)
        ],
    )


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
      TypeError: the second application of the layer gives a kernel of another form than the first, so that they cannot
        be one loop.
    """
    spec = as_spec(layer)
    if n < 0:
        raise ValueError(f"repeat needs a number of copies n >= 0, got {n}.")

    def out_shape(shapes: Any) -> Any:
        out = spec.out_shape(shapes) if n else shapes
        if out != shapes:
            raise ValueError(
                f"repeat needs a layer that keeps the shape of its inputs; {spec.name} makes {out} of {shapes}. "
                "Use `serial`, or put layers that change the shape before `repeat`."
            )
        return shapes

    def next_key(rng: Any, _: None) -> tuple[Any, Any]:
        rng, key = random.split(rng)
        return rng, key

    def init(rng: Any, shapes: Any) -> Any:
        _, keys = lax.scan(next_key, rng, length=n)
        return out_shape(shapes), jax.vmap(lambda key: spec.init(key, shapes)[1])(keys)

    def apply_step(inputs: Any, param_and_key: Any, kwargs: dict[str, Any]) -> Any:
        param, key = param_and_key
        return spec.apply(param, inputs, **(kwargs if key is None else {**kwargs, "rng": key}))

    def kernel_step(kernels: Any, _: Any, kwargs: dict[str, Any]) -> Any:
        return spec.kernel(kernels, **kwargs)

    def run(step: Any, inputs: Any, xs: Any, kwargs: dict[str, Any]) -> Any:
        """`step` over all `xs`. The first stays apart, as inputs may differ in form from what the layer returns."""
        first = step(inputs, _at(xs, 0), kwargs)
        if n == 1:
            return first
        second = jax.eval_shape(lambda x, element: step(x, element, kwargs), first, _at(xs, 1))
        if not equal_form(first, second):
            raise TypeError(
                f"repeat needs a layer that gives outputs of equal form each time; {spec.name} gives\n{first}\nfirst, "
                f"and then\n{second}.\nUse `serial(*[layer] * n)` instead."
            )
        static = {name: kwargs[name] for name in ("memory_budget",) if name in kwargs}
        traced = {name: value for name, value in kwargs.items() if name not in static}
        return loops[step](first, _at(xs, slice(1, None)), traced, **static)

    def loop(step: Any, first: Any, xs: Any, kwargs: dict[str, Any], **static: Any) -> Any:
        return scan(lambda carry, x: step(carry, x, {**kwargs, **static}), first, xs, n - 1)

    # Compiled here, not at each call: outside of a user's `jit`, every new function would be compiled anew.
    loops = {
        step: jax.jit(functools.partial(loop, step), static_argnames="memory_budget")
        for step in (apply_step, kernel_step)
    }

    def apply(params: Any, inputs: Any, rng: Any = None, **kwargs: Any) -> Any:
        keys = None if rng is None or not n else random.split(rng, n)
        return run(apply_step, inputs, (params, keys), kwargs) if n else inputs

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        out_shape(tree_map(lambda k: k.shape1, kernels))
        return run(kernel_step, kernels, jnp.arange(n), kwargs) if n else kernels

    def randomness(sets: Any, new_source: Any) -> Any:
        for _ in range(min(n, 2)):
            sets = spec.randomness(sets, new_source)
        return sets

    return LayerSpec(
        name="repeat",
        init=init,
        apply=apply,
        kernel=kernel,
        out_shape=out_shape,
        randomness=randomness,
        requirements=spec.requirements >> spec.requirements if n > 1 else spec.requirements if n else Requirements(),
        keywords=spec.keywords,
        text=lambda: _text("repeat", [spec], suffix=f", n={n}"),
        local=lambda reach: functools.reduce(lambda r, _: after_layer(spec, r), range(n), reach),
    )
