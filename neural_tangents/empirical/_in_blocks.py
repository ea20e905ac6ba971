"""A network that takes large batches block by block, so that derivatives take the memory of a block."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_tangents._core.tiling.call_form import batch_length
from neural_tangents._core.tiling.grid import Blocks, TileSettings
from neural_tangents._core.types import PyTree


def in_blocks(f: Callable[..., PyTree], settings: TileSettings) -> Callable[..., PyTree]:
    """The network `f`, which acts on each input alone, as a loop over blocks of inputs.

    Both batches go through it one after the other, so that a product `J(x1) (J(x2)ᵀ v)` takes as many passes as without
    blocks. Arrays with an entry for each input, also among keyword arguments, are cut along their first axis.

    Raises:
      ValueError: the size of blocks is not a number.
    """
    size = settings.batch_size
    if size == "auto":
        raise ValueError('Expected `batch_size` to be a number for products with vectors, got "auto".')
    if not size:
        return f

    @functools.wraps(f)
    def network(params: PyTree, x: PyTree, **keywords: Any) -> PyTree:
        n = batch_length(x)
        if n <= size:
            return f(params, x, **keywords)
        blocks = Blocks.at_most(n, size)
        numbers = np.asarray([blocks.filled(block) for block in range(blocks.count)])
        cut = {name: value for name, value in keywords.items() if name != "rng" and _has_entries(value, n)}
        rest = {name: value for name, value in keywords.items() if name not in cut and name != "rng"}
        rng = keywords.get("rng")

        @jax.checkpoint
        def of_block(params: PyTree, block: Any) -> PyTree:
            number, x, of_inputs = block
            key = {} if rng is None else {"rng": jax.random.fold_in(rng, number)}
            return f(params, x, **rest, **of_inputs, **key)

        parts = jax.tree.map(lambda leaf: jnp.asarray(leaf)[numbers], (x, cut))
        outputs = lax.map(lambda block: of_block(params, block), (jnp.arange(blocks.count), *parts))
        # Only the end of the last block was filled up.
        return jax.tree.map(lambda out: out.reshape(blocks.count * blocks.size, *out.shape[2:])[:n], outputs)

    return network


def _has_entries(value: Any, n: int) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(jnp.shape(leaf)[:1] == (n,) for leaf in leaves)
