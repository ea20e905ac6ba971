"""Copying one input to several branches, and joining branches: `FanOut`, `FanInSum`, `FanInProd`, `FanInConcat`."""

import functools
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance, lengths_of_parts, of_sum
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.numerics import length
from neural_tangents._core.trees import is_shape
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import integer
from neural_tangents.stax._spec import LayerSpec, Leaf
from neural_tangents.stax._streaming.run_geometry import RunGeometry


@public_layer
def FanOut(num: int) -> LayerSpec:
    """Copies its input: `f(x) = [x, ..., x]`.

    Args:
      num: number of copies, at least 1.

    Returns:
      A layer that returns a list of `num` copies of its input.

    Raises:
      ValueError: `num` is less than 1.
    """
    integer("FanOut", "num", num, least=None)
    if num < 1:
        raise ValueError(f"FanOut needs num >= 1 copies, got {num}.")

    def copies(x: Any, *_: Any) -> list[Any]:
        return [x] * num

    return Leaf(
        "FanOut",
        apply=lambda params, x: copies(x),
        kernel=copies,
        out_shape=copies,
        mask=copies,
        trees=True,
        randomness=copies,
        positions=copies,
        linear=True,
    ).spec()


@public_layer
def FanInSum() -> LayerSpec:
    """Adds its inputs: `f([x_1, ..., x_n]) = x_1 + ... + x_n`.

    For independent Gaussian inputs, `nngp = sum_i nngp_i` and `ntk = sum_i ntk_i`.

    Returns:
      A layer of a list or tuple of inputs of equal shape.

    Raises:
      ValueError: inputs differ in shape, or two of them are not independent: of the branches of a network, at most one
        may lack random weights (`Dense`, ...) of its own.
      NotImplementedError: an input is not Gaussian (ends with a nonlinearity), or covariances differ in layout.
    """

    def kernel(kernels: Sequence[Kernel]) -> Kernel:
        _check_layouts("FanInSum", kernels)
        if len(kernels) > 1:
            _check_gaussian("FanInSum", kernels)
        total = _combine(kernels, lambda covs: functools.reduce(operator.add, covs))
        return total.replace(distance=_distance_of_sum(kernels, total))

    return Leaf(
        "FanInSum",
        apply=lambda params, xs: functools.reduce(operator.add, xs),
        kernel=kernel,
        out_shape=functools.partial(_equal_shape, "FanInSum"),
        mask=lambda masks, shapes: _all_masked(masks),
        trees=True,
        randomness=functools.partial(_independent, "FanInSum"),
        positions=_beside,
        linear=True,
    ).spec()


@public_layer
def FanInProd() -> LayerSpec:
    """Multiplies its inputs entrywise: `f([x_1, ..., x_n]) = x_1 * ... * x_n`.

    For independent inputs, `nngp = prod_i nngp_i` and `ntk = sum_i ntk_i prod_{j != i} nngp_j`.

    Returns:
      A layer of a list or tuple of inputs of equal shape. Its output is not Gaussian.

    Raises:
      ValueError: inputs differ in shape, or two of them are not independent (see `FanInSum`).
      NotImplementedError: covariances differ in layout.

    Source: Yang, "Wide Feedforward or Recurrent Neural Networks of Any Architecture are Gaussian Processes", 2019,
    https://arxiv.org/abs/1910.12478; the NTK by Leibniz' rule.
    """

    def kernel(kernels: Sequence[Kernel]) -> Kernel:
        _check_layouts("FanInProd", kernels)
        if len(kernels) > 1 and any(k.is_input for k in kernels):
            raise ValueError(
                "FanInProd of a network's inputs has no kernel, as they have a finite number of channels. "
                "Add a `Dense` layer to each branch."
            )
        if len(kernels) == 1:
            return kernels[0]
        ntk: Array | None = None
        ntks = [k.ntk for k in kernels if k.ntk is not None]
        if len(ntks) == len(kernels):
            ntk, nngp = ntks[0], kernels[0].nngp
            for k, k_ntk in zip(kernels[1:], ntks[1:], strict=True):  # Leibniz' rule
                ntk, nngp = ntk * k.nngp + nngp * k_ntk, nngp * k.nngp
        product = _combine([k.replace(ntk=None) for k in kernels], lambda covs: functools.reduce(operator.mul, covs))
        return product.replace(ntk=ntk, is_gaussian=False)

    return Leaf(
        "FanInProd",
        apply=lambda params, xs: functools.reduce(operator.mul, xs),
        kernel=kernel,
        out_shape=functools.partial(_equal_shape, "FanInProd"),
        mask=lambda masks, shapes: _all_masked(masks),
        trees=True,
        randomness=functools.partial(_independent, "FanInProd"),
        positions=_beside,
    ).spec()


@public_layer
def FanInConcat(axis: int = -1) -> LayerSpec:
    """Concatenates its inputs along an axis.

    Along the channel axis, covariances are means weighted by the widths `C_i`: `nngp = sum_i C_i nngp_i / sum_i C_i`,
    and likewise `ntk`. Along another axis, they are block matrices with zeros between different inputs, which is right
    only if these are independent. This is not checked.

    Args:
      axis: axis of the activations.

    Returns:
      A layer of a list or tuple of inputs that differ in size along `axis` only.

    Raises:
      ValueError: inputs differ in size along another axis, or there is no such axis.
      NotImplementedError: an input is not Gaussian, for an axis that is not the channel axis.
    """

    integer("FanInConcat", "axis", axis, least=None)

    def out_shape(shapes: Sequence[Shape]) -> Shape:
        _check_branches("FanInConcat", shapes)
        first = shapes[0]
        if not -len(first) <= axis < len(first):
            raise ValueError(f"FanInConcat: axis {axis} is not an axis of inputs of shapes {list(shapes)}.")
        rest = [(*shape[: axis % len(first)], *shape[axis % len(first) + 1 :]) for shape in shapes]
        if any(len(shape) != len(first) for shape in shapes) or any(r != rest[0] for r in rest):
            raise ValueError(
                f"FanInConcat needs inputs of equal shape in all axes but axis {axis}, got {list(shapes)}."
            )
        sizes = [shape[axis] for shape in shapes]
        total = -1 if -1 in sizes else sum(sizes)
        return (*first[: axis % len(first)], total, *first[axis % len(first) + 1 :])

    def kernel(kernels: Sequence[Kernel]) -> Kernel:
        _check_layouts("FanInConcat", kernels)
        k = kernels[0]
        if axis % len(k.shape1) == k.channel_axis % len(k.shape1):
            widths = [k.shape1[axis] for k in kernels]
            mean = _combine(kernels, lambda covs: sum(w * c for w, c in zip(widths, covs, strict=True)) / sum(widths))
            return mean.replace(is_gaussian=False) if len(kernels) > 1 else mean
        _check_gaussian("FanInConcat along an axis other than the channels", kernels)
        return _blocks(kernels, axis)

    def mask(masks: Sequence[Array | None], shapes: Sequence[Shape]) -> Array:
        full = [jnp.zeros((1,) * len(s), bool) if m is None else m for m, s in zip(masks, shapes, strict=True)]
        common = [max(m.shape[i] for m in full) for i in range(len(shapes[0]))]
        along = axis % len(shapes[0])
        return jnp.concatenate(
            [
                jnp.broadcast_to(m, (*common[:along], shape[along], *common[along + 1 :]))
                for m, shape in zip(full, shapes, strict=True)
            ],
            axis,
        )

    return Leaf(
        "FanInConcat",
        apply=lambda params, xs: jnp.concatenate(xs, axis),
        kernel=kernel,
        out_shape=out_shape,
        mask=mask,
        trees=True,
        randomness=lambda sets, *_: sets if isinstance(sets, frozenset) else frozenset().union(*sets),
    ).spec()


def _check_branches(name: str, shapes: Any) -> None:
    if is_shape(shapes) or not shapes:
        raise ValueError(f"{name} needs a list or tuple of inputs. Put `FanOut` and `parallel` before it.")


def _equal_shape(name: str, shapes: Sequence[Shape]) -> Shape:
    _check_branches(name, shapes)
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"{name} needs inputs of equal shape, got {list(shapes)}.")
    return shapes[0]


def _independent(name: str, sets: Any, *_: Any) -> frozenset[int]:
    if isinstance(sets, frozenset):  # after a user's layer, which may have several outputs
        return sets
    union: frozenset[int] = frozenset()
    for s in sets:
        if union & s:
            raise ValueError(
                f"{name}: the kernel is known only for independent branches, and two branches of the network have the "
                "same random weights or inputs. At most one branch may lack a layer with random weights (`Dense`, ...) "
                "of its own. Add one to all others."
            )
        union = union | s
    return union


def _beside(geometries: Sequence[RunGeometry]) -> RunGeometry:
    return functools.reduce(lambda a, b: a.beside(b), geometries)


def _check_layouts(name: str, kernels: Sequence[Kernel]) -> None:
    for attribute in ("layout", "is_reversed", "batch_axis", "channel_axis"):
        values = [getattr(k, attribute) for k in kernels]
        if any(value != values[0] for value in values):
            raise NotImplementedError(
                f"{name} needs inputs whose kernels agree in `{attribute}`, got {values}. "
                "Make all branches treat axes and layout in the same way."
            )


def _check_gaussian(name: str, kernels: Sequence[Kernel]) -> None:
    if not all(k.is_gaussian for k in kernels):
        raise NotImplementedError(
            f"{name} needs Gaussian inputs, got `is_gaussian` = {[k.is_gaussian for k in kernels]} (False after a "
            "nonlinearity or at the inputs of the network). Add a `Dense` layer to the end of such branches."
        )


def _combine(kernels: Sequence[Kernel], fn: Callable[[Sequence[Any]], Any]) -> Kernel:
    """A kernel of which each covariance is `fn` of that of all inputs."""

    ntks, covs2 = [k.ntk for k in kernels], _second_covariances(kernels)
    return kernels[0].replace(
        nngp=fn([k.nngp for k in kernels]),
        ntk=None if any(ntk is None for ntk in ntks) else fn(ntks),
        cov1=fn([k.cov1 for k in kernels]),
        cov2=None if covs2 is None else fn(covs2),
        x1_is_x2=functools.reduce(operator.and_, (k.x1_is_x2 for k in kernels)),
        is_gaussian=all(k.is_gaussian for k in kernels),
        is_input=any(k.is_input for k in kernels),
    )


def _distance_of_sum(kernels: Sequence[Kernel], total: Kernel) -> CosineDistance | None:
    """The cosine distances of a sum of independent inputs, if those of all are known."""
    if any(k.distance is None for k in kernels):
        return None
    layout, terms = total.layout, []
    lengths = map(lengths_of_parts, zip(*(k.variances for k in kernels), strict=True))
    for k, pair in zip(kernels, zip(*lengths, strict=True), strict=True):
        assert k.distance is not None
        terms.append((k.distance, k.nngp, *layout.spread(*pair)))
    return of_sum(terms, total.nngp, *layout.spread(*map(length, total.variances)))


def _second_covariances(kernels: Sequence[Kernel]) -> list[Array] | None:
    """All `cov2`, or None if no input has a second batch of its own."""
    if all(k.cov2 is None for k in kernels):
        return None
    return [k.cov1 if k.cov2 is None else k.cov2 for k in kernels]


def _all_masked(masks: Sequence[Array | None]) -> Array | None:
    """An entry is masked if it is masked in all inputs."""
    if any(m is None for m in masks):
        return None
    return functools.reduce(operator.and_, masks)  # type: ignore[arg-type]


def _blocks(kernels: Sequence[Kernel], axis: int) -> Kernel:
    """The kernel of inputs concatenated along the batch or a spatial axis."""
    k = kernels[0]
    axis, batch, channel = (a % len(k.shape1) for a in (axis, k.batch_axis, k.channel_axis))
    own = 1 if k.diagonal_batch else 2
    if axis == batch:
        warnings.warn(
            "FanInConcat along the batch axis assumes that inputs of different branches are independent.",
            UserWarning,
            stacklevel=2,
        )
        cross_axes, own_axes = range(2), range(own)
    else:
        spatial = [a for a in range(len(k.shape1)) if a not in (batch, channel)].index(axis)
        width = 1 if k.diagonal_spatial else 2
        cross_axes, own_axes = (range(n + width * spatial, n + width * (spatial + 1)) for n in (2, own))
    covs2 = _second_covariances(kernels)
    return _combine(kernels, lambda covs: covs[0]).replace(
        nngp=_block_diagonal([k.nngp for k in kernels], cross_axes),
        ntk=None if k.ntk is None else _block_diagonal([k.ntk for k in kernels], cross_axes),
        cov1=_block_diagonal([k.cov1 for k in kernels], own_axes),
        cov2=None if covs2 is None else _block_diagonal(covs2, own_axes),
    )


def _block_diagonal(covs: Sequence[Any], axes: Sequence[int]) -> Array:
    """Arrays concatenated along one axis, or as the diagonal blocks along two axes, with zeros elsewhere."""
    if all(cov.ndim == 0 for cov in covs):
        return covs[0]
    if len(axes) == 1:
        return jnp.concatenate(covs, axes[0])
    rows = []
    for i, cov in enumerate(covs):
        row = []
        for j, other in enumerate(covs):
            shape = list(cov.shape)
            shape[axes[1]] = other.shape[axes[1]]
            row.append(cov if i == j else jnp.zeros(shape, cov.dtype))
        rows.append(jnp.concatenate(row, axes[1]))
    return jnp.concatenate(rows, axes[0])
