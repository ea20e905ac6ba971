"""Which layers of a sequence are evaluated together next, and whether slab by slab."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from neural_tangents._core.axes import zip_flat
from neural_tangents._core.kernel import Kernel
from neural_tangents.stax._inputs import InputBatches
from neural_tangents.stax._spatial import spatial_axes
from neural_tangents.stax._spec import LayerSpec, Pool, Step, pick
from neural_tangents.stax._streaming.offsets import OffsetAxis, OffsetKernel
from neural_tangents.stax._streaming.run_geometry import MixesOffsets, RunGeometry, after_layer
from neural_tangents.stax._window import Padding, Window

# With this many entries, pairs of positions of pairs of inputs, a run of four layers or more is evaluated slab by slab,
# and one of two layers with twice as many. Chosen with CNNs of `benchmarks/cases.py` on two cores: for fewer, compiling
# and starting the loop costs more than it saves.
_MANY_ENTRIES = 2**20

# Where no pool follows a run, each pair of positions is kept: sums over windows of one position.
_NO_POOL = Pool(windows=lambda sizes: tuple(Window(1, 1, Padding.VALID) for _ in sizes), finish=lambda before, k: k)


@dataclasses.dataclass(frozen=True)
class Run:
    """Layers that do not mix offsets, and what is kept of their results.

    Runs of one network are equal if they have equal places in it, and images of equal sizes.

    Attributes:
      place: numbers of the first layer and of the one after the last, in the network.
      sizes: of the images at the start.
      geometry: of the images at the end.
      ends: the spatial axes at the end, before the pool.
      steps: the layers, without the pool.
      pool: what is added up of each slab.
      variances: whether those after the pool are needed.
    """

    place: tuple[int, int]
    sizes: tuple[int, ...]
    geometry: RunGeometry
    ends: tuple[OffsetAxis, ...]
    steps: tuple[Step, ...] = dataclasses.field(compare=False)
    pool: Pool = dataclasses.field(compare=False)
    variances: bool = True

    @property
    def starts(self) -> tuple[OffsetAxis, ...]:
        """The spatial axes at the start."""
        return self.geometry.start(self.sizes, self.ends)

    def of(self, layers: Sequence[Step]) -> "Run":
        """The run of other layers of the same form, the pool among them if there is one."""
        steps = tuple(layers[: len(self.steps)])
        return dataclasses.replace(self, steps=steps, pool=layers[-1].spec.pool or self.pool)


class Next(NamedTuple):
    """Which layers of a sequence are to be evaluated next, and how.

    Attributes:
      stop: number of the layer to stop before.
      run: the layers up to there, if they are to be evaluated slab by slab; None if at once.
      reason: why, in words.
    """

    stop: int
    run: Run | None
    reason: str


def find_run(steps: Sequence[Step], start: int, k: Any, kwargs: Mapping[str, Any] = MappingProxyType({})) -> Next:
    """Which layers of a sequence to evaluate next, from the layer `start` on, given the kernel before it.

    Never raises an error: what is not understood is evaluated at once.
    """
    n = len(steps)
    if not isinstance(k, Kernel | InputBatches):
        return Next(n, None, "there are several inputs")
    if isinstance(k, OffsetKernel):
        return Next(n, None, "they are part of a slab")
    sizes = spatial_sizes(k)
    if sizes is None:
        return Next(n, None, "covariances are not as shapes, axes and flags of the kernel say")
    if not sizes or 0 in k.shape1 + k.shape2:
        return Next(n, None, "there are no pairs of positions")
    geometry: Any = RunGeometry.of(sizes)
    longest, reason = (start, geometry), "no pool follows"  # the longest run that ends with a single image
    stop = n
    for number in range(start, n):
        spec = steps[number].spec
        try:
            if spec.pool is not None and isinstance(geometry, RunGeometry):
                ends = _ends(geometry, spec.pool, k.diagonal_spatial)
                if number == start:
                    return Next(number + 1, None, f"no layers before {spec} are left to be evaluated with it")
                if _entries(k) < (many := _many(number - start)) and not kwargs.get("memory_budget"):
                    return Next(number + 1, None, f"there are fewer than {many} pairs of positions")
                run = Run((start, number + 1), sizes, geometry, ends, tuple(steps[start:number]), spec.pool)
                return Next(number + 1, run, f"{spec} adds up what precedes it")
            _check_keywords(spec, kwargs)
            geometry = after_layer(spec, geometry)
        except MixesOffsets as error:
            stop, reason = number + 1, str(error.of(spec))
            break
        except Exception as error:  # whatever is wrong with the layer, it may not matter for its kernel
            stop, reason = number + 1, f"{spec} does not say what it does to positions ({type(error).__name__})"
            break
        longest = (number + 1, geometry) if isinstance(geometry, RunGeometry) else longest
    return _without_pool(steps, start, Next(stop, None, reason), k, *longest)


def _check_keywords(spec: LayerSpec, kwargs: Mapping[str, Any]) -> None:
    """Raises `MixesOffsets` if a layer gets an array: it may have an entry for each input, of which slabs have some."""
    given = {name: jax.tree.leaves(value) for name, value in pick(kwargs, spec).items() if name != "rng"}
    arrays = [name for name, leaves in given.items() if any(map(np.ndim, leaves))]
    if arrays:
        raise MixesOffsets(f"gets arrays as keyword arguments, {arrays}, which may belong to inputs")


def _without_pool(
    steps: Sequence[Step], start: int, at_once: Next, k: Kernel | InputBatches, stop: int, geometry: RunGeometry
) -> Next:
    """A run whose results are all kept, if that pays: if all pairs of positions are needed after it, and are many."""
    if k.diagonal_spatial:
        return at_once._replace(reason="only pairs of equal positions are needed")
    if geometry.wraps is None:  # without windows, a layer needs no more memory than its inputs and outputs
        return at_once
    if _entries(k) < (many := _many(stop - start)):
        return at_once._replace(reason=f"{at_once.reason}, and there are fewer than {many} pairs of positions")
    sizes = spatial_sizes(k) or ()
    run = Run((start, stop), sizes, geometry, _ends(geometry, _NO_POOL, False), tuple(steps[start:stop]), _NO_POOL)
    return Next(stop, run, at_once.reason)


def _many(n_layers: int) -> int:
    """From how many entries on a run of so many layers is evaluated slab by slab."""
    return _MANY_ENTRIES * 4 // min(n_layers, 4)


def _entries(k: Kernel | InputBatches) -> int:
    """How many covariances there are, of pairs of positions of pairs of inputs."""
    pairs = math.prod(spatial_sizes(k) or ()) ** (1 if k.diagonal_spatial else 2)
    return k.shape1[k.batch_axis] * k.shape2[k.batch_axis] * pairs


def _ends(geometry: RunGeometry, pool: Pool, diagonal_spatial: bool) -> tuple[OffsetAxis, ...]:
    """The spatial axes at the end of a run, before a pool.

    Raises:
      MixesOffsets: the run and the pool do not fit.
    """
    if pool.same_positions:
        return geometry.diagonal()
    windows = pool.windows(geometry.sizes)
    if diagonal_spatial:
        raise MixesOffsets("gets pairs of equal positions only")
    if len(windows) != len(geometry.sizes):
        raise MixesOffsets("has windows along other axes than those of the images")
    return geometry.offset_axes(windows)


def spatial_sizes(k: Any) -> tuple[int, ...] | None:
    """Spatial sizes of the activations of a kernel; None of several ones, or of an inconsistent one."""
    if not isinstance(k, Kernel | InputBatches):
        return None
    try:
        axes = spatial_axes("Kernel", k.shape1, k.batch_axis, k.channel_axis)
        sizes = tuple(k.shape1[axis] for axis in axes)
        return sizes if isinstance(k, InputBatches) or _is_consistent(k, sizes, axes) else None
    except (ValueError, IndexError, TypeError, AttributeError):
        return None


def _is_consistent(k: Kernel, sizes: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether covariances have the shapes, and spatial axes the order, that the other attributes say."""
    n1, n2 = (shape[k.batch_axis] for shape in (k.shape1, k.shape2))
    positions = sizes if k.diagonal_spatial else zip_flat(sizes, sizes)
    own1, own2 = ((n,) if k.diagonal_batch else (n, n) for n in (n1, n2))
    masks = [(mask, shape) for mask, shape in ((k.mask1, k.shape1), (k.mask2, k.shape2)) if mask is not None]
    return (
        not k.is_reversed
        and len(k.shape1) == len(k.shape2)
        and sizes == tuple(k.shape2[axis] for axis in axes)
        and np.shape(k.nngp) == (n1, n2, *positions)
        and (k.ntk is None or np.shape(k.ntk) in ((), np.shape(k.nngp)))
        and np.shape(k.cov1) == (*own1, *positions)
        and (k.cov2 is None or np.shape(k.cov2) == (*own2, *positions))
        and all(np.broadcast_shapes(np.shape(mask), shape) == shape for mask, shape in masks)
    )
