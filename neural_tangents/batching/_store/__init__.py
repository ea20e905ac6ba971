"""Kernels in stores that outlast a process: made by several processes, filled tile by tile, and read in parts."""
