"""Layers in sequence: blocks of layers of one form are compiled once, so that compile time does not grow with depth.

A *block* is what lies between two places of a sequence where kernels have the same shapes, types and flags: in
`Dense, Relu, Dense, Erf, Dense` these are the places after each `Dense`. Many blocks in a row are a loop over them.
Blocks that differ only in their numbers, such as `W_std`, are of one *kind*: they share a program, and the loop reads
the numbers from an array. Where there are several kinds, the loop chooses one in each step. So no layer is compiled
twice, and XLA cannot fuse a layer into each use of its results in the next one, which would compute it several times.
"""

import collections
import functools
import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.trees import tree_leaves
from neural_tangents.stax._loop import form_of, scan
from neural_tangents.stax._spec import Step, numbers_of, with_numbers

Block = Sequence[Step]


def fewest(kernels: Any) -> int:
    """Up to how many blocks are unrolled.

    Of images, few blocks compile fast, and windows keep XLA from fusing one layer into the next. Without windows, it
    does fuse them, and computes a layer again for each use of its results in the next one: three layers so take four
    times as long as in a loop, and five take nine times as long.
    """
    return 2 if all(len(k.shape1) == 2 for k in tree_leaves(kernels)) else 5


def in_sequence(steps: Block, kernels: Any, kwargs: Mapping[str, Any]) -> Any:
    """Passes kernels through layers one after the other; many blocks of layers are compiled as a loop over them."""
    return _in_sequence(steps, kernels, _Kernels(kwargs))


def _in_sequence(steps: Block, kernels: Any, kernel_of: "_Kernels") -> Any:
    few = fewest(kernels)
    if len(steps) <= few or is_concrete(kernels):
        return _one_by_one(steps, kernels, kernel_of.kwargs)
    # After the first layer kernels have the form in which layers return them; that of the inputs is another one.
    kernels, steps = steps[0].kernel(kernels, kernel_of.kwargs), steps[1:]
    try:
        form, places = _most_frequent_form(steps, kernels, kernel_of)
        while len(places) > few:
            start = _in_sequence(steps[: places[0]], kernels, kernel_of)
            if form_of(start) == form:
                break
            places = places[1:]  # numbers of a layer told more than those of all layers of its kind
        else:
            return _one_by_one(steps, kernels, kernel_of.kwargs)
        after = _in_loop([steps[i:j] for i, j in itertools.pairwise(places)], start, kernel_of)
    except Exception:  # of layers of users, which may ask for what is not known in a loop, or one that is raised again
        return _one_by_one(steps, kernels, kernel_of.kwargs)
    return _in_sequence(steps[places[-1] :], after, kernel_of)


def _one_by_one(steps: Block, kernels: Any, kwargs: Mapping[str, Any]) -> Any:
    for step in steps:
        kernels = step.kernel(kernels, kwargs)
    return kernels


def _most_frequent_form(steps: Block, kernels: Any, kernel_of: "_Kernels") -> tuple[Hashable, list[int]]:
    """The form that is most frequent in a sequence, and before which layers, or after the last one, kernels have it.

    After a nonlinearity, if that is about as frequent: there, the loop computes both kernels of a `Kernel` in one pass
    over memory, and what they share once. A window that follows the nonlinearity would read them in separate passes.
    """
    places: dict[Hashable, list[int]] = collections.defaultdict(list)
    nonlinear = set()
    for number, (after, form) in enumerate(_abstract(steps, kernels, kernel_of)):
        places[form].append(number)
        if isinstance(after, Kernel) and not after.is_gaussian:
            nonlinear.add(form)
    most = max(map(len, places.values()))
    preferred = [form for form in places if form in nonlinear and len(places[form]) >= most - 1]
    form = max(preferred or places, key=lambda form: len(places[form]))
    return form, places[form]


def _abstract(steps: Block, kernels: Any, kernel_of: "_Kernels") -> Iterator[tuple[Any, Hashable]]:
    """Kernels without values and their forms, before each layer and after the last one.

    Each kind of layer is evaluated once for each form. What a layer can tell from its numbers, it tells from those that
    all layers of its kind share.
    """
    dtype, known = _float_dtype(kernels), {}
    keys = [_key([step], dtype) for step in steps]
    kinds = _kinds([[step] for step in steps], keys)
    form = form_of(kernels)
    yield kernels, form
    for key in keys:
        place = (key, form)
        if place not in known:
            after = kernel_of.abstract(kinds[key], kernels, dtype)
            known[place] = after, form_of(after)
        kernels, form = known[place]
        yield kernels, form


class _Kind(NamedTuple):
    """Blocks that differ in some of their numbers only.

    Attributes:
      block: one of them.
      varying: which of the numbers of its layers differ; the layers of a block have theirs one after the other.
    """

    block: Block
    varying: tuple[int, ...]

    def with_varying(self, numbers: Any) -> Block:
        """The block with given numbers, for those that differ."""
        if not self.varying:
            return self.block
        every = list(numbers_of(self.block))
        for i, place in enumerate(self.varying):
            every[place] = numbers[i]
        return with_numbers(self.block, every)


class _Kernels:
    """The kernels after blocks of layers, each layer of which is traced once for each form of kernels.

    Attributes:
      kwargs: the keyword arguments of the network.
    """

    def __init__(self, kwargs: Mapping[str, Any]):
        self.kwargs = kwargs
        self._functions: dict[Hashable, Any] = {}

    def after(self, kind: _Kind, kernels: Any, numbers: Any) -> Any:
        """The kernels after a block with the given numbers, for those that differ."""
        if len(kind.block) > fewest(kernels):
            return _in_sequence(kind.with_varying(numbers), kernels, self)
        for layer, part in self._layers(kind, numbers):
            kernels = layer(kernels, part)
        return kernels

    def abstract(self, kind: _Kind, kernels: Any, dtype: Any) -> Any:
        """The same without values, for numbers of a type."""
        numbers = np.ones(len(kind.varying), dtype)
        if len(kind.block) > fewest(kernels):
            return jax.eval_shape(functools.partial(self.after, kind), kernels, numbers)
        for layer, part in self._layers(kind, numbers):
            kernels = layer.eval_shape(kernels, part)
        return kernels

    def _layers(self, kind: _Kind, numbers: Any) -> Iterator[tuple[Any, list[Any]]]:
        """For each layer of a block, a function `(kernels, numbers) -> kernels`, and its numbers out of all."""
        start = 0
        for step in kind.block:
            stop = start + len(numbers_of([step]))
            own = [i for i, place in enumerate(kind.varying) if start <= place < stop]
            yield self._layer(_Kind([step], tuple(kind.varying[i] - start for i in own))), [numbers[i] for i in own]
            start = stop

    def _layer(self, kind: _Kind) -> Any:
        fixed = tuple(_known(x) for place, x in enumerate(numbers_of(kind.block)) if place not in kind.varying)
        key = (kind.block[0].spec.identity, kind.varying, fixed)
        if key not in self._functions:

            def kernel(kernels: Any, numbers: Any) -> Any:
                return _one_by_one(kind.with_varying(numbers), kernels, self.kwargs)

            self._functions[key] = jax.jit(kernel, inline=True)
        return self._functions[key]


def _in_loop(blocks: Sequence[Block], kernels: Any, kernel_of: _Kernels) -> Any:
    """Passes kernels through blocks, after each of which they have the same form, in a compiled loop."""
    dtype = _float_dtype(kernels)

    def takes_numbers(kind: _Kind) -> bool:
        """Whether the layers can be made with traced numbers, and then return kernels of the same form."""
        if not kind.varying:
            return True
        try:
            return form_of(kernel_of.abstract(kind, kernels, dtype)) == form_of(kernels)
        except Exception:  # whatever a layer does with its numbers, it can do with those that it was given
            return False

    keys = [_key(block, dtype) for block in blocks]
    period = next(p for p in range(1, len(keys) + 1) if keys[p:] == keys[:-p])
    if 1 < period < 5 <= len(blocks) // period:  # kinds in turn: no need to choose in each step
        stop = len(blocks) - len(blocks) % period
        turns = [sum(map(tuple, blocks[i : i + period]), ()) for i in range(0, stop, period)]
        return _in_sequence(sum(map(tuple, blocks[stop:]), ()), _in_loop(turns, kernels, kernel_of), kernel_of)
    kinds = _kinds(blocks, keys)
    if not all(map(takes_numbers, kinds.values())):
        keys = [_key(block, None) for block in blocks]
        kinds = _kinds(blocks, keys)
    which = jnp.asarray([list(kinds).index(k) for k in keys])
    rows = [[numbers_of(block)[i] for i in kinds[k].varying] for block, k in zip(blocks, keys, strict=True)]
    functions = [functools.partial(kernel_of.after, kind) for kind in kinds.values()]
    return scan(functions, kernels, _stacked(rows, dtype), len(blocks), which if len(kinds) > 1 else None)


def _stacked(rows: Sequence[Sequence[Any]], dtype: Any) -> Any:
    """Rows of numbers, filled up to equal lengths, as one array; None if all are empty."""
    width = max(map(len, rows))
    padded = [x for row in rows for x in (*row, *[0.0] * (width - len(row)))]
    if not width:
        return None
    flat = np.array(padded, dtype) if is_concrete(padded) else jnp.stack([jnp.asarray(x, dtype) for x in padded])
    return jnp.asarray(flat.reshape(len(rows), width))


def _kinds(blocks: Sequence[Block], keys: Sequence[Hashable]) -> dict[Hashable, _Kind]:
    """The kinds of blocks, in the order in which they appear."""
    members: dict[Hashable, list[Block]] = {}
    for block, key in zip(blocks, keys, strict=True):
        members.setdefault(key, []).append(block)

    def kind(group: list[Block]) -> _Kind:
        columns = zip(*map(numbers_of, group), strict=True)
        return _Kind(group[0], tuple(i for i, column in enumerate(columns) if len(set(map(_known, column))) > 1))

    return {key: kind(group) for key, group in members.items()}


def _key(block: Block, dtype: Any) -> Hashable:
    """What blocks of one kind have in common: not their numbers, if these are data of a type; None if they are not."""
    numbers = numbers_of(block)
    is_data = dtype is not None and all(jnp.result_type(dtype, x) == dtype for x in numbers)
    return tuple(step.spec.identity for step in block), None if is_data else tuple(map(_known, numbers))


def _float_dtype(kernels: Any) -> Any:
    return jnp.result_type(*(x for x in jax.tree.leaves(kernels) if jnp.issubdtype(jnp.result_type(x), jnp.floating)))


def _known(number: Any) -> Hashable:
    """A number as a key: its value, or which tracer it is."""
    return float(number) if is_concrete(number) else id(number)
