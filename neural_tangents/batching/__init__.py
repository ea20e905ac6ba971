"""Kernels of batches too large for one call: in tiles, on several devices, and in stores that outlast a process."""

from neural_tangents.batching._batch import BatchedKernelFn
from neural_tangents.batching._store import KernelStore, fill_tile, open_store

__all__ = ["BatchedKernelFn", "KernelStore", "fill_tile", "open_store"]
