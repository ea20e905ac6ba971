"""Normalisation over channels, told from the numbers that activations are multiplied by."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from neural_tangents.tracing._graph import Node, Product, Weighted, is_gaussian
from neural_tangents.tracing._inputs_of_batches import Inputs, behind
from neural_tangents.tracing._reading import Reading


class Normalisation(NamedTuple):
    """An activation divided by `sqrt(eps + m)`, with `m` the mean of its variances over some finite axes."""

    axes: tuple[int, ...]
    eps: float


def normalisation_of(node: Weighted, reading: Reading) -> Normalisation | None:
    """Which normalisation a node is, if it is one: known from what becomes of some means of squares.

    Args:
      node: an activation, multiplied by numbers that depend on inputs.
      reading: of the program that these numbers are computed by.
    """
    program, places = reading.programs[0], node.host.places
    numbers = behind(reading, {node.host.number}, lambda _: set())  # up to means over channels
    squares = [reading.expectations[number].node for number in numbers if number in reading.expectations]
    if program.inputs[-1] in numbers or len(squares) != 1 or not is_gaussian(node.child):
        return None
    kept = _squared(squares[0], node.child)
    if kept is None or list(kept) != places or node.spec[1] != node.spec[2]:
        return None
    summed = [i for i in range(len(node.fin)) if i not in places]
    n = int(np.prod([node.fin[i] for i in summed]))
    dtype = program.avals[node.host.number].dtype
    aval = program.avals[program.inputs[-1]]
    x = jnp.zeros((reading.sizes[0], *aval.shape[1:]), aval.dtype)

    def result(squares: np.ndarray) -> np.ndarray:
        inputs = Inputs(reading, program, x, numbers)
        inputs.fill(lambda _: jnp.asarray(n * squares, dtype))
        return np.asarray(inputs(node.host), np.float64)

    shape = (reading.sizes[0], *(node.fin[i] for i in places))
    with np.errstate(divide="ignore"):
        at_zero = float(result(np.zeros(shape)).flat[0])
    if not at_zero > 0:
        return None
    eps = float(f"{1 / at_zero / at_zero:.5g}")
    squares_of_test = np.random.default_rng(0).uniform(0.1, 10, shape)
    if not np.allclose(result(squares_of_test), (eps + squares_of_test) ** -0.5, rtol=1e-5):
        return None
    return Normalisation(tuple(summed), eps)


def _squared(node: Node, child: Node) -> tuple[int, ...] | None:
    """The finite axes of the child that are left, if a node is its square, summed over the others."""
    letters = None
    if isinstance(node, Weighted) and node.host.number == -1:
        letters, node = node.spec[1:], node.child
    if not isinstance(node, Product) or node.width != 1 or not node.first is node.second is child:
        return None
    if not node.spec[0] == node.spec[1] == node.spec[2]:
        return None
    before, after = letters or (node.spec[2], node.spec[2])
    return tuple(before.index(letter) for letter in after)
