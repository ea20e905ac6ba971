"""Masked arrays: inputs in which some entries do not exist."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.trees import tree_map


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MaskedArray:
    """An array and a boolean mask that broadcasts against it; `True` marks entries that do not exist.

    Attributes:
      masked_value: the array. Its masked entries have no meaning.
      mask: boolean array; None if nothing is masked.

    Example:
      >>> words = jnp.array([[[1.0], [2.0]], [[3.0], [100.0]]])  # two sentences, the second of one word
      >>> _, apply_fn, _ = stax.GlobalAvgPool()
      >>> means = apply_fn((), stax.MaskedArray(words, words == 100.0))
      >>> print(means.masked_value)
      [[1.5]
       [3. ]]
    """

    masked_value: Any = dataclasses.field(metadata={"pytree_node": True})
    mask: Any = dataclasses.field(default=None, metadata={"pytree_node": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.masked_value.shape

    @property
    def ndim(self) -> int:
        """Number of axes of the array."""
        return self.masked_value.ndim


def detect_mask(x: Any, mask_constant: Any) -> Any:
    """Masks the entries of an array that equal `mask_constant`, which may be infinite or NaN.

    Arrays stay arrays if `mask_constant` is None; a `MaskedArray` keeps its own mask.
    """
    if mask_constant is None or isinstance(x, MaskedArray):
        return x
    x = jnp.asarray(x)
    constant = jnp.asarray(mask_constant, jnp.result_type(x, float))  # `float` has the precision of a floating `x`.
    return MaskedArray(x, jnp.where(jnp.isnan(constant), jnp.isnan(x), x == constant))


def split_mask(x: Any) -> tuple[Any, Array | None]:
    """The array with zeros in place of masked entries, and the mask (None for plain arrays)."""
    if not isinstance(x, MaskedArray):
        return x, None
    if x.mask is None:
        return x.masked_value, None
    return jnp.where(x.mask, 0, x.masked_value), x.mask


def join_mask(x: Array, mask: Array | None) -> Any:
    """Inverse of `split_mask`: a plain array where there is no mask."""
    return x if mask is None else MaskedArray(x, mask)


def unmask_fn(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function so that each `MaskedArray` it returns becomes an array with zeros in its masked entries.

    Args:
      fn: a function that returns a network tree of arrays and `MaskedArray`, for example `apply_fn`.

    Returns:
      A function of the same arguments that returns the same tree, of plain arrays.

    Example:
      >>> words = jnp.array([[[1.0], [2.0]], [[3.0], [100.0]]])
      >>> _, apply_fn, _ = stax.GlobalAvgPool()
      >>> print(stax.unmask_fn(apply_fn)((), words, mask_constant=100.0))
      [[1.5]
       [3. ]]
    """

    def unmasked(*args: Any, **kwargs: Any) -> Any:
        return tree_map(lambda x: split_mask(x)[0], fn(*args, **kwargs))

    return unmasked


def all_over(mask: Array | None, axis: int) -> Array | None:
    """A mask reduced over one axis, kept with size 1: an entry is masked if it is masked everywhere along it."""
    return None if mask is None else jnp.all(mask, axis=axis, keepdims=True)


def drop_channel(mask: Array | None, batch_axis: int, channel_axis: int) -> Array | None:
    """A mask of activations without its channel axis, as one of `(batch, *spatial)`.

    Raises:
      NotImplementedError: the mask differs between channels.
    """
    if mask is None:
        return None
    if mask.shape[channel_axis] != 1:
        raise NotImplementedError(
            f"Kernels need masks that are the same for all channels; got a mask of shape {mask.shape} with channel "
            f"axis {channel_axis}. Mask whole positions, or put a layer that mixes channels (Dense) before this one."
        )
    batch_axis, channel_axis = batch_axis % mask.ndim, channel_axis % mask.ndim
    return jnp.moveaxis(mask, (batch_axis, channel_axis), (0, -1))[..., 0]
