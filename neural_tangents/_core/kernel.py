"""`Kernel`: the covariances of two batches of activations, and what is needed to carry them through a network."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents._core.dot_general import DimensionNumbers, Dot, same_constants
from neural_tangents._core.indexing import (
    axis_after_index,
    canonical_index,
    check_index,
    covariance_index,
    indexed_mask,
    indexed_shape,
)
from neural_tangents._core.layout import Layout, Spatial
from neural_tangents._core.masking import drop_channel
from neural_tangents._core.types import Shape

_DATA = {"pytree_node": True}
_STATIC = {"pytree_node": False, "static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """Covariances of the activations of two batches `x1`, `x2` in a network of infinite width.

    With `z(x)` the activations of one channel, an entry of `nngp` is `E[z(x1) z(x2)]` over random parameters (for
    inputs: the mean over channels of `x1 x2`, not centred), and one of `ntk` is the inner product of `dz(x1)/dparams`
    and `dz(x2)/dparams`. Covariances have the batch axes first, then the spatial axes in their natural order, and no
    channel axis. A batch axis or spatial axis appears twice, `(..., x1, x2, ...)`, unless a `diagonal_` flag says that
    only the diagonal is stored. A pytree of the arrays; shapes, axes and flags are static.

    Attributes:
      nngp: covariance of `x1` and `x2`, `(N1, N2, *spatial)` or `(N1, N2, S, S, T, T, ...)`.
      ntk: neural tangent kernel, of the shape of `nngp`; None if not asked for; a scalar zero before the first layer.
      cov1: covariance of `x1` with itself, `(N1, ...)` or `(N1, N1, ...)`.
      cov2: the same for `x2`; None if `x2` is None, that is, the same as `x1`.
      x1_is_x2: whether both batches are the same, a boolean or a boolean array.
      is_gaussian: whether activations are independent zero-mean Gaussians across channels.
      is_reversed: whether spatial axes are in reversed order. No function of the library makes such a kernel.
      is_input: whether activations are the network's inputs.
      diagonal_batch: whether `cov1` and `cov2` hold covariances of equal inputs only.
      diagonal_spatial: whether all covariances hold pairs of equal positions only.
      shape1: shape of the activations of `x1` at finite width.
      shape2: shape of the activations of `x2` at finite width.
      batch_axis: batch axis of the activations.
      channel_axis: channel axis of the activations.
      mask1: boolean array that broadcasts against `shape1`, True where an entry does not exist, or None.
      mask2: the same for `x2`.
      distance: cosine distances `1 - |nngp| / sqrt(q1 q2)` with the variances `q1`, `q2`; None if they are not known.
        They exist only between layers of the library: what a user sees has none.

    Source: Lee et al., "Deep Neural Networks as Gaussian Processes", 2018, https://arxiv.org/abs/1711.00165; Jacot et
    al., "Neural Tangent Kernel: Convergence and Generalization in Neural Networks", 2018,
    https://arxiv.org/abs/1806.07572.
    """

    nngp: Array = dataclasses.field(metadata=_DATA)
    ntk: Array | None = dataclasses.field(metadata=_DATA)
    cov1: Array = dataclasses.field(metadata=_DATA)
    cov2: Array | None = dataclasses.field(metadata=_DATA)
    x1_is_x2: bool | Array = dataclasses.field(metadata=_DATA)
    is_gaussian: bool = dataclasses.field(metadata=_STATIC)
    is_reversed: bool = dataclasses.field(metadata=_STATIC)
    is_input: bool = dataclasses.field(metadata=_STATIC)
    diagonal_batch: bool = dataclasses.field(metadata=_STATIC)
    diagonal_spatial: bool = dataclasses.field(metadata=_STATIC)
    shape1: Shape = dataclasses.field(metadata=_STATIC)
    shape2: Shape = dataclasses.field(metadata=_STATIC)
    batch_axis: int = dataclasses.field(metadata=_STATIC)
    channel_axis: int = dataclasses.field(metadata=_STATIC)
    mask1: Array | None = dataclasses.field(default=None, metadata=_DATA)
    mask2: Array | None = dataclasses.field(default=None, metadata=_DATA)
    distance: CosineDistance | None = dataclasses.field(default=None, metadata=_DATA)

    @property
    def layout(self) -> Layout:
        """How the covariances are stored."""
        return Layout(Spatial.DIAGONAL if self.diagonal_spatial else Spatial.PAIRED, self.diagonal_batch)

    @property
    def one_batch(self) -> bool:
        """Whether both batches are the same, so that `nngp` holds what `cov1` does."""
        return self.cov2 is None

    @property
    def variances(self) -> tuple[Array, Array]:
        """Variances of both batches, `(N1, *spatial)` and `(N2, *spatial)`."""
        q1 = self.layout.variance(self.cov1)
        return q1, q1 if self.cov2 is None else self.layout.variance(self.cov2)

    def for_users(self) -> "Kernel":
        """The kernel as layers and formulas of users get it, which do not know what the library adds to it."""
        return self.replace(distance=None)

    def from_users(self) -> "Kernel":
        """What layers and formulas of users have made of it, as layers of the library get it."""
        return self

    def replace(self, **changes: Any) -> Self:
        """A copy with some attributes changed; new covariances without their `distance` have none.

        Args:
          **changes: new values of attributes, by name.

        Raises:
          TypeError: there is no such attribute.
        """
        if not changes.keys().isdisjoint(("nngp", "cov1", "cov2")):
            changes = {"distance": None, **changes}
        return dataclasses.replace(self, **changes)

    def asdict(self) -> dict[str, Any]:
        """The attributes by name, but for `distance`; arrays are not copied."""
        names = (field.name for field in dataclasses.fields(self) if field.name != "distance")
        return {name: getattr(self, name) for name in names}

    def astuple(self) -> tuple[Any, ...]:
        """The attributes in the order of the constructor; arrays are not copied."""
        return tuple(self.asdict().values())

    def map_pairs(self, fn: Callable[[Array], Array]) -> Self:
        """A copy with a function applied to `nngp` and `ntk`, but not to the `ntk` of inputs, which is a scalar.

        Args:
          fn: `cov -> cov`, of covariances of two batches.
        """
        ntk = self.ntk if self.ntk is None or self.ntk.ndim == 0 else fn(self.ntk)
        return self.replace(nngp=fn(self.nngp), ntk=ntk)

    def map_covariances(self, fn: Callable[[Array, int], Array]) -> "Kernel":
        """A copy with a function applied to each of `nngp`, `ntk`, `cov1` and `cov2` that exists.

        Args:
          fn: `(cov, n_batch_axes) -> cov`, where the covariance has 1 or 2 batch axes before its spatial ones. It is
            not applied to the `ntk` of inputs, which is a scalar.
        """
        own = 1 if self.diagonal_batch else 2
        return self.map_pairs(lambda cov: fn(cov, 2)).replace(
            cov1=fn(self.cov1, own),
            cov2=None if self.cov2 is None else fn(self.cov2, own),
        )

    def scaled(self, scale1: Array, scale2: Array) -> "Kernel":
        """The kernel of activations that are multiplied by one number for each input and position.

        Args:
          scale1: factors of the activations of `x1`, `(N1, *spatial)`; a size may be 1.
          scale2: the same for `x2`, `(N2, *spatial)`.
        """
        s1, s2 = self.layout.spread(scale1, scale2)

        def own(cov: Array | None, scale: Array) -> Array | None:
            first, second = self.layout.spread_own(scale)
            return None if cov is None else cov * first * second

        return self.map_pairs(lambda cov: cov * s1 * s2).replace(
            cov1=own(self.cov1, scale1),
            cov2=own(self.cov2, scale2),
        )

    def slice(self, n1_slice: slice, n2_slice: slice) -> "Kernel":
        """The kernel of some of the inputs: `x1[n1_slice]` against `x2[n2_slice]`.

        Args:
          n1_slice: which inputs of `x1` to keep.
          n2_slice: which inputs of `x2`, or of `x1` if `x2` is None, to keep.
        """
        cov2 = self.cov1 if self.cov2 is None else self.cov2

        def own(cov: Array, index: slice) -> Array:
            return cov[index] if self.diagonal_batch else cov[index, index]

        def taken(full: Shape, index: slice) -> range:
            return range(full[self.batch_axis])[index]

        def shape(full: Shape, index: slice) -> Shape:
            axis = self.batch_axis % len(full)
            return (*full[:axis], len(taken(full, index)), *full[axis + 1 :])

        def mask(full: Array | None, index: slice) -> Array | None:
            if full is None or full.shape[self.batch_axis] == 1:
                return full
            return full[(slice(None),) * (self.batch_axis % full.ndim) + (index,)]

        same = taken(self.shape1, n1_slice) == taken(self.shape2, n2_slice)
        return self.map_pairs(lambda cov: cov[n1_slice, n2_slice]).replace(
            cov1=own(self.cov1, n1_slice),
            cov2=own(cov2, n2_slice),
            x1_is_x2=self.x1_is_x2 if same else False,
            shape1=shape(self.shape1, n1_slice),
            shape2=shape(self.shape2, n2_slice),
            mask1=mask(self.mask1, n1_slice),
            mask2=mask(self.mask2, n2_slice),
        )

    def reverse(self) -> "Kernel":
        """A copy with the spatial axes of all covariances in the opposite order, and `is_reversed` flipped."""
        width = 1 if self.diagonal_spatial else 2

        def flip(cov: Array, n_batch: int) -> Array:
            starts = range(cov.ndim - width, n_batch - 1, -width)
            return jnp.transpose(cov, (*range(n_batch), *(s + i for s in starts for i in range(width))))

        return self.map_covariances(flip).replace(is_reversed=not self.is_reversed)

    def transpose(self, axes: tuple[int, ...] | None = None) -> "Kernel":
        """A copy with spatial axes permuted in all covariances: axis `i` of the result is axis `axes[i]` of this.

        Args:
          axes: a permutation of the spatial axes, counted from the first one; None keeps them. Pairs stay together.
        """
        width = 1 if self.diagonal_spatial else 2

        def permute(cov: Array, n_batch: int) -> Array:
            n_spatial = (cov.ndim - n_batch) // width
            order = tuple(range(n_spatial)) if axes is None else axes
            if sorted(order) != list(range(n_spatial)):
                raise ValueError(f"`axes` must be a permutation of {tuple(range(n_spatial))}, got {axes}.")
            spatial = (n_batch + width * axis + i for axis in order for i in range(width))
            return jnp.transpose(cov, (*range(n_batch), *spatial))

        return self.map_covariances(permute)

    def mask(self, mask1: Array | None, mask2: Array | None) -> "Kernel":
        """A copy with the given masks, and with zeros in covariances wherever one of the two entries is masked.

        Args:
          mask1: boolean array that broadcasts against `shape1`, with size 1 along the channel axis, True where an entry
            does not exist; None for no mask.
          mask2: the same for `x2`.

        Raises:
          NotImplementedError: a mask differs between channels.
        """
        if mask1 is None and mask2 is None:
            return self.replace(mask1=None, mask2=None)
        if self.is_reversed:
            return self.reverse().mask(mask1, mask2).reverse()
        cross = self._masked_pairs(mask1, mask2)

        def clear(cov: Array | None, masked: Array | None) -> Array | None:
            if cov is None or cov.ndim == 0 or masked is None:
                return cov
            return jnp.where(masked, jnp.zeros((), cov.dtype), cov)

        return self.replace(
            nngp=clear(self.nngp, cross),
            ntk=clear(self.ntk, cross),
            cov1=clear(self.cov1, self._masked_own(mask1)),
            cov2=clear(self.cov2, self._masked_own(mask2)),
            mask1=mask1,
            mask2=mask2,
        )

    def _masked_pairs(self, mask1: Array | None, mask2: Array | None) -> Array:
        m1, m2 = (drop_channel(mask, self.batch_axis, self.channel_axis) for mask in (mask1, mask2))
        m1 = jnp.zeros((1,) * m2.ndim, bool) if m1 is None else m1  # type: ignore[union-attr]
        m2 = jnp.zeros((1,) * m1.ndim, bool) if m2 is None else m2
        m1, m2 = self.layout.spread(m1, m2)
        return m1 | m2

    def _masked_own(self, mask: Array | None) -> Array | None:
        mask = drop_channel(mask, self.batch_axis, self.channel_axis)
        if mask is None:
            return None
        first, second = self.layout.spread_own(mask)
        return first | second

    def dot_general(self, other1: Any, other2: Any, is_lhs: bool, dimension_numbers: DimensionNumbers) -> "Kernel":
        """The kernel of the dot products of `x1` with the constant `other1`, and of `x2` with `other2`.

        Args:
          other1: array or number; None leaves `x1` as it is.
          other2: array or number; None leaves `x2` as it is.
          is_lhs: whether the constants are the left operands.
          dimension_numbers: as in `jax.lax.dot_general` of the activations.

        Returns:
          A kernel of activations whose axes are in the order of `jax.lax.dot_general`. An entry is masked unless some
          entry that is not masked contributes to it. If the batch axis is contracted, the first axis that is not the
          channel axis takes its place.

        Raises:
          ValueError: the kernel lacks covariances that are needed; dimension numbers do not fit the operands, name an
            axis twice or contain the channel axis; or they change axes where only one constant is None.
          NotImplementedError: the constants differ in their number of axes.
        """
        if other1 is None and other2 is None:
            return self
        if self.is_reversed:
            return self.reverse().dot_general(other1, other2, is_lhs, dimension_numbers)
        others = (other1, other2)
        dot = Dot.of(len(self.shape1), self.batch_axis, self.channel_axis, others, is_lhs, dimension_numbers)
        dot.check(self.layout)
        shape1, shape2 = dot.shape(self.shape1, other1), dot.shape(self.shape2, other2)

        def covariance(cov: Any, *pair: Any, n_batch: int = 2) -> Any:
            return cov if cov is None or cov.ndim == 0 else dot.covariance(cov, pair, self.layout, n_batch)

        own, same = 1 if self.diagonal_batch else 2, same_constants(other1, other2)
        cov2 = self.cov1 if self.cov2 is None and same is not True else self.cov2
        return self.replace(
            nngp=covariance(self.nngp, other1, other2),
            ntk=covariance(self.ntk, other1, other2),
            cov1=covariance(self.cov1, other1, other1, n_batch=own),
            cov2=covariance(cov2, other2, other2, n_batch=own),
            x1_is_x2=self.x1_is_x2 if same is True else jnp.asarray(self.x1_is_x2) & same,
            shape1=shape1,
            shape2=shape2,
            batch_axis=dot.batch_axis_out,
            channel_axis=dot.channel_axis_out,
            mask1=dot.mask(self.mask1, self.shape1, other1),
            mask2=dot.mask(self.mask2, self.shape2, other2),
        )

    def __getitem__(self, idx: Any) -> "Kernel":
        """The kernel of `x1[idx]` and `x2[idx]`, for an index of activations, such as `kernel[:, 1:3, ::-1]`.

        Args:
          idx: integers, slices and at most one `...`, in the order of the axes of activations.

        Raises:
          IndexError: too many indices, or an integer out of range.
          TypeError: an index of another type.
          NotImplementedError: channels are indexed, or the batch axis with an integer.
        """
        if self.is_reversed:
            return self.reverse()[idx].reverse()
        ndim = len(self.shape1)
        index = canonical_index(idx, ndim)
        batch, channel = self.batch_axis % ndim, self.channel_axis % ndim
        check_index(index, batch, channel)
        axes = (batch, *(axis for axis in range(ndim) if axis not in (batch, channel)))
        width = 1 if self.diagonal_spatial else 2
        shape1, shape2 = indexed_shape(index, self.shape1), indexed_shape(index, self.shape2)
        return self.map_covariances(lambda cov, n_batch: cov[covariance_index(index, axes, n_batch, width)]).replace(
            shape1=shape1,
            shape2=shape2,
            batch_axis=axis_after_index(index, batch),
            channel_axis=axis_after_index(index, channel),
            mask1=indexed_mask(self.mask1, index),
            mask2=indexed_mask(self.mask2, index),
        )

    def __mul__(self, other: float | Array) -> "Kernel":
        """The kernel of the activations times a number."""
        return self.map_covariances(lambda cov, _: cov * other**2)

    __rmul__ = __mul__

    def __truediv__(self, other: float | Array) -> "Kernel":
        """The kernel of the activations divided by a number."""
        return self.map_covariances(lambda cov, _: cov / other**2)

    def __add__(self, other: float | Array) -> "Kernel":
        """The kernel of the activations plus a random constant of zero mean and standard deviation `other`."""
        return self.map_covariances(lambda cov, _: cov + other**2).replace(ntk=self.ntk)

    __sub__ = __add__

    def __neg__(self) -> "Kernel":
        """The kernel of minus the activations: the same."""
        return self

    def __pos__(self) -> "Kernel":
        """The kernel of the activations: the same."""
        return self
