"""Numbers that depend on inputs alone, computed for a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._compat import bind
from neural_tangents.tracing._atoms import BATCH, CHANNEL, POSITION, REPEATED, find, flat
from neural_tangents.tracing._graph import Host, Node, walk
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._steps import Program


def hosts_of(nodes: Sequence[Node]) -> list[Host]:
    """The numbers that nodes are made with."""
    found = (getattr(node, name, None) for node in walk(nodes) for name in ("host", "index"))
    return [host for host in found if host is not None]


def needed(reading: Reading, outputs: Sequence[Node]) -> set[int]:
    """The values of the program that have to be computed for some nodes."""

    def of_hosts(nodes: Sequence[Node]) -> set[int]:
        return {host.number for host in hosts_of(nodes)}

    return behind(reading, of_hosts(outputs), lambda node: of_hosts([node])) - {-1}


def behind(reading: Reading, numbers: set[int], of_mean: Callable[[Node], set[int]]) -> set[int]:
    """Values of the program, and all that they are computed from.

    Args:
      reading: of the program.
      numbers: the values.
      of_mean: which values the mean of a node over channels is computed from.
    """
    for step in reversed(reading.programs[0].steps):
        for number in numbers.intersection(step.results):
            expectation = reading.expectations.get(number)
            if expectation is not None:
                numbers = numbers | of_mean(expectation.node)
            elif number not in reading.vanishing:
                numbers = numbers.union(step.operands)
    return numbers


class Inputs:
    """Numbers that depend on inputs, for one batch.

    Args:
      reading: of the program.
      program: the program at the size of the batch.
      x: the inputs.
      numbers: which values are needed.
    """

    def __init__(self, reading: Reading, program: Program, x: Array, numbers: set[int]) -> None:
        self.reading, self.program, self.x, self.numbers = reading, program, x, numbers
        self.values: dict[int, Any] = {}

    def fill(self, mean: Any) -> None:
        """Computes all values, in order; `mean` gives the means of nodes."""
        *params, x = self.program.inputs
        self.values.update(self.program.constants)
        self.values[x] = self.x
        for number in self.numbers.intersection(params):
            self.values[number] = jnp.asarray(self.reading.values[number].values[0])
        for step in self.program.steps:
            for number in self.numbers.intersection(step.results):
                if number in self.values:
                    continue
                aval = self.program.avals[number]
                if number in self.reading.expectations:
                    self.values[number] = self._expectation(number, aval, mean)
                elif number in self.reading.vanishing:
                    self.values[number] = jnp.zeros(aval.shape, aval.dtype)
                else:
                    made = bind(step.jaxpr, step.eqn, [self.values[i] for i in step.operands])
                    self.values.update(zip(step.results, made, strict=True))

    def _expectation(self, number: int, aval: Any, mean: Any) -> Array:
        """The sum over channels of a node, in the shape that it has in the program."""
        expectation = self.reading.expectations[number]
        array = expectation.factor * mean(expectation.node)
        atoms = flat(expectation.axes)
        order = [0 if a.kind == BATCH else a.key + 1 for a in atoms if a.kind in (BATCH, POSITION)]
        array = array.transpose(order)
        array = jnp.expand_dims(array, [i for i, a in enumerate(atoms) if a.kind == REPEATED])
        full = [len(self.x) if a.kind == BATCH else a.size for a in atoms]
        return jnp.broadcast_to(array, full).reshape(aval.shape).astype(aval.dtype)

    def __call__(self, host: Host) -> Array:
        """Numbers as `[N, *positions]`, in the order of their keys, and channels last if they differ."""
        n = len(self.x)
        if host.number == -1:
            return jnp.ones((n,), self.x.dtype)
        atoms = flat(host.axes)
        array = self.values[host.number].reshape([n if a.kind == BATCH else a.size for a in atoms])
        drop = [i for i, a in enumerate(atoms) if a.kind == REPEATED or a.kind == CHANNEL and not host.channels]
        array = array[tuple(0 if i in drop else slice(None) for i in range(len(atoms)))]
        atoms = [a for i, a in enumerate(atoms) if i not in drop]
        if not find((tuple(atoms),), BATCH):
            array, atoms = jnp.broadcast_to(array[None], (n, *array.shape)), [None, *atoms]  # type: ignore[list-item]
        keys = [(0, 0) if a is None or a.kind == BATCH else (1, a.key) if a.kind == POSITION else (2, 0) for a in atoms]
        array = array.transpose(sorted(range(len(keys)), key=lambda i: keys[i]))
        if host.case is not None:
            return jnp.asarray(array.astype(int) == host.case, self.x.dtype)
        return 1 / array if host.invert else array
