"""The description of a layer, and how it is made of the formulas of that layer alone.

Inside a network only specs are called: shapes are computed by integer arithmetic, inputs are checked once at the top,
and each layer gets only the keyword arguments that it takes.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.masking import join_mask, split_mask
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.trees import is_node, tree_leaves, tree_map
from neural_tangents._core.types import PyTree
from neural_tangents.stax._inputs import with_covariances
from neural_tangents.stax._keywords import Keywords
from neural_tangents.stax._window import Window

# What a layer does to pairs of positions: see `Leaf`.
Mixing = Literal["each", "mixes"] | Callable[[Any], Any]


class Form(NamedTuple):
    """What a layer is but for its numbers, such as standard deviations of weights. These are data: a program compiled
    for some layers serves all layers of the same form.

    Attributes:
      key: layers with equal keys differ in their numbers only.
      numbers: real numbers among the hyper-parameters of the layer, and of those that it is made of.
      make: makes the layer again, with other numbers, which may be traced.
    """

    key: Hashable
    numbers: tuple[Any, ...]
    make: Callable[[Sequence[Any]], "LayerSpec"]

    @classmethod
    def of_all(
        cls, name: Hashable, specs: Sequence["LayerSpec"], make: Callable[[Sequence["LayerSpec"]], "LayerSpec"]
    ) -> "Form | None":
        """The form of a layer that is made of others; None if that of one of them is not known."""
        forms = [spec.form for spec in specs if spec.form is not None]
        if len(forms) < len(specs):
            return None

        def remade(numbers: Sequence[Any]) -> "LayerSpec":
            rest = iter(numbers)
            return make([form.make(tuple(itertools.islice(rest, len(form.numbers)))) for form in forms])

        return cls((name, *(form.key for form in forms)), tuple(x for form in forms for x in form.numbers), remade)


class Pool(NamedTuple):
    """What a pooling layer keeps of covariances: sums over windows of both copies of each spatial axis.

    Attributes:
      windows: `sizes -> windows`, one along each spatial axis of images of these sizes.
      finish: `(kernel before the layer, kernel of the sums) -> kernel` of the outputs. Sums have both copies of each
        spatial axis, even if there is only one window.
      same_positions: whether only pairs of equal positions are summed.
      check: raises an error if `finish` cannot take a kernel.
    """

    windows: Callable[[tuple[int, ...]], tuple[Window, ...]]
    finish: Callable[[Kernel, Kernel], Kernel]
    same_positions: bool = False
    check: Callable[[Kernel], Any] = lambda before: None


class WindowMean(NamedTuple):
    """The kernel of a convolution in the NTK parameterization: means over windows, scaled and shifted.

    Attributes:
      windows: the window along each spatial axis, in the order of the axes of the inputs.
      W_std: standard deviation of the weights.
      b_std: standard deviation of the biases; None for no bias.
    """

    windows: Sequence[Any]
    W_std: Any
    b_std: Any


class HalfLines(NamedTuple):
    """The kernel of the nonlinearity `a min(x, 0) + b max(x, 0)`.

    Attributes:
      a: slope for negative `x`.
      b: slope for positive `x`.
    """

    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """A layer as data. Inputs and outputs are network trees.

    Attributes:
      name: name of the three functions of the layer.
      init: `(rng, input_shapes) -> (output_shapes, params)`.
      apply: `(params, inputs, **keywords) -> outputs`, of arrays or `MaskedArray`.
      kernel: `(kernels, **keywords) -> kernels`; the inputs of a network come as `InputBatches`. That of a sequence
        takes a second argument: whether variances of the outputs are needed, by default True.
      out_shape: `input_shapes -> output_shapes`, with integer arithmetic; the batch size may be -1.
      randomness: `(sources, input_shapes, new_source) -> sources`; see `Leaf`.
      requirements: what the layer needs of its input kernels.
      keywords: the keyword arguments that `apply` or `kernel` take.
      text: prints the layer; None stands for the call that made it.
      form: what the layer is but for its numbers; None if this is not known.
      positions: see `Leaf`.
      pool: for a layer that only adds up covariances over windows.
      linear: whether NNGP and NTK of the outputs follow from those of the inputs, without variances.
      layers: if this layer is a sequence of layers, these.
      formula: its kernel as data, if it has one of the forms below.
    """

    name: str
    init: Callable[[Any, Any], tuple[Any, PyTree]]
    apply: Callable[..., Any]
    kernel: Callable[..., Any]
    out_shape: Callable[[Any], Any]
    randomness: Callable[[Any, Any, Iterator[int]], Any]
    requirements: Requirements = Requirements()
    keywords: Keywords = Keywords()
    text: Callable[[], str] | None = None
    form: Form | None = None
    positions: Mixing = "mixes"
    pool: Pool | None = None
    linear: bool = False
    layers: tuple["LayerSpec", ...] = ()
    formula: "WindowMean | HalfLines | None" = None

    @property
    def identity(self) -> Hashable:
        """Equal for layers of the same form; unlike that of any other layer, if the form is not known."""
        return id(self) if self.form is None else self.form.key

    def __str__(self) -> str:
        return f"{self.name}()" if self.text is None else self.text()


def unchanged(x: Any, *_: Any) -> Any:
    """The input: for shapes and masks that a layer does not change."""
    return x


def no_params(rng: Any, shapes: Any) -> tuple[()]:
    """`init` of a layer without parameters."""
    return ()


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A layer that is not made of other layers: its formulas, for single inputs without masks.

    Attributes:
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
      randomness: the covariance of a sum or product of branches has a closed form only if the branches are independent.
        So each activation has a set of numbers, its sources of randomness; activations that share a number may be
        correlated. The function `(sources, input_shapes, new_source)` gives the sets of the outputs, and
        `next(new_source)` a new number. None: one new source if there are random weights, else those of the input.
      positions: what `kernel` does to pairs of positions `p, q` of images. `"each"`: the covariance of the outputs at
        `p, q` depends only on that of the inputs at the same pair, and on the variances at `p` and `q`, as in a
        nonlinearity. `"mixes"`: it may depend on any pairs. A function, for layers that move windows: covariances of
        the outputs at one offset `q - p` depend on those of the inputs at one offset only, and the function says what
        becomes of sizes and padding, from `RunGeometry` to `RunGeometry` (it may raise `MixesOffsets`). Runs of layers
        that do not mix are evaluated in bounded memory, see `neural_tangents.stax._streaming`; one that does ends the
        run.
      pool: see `LayerSpec`; `finish` need not set shapes and masks, and `check` need not check them.
      linear: see `LayerSpec`.
    """

    name: str
    _: dataclasses.KW_ONLY
    apply: Callable[..., Any]
    kernel: Callable[..., Any]
    init: Callable[[Any, Any], PyTree] = no_params
    out_shape: Callable[[Any], Any] = unchanged
    mask: Callable[[Any, Any], Any] | None = unchanged
    remask: bool = False
    requirements: Requirements | None = None
    keywords: tuple[str, ...] = ()
    random_weights: bool = False
    trees: bool = False
    randomness: Callable[[Any, Any, Iterator[int]], Any] | None = None
    positions: Mixing = "mixes"
    pool: Pool | None = None
    linear: bool = False

    def spec(self) -> LayerSpec:
        """The layer, for network trees and with masks."""
        return LayerSpec(
            name=self.name,
            init=lambda rng, shapes: (self.out_shape(shapes), self.init(rng, shapes)),
            apply=self._apply,
            kernel=self._kernel,
            out_shape=self.out_shape,
            randomness=self.randomness or self._randomness,
            requirements=self.requirements or Requirements(),
            keywords=Keywords.of(*self.keywords).without("mask"),
            positions=self.positions,
            pool=self.pool and self.pool._replace(finish=self._finish_pooled, check=self._check_pooled),
            linear=self.linear,
        )

    def _apply(self, params: PyTree, inputs: Any, **kwargs: Any) -> Any:
        self._check_single(inputs)
        masks = tree_map(lambda x: split_mask(x)[1], inputs)
        values = tree_map(lambda x: split_mask(x)[0], inputs)
        if "mask" in self.keywords:
            kwargs["mask"] = masks
        outputs = self.apply(params, values, **kwargs)
        return tree_map(join_mask, outputs, self._masks(masks, tree_map(lambda x: x.shape, values)))

    def _kernel(self, kernels: Any, **kwargs: Any) -> Any:
        self._check_single(kernels)
        kernels = tree_map(with_covariances, kernels)
        self._check_axes(kernels, kwargs)
        form = self._form(kernels)  # first, so that errors about shapes come first
        return self._finished(self.kernel(kernels, **kwargs), form)

    def _form(self, kernels: Any) -> tuple[Any, Any, Any, Any]:
        """Shapes and masks of the outputs."""
        shapes1, shapes2 = tree_map(lambda k: k.shape1, kernels), tree_map(lambda k: k.shape2, kernels)
        return (
            self.out_shape(shapes1),
            self.out_shape(shapes2),
            self._masks(tree_map(lambda k: k.mask1, kernels), shapes1),
            self._masks(tree_map(lambda k: k.mask2, kernels), shapes2),
        )

    def _finished(self, kernels: Any, form: tuple[Any, Any, Any, Any]) -> Any:
        def finish(k: Any, shape1: Any, shape2: Any, mask1: Any, mask2: Any) -> Any:
            is_input = k.is_input and not self.random_weights
            k = k.replace(shape1=shape1, shape2=shape2, mask1=mask1, mask2=mask2, is_input=is_input)
            return k.mask(mask1, mask2) if self.remask else k

        return tree_map(finish, kernels, *form)

    def _finish_pooled(self, before: Kernel, sums: Kernel) -> Any:
        assert self.pool is not None
        return self._finished(self.pool.finish(before, sums), self._form(before))

    def _check_pooled(self, before: Kernel) -> None:
        self._check_axes(before, {})
        self._form(before)

    def _masks(self, masks: Any, shapes: Any) -> Any:
        if all(m is None for m in tree_leaves(masks)):
            return None
        if self.mask is None:
            raise NotImplementedError(f"{self.name} does not support masked inputs. Unmask its inputs first.")
        return self.mask(masks, shapes)

    def _randomness(self, sources: Any, shapes: Any, new_source: Iterator[int]) -> Any:
        return frozenset({next(new_source)}) if self.random_weights else sources

    def _check_single(self, inputs: Any) -> None:
        if is_node(inputs) and not self.trees:
            raise ValueError(
                f"{self.name} has one input, got a {type(inputs).__name__} of {len(inputs)}. "
                "Apply it to each with `parallel`, or join them with `FanInSum` or the like."
            )

    def _check_axes(self, kernels: Any, kwargs: Mapping[str, Any]) -> None:
        for k in tree_leaves(kernels):
            for attribute in sorted({"batch_axis", "channel_axis"} - kwargs.keys()):
                wanted = (self.requirements or Requirements()).get(attribute, None)
                if wanted is not None and wanted % len(k.shape1) != getattr(k, attribute) % len(k.shape1):
                    raise ValueError(
                        f"{self.name} has `{attribute}={wanted}`, but that of its inputs, of shape {k.shape1}, is "
                        f"{getattr(k, attribute)}. Give all layers the axes that the layers before them leave."
                    )


def pick(kwargs: Mapping[str, Any], spec: LayerSpec) -> dict[str, Any]:
    """The keyword arguments that a layer takes, out of some."""
    return spec.keywords.pick(kwargs)


class Place(NamedTuple):
    """Where a layer is in a network, for messages.

    Attributes:
      spec: the layer.
      number: its number in the network, from 0.
      n: number of layers of the network.
      network: name of the network.
    """

    spec: LayerSpec
    number: int
    n: int
    network: str

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Adds a note to errors raised inside, which says where they come from."""
        try:
            yield
        except Exception as error:
            text = " ".join(str(self.spec).split())
            text = text if len(text) <= 200 else f"{text[:200]}..."
            error.add_note(f"in layer {self.number + 1} of {self.n} of `{self.network}`: {text}")
            raise


def places(network: str, specs: Sequence[LayerSpec]) -> tuple[Place, ...]:
    """The places of the layers of a network."""
    return tuple(Place(spec, number, len(specs), network) for number, spec in enumerate(specs))


class Step(NamedTuple):
    """A layer of a flattened sequence.

    Attributes:
      spec: the layer.
      places: its place in the innermost sequence that holds it, the place of this sequence in the next one, and so on.
    """

    spec: LayerSpec
    places: tuple[Place, ...]

    def kernel(self, kernels: Any, kwargs: Mapping[str, Any]) -> Any:
        """The kernels after the layer."""
        with contextlib.ExitStack() as stack:
            for place in reversed(self.places):  # notes of the innermost are added first
                stack.enter_context(place.noted())
            return self.spec.kernel(kernels, **pick(kwargs, self.spec))


def sequence(network: str, specs: Sequence[LayerSpec]) -> tuple[Step, ...]:
    """The layers of a sequence, in which nested sequences are flattened."""
    return tuple(
        Step(step.spec, (*step.places, place))
        for place in places(network, specs)
        for step in (sequence(place.spec.name, place.spec.layers) or (Step(place.spec, ()),))
    )


def numbers_of(steps: Sequence[Step]) -> tuple[Any, ...]:
    """The numbers of layers, one after the other; see `Form`."""
    return tuple(x for step in steps if step.spec.form is not None for x in step.spec.form.numbers)


def arguments_of(steps: Sequence[Step]) -> tuple[Any, ...]:
    """The numbers of layers as arguments of a program, which is the same for whole numbers and for others."""

    def argument(x: Any) -> Any:
        # Numbers of low precision must not lower that of formulas; `np.float64`, which is a `float`, raises it.
        return float(x) if isinstance(x, int | np.integer | np.floating) and not isinstance(x, float) else x

    return tuple(map(argument, numbers_of(steps)))


def with_numbers(steps: Sequence[Step], numbers: Sequence[Any]) -> tuple[Step, ...]:
    """Layers made again with other numbers, in the order of `numbers_of`."""
    rest = iter(numbers)

    def remade(spec: LayerSpec) -> LayerSpec:
        form = spec.form
        return spec if form is None else form.make(tuple(itertools.islice(rest, len(form.numbers))))

    return tuple(Step(remade(step.spec), step.places) for step in steps)


def check_independence(spec: LayerSpec, kernels: Any) -> None:
    """Raises a `ValueError` if a branch of a sum or product may be correlated with another one."""
    new_source = itertools.count()
    sources = tree_map(lambda _: frozenset({next(new_source)}), kernels)
    spec.randomness(sources, tree_map(lambda k: k.shape1, kernels), new_source)
