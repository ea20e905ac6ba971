"""`Index`: some of the positions or inputs."""

import dataclasses
from typing import Any

from jax import Array

from neural_tangents._core.indexing import canonical_index, indexed_mask, indexed_shape
from neural_tangents._core.requirements import Requirements
from neural_tangents._core.types import Shape
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._hyperparameters import check_axes
from neural_tangents.stax._spec import LayerSpec, Leaf


@public_layer
def Index(idx: Any, batch_axis: int = 0, channel_axis: int = -1) -> LayerSpec:
    """Indexes its inputs as arrays are: `f(x) = x[idx]`.

    Covariances are those of the positions and inputs that are left: `nngp'[n, m, p, q] = nngp[n, m, idx[p], idx[q]]`.

    Args:
      idx: an integer, which removes an axis, a slice, `...`, or a tuple of such, in the order of the axes of inputs.
        `stax.Slice[...]` writes it as between brackets: `Index(Slice[:, 1:-1, ::2])`.
      batch_axis: batch axis of the inputs.
      channel_axis: channel axis of the inputs.

    Returns:
      A layer without parameters. `init_fn` takes -1 or None as the size of axes that `idx` leaves whole.

    Raises:
      TypeError: `idx` holds something else.
      IndexError: more indices than axes, or an integer out of range.
      ValueError: an axis of unknown size is indexed.
      NotImplementedError: the kernel of indexed channels, or with an integer for the batch axis.

    Example:
      >>> image = jnp.arange(16.0).reshape((1, 4, 4, 1))
      >>> _, apply_fn, _ = stax.Index(stax.Slice[:, 1:3, ::3])
      >>> apply_fn((), image)[0, ..., 0]
      Array([[ 4.,  7.],
             [ 8., 11.]], dtype=float32)
    """

    check_axes("Index", batch_axis=batch_axis, channel_axis=channel_axis)

    requirements = Requirements(batch_axis=batch_axis, channel_axis=channel_axis)
    first = idx[0] if isinstance(idx, tuple) and idx else idx
    if batch_axis == 0 and first is not Ellipsis and first != slice(None):
        requirements = dataclasses.replace(requirements, independent_inputs=False)

    def out_shape(shape: Shape) -> Shape:
        return indexed_shape(canonical_index(idx, len(shape)), shape)

    def mask(mask: Array, shape: Shape) -> Any:
        return indexed_mask(mask, canonical_index(idx, len(shape)))

    return Leaf(
        "Index",
        apply=lambda params, x: x[canonical_index(idx, x.ndim)],
        kernel=lambda k: k[idx],
        out_shape=out_shape,
        mask=mask,
        requirements=requirements,
    ).spec()


class SliceType:
    """The type of `stax.Slice`, which writes an index for `Index` as one writes it between the brackets of an array.

    Example:
      >>> stax.Slice[:, 1:-1]
      (slice(None, None, None), slice(1, -1, None))
    """

    def __getitem__(self, idx: Any) -> Any:
        """The index itself: an integer, a slice, `...`, or a tuple of such."""
        return idx

    def __repr__(self) -> str:
        return "Slice"


Slice: SliceType = SliceType()
