"""Networks of layers: `serial`, `parallel`, `repeat`."""

import functools
import operator
import textwrap
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random

from neural_tangents._core.layer import InternalLayer
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.trees import is_node, is_shape, tree_map
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._custom import as_spec
from neural_tangents.stax._hyperparameters import whole
from neural_tangents.stax._loop import equal_form, in_sequence, scan
from neural_tangents.stax._spec import LayerSpec, Step, pick, places, sequence
from neural_tangents.stax._streaming.explain import observed
from neural_tangents.stax._streaming.run_geometry import after_layer
from neural_tangents.stax._streaming.runs import Run, find_run
from neural_tangents.stax._streaming.slabs import DEFAULT_BUDGET, streamed


def _children(name: str, layers: tuple[Any, ...]) -> tuple[LayerSpec, ...]:
    if not layers:
        raise ValueError(f"{name} needs at least one layer, got none. For a layer that does nothing use `Identity()`.")
    return tuple(as_spec(layer) for layer in layers)


def _text(name: str, specs: Sequence[LayerSpec], suffix: str = "") -> str:
    """The text of a combinator: its children one a line, unless all fit in one line."""
    texts = [str(spec) for spec in specs]
    line = f"{name}({', '.join(texts)}{suffix})"
    if len(line) <= 88 and "\n" not in line:
        return line
    return f"{name}(\n" + "".join(textwrap.indent(text, "    ") + ",\n" for text in texts) + f"{suffix.lstrip(', ')})"


def _check_params(name: str, specs: Sequence[LayerSpec], params: Any) -> None:
    if not isinstance(params, list | tuple) or len(params) != len(specs):
        got = f"{len(params)}" if isinstance(params, list | tuple) else f"a {type(params).__name__}"
        raise ValueError(
            f"{name} of {len(specs)} layers needs a list or tuple of {len(specs)} parameters, got {got}. Pass the "
            "parameters that `init_fn` of this network returns."
        )


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

    Example:
      >>> import jax
      >>> from neural_tangents import stax
      >>> init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(128), stax.Relu(), stax.Dense(1))
      >>> x = jax.numpy.eye(3)
      >>> output_shape, params = init_fn(jax.random.key(0), x.shape)
      >>> output_shape
      (3, 1)
      >>> apply_fn(params, x).shape
      (3, 1)
      >>> kernel_fn(x, None, "ntk").round(3)
      Array([[0.333, 0.053, 0.053],
             [0.053, 0.333, 0.053],
             [0.053, 0.053, 0.333]], dtype=float32)
    """
    specs = _children("serial", layers)
    in_order = places("serial", specs)

    def init(rng: Any, shapes: Any) -> Any:
        params = []
        for place in in_order:
            rng, key = random.split(rng)
            with place.noted():
                shapes, param = place.spec.init(key, shapes)
            params.append(param)
        return shapes, params

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        _check_params("serial", specs, params)
        for place, param, kw in zip(in_order, params, _split(kwargs, len(specs)), strict=True):
            with place.noted():
                inputs = place.spec.apply(param, inputs, **pick(kw, place.spec))
        return inputs

    def positions(geometry: Any) -> Any:
        for spec in specs:
            geometry = after_layer(spec, geometry)
        return geometry

    def out_shape(shapes: Any) -> Any:
        for place in in_order:
            with place.noted():
                shapes = place.spec.out_shape(shapes)
        return shapes

    def randomness(sources: Any, shapes: Any, new_source: Any) -> Any:
        for place in in_order:
            with place.noted():
                sources = place.spec.randomness(sources, shapes, new_source)
                shapes = place.spec.out_shape(shapes)
        return sources

    return LayerSpec(
        name="serial",
        init=init,
        apply=apply,
        kernel=_evaluation(sequence("serial", specs)),
        out_shape=out_shape,
        randomness=randomness,
        requirements=functools.reduce(operator.rshift, (spec.requirements for spec in specs)),
        keywords=frozenset({"memory_budget"}).union(*(spec.keywords for spec in specs)),
        text=lambda: _text("serial", specs),
        key=_key("serial", specs),
        positions=positions,
        layers=specs,
    )


def _evaluation(steps: Sequence[Step]) -> Callable[..., Any]:
    """The function `(kernels, **keywords) -> kernels` of layers in sequence, which streams those runs that it can."""

    @functools.cache
    def streaming(run: Run, budget: int) -> Any:
        # Compiled, as a loop over slabs; here and not at each call, since each new function would be compiled anew.
        return jax.jit(functools.partial(streamed, run, budget))

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        start, budget = 0, kwargs.get("memory_budget") or DEFAULT_BUDGET
        while start < len(steps):
            stop, run, reason = find_run(steps, start, kernels)
            with observed(steps[start:stop], run, reason, budget, kernels):
                if run is None:
                    kernels = in_sequence(steps[start:stop], kernels, kwargs)
                else:
                    kernels = streaming(run, budget)(kernels)
            start = stop
        return kernels

    return kernel


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
    side_by_side = places("parallel", specs)

    def branches(inputs: Any, what: str) -> Any:
        if not is_node(inputs) or is_shape(inputs) or len(inputs) != len(specs):
            got = f"{len(inputs)}" if is_node(inputs) and not is_shape(inputs) else f"a single one ({type(inputs)})"
            raise ValueError(
                f"parallel of {len(specs)} layers needs a list or tuple of {len(specs)} {what}, got {got}. "
                "Put `FanOut` before it to copy one input to all branches."
            )
        return inputs

    def each(fn: Any, like: Any, *columns: Any) -> Any:
        """`fn(spec, ...)` of each branch, as a list or tuple like the inputs."""
        results = []
        for place, *arguments in zip(side_by_side, *columns, strict=True):
            with place.noted():
                results.append(fn(place.spec, *arguments))
        return type(like)(results)

    def init(rng: Any, shapes: Any) -> Any:
        keys = random.split(rng, len(specs))
        drawn = each(lambda spec, key, shape: spec.init(key, shape), (), keys, branches(shapes, "input shapes"))
        outputs, params = zip(*drawn, strict=True)
        return type(shapes)(outputs), params

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        _check_params("parallel", specs, params)
        keywords = _split(kwargs, len(specs))
        columns = params, branches(inputs, "inputs"), keywords
        return each(lambda spec, param, x, kw: spec.apply(param, x, **pick(kw, spec)), inputs, *columns)

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        return each(lambda spec, k: spec.kernel(k, **pick(kwargs, spec)), kernels, branches(kernels, "kernels"))

    def out_shape(shapes: Any) -> Any:
        return each(lambda spec, shape: spec.out_shape(shape), shapes, branches(shapes, "input shapes"))

    def randomness(sources: Any, shapes: Any, new_source: Any) -> Any:
        if isinstance(sources, frozenset):  # of a user's layer, whose outputs may be several
            sources = [frozenset({next(new_source)}) for _ in specs]
        columns = branches(sources, "kernels"), branches(shapes, "input shapes")
        return each(lambda spec, s, shape: spec.randomness(s, shape, new_source), sources, *columns)

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
        positions=lambda images: list(map(after_layer, specs, branches(images, "images"))),
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
    whole("repeat", "n", n, least=None)
    if n < 0:
        raise ValueError(f"repeat needs a number of copies n >= 0, got {n}.")
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

    def next_key(rng: Any, _: None) -> tuple[Any, Any]:
        rng, key = random.split(rng)
        return rng, key

    def init(rng: Any, shapes: Any) -> Any:
        _, keys = lax.scan(next_key, rng, length=n)
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
        text=lambda: _text("repeat", [spec], suffix=f", n={n}"),
        positions=lambda geometry: functools.reduce(lambda g, _: after_layer(spec, g), range(n), geometry),
    )


def _repeated(step: Callable[[Any, Any, dict[str, Any]], Any], n: int, name: str) -> Callable[..., Any]:
    """The function `(inputs, xs, keywords)` that applies `step(inputs, x, keywords)` for each of `n` elements `x`."""

    # Compiled here, not at each call: outside of a user's `jit`, every new function would be compiled anew.
    @functools.partial(jax.jit, static_argnames="memory_budget")
    def loop(first: Any, xs: Any, kwargs: dict[str, Any], **static: Any) -> Any:
        return scan(lambda carry, x: step(carry, x, {**kwargs, **static}), first, xs, n - 1)

    def repeated(inputs: Any, xs: Any, kwargs: dict[str, Any]) -> Any:
        first = step(
            inputs, _at(xs, 0), kwargs
        )  # stays apart, as inputs may differ in form from what the layer returns
        if n == 1:
            return first
        second = jax.eval_shape(lambda x, element: step(x, element, kwargs), first, _at(xs, 1))
        if not equal_form(first, second):
            raise TypeError(
                f"repeat needs a layer that gives outputs of equal form each time; {name} gives\n{first}\nfirst, and "
                f"then\n{second}.\nUse `serial(*[layer] * n)` instead."
            )
        static = {name: kwargs[name] for name in ("memory_budget",) if name in kwargs}
        traced = {name: value for name, value in kwargs.items() if name not in static}
        return loop(first, _at(xs, slice(1, None)), traced, **static)

    return repeated
