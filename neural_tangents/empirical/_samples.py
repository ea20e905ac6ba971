"""A batch as samples, and the network for one of them, where users promise that it acts on each sample alone."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._core.mesh_axes import struct_like
from neural_tangents._core.types import PyTree, Shape
from neural_tangents.empirical._checks import evaluate, noted

VMapAxes = Any


@dataclasses.dataclass(frozen=True)
class Samples:
    """A batch of inputs cut into samples, and the network for one of them.

    Attributes:
      apply: `(params, sample) -> leaves of the outputs`, without the axis that samples lie along.
      data: the samples, stacked along a leading axis of all arrays.
      batch_axes: for each leaf of the outputs, the axis that samples lie along; None if the whole batch is one sample.
      shapes: for each leaf of the outputs, its shape for the whole batch.
      dtypes: for each leaf of the outputs, its type.
      structure: the tree of the outputs.
      shared: leaves of inputs and keyword arguments that all samples have in common.
      together: `(params, samples) -> leaves of the outputs` of several samples, stacked as in `data`, as one batch; the
        axis that samples lie along comes first. None if the whole batch is one sample.
    """

    apply: Callable[[PyTree, PyTree], list[jax.Array]]
    data: PyTree
    batch_axes: tuple[int | None, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[Any, ...]
    structure: Any
    shared: tuple[Any, ...]
    together: Callable[[PyTree, PyTree], list[jax.Array]] | None = None

    @property
    def mapped(self) -> bool:
        return any(axis is not None for axis in self.batch_axes)

    @property
    def n_samples(self) -> int:
        return jax.tree.leaves(self.data)[0].shape[0]

    def map(self, fn: Callable[[PyTree], Any], data: PyTree = None) -> Any:
        """`fn` of each sample, stacked along a leading axis; of `data`, stacked in the same way, if it is given."""
        data = self.data if data is None else data
        if self.mapped:
            return jax.vmap(fn)(data)
        return jax.tree.map(lambda x: x[None], fn(jax.tree.map(lambda x: x[0], data)))

    def joined(self, other: "Samples") -> "Samples | None":
        """These samples followed by those of another batch; None if the batches differ in more than their samples."""
        if not self.mapped or len(self.shared) != len(other.shared):
            return None
        if any(a is not b for a, b in zip(self.shared, other.shared, strict=True)):
            return None
        one, other_one = ([(x.shape, x.dtype) for x in jax.tree.leaves(batch.one)] for batch in (self, other))
        if one != other_one:
            return None
        return dataclasses.replace(self, data=jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self.data, other.data))

    def labels(self, leaf: int, labels: Sequence[Any]) -> tuple[Any, ...]:
        """Labels of one output of all samples, `(samples, *axes of one output)`, from those of the output's axes."""
        axis = self.batch_axes[leaf]
        if axis is None:
            return ("one sample", *labels)
        return (labels[axis], *labels[:axis], *labels[axis + 1 :])

    def one_shape(self, leaf: int) -> Shape:
        """The shape of an output of one sample."""
        shape, axis = self.shapes[leaf], self.batch_axes[leaf]
        return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])

    @property
    def one(self) -> PyTree:
        """Shapes and types of one sample."""
        return _one(self.data)


def map_both(fn: Callable[[Samples], Any], first: Samples, second: Samples) -> tuple[Any, Any]:
    """`fn`, which maps over samples, of both batches: in one pass over the samples of both, if possible.

    One pass is compiled once, and treats each layer for both batches at about the same time.
    """
    if second is first:
        return (result := fn(first)), result
    joined = first.joined(second)
    if joined is None:
        return fn(first), fn(second)
    result, n = fn(joined), first.n_samples
    return jax.tree.map(lambda x: x[:n], result), jax.tree.map(lambda x: x[n:], result)


def samples(
    f: Callable[..., PyTree], params: PyTree, x: PyTree, keywords: Mapping[str, Any], vmap_axes: VMapAxes
) -> Samples:
    """Cuts a batch into samples.

    Args:
      f: the network, `(params, x, **keywords) -> outputs`.
      params: its parameters.
      x: inputs.
      keywords: keyword arguments.
      vmap_axes: None if samples are not independent. Otherwise the axes that samples lie along: an integer or a tree of
        integers, for inputs and outputs; or a triple of those of inputs, those of outputs, and a dictionary of those of
        keyword arguments. Inputs with None for an axis are shared by all samples.

    Raises:
      ValueError: axes do not fit, or outputs of one sample have more than one.
    """
    if vmap_axes is None:
        data = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x)
        return _create(f, params, data, lambda sample: (sample, keywords), None, None, ())
    in_axes, out_axes, keyword_axes = _triple(vmap_axes, keywords)
    mapped_keywords = {name: keywords[name] for name in keyword_axes}
    leaves, structure = jax.tree.flatten((x, mapped_keywords))
    axes = [
        None if axis is None else _canonical(axis, leaf)
        for axis, leaf in zip(
            [*_spread(in_axes, x, "inputs"), *_spread(keyword_axes, mapped_keywords, "keyword arguments")],
            leaves,
            strict=True,
        )
    ]
    sizes = {jnp.shape(leaf)[axis] for axis, leaf in zip(axes, leaves, strict=True) if axis is not None}
    if len(sizes) != 1:
        raise ValueError(
            f"Expected inputs to have one size along `vmap_axes={vmap_axes!r}`, got {sorted(sizes) or 'no axes'}."
        )
    data = [jnp.moveaxis(leaf, axis, 0) for axis, leaf in zip(axes, leaves, strict=True) if axis is not None]
    shared = [leaf for axis, leaf in zip(axes, leaves, strict=True) if axis is None]
    shared += [value for name, value in keywords.items() if name not in mapped_keywords]

    def arguments(several: Sequence[jax.Array]) -> tuple[PyTree, Mapping[str, Any]]:
        """Inputs and keyword arguments of samples that are stacked along the first axis."""
        rest = iter(several)
        whole = [
            leaf if axis is None else jnp.moveaxis(next(rest), 0, axis) for axis, leaf in zip(axes, leaves, strict=True)
        ]
        x, mapped = jax.tree.unflatten(structure, whole)
        return x, {**keywords, **mapped}

    return _create(f, params, data, arguments, out_axes, sizes.pop(), tuple(shared))


def _one(data: PyTree) -> PyTree:
    """Shapes and types of one of the samples."""
    return jax.tree.map(lambda x: struct_like(x, x.shape[1:]), data)


def _create(
    f: Callable[..., PyTree],
    params: PyTree,
    data: PyTree,
    arguments: Callable[[PyTree], tuple[PyTree, Mapping[str, Any]]],
    out_axes: Any,
    n_samples: int | None,
    shared: tuple[Any, ...],
) -> Samples:
    def outputs_of(params: PyTree, several: PyTree) -> PyTree:
        x, keywords = arguments(several)
        return evaluate(f, params, x, keywords)

    def of_one(params: PyTree, sample: PyTree) -> PyTree:
        return outputs_of(params, sample if n_samples is None else jax.tree.map(lambda x: x[None], sample))

    one = _one(data)

    def single_sample() -> str:
        single = jax.tree.map(lambda x: struct_like(x, (1, *x.shape[1:])), data)
        given = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(lambda d: arguments(d)[0], single))]
        return (
            f"The network was given a single sample, of shape {', '.join(map(str, given))}. Choose `vmap_axes` along "
            "which it acts on each sample alone, or None."
        )

    with noted(single_sample, lambda error: n_samples is not None):
        outputs = jax.eval_shape(of_one, params, one)
    leaves, structure = jax.tree.flatten(outputs)
    dtypes = tuple(leaf.dtype for leaf in leaves)
    if n_samples is None:
        shapes = tuple(leaf.shape for leaf in leaves)
        no_axes = (None,) * len(leaves)
        return Samples(lambda p, s: jax.tree.leaves(of_one(p, s)), data, no_axes, shapes, dtypes, structure, shared)

    axes = tuple(
        _canonical(axis, leaf) for axis, leaf in zip(_spread(out_axes, outputs, "outputs"), leaves, strict=True)
    )
    for axis, leaf in zip(axes, leaves, strict=True):
        if leaf.shape[axis] != 1:
            raise ValueError(
                f"Expected outputs for one sample to have size 1 along axis {axis}, got shape {leaf.shape}. Choose "
                "`vmap_axes` along which the network acts on each sample alone, or None."
            )

    def apply(params: PyTree, sample: PyTree) -> list[jax.Array]:
        leaves = jax.tree.leaves(of_one(params, sample))
        return [jnp.squeeze(leaf, axis) for axis, leaf in zip(axes, leaves, strict=True)]

    def together(params: PyTree, several: PyTree) -> list[jax.Array]:
        leaves = jax.tree.leaves(outputs_of(params, several))
        return [jnp.moveaxis(leaf, axis, 0) for axis, leaf in zip(axes, leaves, strict=True)]

    shapes = tuple(
        (*leaf.shape[:axis], n_samples, *leaf.shape[axis + 1 :]) for axis, leaf in zip(axes, leaves, strict=True)
    )
    return Samples(apply, data, axes, shapes, dtypes, structure, shared, together)


def _triple(vmap_axes: VMapAxes, keywords: Mapping[str, Any]) -> tuple[Any, Any, Mapping[str, Any]]:
    """Axes of samples in inputs, in outputs, and in keyword arguments."""
    if not (isinstance(vmap_axes, tuple) and len(vmap_axes) == 3):
        return vmap_axes, vmap_axes, {}
    in_axes, out_axes, keyword_axes = vmap_axes
    if not isinstance(keyword_axes, Mapping | None):
        raise ValueError(
            "A tuple of three as `vmap_axes` is read as (axes of inputs, axes of outputs, dictionary of axes of "
            f"keyword arguments), got {vmap_axes!r}. If it was meant as axes of three inputs, write "
            f"({vmap_axes!r}, axes of outputs, {{}})."
        )
    if unknown := set(keyword_axes or {}) - set(keywords):
        raise ValueError(
            f"`vmap_axes` names axes of keyword arguments {sorted(unknown)}, which are not given. Pass them, or leave "
            "them out of `vmap_axes`."
        )
    return in_axes, out_axes, keyword_axes or {}


def _spread(prefix: Any, tree: PyTree, what: str) -> list[Any]:
    """The value for each leaf of a tree, from a tree prefix of such values."""
    values: list[Any] = []

    def add(value: Any, subtree: PyTree) -> None:
        values.extend([value] * len(jax.tree.leaves(subtree)))

    try:
        jax.tree.map(add, prefix, tree, is_leaf=lambda value: value is None)
    except ValueError as error:
        raise ValueError(
            f"Expected `vmap_axes` of {what} to be an integer, or a tree of integers that fits them; got {prefix!r} "
            f"for {jax.tree.structure(tree)}. {error}"
        ) from None
    return values


def _canonical(axis: Any, leaf: Any) -> int:
    ndim = jnp.ndim(leaf)
    if isinstance(axis, bool) or not isinstance(axis, int) or not -ndim <= axis < ndim:
        allowed = f"an integer from {-ndim} to {ndim - 1}" if ndim else "an array with at least one axis"
        raise ValueError(f"`vmap_axes` has {axis!r} for an array of shape {jnp.shape(leaf)}. Expected {allowed}.")
    return axis % ndim
