"""Kernels of batches too large for one call: in tiles, on several devices, and in stores that outlast a process.

Tiles      `batch`: a kernel function that computes kernels in tiles; `BatchedKernelFn`: what it returns
Cost       `RunEstimate`: what a run will take
Stores     `KernelStore`: kernels that outlast a process; `open_store` reads one; `fill_tile`: what its workers do
"""

from neural_tangents.batching._batch import BatchedKernelFn, batch
from neural_tangents.batching._estimate import RunEstimate
from neural_tangents.batching._store.kernel_store import KernelStore, fill_tile, open_store

__all__ = ["BatchedKernelFn", "KernelStore", "RunEstimate", "batch", "fill_tile", "open_store"]
