"""Kernels of large batches: cut into equal tiles, computed tile by tile on one or several devices, and joined."""
