"""From arrays to the `Kernel` of a network's inputs."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core import cosine_distance
from neural_tangents._core.axes import zip_axes
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout, Spatial
from neural_tangents._core.masking import MaskedArray, detect_mask, split_mask
from neural_tangents._core.numerics import length
from neural_tangents._core.precision import matmul_precision
from neural_tangents._core.types import Shape


def input_batches(
    x1: Any,
    x2: Any,
    *,
    ntk: bool,
    batch_axis: int,
    channel_axis: int | None,
    diagonal_batch: bool,
    diagonal_spatial: bool,
    mask_constant: Any,
    eps: float | None,
    small_angles: bool,
) -> "InputBatches":
    """Two batches of inputs, checked, with channels as their last axis.

    Args:
      x1: array or `MaskedArray` with a batch axis, a channel axis and any number of spatial axes.
      x2: the same, of equal shape in all but the batch axis; None stands for `x1`.
      ntk: whether to start a neural tangent kernel, at zero.
      batch_axis: axis of the batch.
      channel_axis: axis of the channels; None treats all other axes as channels.
      diagonal_batch: see `Kernel`.
      diagonal_spatial: see `Kernel`.
      mask_constant: inputs equal to this number are masked; None for no mask.
      eps: inputs that differ by less count as the same; None for a default.
      small_angles: whether a layer needs angles between inputs that are lost in the rounding error of covariances.
    """
    same_object = x2 is None or x2 is x1
    x1, mask1 = _as_input(x1, mask_constant)
    x2_given = x2 is not None
    x2, mask2 = _as_input(x2, mask_constant) if x2_given else (x1, mask1)
    batch_axis, channel_axis = _check_axes(x1, x2, batch_axis, channel_axis)
    same = True if same_object else _is_same(x1, x2, eps)

    if channel_axis is None:
        x1, x2, mask1, mask2 = (_flatten(x, batch_axis) for x in (x1, x2, mask1, mask2))
        batch_axis, channel_axis = 0, 1

    c1, c2 = (jnp.moveaxis(x, (batch_axis, channel_axis), (0, -1)) for x in (x1, x2))
    return InputBatches(
        inputs1=c1,
        inputs2=c2 if x2_given else None,
        x1_is_x2=same,
        mask1=mask1,
        mask2=mask2,
        with_ntk=ntk,
        diagonal_batch=diagonal_batch,
        diagonal_spatial=diagonal_spatial,
        shape1=x1.shape,
        shape2=x2.shape,
        batch_axis=batch_axis,
        channel_axis=channel_axis,
        small_angles=small_angles,
    )


def _data() -> Any:
    return dataclasses.field(metadata={"pytree_node": True})


def _static() -> Any:
    return dataclasses.field(metadata={"pytree_node": False, "static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class InputBatches:
    """The inputs of a network, from which a `Kernel` is made only when a layer needs one.

    Covariances of all pairs of positions of images may be too many to hold at once. A run of convolutions that is
    evaluated slab by slab computes only those of a slab.

    Attributes:
      inputs1: inputs of the first batch, `(N1, *spatial, C)`.
      inputs2: inputs of the second batch; None if it is the first.
      with_ntk: whether the kernel has an NTK, zero so far.
      small_angles: whether the kernel has cosine distances, if inputs are neither images nor masked.
      first: number of the first of `inputs1` in the batch that they are a part of; None if they are all of it.
      x1_is_x2, mask1, mask2, diagonal_batch, diagonal_spatial, shape1, shape2, batch_axis, channel_axis: those of the
        `Kernel`.
    """

    inputs1: Array = _data()
    inputs2: Array | None = _data()
    x1_is_x2: Any = _data()
    mask1: Array | None = _data()
    mask2: Array | None = _data()
    with_ntk: bool = _static()
    diagonal_batch: bool = _static()
    diagonal_spatial: bool = _static()
    shape1: Shape = _static()
    shape2: Shape = _static()
    batch_axis: int = _static()
    channel_axis: int = _static()
    small_angles: bool = _static()
    first: Any = dataclasses.field(default=None, metadata={"pytree_node": True})

    def kernel(self, diagonal_batch: bool, diagonal_spatial: bool) -> Kernel:
        """The kernel `nngp[n1, n2, ...] = sum_c x1[n1, ..., c] x2[n2, ..., c] / C`, in a layout."""
        c1, c2 = self.inputs1, self.inputs1 if self.inputs2 is None else self.inputs2
        layout = Layout(Spatial.DIAGONAL if diagonal_spatial else Spatial.PAIRED, diagonal_batch)
        first = 0 if self.first is None else self.first
        inner, channels = _inner(c1, c2, diagonal_spatial), max(c1.shape[-1], 1)
        nngp, cov2 = inner / channels, None
        if self.inputs2 is not None:
            cov1, cov2 = (_own(c, diagonal_batch, diagonal_spatial) for c in (c1, c2))
        elif diagonal_batch:
            # Taken from `nngp`, so that a variance equals the covariance of an input with itself to the last bit.
            cov1 = Layout(diagonal_batch=False).per_input(nngp)
        else:
            cov1 = nngp
        kernel = Kernel(
            nngp=nngp,
            ntk=jnp.zeros((), c1.dtype) if self.with_ntk else None,
            cov1=cov1,
            cov2=cov2,
            x1_is_x2=self.x1_is_x2,
            is_gaussian=False,
            is_reversed=False,
            is_input=True,
            diagonal_batch=diagonal_batch,
            diagonal_spatial=diagonal_spatial,
            shape1=self.shape1,
            shape2=self.shape2,
            batch_axis=self.batch_axis,
            channel_axis=self.channel_axis,
            mask1=self.mask1,
            mask2=self.mask2,
        )
        distance = None
        if self.small_angles and nngp.ndim == 2 and nngp.size and self.mask1 is None and self.mask2 is None:
            lengths = layout.spread(*(length(q * channels) for q in kernel.variances))
            inner, distance = cosine_distance.of_inputs(c1, c2, inner, *lengths, self.x1_is_x2, first)
            nngp = inner / channels
        same = None
        if self.first is not None:
            same = ~cosine_distance.different(nngp.shape, first, self.x1_is_x2)
        elif self.inputs2 is not None and c1.shape == c2.shape:
            same = layout.is_same(nngp) & self.x1_is_x2
        if same is not None:
            variance, _ = kernel.variances
            nngp = layout.tie(nngp, layout.spread(variance, variance)[0], same)
        return kernel.replace(nngp=nngp, distance=distance)


def with_covariances(k: Kernel | InputBatches) -> Kernel:
    """The kernel of inputs; any other kernel as it is."""
    return k.kernel(k.diagonal_batch, k.diagonal_spatial) if isinstance(k, InputBatches) else k


def with_diagonals(k: Kernel, batch: bool, spatial: bool) -> Kernel:
    """A kernel without the covariances of different inputs of one batch, or of different positions, or both."""
    if batch:
        cov2 = None if k.cov2 is None else k.layout.per_input(k.cov2)
        k = k.replace(cov1=k.layout.per_input(k.cov1), cov2=cov2, diagonal_batch=True)
    return k.map_covariances(k.layout.diagonal).replace(diagonal_spatial=True) if spatial else k


def _as_input(x: Any, mask_constant: Any) -> tuple[Array, Array | None]:
    """An input as an array of the default float type, and its mask."""
    value = x.masked_value if isinstance(x, MaskedArray) else x
    if not isinstance(value, jax.Array | np.ndarray):
        raise TypeError(
            f"Inputs must be arrays, or nested lists and tuples of arrays, got {type(value).__name__}. "
            "Convert numbers and lists of numbers with `jnp.asarray`."
        )
    if value.ndim < 2:
        raise ValueError(
            f"Inputs need a batch axis and a channel axis, so at least 2 axes; got shape {value.shape}. "
            "Use `x[None, :]` for a single input, or `x[:, None]` for inputs of a single feature."
        )
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise TypeError(f"Inputs must be real, got {value.dtype}. Stack real and imaginary parts as channels.")
    value, mask = split_mask(detect_mask(x, mask_constant))  # before rounding to another type
    value = jnp.asarray(value, jnp.zeros(()).dtype)
    return value, None if mask is None else jnp.broadcast_to(mask, value.shape)


def _check_axes(x1: Array, x2: Array, batch_axis: int, channel_axis: int | None) -> tuple[int, int | None]:
    """Both axes counted from the front."""
    for name, axis in (("batch_axis", batch_axis), ("channel_axis", channel_axis)):
        if axis is not None and not -x1.ndim <= axis < x1.ndim:
            raise ValueError(f"`{name}={axis}` is not an axis of inputs of shape {x1.shape}.")
    batch_axis = batch_axis % x1.ndim
    channel_axis = None if channel_axis is None else channel_axis % x1.ndim
    if batch_axis == channel_axis:
        raise ValueError(f"Batch and channel axis are both {batch_axis} for inputs of shape {x1.shape}.")
    if batch_axis != 0:
        warnings.warn(
            f"The batch axis of the inputs is {batch_axis}. Batching of kernel computation needs a leading batch axis.",
            UserWarning,
            stacklevel=2,
        )
    rest1, rest2 = (shape[:batch_axis] + shape[batch_axis + 1 :] for shape in (x1.shape, x2.shape))
    if x1.ndim != x2.ndim or rest1 != rest2:
        raise ValueError(
            f"x1 and x2 must have equal sizes in all axes but the batch axis {batch_axis}; "
            f"got shapes {x1.shape} and {x2.shape}."
        )
    return batch_axis, channel_axis


def _is_same(x1: Array, x2: Array, eps: float | None) -> bool | Array:
    if x1.shape != x2.shape:
        return False
    if eps is None:
        eps = 1e-4 if jax.default_backend() == "tpu" else 1e-12
    return jnp.all(jnp.abs(x1 - x2) < eps)


def _flatten(x: Array | None, batch_axis: int) -> Any:
    if x is None:
        return None
    x = jnp.moveaxis(x, batch_axis, 0)
    return x.reshape((x.shape[0], -1))


def _inner(x1: Array, x2: Array, diagonal_spatial: bool) -> Array:
    """Inner products `(N1, N2, *spatial pairs)` of two arrays `(N, *spatial, C)`."""
    precision = matmul_precision()
    n = x1.ndim - 2
    if diagonal_spatial:
        spatial = tuple(range(1, 1 + n))
        inner = jax.lax.dot_general(x1, x2, (((n + 1,), (n + 1,)), (spatial, spatial)), precision=precision)
        return jnp.moveaxis(inner, (-2, -1), (0, 1))
    return zip_axes(jnp.tensordot(x1, x2, axes=(-1, -1), precision=precision))  # from (N1, *spatial, N2, *spatial)


def _outer(x1: Array, x2: Array, diagonal_spatial: bool) -> Array:
    """Covariance `(N1, N2, *spatial pairs)` of two arrays `(N, *spatial, C)`."""
    return _inner(x1, x2, diagonal_spatial) / max(x1.shape[-1], 1)


def _own(x: Array, diagonal_batch: bool, diagonal_spatial: bool) -> Array:
    """Covariance of one array `(N, *spatial, C)` with itself."""
    if not diagonal_batch:
        return _outer(x, x, diagonal_spatial)
    if diagonal_spatial or x.ndim == 2:
        return jnp.sum(x**2, axis=-1) / max(x.shape[-1], 1)
    return jax.vmap(lambda sample: _outer(sample[None], sample[None], False)[0, 0])(x)
