"""Kernels of batches too large for one call: in tiles, on several devices, and in stores that outlast a process."""

from neural_tangents.batching._batch import BatchedKernelFn

__all__ = ["BatchedKernelFn"]
