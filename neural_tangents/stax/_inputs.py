"""Arrays to the `Kernel` of a network's inputs."""

import dataclasses
import warnings
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core.axes import zip_axes
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layout import Layout
from neural_tangents._core.masking import MaskedArray, detect_mask, split_mask
from neural_tangents._core.precision import matmul_precision


def input_kernel(
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
) -> Kernel:
    """The kernel of two batches of inputs: `nngp[n1, n2, ...] = sum_c x1[n1, ..., c] x2[n2, ..., c] / C`.

    Args:
      x1: array or `MaskedArray` with a batch axis, a channel axis and any number of spatial axes.
      x2: the same, equal to `x1` in all but the batch axis; None stands for `x1`.
      ntk: whether to start a neural tangent kernel, at zero.
      batch_axis: axis of the batch.
      channel_axis: axis of the channels; None treats all other axes as channels.
      diagonal_batch: see `Kernel`.
      diagonal_spatial: see `Kernel`.
      mask_constant: inputs equal to this number are masked; None for no mask.
      eps: inputs are the same if they differ by less; None for a default.
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
    k = InputKernel(
        nngp=cast(Array, None),  # see `whole`
        ntk=jnp.zeros((), c1.dtype) if ntk else None,
        cov1=cast(Array, None),
        cov2=None,
        x1_is_x2=same,
        is_gaussian=False,
        is_reversed=False,
        is_input=True,
        diagonal_batch=diagonal_batch,
        diagonal_spatial=diagonal_spatial,
        shape1=x1.shape,
        shape2=x2.shape,
        batch_axis=batch_axis,
        channel_axis=channel_axis,
        mask1=mask1,
        mask2=mask2,
        inputs1=c1,
        inputs2=c2 if x2_given else None,
    )
    return k.whole() if c1.ndim == 2 else k


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class InputKernel(Kernel):
    """The kernel of a network's inputs, without its covariances: those of all pairs of positions may be too many.

    Attributes:
      inputs1: inputs of the first batch, `(N1, *spatial, C)`.
      inputs2: inputs of the second one; None if it is the first.
    """

    inputs1: Any = dataclasses.field(default=None, metadata={"pytree_node": True})
    inputs2: Any = dataclasses.field(default=None, metadata={"pytree_node": True})

    def whole(self) -> Kernel:
        """The kernel with its covariances."""
        c1, c2 = self.inputs1, self.inputs1 if self.inputs2 is None else self.inputs2
        nngp = _outer(c1, c2, self.diagonal_spatial)
        layout, own = self.layout, (self.diagonal_batch, self.diagonal_spatial)
        cov2 = None
        if self.inputs2 is not None:
            cov1, cov2 = (_own(c, *own) for c in (c1, c2))
            if c1.shape == c2.shape:
                variance = layout.variance(cov1)
                nngp = layout.tie(nngp, layout.spread(variance, variance)[0], self.x1_is_x2)
        elif self.diagonal_batch:
            # Read off `nngp`, so that a variance equals the covariance of an input with itself to the last bit.
            cov1 = Layout(diagonal_batch=False).per_input(nngp)
        else:
            cov1 = nngp
        own_fields = ("inputs1", "inputs2")
        fields = {name: value for name, value in self.asdict().items() if name not in own_fields}
        return Kernel(**{**fields, "nngp": nngp, "cov1": cov1, "cov2": cov2})


def whole(k: Kernel) -> Kernel:
    """A kernel with its covariances."""
    return k.whole() if isinstance(k, InputKernel) else k


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


def _outer(x1: Array, x2: Array, diagonal_spatial: bool) -> Array:
    """Covariance `(N1, N2, *spatial pairs)` of two arrays `(N, *spatial, C)`."""
    precision = matmul_precision()
    n, channels = x1.ndim - 2, x1.shape[-1]
    if diagonal_spatial:
        spatial = tuple(range(1, 1 + n))
        cov = jax.lax.dot_general(x1, x2, (((n + 1,), (n + 1,)), (spatial, spatial)), precision=precision)
        cov = jnp.moveaxis(cov, (-2, -1), (0, 1))
    else:
        cov = jnp.tensordot(x1, x2, axes=(-1, -1), precision=precision)  # (N1, *spatial, N2, *spatial)
        cov = zip_axes(cov)
    return cov / max(channels, 1)


def _own(x: Array, diagonal_batch: bool, diagonal_spatial: bool) -> Array:
    """Covariance of one array `(N, *spatial, C)` with itself."""
    if not diagonal_batch:
        return _outer(x, x, diagonal_spatial)
    if diagonal_spatial or x.ndim == 2:
        return jnp.sum(x**2, axis=-1) / max(x.shape[-1], 1)
    return jax.vmap(lambda sample: _outer(sample[None], sample[None], False)[0, 0])(x)
