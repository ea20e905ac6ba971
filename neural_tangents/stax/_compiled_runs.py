"""How `serial` evaluates the kernels of its layers: run by run, in programs that all networks of one form share."""

import dataclasses
import functools
import operator
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax

from neural_tangents._core.compiled import compiled, is_out_of_memory
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.programs import Programs
from neural_tangents._core.trees import tree_leaves
from neural_tangents._core.two_ways import two_ways
from neural_tangents.stax._blocks import fewest, in_sequence
from neural_tangents.stax._keywords import Keywords
from neural_tangents.stax._pair_blocks import FEWER, act_on_pairs, are_few, in_blocks
from neural_tangents.stax._spec import Step, arguments_of, numbers_of, with_numbers
from neural_tangents.stax._streaming.explain import observed
from neural_tangents.stax._streaming.runs import Run, find_run, spatial_sizes
from neural_tangents.stax._streaming.slabs import DEFAULT_BUDGET, streamed

# Programs of layers whose form is known, by that form: a loop over hyper-parameters compiles once.
_SHARED = Programs(most=256)
# From so many pairs of inputs on, layers of vectors are compiled too.
_MANY = 2**14
# Derivatives of runs in so many numbers take less time forward.
_FEW_NUMBERS = 4


def evaluation(steps: Sequence[Step]) -> Callable[..., Any]:
    """The function `(kernels, **keywords) -> kernels` of layers in sequence, which streams the runs that allow it.

    With `variances=False`, variances of the outputs may be zero: nobody asks for them.
    """
    programs = Programs()
    nonlinear = max((number + 1 for number, step in enumerate(steps) if not step.spec.linear), default=0)

    def kernel(kernels: Any, variances: bool = True, /, **kwargs: Any) -> Any:
        start, budget = 0, kwargs.get("memory_budget") or DEFAULT_BUDGET
        while start < len(steps):
            stop, run, reason = find_run(steps, start, kernels, kwargs)
            layers = steps[start:stop]
            if run is not None and stop >= nonlinear and not variances:
                run = dataclasses.replace(run, variances=False)
            with observed(layers, run, reason, budget, kernels, kwargs):
                kernels = _evaluated(programs, layers, run, budget, kernels, kwargs)
            start = stop
        return kernels

    return kernel


def _evaluated(
    programs: Programs, layers: Sequence[Step], run: Run | None, budget: int, kernels: Any, kwargs: dict[str, Any]
) -> Any:
    """The kernels after some layers: slab by slab if they are a run, else at once.

    Compiled once for all calls if they are of images or of many pairs of inputs, or if they are many and some values
    are not known: then there may be loops, which would be compiled in each call that only differentiates.
    """
    taken = functools.reduce(operator.or_, (step.spec.keywords for step in layers), Keywords()).pick(kwargs)
    found, failure = None, None
    shared = run is not None or (_known(kernels, taken) and bool(spatial_sizes(kernels) or _are_many(kernels)))
    may_loop = not is_concrete(kernels) and len(layers) > fewest(kernels)
    if run is not None or ((shared or may_loop) and _are_pure(layers)):

        def evaluate(layers: Sequence[Step], k: Any, kwargs: dict[str, Any]) -> Any:
            if run is not None:
                return _streamed(run, budget, layers, k, kwargs)
            if _by_pairs(layers, k, kwargs):

                def of_part(part: Any, numbers: Any) -> Any:
                    return in_sequence(with_numbers(layers, numbers), part, {})

                return in_blocks(of_part, k, numbers_of(layers), few=are_few(layers))
            return in_sequence(layers, k, kwargs)

        try:
            # A loop is given the numbers of its layers, which would be arguments of a program that others share.
            found = _compiled(programs, (run, budget), evaluate, layers, kernels, taken, shared)
        except Exception as error:
            if is_out_of_memory(error):  # in another way, more would be needed
                raise
            failure = error
    if found is None:
        found = in_sequence(layers, kernels, kwargs)  # which raises if layers do
    if failure is not None and (run is not None or _by_pairs(layers, kernels, taken)):
        _warn_of_failure(layers, run is not None, failure)
    return found


def _streamed(run: Run, budget: int, layers: Sequence[Step], k: Any, kwargs: dict[str, Any]) -> Any:
    """The kernel after a run; slabs are smaller where derivatives are computed, which need all layers of a slab."""

    def evaluate(numbers: Any, k: Any, kwargs: dict[str, Any], only_values: bool = False) -> Any:
        again = run.of(layers if is_concrete(numbers) else with_numbers(layers, numbers))
        return streamed(again, budget if only_values else budget // FEWER, k, kwargs, only_values)

    args = numbers_of(layers), k, kwargs
    return two_ways(functools.partial(evaluate, only_values=True), evaluate, *args, forward=_FEW_NUMBERS)


def _by_pairs(layers: Sequence[Step], k: Any, kwargs: dict[str, Any]) -> bool:
    """Whether layers that are no run are evaluated for some pairs of inputs at a time."""
    return act_on_pairs(layers, k) and all(value is None for value in kwargs.values())


def _known(kernels: Any, kwargs: dict[str, Any]) -> bool:
    """Whether all values are known, so that a layer could look at them: keyword arguments are there to be looked at."""
    return is_concrete(kernels) and all(value is None for value in kwargs.values())


def _are_many(kernels: Any) -> bool:
    """Whether evaluating one layer after the other takes longer than compiling all of them."""
    return any(k.shape1[k.batch_axis] * k.shape2[k.batch_axis] >= _MANY for k in tree_leaves(kernels))


def _are_pure(layers: Sequence[Step]) -> bool:
    """Whether layers are functions of their inputs alone; those of users may depend on what changes between calls."""
    return all(step.spec.form is not None for step in layers)


def _compiled(
    programs: Programs,
    key: Hashable,
    evaluate: Callable[[Sequence[Step], Any, dict[str, Any]], Any],
    layers: Sequence[Step],
    kernels: Any,
    kwargs: dict[str, Any],
    shared: bool,
) -> Any:
    """`evaluate(layers, kernels, kwargs)`, compiled once for all layers of the same form.

    Args:
      programs: those of this network, for layers whose form is not known.
      key: tells apart what is evaluated.
      shared: whether networks of the same form share the program.
    """
    forms = tuple(step.spec.identity for step in layers)
    if shared and _are_pure(layers) and all(value is None for value in kwargs.values()):
        numbers, places = _distinct(arguments_of(layers))

        def of_numbers(numbers: Any, k: Any) -> Any:
            return evaluate(with_numbers(layers, [numbers[place] for place in places]), k, {})

        program = _SHARED.kept((key, forms, places), lambda: jax.jit(of_numbers))
        try:
            return program(numbers, kernels)
        except Exception as error:
            # Of a layer that cannot take traced numbers, or one that the program below raises as well, then with the
            # text of these layers, and not of those that the program was made for.
            if is_out_of_memory(error):
                raise
    own = programs.kept((key, forms), lambda: compiled(functools.partial(evaluate, layers)))
    return own(kernels, kwargs)


def _distinct(numbers: Sequence[Any]) -> tuple[list[Any], tuple[int, ...]]:
    """Numbers, of which a traced one that layers share is there once, and where each of them then is.

    So derivatives know that it is one number.
    """
    keys = [(place, None) if is_concrete(number) else (None, id(number)) for place, number in enumerate(numbers)]
    found = dict(zip(keys, numbers, strict=True))
    where = {key: place for place, key in enumerate(found)}
    return list(found.values()), tuple(where[key] for key in keys)


def _warn_of_failure(layers: Sequence[Step], by_slabs: bool, failure: Exception) -> None:
    how, advice = "for some pairs of inputs at a time", ""
    if by_slabs:
        how = "slab by slab"
        advice = "One that says `stax.requires(pointwise=True)` may do more than scale, shift or transform entries. "
    warnings.warn(
        f"The layers from {layers[0].spec} to {layers[-1].spec} could not be evaluated {how}, in bounded memory, and "
        f"were evaluated at once. {advice}The error was: {type(failure).__name__}: {failure}",
        UserWarning,
        stacklevel=2,
    )
