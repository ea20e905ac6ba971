"""What users' own layers are written with."""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from frozendict import frozendict
from jax import Array

from neural_tangents._core.layout import Layout, Spatial
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.types import Axes
from neural_tangents.stax import Bool, Diagonal, MaskedArray, layer, requires, supports_masking, unmask_fn

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_requirements as __getattr__  # noqa: F401

__all__ = [
    "Bool",
    "Diagonal",
    "MaskedArray",
    "get_diagonal",
    "get_diagonal_outer_prods",
    "get_req",
    "layer",
    "mean_and_var",
    "requires",
    "supports_masking",
    "unmask_fn",
]


def _layout(diagonal_batch: bool, diagonal_spatial: bool) -> Layout:
    return Layout(Spatial.DIAGONAL if diagonal_spatial else Spatial.PAIRED, diagonal_batch)


def get_diagonal(cov: Array | None, diagonal_batch: bool, diagonal_spatial: bool) -> Array | None:
    """The variances `(N, *spatial)` in the covariance of one batch with itself, `cov1` or `cov2` of a `Kernel`."""
    return None if cov is None else _layout(diagonal_batch, diagonal_spatial).variance(jnp.asarray(cov))


def get_diagonal_outer_prods(
    cov1: Array,
    cov2: Array | None,
    diagonal_batch: bool,
    diagonal_spatial: bool,
    operation: Callable[[Array, Array], Array],
    axis: Axes = (),
    mask1: Array | None = None,
    mask2: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Combines the two variances that belong to each entry of a covariance: `operation(q1, q2)`.

    Args:
      cov1: covariance of the first batch with itself.
      cov2: covariance of the second batch with itself; None if it is the first.
      diagonal_batch: whether `cov1` and `cov2` hold covariances of equal inputs only.
      diagonal_spatial: whether covariances hold pairs of equal positions only.
      operation: a function of two arrays of equal numbers of axes, such as `operator.mul`.
      axis: axes of the variances `(N, *spatial)` that they are averaged over first.
      mask1: boolean array that broadcasts against the variances of `x1`, True for those that the average leaves out.
      mask2: the same for `x2`.

    Returns:
      Three arrays that broadcast against `cov1`, `nngp` and `cov2`; the third is the first if `cov2` is None.
    """
    layout = _layout(diagonal_batch, diagonal_spatial)

    def variances(cov: Array, mask: Array | None) -> Any:
        q = layout.variance(jnp.asarray(cov))
        return q if axis in ((), []) else mean_and_var(q, axis, keepdims=True, mask=mask)[0]

    q1 = variances(cov1, mask1)
    q2 = q1 if cov2 is None else variances(cov2, mask2)
    own = operation(*layout.spread_own(q1))
    return own, operation(*layout.spread(q1, q2)), own if cov2 is None else operation(*layout.spread_own(q2))


def mean_and_var(
    x: Array | None,
    axis: Axes | None = None,
    dtype: Any = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    mask: Array | None = None,
    get_var: bool = False,
) -> tuple[Array | None, Array | None]:
    """Mean and variance of an array, over entries that are not masked.

    Args:
      x: an array; None gives None.
      axis: axes to average over; None for all.
      dtype: type of the results; None for that of `x`.
      out: not supported, as JAX arrays cannot be written to.
      ddof: what is subtracted from the number of entries in the divisor of the variance.
      keepdims: whether averaged axes are kept, with size 1.
      mask: boolean array that broadcasts against `x`, True for entries to leave out; None for none.
      get_var: whether to compute the variance too.

    Returns:
      The mean, and the variance or None. The number of entries counts as 1 where all are masked.
    """
    if out is not None:
        raise NotImplementedError("`out` is not supported: use what is returned.")
    if x is None:
        return None, None
    axes = tuple(axis) if isinstance(axis, list) else axis
    x = jnp.asarray(x)
    present = jnp.ones((1,) * x.ndim, bool) if mask is None else ~jnp.asarray(mask)
    present = jnp.broadcast_to(present, x.shape)
    number = jnp.sum(present, axes, keepdims=True)

    def total(values: Array, divisor: Array) -> Array:
        divisor = jnp.maximum(divisor, 1).astype(jnp.result_type(values, float))
        return jnp.sum(jnp.where(present, values, 0), axes, dtype, keepdims=True) / divisor

    def shaped(value: Array) -> Array:
        return value if keepdims else value.reshape(jnp.sum(present, axes).shape)

    mean = total(x, number)
    return shaped(mean), shaped(total((x - mean) ** 2, number - ddof)) if get_var else None


# Requirements as attributes of functions, for programs that combine layers by themselves.

_DEFAULT_INPUT_REQ: frozendict[str, Any] = frozendict(
    diagonal_batch=True, diagonal_spatial=False, batch_axis=0, channel_axis=-1, mask_constant=None
)


def _has_req(fn: Callable[..., Any]) -> bool:
    """Whether a function states requirements."""
    return hasattr(fn, "input_req") or hasattr(fn, "requirements")


def get_req(fn: Callable[..., Any], default: Any = None) -> Any:
    """The requirements that a kernel function states, by name, or `default` if it states none."""
    if hasattr(fn, "input_req"):
        return fn.input_req
    return fn.requirements.stated() if hasattr(fn, "requirements") else default


def _set_req(fn: Any, requirements: Mapping[str, Any]) -> None:
    """Makes a kernel function state requirements, as `requires` does."""
    fn.input_req, fn.requirements = frozendict(requirements), Requirements.of(**requirements)


def _get_input_req_attr(
    fns: Iterable[Callable[..., Any]], fold: Callable[[Any, Any], Any] = operator.rshift
) -> frozendict[str, Any]:
    """The requirements of several kernel functions: in sequence by `operator.rshift`, side by side by `and_`."""
    stated = [Requirements.of(**get_req(fn, {})) for fn in fns]
    return functools.reduce(fold, stated, Requirements() if fold is operator.rshift else stated[0]).stated()


def _fuse_requirements(required: Mapping[str, Any], default: Mapping[str, Any], **chosen: Any) -> dict[str, Any]:
    """How a kernel of inputs is made: as a user chooses, as a network requires, or by default.

    Raises:
      ValueError: only the diagonal of covariances is chosen, and the network needs all of them.
    """
    fused = {**default, **required}
    fused["diagonal_spatial"] = bool(fused.get("diagonal_spatial", False))
    for name, value in chosen.items():
        if name in default and value is not None:
            if name.startswith("diagonal_") and value and not fused[name]:
                raise ValueError(f"`{name}=True`, but the network needs all covariances. Leave it out.")
            fused[name] = value
    return fused
