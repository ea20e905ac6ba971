"""From the description of a layer to the public triple `(init_fn, apply_fn, kernel_fn)`."""

import dataclasses
import functools
import inspect
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import jax
import numpy as np
from frozendict import frozendict

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layer import Layer
from neural_tangents._core.masking import detect_mask
from neural_tangents._core.old_calls import check_layer_arguments
from neural_tangents._core.requirements import Bool, Diagonal, Requirements
from neural_tangents._core.selection import canonical_get, check_names, select
from neural_tangents._core.tiling.traits import KernelTraits, OutputPairs
from neural_tangents._core.trees import is_node, is_shape, tree_leaves, tree_map
from neural_tangents._core.types import Get, PyTree, Shapes
from neural_tangents.stax._angle_sum import kernel_of_network
from neural_tangents.stax._inputs import input_batches, with_covariances, with_diagonals
from neural_tangents.stax._keywords import inside_network, warn_of_unknown
from neural_tangents.stax._spec import Form, LayerSpec, check_independence, pick

P = ParamSpec("P")

# Keyword arguments that any network takes, so that one script can run all networks; ignored where no layer uses them.
_COMMON_KEYWORDS = frozenset({"rng", "pattern"})
_APPLY_KEYWORDS = _COMMON_KEYWORDS | {"mask_constant"}
_KERNEL_KEYWORDS = _COMMON_KEYWORDS | {
    *("x1_or_kernel", "x2", "get", "mask_constant", "diagonal_batch", "diagonal_spatial", "memory_budget"),
    *("batch_axis", "channel_axis", "eps"),
}
_KERNEL_FIELDS = tuple(field.name for field in dataclasses.fields(Kernel) if field.name != "distance")


def build(spec: LayerSpec) -> Layer:
    """The layer that a spec describes."""
    init_fn, apply_fn, kernel_fn = _init_fn(spec), _apply_fn(spec), _kernel_fn(spec)
    for fn in (init_fn, apply_fn, kernel_fn):
        fn.__name__ = fn.__qualname__ = spec.name
        fn.spec, fn.of_layer = spec, fn
    stated = spec.requirements.stated()
    kernel_fn.input_req = frozendict({name: stated[name] for name in stated if name != "small_angles"})  # ours alone
    kernel_fn.kernel_traits = KernelTraits(
        functools.partial(_output_pairs, kernel_fn),
        takes_eps=True,
        has_single_batches=True,
        mixes_inputs=not spec.requirements.get("independent_inputs", True),
    )
    return Layer(init_fn, apply_fn, kernel_fn)


def spec_of(fn: Any) -> LayerSpec | None:
    """The spec that a public function was built from; None for users' functions, even if they wrap a public one."""
    return getattr(fn, "spec", None) if getattr(fn, "of_layer", None) is fn else None


def public_layer(factory: Callable[P, LayerSpec], pure: bool = True) -> Callable[P, Layer]:
    """Decorates a function from hyper-parameters to a `LayerSpec` so that it returns the layer itself.

    The layer prints as the call that made it, unless the spec brings its own text. `pure` says that calls with equal
    arguments make equal layers.
    """
    signature: Any = inspect.signature(factory)
    numeric = [name for name, p in signature.parameters.items() if p.annotation in (float, float | None)]

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Layer:
        check_layer_arguments(factory.__name__, signature, kwargs)
        return build(described(factory(*args, **kwargs), signature.bind(*args, **kwargs)))

    def described(spec: LayerSpec, bound: inspect.BoundArguments) -> LayerSpec:
        if spec.text is not None:
            return spec

        def remade(again: inspect.BoundArguments) -> LayerSpec:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said when it was made first
                return described(factory(*again.args, **again.kwargs), again)

        form = _call_form(factory, bound, numeric, remade) if pure else None
        return dataclasses.replace(spec, text=lambda: _call_text(factory.__name__, bound), form=form)

    make.__signature__ = signature.replace(return_annotation=Layer)  # type: ignore[attr-defined]
    return make


def _call_form(
    factory: Callable[..., Any],
    bound: inspect.BoundArguments,
    numeric: Sequence[str],
    make: Callable[[Any], LayerSpec],
) -> Form | None:
    """The form of the layer that a call makes; None if an argument cannot be compared."""
    given = bound.arguments
    names = tuple(name for name in numeric if given.get(name) is not None and not isinstance(given[name], bool))
    try:
        key = (factory, names, tuple((name, value) for name, value in given.items() if name not in names))
        hash(key)
    except TypeError:
        return None

    def remade(numbers: Sequence[Any]) -> LayerSpec:
        spec = make(inspect.BoundArguments(bound.signature, given | dict(zip(names, numbers, strict=True))))
        return dataclasses.replace(spec, text=lambda: _call_text(factory.__name__, bound))

    return Form(key, tuple(given[name] for name in names), remade)


def _call_text(name: str, bound: inspect.BoundArguments) -> str:
    """A call as one would write it: required arguments without names, defaults left out."""
    parts = []
    for key, value in bound.arguments.items():
        parameter = bound.signature.parameters[key]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            parts += [_value_text(v) for v in value]
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            parts.append(_value_text(value))
        elif value is not parameter.default:
            parts.append(f"{key}={_value_text(value)}")
    return f"{name}({', '.join(parts)})"


def _value_text(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


def _init_fn(spec: LayerSpec) -> Any:
    def init_fn(rng: Any, input_shape: Shapes) -> tuple[Shapes, PyTree]:
        """Draws parameters for inputs of a shape (or tree of shapes); -1 or None stands for any batch size."""
        return spec.init(rng, _as_shapes(input_shape))

    return init_fn


def _as_shapes(shapes: Any) -> Any:
    """A tree of shapes, each a tuple of integers; None, for an unknown size, becomes -1."""
    if isinstance(shapes, tuple):
        shapes = tuple(-1 if size is None else size for size in shapes)
    if is_shape(shapes):
        return tuple(int(size) for size in shapes)
    if not is_node(shapes) or not shapes:
        raise TypeError(f"Expected an input shape, a tuple of integers, or a list or tuple of shapes; got {shapes!r}.")
    return type(shapes)(_as_shapes(shape) for shape in shapes)


def _apply_fn(spec: LayerSpec) -> Any:
    def apply_fn(params: PyTree, inputs: Any, *, mask_constant: Any = None, **kwargs: Any) -> Any:
        """Outputs of the finite network. Inputs that equal `mask_constant` are masked."""
        warn_of_unknown(f"apply_fn of {spec.name}", kwargs, spec.keywords.without("memory_budget"), _APPLY_KEYWORDS)
        inputs = tree_map(lambda x: detect_mask(x, mask_constant), inputs)
        with inside_network():
            return spec.apply(params, inputs, **pick(kwargs, spec))

    return apply_fn


def _kernel_fn(spec: LayerSpec) -> Any:
    def kernel_fn(
        x1_or_kernel: Any,
        x2: Any = None,
        get: Get = None,
        *,
        pattern: Any = None,
        mask_constant: Any = None,
        diagonal_batch: bool | None = None,
        diagonal_spatial: bool | None = None,
        memory_budget: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Kernels of the infinite network between two batches.

        Args:
          x1_or_kernel: inputs `x1`, an array with at least a batch and a channel axis, or a network tree of such; or a
            `Kernel` (or tree of them) that another network has computed.
          x2: inputs of the second batch, shaped as `x1` in all but the batch axis; None stands for `x1`.
          get: what to return: None for the `Kernel`; the name of one of its attributes (`'nngp'`, `'ntk'`, ...) for
            just that; a tuple of names for a named tuple of them.
          pattern: pair of aggregation patterns for `x1` and `x2`, for networks with `Aggregate`.
          mask_constant: inputs equal to this number are masked.
          diagonal_batch: whether to compute in `cov1` and `cov2` only the variances of each input; None: if possible.
          diagonal_spatial: whether to compute covariances of equal spatial positions only; None: if possible. If True,
            a pool among the first layers takes those of different positions to be zero, as they are if inputs have been
            whitened.
          memory_budget: about how many bytes a network of convolutions and pools may take besides its inputs and
            results, since it is computed part by part; None for 32 MiB. Results do not depend on it.
          **kwargs: `batch_axis`, `channel_axis` of the inputs, `eps` (inputs that differ by less count as the same),
            `rng` (ignored: kernels are not random), and any others: layers get those that their functions name, or all
            of them if these take `**kwargs`. One that nobody takes is a `UserWarning`.

        Returns:
          What `get` says, for each output of the network.

        Raises:
          KeyError: `get` is not an attribute of `Kernel`.
          TypeError: inputs that are not arrays.
          ValueError: inputs of wrong shape; kernels or options that lack covariances the network needs.
        """
        warn_of_unknown(f"kernel_fn of {spec.name}", kwargs, spec.keywords, _KERNEL_KEYWORDS)
        if memory_budget is not None and operator.index(memory_budget) < 1:
            raise ValueError(f"`memory_budget` must be a positive number of bytes, got {memory_budget}.")
        names = canonical_get(get)
        check_names(names, _KERNEL_FIELDS)
        _check_diagonals(spec.requirements, diagonal_batch, diagonal_spatial)
        # One batch given twice is one batch: then variances and covariances agree to the last bit.
        are_kernels = _are_kernels(x1_or_kernel)
        twice = not are_kernels and all(tree_leaves(tree_map(operator.is_, x1_or_kernel, x2)))
        if are_kernels:
            _check_kernels(spec, list(tree_leaves(x1_or_kernel)), x2, names, diagonal_batch, diagonal_spatial)
            kernels = tree_map(lambda k: _prepared(k, names, diagonal_batch, diagonal_spatial), x1_or_kernel)
        else:
            options = _input_options(spec.requirements, diagonal_batch, diagonal_spatial, mask_constant, kwargs)
            options["ntk"] = names is None or "ntk" in names
            kernels = tree_map(lambda a, b: input_batches(a, None if twice else b, **options), x1_or_kernel, x2)
        check_independence(spec, kernels)
        kwargs["pattern"] = pattern
        if memory_budget is not None:
            kwargs["memory_budget"] = memory_budget
        with inside_network():
            variances = names is None or not {"cov1", "cov2"}.isdisjoint(names)
            outputs = kernel_of_network(spec, kernels, pick(kwargs, spec), variances)
        # `with_covariances` in case no layer made kernels of the inputs.
        outputs = tree_map(lambda k: with_covariances(k).replace(distance=None), outputs)
        if twice:
            outputs = tree_map(lambda k: k.replace(cov2=k.cov1) if k.cov2 is None else k, outputs)
        return outputs if names is None else tree_map(lambda k: select(k.asdict(), get, "AnalyticKernel"), outputs)

    return kernel_fn


def _output_pairs(kernel_fn: Any, results: PyTree, args: Any, kwargs: Any) -> PyTree:
    """Which axes of covariances belong to positions in `x1` and in `x2`."""
    options = {name: value for name, value in kwargs.items() if name != "get"}
    diagonal = kernel_fn(*args[:2], get="diagonal_spatial", **options)

    def of_output(is_diagonal: bool, found: PyTree) -> PyTree:
        return jax.tree.map(lambda x: OutputPairs(()) if is_diagonal else OutputPairs.adjacent(np.ndim(x)), found)

    return jax.tree.map(of_output, diagonal, results)


def _are_kernels(inputs: Any) -> bool:
    """Whether inputs are kernels, and not arrays; raises `TypeError` if some are and some are not."""
    kinds = {isinstance(x, Kernel) for x in tree_leaves(inputs)}
    if len(kinds) > 1:
        raise TypeError("Inputs are partly arrays and partly kernels; all must be of one kind.")
    return True in kinds


def _prepared(
    k: Kernel, names: tuple[str, ...] | None, diagonal_batch: bool | None, diagonal_spatial: bool | None
) -> Kernel:
    """A kernel that a user passes in, in natural order of axes, without what is not asked for."""
    k = k.reverse() if k.is_reversed else k
    k = with_diagonals(k, bool(diagonal_batch), bool(diagonal_spatial))
    return k.replace(ntk=None) if names is not None and "ntk" not in names else k


def _check_diagonals(requirements: Requirements, diagonal_batch: bool | None, diagonal_spatial: bool | None) -> None:
    """Raises a `ValueError` if the network needs covariances that the user wants to leave out."""
    if diagonal_batch and not requirements.get("diagonal_batch", True):
        raise ValueError(
            "`diagonal_batch=True` is impossible: a layer of the network needs the covariances of different inputs of "
            "one batch. Leave it out, or set it to False."
        )
    if diagonal_spatial and requirements.get("diagonal_spatial", Diagonal()).input == Bool.NO:
        raise ValueError(
            "`diagonal_spatial=True` is impossible: a layer of the network needs the covariances of different "
            "positions. Leave it out, or set it to False."
        )


def _input_options(
    requirements: Requirements,
    diagonal_batch: bool | None,
    diagonal_spatial: bool | None,
    mask_constant: Any,
    kwargs: Any,
) -> dict[str, Any]:
    """How to make the input kernels of a network, from its requirements and the user's wishes."""
    batch, spatial = requirements.get("diagonal_batch", True), requirements.get("diagonal_spatial", Diagonal())
    return dict(
        diagonal_batch=batch if diagonal_batch is None else diagonal_batch,
        diagonal_spatial=bool(spatial) if diagonal_spatial is None else diagonal_spatial,
        batch_axis=kwargs.get("batch_axis", requirements.get("batch_axis", 0)),
        channel_axis=kwargs.get("channel_axis", requirements.get("channel_axis", -1)),
        mask_constant=mask_constant,
        eps=kwargs.get("eps"),
        small_angles=requirements.get("small_angles", False),
    )


def _check_kernels(
    spec: LayerSpec,
    kernels: list[Kernel],
    x2: Any,
    names: tuple[str, ...] | None,
    diagonal_batch: bool | None,
    diagonal_spatial: bool | None,
) -> None:
    """Raises a `ValueError` if the network cannot use kernels as its inputs."""
    if any(x is not None for x in tree_leaves(x2)):
        raise ValueError("`x2` must be None if the first argument is a `Kernel`, which holds both batches already.")
    requirements = spec.requirements
    for k in kernels:
        if names is not None and "ntk" in names and k.ntk is None:
            raise ValueError(
                "`get` asks for the NTK, but the `Kernel` passed in has none. "
                "Compute it with `get=None`, or with its `ntk` set to zeros."
            )
        if k.diagonal_batch and not requirements.get("diagonal_batch", True):
            raise ValueError(
                "The kernel holds variances of each input only (`diagonal_batch`), but the network needs the "
                "covariances of different inputs of one batch. Compute it with `diagonal_batch=False`."
            )
        if k.diagonal_spatial and requirements.get("diagonal_spatial", Diagonal()).input == Bool.NO:
            raise ValueError(
                "The kernel holds covariances of equal positions only (`diagonal_spatial`), but the network needs "
                "those of different ones. Compute it with `diagonal_spatial=False`."
            )
        for name, wish in (("diagonal_batch", diagonal_batch), ("diagonal_spatial", diagonal_spatial)):
            if wish is False and getattr(k, name):
                raise ValueError(
                    f"`{name}=False` asks for covariances that the kernel passed in does not hold. "
                    f"Compute it with `{name}=False` too."
                )
