"""Tools for layers that users write themselves: `layer`, `requires`, `supports_masking`."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import jax

from neural_tangents._core.layer import InternalLayer, InternalLayerMasked, Layer
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.trees import is_node, tree_map
from neural_tangents._core.types import PyTree, Shapes
from neural_tangents.stax._build import public_layer, spec_of
from neural_tangents.stax._keywords import Keywords
from neural_tangents.stax._spec import LayerSpec, Leaf, pick, unchanged
from neural_tangents.stax._streaming.run_geometry import MixesOffsets

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

# Arguments of whole networks, which the functions of a layer have in their signatures if they wrap those of a network.
_CALL_KEYWORDS = frozenset({"x2", "get", "mask_constant", "diagonal_batch", "diagonal_spatial"})


def layer(factory: Callable[P, "InternalLayer | _MaskedLayer"]) -> Callable[P, Layer]:
    """Decorates a function that returns the three functions of a layer, so that it returns a layer for networks.

    The three functions are `init_fn(rng, input_shape) -> (output_shape, params)`,
    `apply_fn(params, inputs, **keywords)` and `kernel_fn(kernel, **keywords) -> kernel`. The decorator adds all that
    networks need: inputs that are arrays or kernels, `get=`, shapes and masks of kernels. Keyword arguments of the
    whole network reach each function that names them in its signature, and all of them one that takes `**kwargs`.

    Args:
      factory: a function or method from any arguments to the three functions.

    Returns:
      A function of the same arguments that returns `(init_fn, apply_fn, kernel_fn)`.

    Raises:
      ValueError: `factory`, when called, does not return three functions.
      TypeError: what it returns are not functions.

    Example:
      >>> from neural_tangents import stax
      >>> @stax.layer
      ... def Scale(c):
      ...     init_fn = lambda rng, input_shape: (input_shape, ())
      ...     apply_fn = lambda params, inputs: c * inputs
      ...     kernel_fn = stax.requires(pointwise=True)(lambda k: k * c)
      ...     return init_fn, apply_fn, kernel_fn
      >>> stax.serial(stax.Dense(1), Scale(3.0))
      serial(Dense(1), Scale(3.0))
    """

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> LayerSpec:
        functions = factory(*args, **kwargs)
        if isinstance(functions, _MaskedLayer):
            return _spec_of(factory.__name__, *functions)
        if not isinstance(functions, tuple | list) or len(functions) != 3:
            raise ValueError(f"{factory.__name__} must return `(init_fn, apply_fn, kernel_fn)`, got {functions!r}.")
        return dataclasses.replace(as_spec(functions, factory.__name__), name=factory.__name__, text=None, form=None)

    return public_layer(make, pure=False)


def requires(*, pointwise: bool = False, **requirements: Any) -> Callable[[F], F]:
    """Decorates a layer's `kernel_fn(kernel, **keywords)` to state what it needs of its input.

    Args:
      pointwise: whether the covariance of the outputs at a pair of positions depends only on that of the inputs at the
        same pair, and on the variances at these two positions: `kernel_fn` scales, shifts or transforms entries, and
        leaves axes alone. Networks of convolutions and such layers are evaluated in bounded memory. A user's layer
        among them that is not pointwise needs the covariances of all pairs of positions of all inputs at once; see
        `stax.explain`. If `kernel_fn` needs variances, `kernel.layout.spread(kernel.layout.variance(kernel.cov1),
        ...)` gives those that belong to each entry of `kernel.nngp`. There, `kernel.cov2` can be an array for one
        batch of inputs too, of which parts meet: it does not tell whether there are two.
      **requirements: `diagonal_batch` (False if covariances of different inputs of one batch are needed),
        `diagonal_spatial` (a `Diagonal`, or False if those of different positions are), `batch_axis`, `channel_axis`
        (None: all axes but the batch are treated alike), `use_dropout`, `independent_inputs` (False if activations of
        an input depend on the other inputs of its batch, so that `nt.batch` cannot cut it).

    Returns:
      A decorator.

    Raises:
      NotImplementedError: an unknown requirement.
    """
    stated = Requirements.of(**requirements)

    def decorate(kernel_fn: F) -> F:
        @functools.wraps(kernel_fn)
        def required(*args: Any, **kwargs: Any) -> Any:
            return kernel_fn(*args, **kwargs)

        required.requirements = stated  # type: ignore[attr-defined]
        required.pointwise = pointwise  # type: ignore[attr-defined]
        return cast(F, required)

    return decorate


class _MaskedLayer(NamedTuple):
    """What a factory decorated with `supports_masking` returns."""

    init_fn: Callable[..., Any]
    apply_fn: Callable[..., Any]
    kernel_fn: Callable[..., Any]
    mask_fn: Callable[..., Any]
    remask: bool


def supports_masking(
    remask_kernel: bool,
) -> Callable[[Callable[P, InternalLayerMasked]], Callable[P, _MaskedLayer]]:
    """Decorates the factory of a layer that can have masked inputs; it is written below `@layer`.

    The factory may return a fourth function `mask_fn(mask, input_shape)` that gives the mask of the outputs; without
    it, masks pass unchanged. `apply_fn` gets the keyword argument `mask` (None if there is none) if its signature has
    it, and inputs with zeros in masked entries.

    Args:
      remask_kernel: whether the layer's kernel can be nonzero for masked inputs, so that it has to be set to zero.

    Returns:
      A decorator.

    Raises:
      ValueError: the factory, when called, does not return three or four functions.
    """

    def decorate(factory: Callable[P, InternalLayerMasked]) -> Callable[P, _MaskedLayer]:
        @functools.wraps(factory)
        def make(*args: P.args, **kwargs: P.kwargs) -> _MaskedLayer:
            functions = factory(*args, **kwargs)
            if not isinstance(functions, tuple | list) or len(functions) not in (3, 4):
                raise ValueError(
                    f"{factory.__name__} must return `(init_fn, apply_fn, kernel_fn)` or "
                    f"`(init_fn, apply_fn, kernel_fn, mask_fn)`, got {functions!r}."
                )
            init_fn, apply_fn, kernel_fn, mask_fn = functions if len(functions) == 4 else (*functions, unchanged)
            return _MaskedLayer(init_fn, apply_fn, kernel_fn, mask_fn, remask_kernel)

        return make

    return decorate


def as_spec(layer: Any, name: str = "layer") -> LayerSpec:
    """The spec of a layer made by this library, reassembled from its three functions or others, or written by hand.

    `name` is the name of one written by hand.

    Raises:
      TypeError: `layer` is not a triple of functions.
    """
    if not isinstance(layer, tuple | list) or len(layer) != 3 or not all(callable(fn) for fn in layer):
        raise TypeError(
            f"Expected a layer, that is, a triple `(init_fn, apply_fn, kernel_fn)`, got {layer!r}. "
            "Call the factory (`stax.Relu()`, not `stax.Relu`), and give layers as separate arguments, not as a list."
        )
    init_fn, apply_fn, kernel_fn = layer
    spec = spec_of(kernel_fn)
    if spec is None:
        return _spec_of(name, *layer)
    if spec_of(init_fn) is spec and spec_of(apply_fn) is spec:
        return spec
    apply, keywords = _filter_keywords(apply_fn, 2)
    traced = _traced(init_fn)
    return dataclasses.replace(
        spec,
        init=init_fn,
        out_shape=lambda shapes: traced(shapes)[0],
        apply=apply,
        kernel=lambda kernels, *variances, **kwargs: spec.kernel(kernels, *variances, **pick(kwargs, spec)),
        keywords=spec.keywords | keywords,
        form=None,
    )


def _spec_of(
    name: str,
    init_fn: Callable[..., Any],
    apply_fn: Callable[..., Any],
    kernel_fn: Callable[..., Any],
    mask_fn: Callable[..., Any] | None = None,
    remask: bool = False,
) -> LayerSpec:
    """The spec of a layer given by three functions in the form that `layer` documents."""
    apply, apply_keywords = _filter_keywords(apply_fn, 2)
    filtered, kernel_keywords = _filter_keywords(kernel_fn, 1)
    takes_mask = "mask" in apply_keywords.names or mask_fn is not None and apply_keywords.any
    wrapped = getattr(kernel_fn, "spec", None)  # of the kernel function that this one wraps, if it does
    traced = _traced(init_fn)

    def kernel(kernels: Any, **kwargs: Any) -> Any:
        found = filtered(tree_map(lambda k: k.for_users(), kernels), **kwargs)
        return tree_map(lambda k: k.from_users(), found)

    def randomness(sources: Any, shapes: Shapes, new_source: Iterator[int]) -> Any:
        return frozenset({next(new_source)}) if is_node(sources) or traced(shapes)[1] else sources

    spec = Leaf(
        name,
        apply=apply,
        kernel=kernel,
        out_shape=lambda shapes: traced(shapes)[0],
        mask=mask_fn,
        remask=remask,
        requirements=getattr(kernel_fn, "requirements", wrapped and wrapped.requirements),
        keywords=("mask",) if takes_mask else (),
        random_weights=True,
        trees=True,
        randomness=randomness,
        positions="each" if getattr(kernel_fn, "pointwise", False) else _unstated,
    ).spec()
    keywords = apply_keywords | kernel_keywords
    return dataclasses.replace(
        spec,
        init=init_fn,
        kernel=lambda kernels, **kwargs: tree_map(_settled, spec.kernel(kernels, **kwargs)),
        keywords=keywords.without("mask") if takes_mask else keywords,
    )


def _settled(k: Any) -> Any:
    """A kernel with spatial axes in natural order, whose channel axis is the last one if the one it names is gone, with
    axes before it."""
    k = k.reverse() if k.is_reversed else k
    ndim = len(k.shape1)
    stale = k.channel_axis >= ndim > 1 and k.batch_axis != ndim - 1
    return k.replace(channel_axis=ndim - 1) if stale else k


def _unstated(geometry: Any) -> Any:
    raise MixesOffsets("does not say `stax.requires(pointwise=True)`, so it may mix pairs of positions")


def _filter_keywords(fn: Callable[..., Any], n_positional: int) -> tuple[Callable[..., Any], Keywords]:
    """`fn` made to ignore keyword arguments that it does not take, and those that it takes."""
    keywords = Keywords.of_function(fn, n_positional).without(*_CALL_KEYWORDS)

    def filtered(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **keywords.pick(kwargs))

    return filtered, keywords


def _traced(init_fn: Callable[..., Any]) -> Callable[[Shapes], tuple[Shapes, bool]]:
    """The function from input shapes to output shapes and whether there are parameters; it draws none."""
    known: dict[str, tuple[Shapes, bool]] = {}

    def traced(shapes: Shapes) -> tuple[Shapes, bool]:
        output_shapes = []

        def trace(rng: Any) -> PyTree:
            output_shape, params = init_fn(rng, shapes)
            output_shapes.append(output_shape)
            return params

        if str(shapes) not in known:
            params = jax.eval_shape(trace, jax.random.PRNGKey(0))
            known[str(shapes)] = output_shapes[0], bool(jax.tree.leaves(params))
        return known[str(shapes)]

    return traced
