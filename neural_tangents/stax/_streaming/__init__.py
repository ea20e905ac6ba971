"""Evaluation of runs of convolutions in bounded memory: how it works, step by step.

The covariance of an image network holds all pairs of positions of all pairs of inputs: 8 MiB in float32 for one pair of
32 x 32 images, and a second such array for the NTK. What a network returns after a pool is small. So runs of layers
are evaluated a *slab* at a time (a few offsets between positions, for a few inputs), and the pool that ends the run
adds up what it keeps of each finished slab. Memory then does not grow with the square of the number of positions, and
slabs stay in the processor's cache. This is done for layers that do not mix offsets, and in this order:

1. `offsets.py`: covariances `K[p, q]` stored by the offset `q - p`, in rows. A filter with shared weights reads both
   copies of an axis at the same shift, so it maps offset `d` to offset `d`: rows are independent of each other.
2. `run_geometry.py`: receptive-field arithmetic. Before anything is computed, each layer says what it does to the
   sizes, strides and padding of images; a layer that mixes offsets raises `MixesOffsets`, and the run ends before it.
3. `runs.py`: `find_run` asks the layers in turn, and returns the `Run` that is to be evaluated next, if it pays.
4. `slabs.py`: `streamed` evaluates a `Run`, slab by slab. Inside a slab, layers run unchanged.
5. `pool_sums.py`: what a pool adds up of a finished slab.
"""
