"""Networks of vectors, evaluated for some rows of their kernels at a time.

What one layer passes on to the next then stays in the caches of a processor, and no arrays but results grow with both
batches.

Where jax differentiates a loop twice, forward over reverse, it drops the rules of `cosine_distance.py` for derivatives.
That matters for second derivatives of half-lines at inputs that are zero, in networks with biases.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.trees import tree_map
from neural_tangents._core.types import Shape
from neural_tangents.stax._blocks import in_sequence
from neural_tangents.stax._inputs import InputBatches
from neural_tangents.stax._spec import Step
from neural_tangents.stax._streaming.run_geometry import RunGeometry, after_layer

# About how many pairs of inputs are evaluated at a time. Measured with networks of `benchmarks/cases.py` on two cores:
# in float64, a half of that, and twice as many, take longer by a tenth. Other devices need more to be busy.
_PAIRS = 2**19
_PAIRS_OF_DEVICES = 2**25
# With fewer layers, all of them are fused into one pass over memory.
_LAYERS = 6


def has_blocks(steps: Sequence[Step], k: Any) -> bool:
    """Whether there are many layers and pairs of vectors, and layers act on each pair by itself."""
    if not isinstance(k, InputBatches) or len(k.shape1) != 2 or k.inputs2 is None or not k.diagonal_batch:
        return False
    if len(steps) < _LAYERS or len(k.inputs1) * len(k.inputs2) < 2 * _pairs() or not (k.mask1 is k.mask2 is None):
        return False
    if any(step.spec.requirements.get("use_dropout", False) for step in steps):  # where inputs are the same
        return False
    geometry: Any = RunGeometry.of(())
    try:
        for step in steps:
            geometry = after_layer(step.spec, geometry)
    except Exception:  # of a layer that mixes pairs, or that does not say what it does
        return False
    return True


def in_row_blocks(steps: Sequence[Step], k: InputBatches) -> Any:
    """The kernels after layers in sequence."""
    n1, size = len(k.inputs1), _size(len(k.inputs1), len(k.inputs2))
    may_be_same = k.inputs1.shape == k.inputs2.shape
    n_blocks = -(-n1 // size)
    rows = jnp.pad(k.inputs1, ((0, n_blocks * size - n1), (0, 0)), mode="edge").reshape(n_blocks, size, -1)

    @jax.checkpoint  # derivatives evaluate blocks again, as otherwise all of them would be kept
    def of_block(number: Array, rows: Array) -> Any:
        first = number * size if may_be_same else None
        shape1 = _with_size(k.shape1, k.batch_axis, size)
        return in_sequence(steps, dataclasses.replace(k, inputs1=rows, first=first, shape1=shape1), {})

    found = lax.map(lambda block: of_block(*block), (jnp.arange(n_blocks), rows))

    def joined(part: Kernel) -> Kernel:
        def in_order(x: Array) -> Array:
            return x.reshape(n_blocks * size, *x.shape[2:])[:n1]

        has_ntk = part.ntk is not None and part.ntk.ndim > 1
        return part.replace(
            nngp=in_order(part.nngp),
            ntk=in_order(part.ntk) if has_ntk else jax.tree.map(lambda x: x[0], part.ntk),
            cov1=in_order(part.cov1),
            cov2=part.cov2[0],
            distance=jax.tree.map(in_order, part.distance),
            x1_is_x2=k.x1_is_x2,
            shape1=_with_size(part.shape1, part.batch_axis, n1),
        )

    return tree_map(joined, found)


def _size(n1: int, n2: int) -> int:
    """How many rows make a block: such that the last one is almost full."""
    most = max(1, _pairs() // n2)
    return -(-n1 // -(-n1 // most))


def _pairs() -> int:
    return _PAIRS if jax.default_backend() == "cpu" else _PAIRS_OF_DEVICES


def _with_size(shape: Shape, axis: int, size: int) -> Shape:
    return tuple(size if i == axis % len(shape) else n for i, n in enumerate(shape))
