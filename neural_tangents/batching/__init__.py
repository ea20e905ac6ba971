"""Kernels of batches too large for one call: in tiles, on several devices, and in stores that outlast a process.

Tiles      `batch`: a kernel function that computes kernels in tiles; `BatchedKernelFn`: what it returns
Cost       `RunEstimate`: what a run will take
"""

from neural_tangents.batching._batch import BatchedKernelFn, batch
from neural_tangents.batching._estimate import RunEstimate

__all__ = ["BatchedKernelFn", "RunEstimate", "batch"]
