"""What a long run will take, told from its first tile."""

import dataclasses
import math
import time

import jax

from neural_tangents._core.tiling.call_form import CallForm
from neural_tangents._core.tiling.evaluation import TiledKernelFn, first_step


@dataclasses.dataclass(frozen=True)
class RunEstimate:
    """What the computation of a kernel takes.

    Attributes:
      n_tiles: number of tiles to compute.
      tile_shape: numbers of inputs of both batches in a tile.
      n_devices: number of devices that compute tiles side by side.
      tile_bytes: memory of a tile on a device, with its inputs.
      result_bytes: memory of the results.
      seconds: time to compute all tiles, without compilation.
    """

    n_tiles: int
    tile_shape: tuple[int, int]
    n_devices: int
    tile_bytes: int
    result_bytes: int
    seconds: float

    def __str__(self) -> str:
        rows, columns = self.tile_shape
        return (
            f"{self.n_tiles} tiles of {rows} x {columns} inputs, {self.n_devices} at a time; {_size(self.tile_bytes)} "
            f"for each, {_size(self.result_bytes)} for the results; about {_duration(self.seconds)}"
        )


def estimate(tiled: TiledKernelFn, form: CallForm) -> RunEstimate:
    """What a call will take. A first step is compiled, and then timed."""
    function, settings = tiled.tile_function(form, even_single=True)
    assert function is not None
    n_tiles = len(function.grid.tiles)
    n_devices = min(n_tiles, len(settings.devices))
    jax.block_until_ready(first_step(function, form, settings))
    start = time.perf_counter()
    jax.block_until_ready(first_step(function, form, settings))
    seconds = (time.perf_counter() - start) * -(-n_tiles // n_devices)
    result_bytes = sum(math.prod(result.shape) * result.dtype.itemsize for result in function.results)
    return RunEstimate(n_tiles, function.grid.sizes, n_devices, function.memory(), result_bytes, seconds)


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} seconds"
