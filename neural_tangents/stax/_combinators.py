"""Networks of layers: `serial`, `parallel`."""

import functools
import operator
import textwrap
from collections.abc import Sequence
from typing import Any

from jax import random

from neural_tangents._core.layer import InternalLayer
from neural_tangents._core.trees import is_node, is_shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._compiled_runs import evaluation
from neural_tangents.stax._custom import as_spec
from neural_tangents.stax._keywords import Keywords
from neural_tangents.stax._spec import Form, LayerSpec, pick, places, sequence
from neural_tangents.stax._streaming.run_geometry import after_layer


def _children(name: str, layers: tuple[Any, ...]) -> tuple[LayerSpec, ...]:
    if not layers:
        raise ValueError(f"{name} needs at least one layer, got none. For a layer that does nothing use `Identity()`.")
    return tuple(as_spec(layer) for layer in layers)


def network_text(name: str, specs: Sequence[LayerSpec], suffix: str = "") -> str:
    """The text of a combinator: one child per line, unless all fit in one line."""
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


def _split(kwargs: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """The keyword arguments of each of `n` children, with independent random keys."""
    if kwargs.get("rng") is None:
        return [kwargs] * n
    return [{**kwargs, "rng": key} for key in random.split(kwargs["rng"], n)]


@public_layer
def serial(*layers: InternalLayer) -> LayerSpec:
    """Composes layers one after the other: `f(x) = f_n(... f_2(f_1(x)))`.

    Args:
      *layers: at least one layer. Parameters are a list with those of each layer.

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
    return _serial(_children("serial", layers))


def _serial(specs: Sequence[LayerSpec]) -> LayerSpec:
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
        kernel=evaluation(sequence("serial", specs)),
        out_shape=out_shape,
        randomness=randomness,
        requirements=functools.reduce(operator.rshift, (spec.requirements for spec in specs)),
        keywords=functools.reduce(operator.or_, (spec.keywords for spec in specs), Keywords.of("memory_budget")),
        text=lambda: network_text("serial", specs),
        form=Form.of_all("serial", specs, _serial),
        positions=positions,
        linear=all(spec.linear for spec in specs),
        layers=tuple(specs),
    )


@public_layer
def parallel(*layers: InternalLayer) -> LayerSpec:
    """Composes layers side by side: `f([x_1, ..., x_n]) = [f_1(x_1), ..., f_n(x_n)]`.

    Args:
      *layers: at least one layer. Inputs and outputs are lists or tuples with an entry for each, parameters a tuple.

    Returns:
      The network, itself a layer.

    Raises:
      ValueError: no layers, or a call with another number of inputs.
    """
    return _parallel(_children("parallel", layers))


def _parallel(specs: Sequence[LayerSpec]) -> LayerSpec:
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
        if isinstance(sources, frozenset):  # after a user's layer, which may have several outputs
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
        keywords=functools.reduce(operator.or_, (spec.keywords for spec in specs)),
        text=lambda: network_text("parallel", specs),
        form=Form.of_all("parallel", specs, _parallel),
        positions=lambda images: list(map(after_layer, specs, branches(images, "images"))),
        linear=all(spec.linear for spec in specs),
    )
