"""Tools for layers that users write themselves: `layer`, `requires`, `supports_masking`."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from neural_tangents._core.demands import Demand
from neural_tangents._core.types import Shapes
from neural_tangents.stax._layer import Layer, public_layer
from neural_tangents.stax._spec import LayerSpec, identity, leaf


def layer(factory: Callable[..., Any]) -> Callable[..., Layer]:
    """Decorates a function that returns a layer's own three functions, so that it returns a layer for networks.

    The three functions are `init_fn(rng, input_shape) -> (output_shape, params)`,
    `apply_fn(params, inputs, **keywords)` and `kernel_fn(kernel, **keywords) -> kernel`. The decorator adds all that
    networks need: inputs that are arrays or kernels, `get=`, shapes and masks of kernels. A function may take the
    keyword arguments `rng` and `pattern`, by name or by `**kwargs`; any other one has to stand in its signature by
    name, and then the whole network takes it.

    Args:
      factory: a function or method from any arguments to the three functions.

    Returns:
      A function of the same arguments that returns `(init_fn, apply_fn, kernel_fn)`.

    Example:
      >>> @stax.layer
      ... def Scale(c):
      ...     init_fn = lambda rng, input_shape: (input_shape, ())
      ...     apply_fn = lambda params, inputs, **kwargs: c * inputs
      ...     kernel_fn = lambda k, **kwargs: k * c
      ...     return init_fn, apply_fn, kernel_fn
    """

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> LayerSpec:
        functions = factory(*args, **kwargs)
        if not isinstance(functions, _MaskedLayer) and (not isinstance(functions, tuple | list) or len(functions) != 3):
            raise ValueError(f"{factory.__name__} must return `(init_fn, apply_fn, kernel_fn)`, got {functions!r}.")
        return _spec_of(factory.__name__, *functions)

    return public_layer(make, pure=False)


def requires(**requirements: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a layer's `kernel_fn(kernel, **keywords)` to state what it needs of its input.

    Args:
      **requirements: `diagonal_batch` (False if covariances of different inputs of one batch are needed),
        `diagonal_spatial` (a `Diagonal`, or False if those of different positions are), `batch_axis`, `channel_axis`
        (None: all axes but the batch are treated alike), `use_dropout`.

    Returns:
      A decorator.

    Raises:
      NotImplementedError: an unknown requirement.
    """
    demand = Demand.of(**requirements)

    def decorate(kernel_fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(kernel_fn)
        def required(*args: Any, **kwargs: Any) -> Any:
            return kernel_fn(*args, **kwargs)

        required.demand = demand  # type: ignore[attr-defined]
        return required

    return decorate


class _MaskedLayer(NamedTuple):
    """What a factory decorated with `supports_masking` returns."""

    init_fn: Callable[..., Any]
    apply_fn: Callable[..., Any]
    kernel_fn: Callable[..., Any]
    mask_fn: Callable[..., Any]
    remask: bool


def supports_masking(remask_kernel: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates the factory of a layer that can have masked inputs; stands below `layer`.

    The factory may return a fourth function `mask_fn(mask, input_shape)` that gives the mask of the outputs; without
    it, masks pass unchanged. `apply_fn` gets the keyword argument `mask` (None if there is none) if its signature has
    it, and inputs with zeros in masked entries.

    Args:
      remask_kernel: whether the layer's kernel can be nonzero for masked inputs, so that it has to be set to zero.

    Returns:
      A decorator.
    """

    def decorate(factory: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(factory)
        def make(*args: Any, **kwargs: Any) -> _MaskedLayer:
            functions = factory(*args, **kwargs)
            if not isinstance(functions, tuple | list) or len(functions) not in (3, 4):
                raise ValueError(
                    f"{factory.__name__} must return `(init_fn, apply_fn, kernel_fn)` or "
                    f"`(init_fn, apply_fn, kernel_fn, mask_fn)`, got {functions!r}."
                )
            init_fn, apply_fn, kernel_fn, mask_fn = functions if len(functions) == 4 else (*functions, identity)
            return _MaskedLayer(init_fn, apply_fn, kernel_fn, mask_fn, remask_kernel)

        return make

    return decorate


def as_spec(layer: Any) -> LayerSpec:
    """The spec of a layer: made by this library, unpacked and packed again (with functions replaced), or hand-written.

    Raises:
      TypeError: `layer` is not a triple of functions.
    """
    if not isinstance(layer, tuple | list) or len(layer) != 3 or not all(callable(fn) for fn in layer):
        raise TypeError(
            f"Expected a layer, that is, a triple `(init_fn, apply_fn, kernel_fn)`, got {layer!r}. "
            "Call the factory (`stax.Relu()`, not `stax.Relu`), and give layers as separate arguments, not as a list."
        )
    specs: list[Any] = [getattr(fn, "spec", None) for fn in layer]
    spec = specs[2]
    if spec is None:
        return _spec_of(getattr(layer[2], "__name__", "layer"), *layer)
    if specs[0] is spec and specs[1] is spec:
        return spec
    own = _spec_of(spec.name, layer[0], layer[1], spec.kernel)
    if specs[0] is not spec:
        spec = dataclasses.replace(spec, init=own.init, out_shape=own.out_shape)
    if specs[1] is not spec:
        spec = dataclasses.replace(spec, apply=own.apply, keywords=spec.keywords | own.keywords)
    return spec


def _spec_of(
    name: str,
    init_fn: Callable[..., Any],
    apply_fn: Callable[..., Any],
    kernel_fn: Callable[..., Any],
    mask_fn: Callable[..., Any] | None = None,
    remask: bool = False,
) -> LayerSpec:
    """The spec of a layer given by three functions in the form that `layer` documents."""
    apply, apply_keywords = _filter_keywords(apply_fn, 2, ("rng", "pattern", "mask") if mask_fn else ("rng", "pattern"))
    kernel, kernel_keywords = _filter_keywords(kernel_fn, 1, ("pattern",))
    return leaf(
        name,
        init=lambda rng, shape: init_fn(rng, shape)[1],
        apply=apply,
        kernel=kernel,
        out_shape=lambda shape: _output_shape(init_fn, shape),
        mask=mask_fn,
        remask=remask,
        demand=getattr(kernel_fn, "demand", None),
        keywords=apply_keywords + kernel_keywords,
        random_weights=True,
    )


def _filter_keywords(
    fn: Callable[..., Any], n_positional: int, common: tuple[str, ...]
) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """`fn` with keyword arguments that it does not take left out, and the names of those that it takes."""
    kinds = inspect.Parameter
    parameters = list(inspect.signature(fn).parameters.values())[n_positional:]
    names = tuple(p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY))
    if any(p.kind is kinds.VAR_KEYWORD for p in parameters):
        names += tuple(name for name in common if name not in names)

    def filtered(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **{name: value for name, value in kwargs.items() if name in names})

    return filtered, names


def _output_shape(init_fn: Callable[..., Any], shape: Shapes) -> Shapes:
    """The first output of `init_fn`, without drawing parameters."""
    shapes = []

    def trace(rng: Any) -> None:
        shapes.append(init_fn(rng, shape)[0])

    jax.eval_shape(trace, jax.random.PRNGKey(0))
    return shapes[0]
