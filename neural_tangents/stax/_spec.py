"""The description of a layer, and how the formulas of a single layer become one.

Inside a network only specs are called: shapes are computed by integer arithmetic, inputs are checked once at the top,
and each layer gets only those keyword arguments that it takes.
"""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.masking import join_mask, split_mask
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.trees import is_node, tree_leaves, tree_map
from neural_tangents._core.types import PyTree
from neural_tangents.stax._inputs import whole
from neural_tangents.stax._window import Window


class Pool(NamedTuple):
    """What a pooling layer keeps of covariances: sums over windows of both copies of each spatial axis.

    Attributes:
      windows: `sizes -> windows`, one along each spatial axis of images of some sizes.
      finish: `(kernel before the layer, kernel of the sums) -> kernel` of the outputs. Sums have both copies of each
        spatial axis, also where there is one window only.
      equal: whether only pairs of equal positions are summed.
      check: raises an error if `finish` cannot take a kernel.
    """

    windows: Callable[[tuple[int, ...]], tuple[Window, ...]]
    finish: Callable[[Kernel, Kernel], Kernel]
    equal: bool = False
    check: Callable[[Kernel], Any] = lambda before: None


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """A layer as data. Inputs and outputs are network trees.

    Attributes:
      name: name of the three functions of the layer.
      init: `(rng, input_shapes) -> (output_shapes, params)`.
      apply: `(params, inputs, **keywords) -> outputs`, of arrays or `MaskedArray`.
      kernel: `(kernels, **keywords) -> kernels`.
      out_shape: `input_shapes -> output_shapes`, with integer arithmetic; the batch size may be -1.
      randomness: `(sets, new_source) -> sets`; see `leaf`.
      requirements: what the layer needs of its input kernels.
      keywords: names of the keyword arguments that `apply` or `kernel` take.
      text: prints the layer; None stands for the call that made it.
      key: layers with equal keys are the same function of their inputs and parameters; None if this is not known.
      local: what the layer does to the images of its inputs, from `RunGeometry` to `RunGeometry`, if it maps
        covariances of pairs of positions with one offset to such (it may raise `MixesOffsets`); None if it does not,
        or this is not known.
      pool: for a layer that only adds up covariances over windows.
      chain: the layers that this one is a sequence of, if it is one.
    """

    name: str
    init: Callable[[Any, Any], tuple[Any, PyTree]]
    apply: Callable[..., Any]
    kernel: Callable[..., Any]
    out_shape: Callable[[Any], Any]
    randomness: Callable[[Any, Iterator[int]], Any]
    requirements: Requirements = Requirements()
    keywords: frozenset[str] = frozenset()
    text: Callable[[], str] | None = None
    key: Hashable | None = None
    local: Callable[[Any], Any] | None = None
    pool: Pool | None = None
    chain: tuple["LayerSpec", ...] = ()


def identity(x: Any, *_: Any) -> Any:
    """The input: for shapes and masks that a layer does not change."""
    return x


def no_params(rng: Any, shapes: Any) -> tuple[()]:
    """`init` of a layer without parameters."""
    return ()


def leaf(
    name: str,
    *,
    apply: Callable[..., Any],
    kernel: Callable[..., Any],
    init: Callable[[Any, Any], PyTree] = no_params,
    out_shape: Callable[[Any], Any] = identity,
    mask: Callable[[Any, Any], Any] | None = identity,
    remask: bool = False,
    requirements: Requirements | None = None,
    keywords: tuple[str, ...] = (),
    random_weights: bool = False,
    trees: bool = False,
    randomness: Callable[[Any, Iterator[int]], Any] | None = None,
    local: Callable[[Any], Any] | None = None,
    pool: Pool | None = None,
) -> LayerSpec:
    """Describes a layer that is not made of other layers.

    Args:
      name: name of the layer's functions.
      apply: `(params, inputs, **keywords) -> outputs` on arrays; masked entries are zero.
      kernel: `(kernel, **keywords) -> kernel`; need not set shapes and masks.
      init: `(rng, input_shape) -> params`.
      out_shape: `input_shape -> output_shape`.
      mask: `(mask, input_shape) -> mask` of the outputs; None if the layer cannot have masked inputs.
      remask: whether covariances of masked entries have to be set to zero.
      requirements: what the layer needs of its input; None states nothing.
      keywords: keyword arguments that `apply` and `kernel` take; `'mask'` stands for the mask of `apply`'s inputs.
      random_weights: whether outputs are mixed by random weights, so that they are independent of all else.
      trees: whether inputs may be network trees, and not only single ones.
      randomness: the exact covariance of a sum or product of branches is known only if the branches are independent. So
        each activation has a set of numbers, shared by two activations only if these may be correlated. `(set,
        new_source)` gives the sets of the outputs, `next(new_source)` a new number. None: a new set if there are random
        weights, else that of the input.
      local: see `LayerSpec`.
      pool: see `LayerSpec`; `finish` need not set shapes and masks, and `check` not check those.
    """

    def masks_of(masks: Any, shapes: Any) -> Any:
        if all(m is None for m in tree_leaves(masks)):
            return None
        if mask is None:
            raise NotImplementedError(f"{name} does not support masked inputs. Unmask its inputs first.")
        return mask(masks, shapes)

    def check_single(inputs: Any) -> None:
        if is_node(inputs) and not trees:
            raise ValueError(
                f"{name} has one input, got a {type(inputs).__name__} of {len(inputs)}. "
                "Apply it to each with `parallel`, or join them with `FanInSum` or the like."
            )

    def lifted_apply(params: PyTree, inputs: Any, **kwargs: Any) -> Any:
        check_single(inputs)
        masks = tree_map(lambda x: split_mask(x)[1], inputs)
        values = tree_map(lambda x: split_mask(x)[0], inputs)
        if "mask" in keywords:
            kwargs["mask"] = masks
        outputs = apply(params, values, **kwargs)
        return tree_map(join_mask, outputs, masks_of(masks, tree_map(lambda x: x.shape, values)))

    def lifted_kernel(kernels: Any, **kwargs: Any) -> Any:
        check_single(kernels)
        kernels = tree_map(whole, kernels)
        for k in tree_leaves(kernels):
            _check_axes(name, requirements or Requirements(), k)
        form = form_of(kernels)  # first, so that bad shapes are called that
        return finished(kernel(kernels, **kwargs), *form)

    def form_of(kernels: Any) -> tuple[Any, Any, Any, Any]:
        """Shapes and masks of the outputs."""
        shapes1, shapes2 = tree_map(lambda k: k.shape1, kernels), tree_map(lambda k: k.shape2, kernels)
        return (
            out_shape(shapes1),
            out_shape(shapes2),
            masks_of(tree_map(lambda k: k.mask1, kernels), shapes1),
            masks_of(tree_map(lambda k: k.mask2, kernels), shapes2),
        )

    def finished(kernels: Any, *form: Any) -> Any:
        def finish(k: Any, shape1: Any, shape2: Any, mask1: Any, mask2: Any) -> Any:
            is_input = k.is_input and not random_weights
            k = k.replace(shape1=shape1, shape2=shape2, mask1=mask1, mask2=mask2, is_input=is_input)
            return k.mask(mask1, mask2) if remask else k

        return tree_map(finish, kernels, *form)

    def check_pooled(before: Kernel) -> None:
        _check_axes(name, requirements or Requirements(), before)
        form_of(before)

    def finish_pooled(before: Kernel, k: Kernel) -> Any:
        return finished(pool.finish(before, k), *form_of(before))  # type: ignore[union-attr]

    def default_randomness(sets: Any, new_source: Iterator[int]) -> Any:
        return frozenset({next(new_source)}) if random_weights else sets

    return LayerSpec(
        name=name,
        init=lambda rng, shapes: (out_shape(shapes), init(rng, shapes)),
        apply=lifted_apply,
        kernel=lifted_kernel,
        out_shape=out_shape,
        randomness=randomness or default_randomness,
        requirements=requirements or Requirements(),
        keywords=frozenset(keywords) - {"mask"},
        local=local,
        pool=pool and pool._replace(finish=finish_pooled, check=check_pooled),
    )


def _check_axes(name: str, requirements: Requirements, k: Kernel) -> None:
    ndim = len(k.shape1)
    for attribute in ("batch_axis", "channel_axis"):
        wanted = requirements.get(attribute, None)
        if wanted is not None and wanted % ndim != getattr(k, attribute) % ndim:
            raise ValueError(
                f"{name} has `{attribute}={wanted}`, but that of its inputs, of shape {k.shape1}, is "
                f"{getattr(k, attribute)}. Give all layers the axes that the layers before them leave."
            )


def pick(kwargs: Mapping[str, Any], spec: LayerSpec) -> dict[str, Any]:
    """Those of the keyword arguments that a layer takes."""
    return {name: value for name, value in kwargs.items() if name in spec.keywords}


def check_independence(spec: LayerSpec, kernels: Any) -> None:
    """Raises a `ValueError` if a branch of a sum or product may be correlated with another one."""
    new_source = itertools.count()
    spec.randomness(tree_map(lambda _: frozenset({next(new_source)}), kernels), new_source)
