"""Derivatives of the outputs of a network with respect to each use of its parameters.

A use is a step on data with an operand that is made of parameters alone, as `w` is in `y = x @ w`. The derivative with
respect to that operand is a product of two parts: cotangents `∂f/∂y` of the result of the step, which jax computes, and
`∂y/∂w`, which a rule for the step gives as factors. Keeping the parts apart is what makes the NTK cheap.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp

from neural_tangents._compat import bind
from neural_tangents._core.mesh_axes import varying_like
from neural_tangents.empirical._einsum import Labels, contract
from neural_tangents.empirical._jacobian import unit_cotangents
from neural_tangents.empirical._structured.diagonal_paths import DiagonalPath, diagonal_path, readers
from neural_tangents.empirical._structured.program import Program, Step
from neural_tangents.empirical._structured.rules import Derivative, derivative


def _static(default: Any = ()) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Use:
    """The Jacobian of each output with respect to one operand of one step, as a product.

    Attributes:
      cotangents: for each output an array `(output size, ...)`, with a cotangent for each entry of the output.
      factors: arrays of data.
      index: see `Derivative`.
      labels: labels of the axes of `cotangents` after the first.
      factor_labels: for each factor, labels of its axes.
      operand_labels: labels of the axes of the operand.
      index_labels: labels of the axes of `index`.
    """

    cotangents: list[jax.Array]
    factors: tuple[jax.Array, ...] = ()
    index: jax.Array | None = None
    labels: Labels = _static()
    factor_labels: tuple[Labels, ...] = _static()
    operand_labels: Labels = _static()
    index_labels: Labels = _static()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which values made of parameters are differentiated by structure, and which through a Jacobian as an array.

    A value is differentiated by structure if it has a single use, and if each of its entries depends on a parameter of
    its own, on which nothing else in the network depends.

    Attributes:
      program: the network for one sample.
      structured: for each value differentiated by structure, the number of the step that uses it, and the position of
        the value among the operands of that step.
      by_jacobian: for each step that uses other values, their positions among its operands.
      jacobian_values: numbers of these other values.
      jacobian_outputs: numbers of values made of parameters that are outputs of the network, by number of the output.
      paths: for numbers of steps whose cotangents are best known as products, the ways from their results to a sum.
    """

    program: Program
    structured: Mapping[int, tuple[int, int]]
    by_jacobian: Mapping[int, tuple[int, ...]]
    jacobian_values: tuple[int, ...]
    jacobian_outputs: Mapping[int, int]
    paths: Mapping[int, DiagonalPath]

    @classmethod
    def create(cls, program: Program) -> "Plan":
        """The plan of a program."""
        # Steps are read for the uses of every value first: whether a value is alone depends on all the others.
        read_by = readers(program)
        uses = {value: places for value, places in read_by.items() if value in program.boxes}
        outputs = {leaf: value for leaf, value in enumerate(program.outputs) if value in program.boxes}
        values = sorted({*uses, *outputs.values()})
        alone = {
            value
            for value in values
            if program.boxes[value].injective
            and len(uses.get(value, ())) == 1
            and value not in outputs.values()
            and not any(program.boxes[value].overlaps(program.boxes[v]) for v in values if v != value)
        }
        by_jacobian: dict[int, list[int]] = {}
        for value in values:
            if value not in alone:
                for number, position in uses.get(value, ()):
                    by_jacobian.setdefault(number, []).append(position)
        structured = {value: uses[value][0] for value in values if value in alone}
        paths = {number: diagonal_path(program, number, read_by) for number, _ in structured.values()}
        return cls(
            program=program,
            structured=structured,
            by_jacobian={number: tuple(positions) for number, positions in by_jacobian.items()},
            jacobian_values=tuple(value for value in values if value not in alone),
            jacobian_outputs=outputs,
            paths={number: path for number, path in paths.items() if path is not None},
        )

    @property
    def signature(self) -> Any:
        """What two plans must have in common for kernels of their uses: the same operations on the same parameters."""
        steps, boxes = self.program.steps, self.program.boxes
        makers = {result: step for step in self.program.preparation for result in step.results}

        def expression(value: int) -> Any:
            """How a value follows from parameters. Constants may differ: they enter through slopes of each side."""
            if value not in makers:
                return self.program.parameters.index(value) if value in boxes else None
            step = makers[value]
            operands = [expression(i) for i in step.operands if i in boxes]
            return step.eqn.primitive.name, str(step.eqn.params), step.results.index(value), operands

        def use(number: int, position: int) -> Any:
            eqn = steps[number].eqn
            layout = [eqn.params.get(name) for name in ("dimension_numbers", "feature_group_count", "slice_sizes")]
            return eqn.primitive.name, layout, position, eqn.invars[position].aval.shape

        return [(expression(value), use(*place)) for value, place in self.structured.items()], self.jacobian_leaves

    @property
    def jacobian_leaves(self) -> tuple[int, ...]:
        """Leaves of the parameters that `jacobian_values` are made of."""
        pieces = [self.program.boxes[value].pieces for value in self.jacobian_values]
        return tuple(sorted({leaf for p in pieces for leaf, _ in p}))

    @property
    def used_steps(self) -> tuple[int, ...]:
        """Numbers of the steps whose cotangents are needed: those that use values made of parameters, and sums."""
        ends = (path.end for path in self.paths.values())
        return tuple(sorted({*self.by_jacobian, *(number for number, _ in self.structured.values()), *ends}))

    def uses(self, prepared: Mapping[int, Any], leaves: Sequence[Any], sample: Sequence[Any]) -> list[Use]:
        """The use of each structured value; then the Jacobian of each of `jacobian_leaves`, in the form of a use.

        All outputs share one forward pass. What differs between entries of an output runs under `vmap` over the unit
        vectors of that output: cotangents, and rows of Jacobians, because the rows for all uses of a leaf have to be
        added up before any contraction (the kernel of a sum has cross terms). Factors are made of data alone, and so
        are made once, afterwards.
        """
        outputs, pull, operands = self._forward(prepared, sample)
        zeros = [jnp.zeros_like(out) for out in outputs]

        def of_unit(leaf: int, unit: jax.Array) -> tuple[list[Any], list[Any]]:
            """For one entry of an output: cotangents of results of steps, and of `jacobian_leaves`."""
            cotangents = pull([unit if i == leaf else zero for i, zero in enumerate(zeros)])
            return cotangents, self._by_jacobian(cotangents, operands, leaves, {leaf: unit})

        found = [
            jax.vmap(lambda unit, leaf=leaf: of_unit(leaf, unit))(unit_cotangents(out))
            for leaf, out in enumerate(outputs)
        ]
        of_steps = [dict(zip(self.used_steps, cotangents, strict=True)) for cotangents, _ in found]
        structured = self._structured(of_steps, operands)
        by_jacobian = [
            Use(
                [j.reshape(j.shape[0], math.prod(j.shape[1:])) for j in jacobians],
                labels=("entry",),
                operand_labels=("entry",),
            )
            for jacobians in zip(*(by_jacobian for _, by_jacobian in found), strict=True)
        ]
        return structured + by_jacobian

    def _forward(
        self, prepared: Mapping[int, Any], sample: Sequence[Any]
    ) -> tuple[list[Any], Any, dict[int, list[Any]]]:
        """Outputs, the map from their cotangents to those of results of used steps, and the operands of these.

        Zeros are added to the results of used steps, and derivatives are taken with respect to these zeros: so the
        backward pass stops at the result of each step, before the product with its operands that would make a Jacobian.
        The operands are kept from the same forward pass; rules make factors of them.
        """
        program, used = self.program, self.used_steps
        read = {*used, *(number for path in self.paths.values() for number, _ in path.steps)}

        def shifted(shifts: dict[int, list[Any]]) -> tuple[list[Any], dict[int, list[Any]]]:
            values = {**prepared, **dict(zip(program.data, sample, strict=True))}
            operands = {}
            for number, step in enumerate(program.steps):
                results = step.run(values)
                if number in read:
                    operands[number] = [values[i] for i in step.operands]
                if number in shifts:
                    results = _add(results, shifts[number])
                values.update(zip(step.results, results, strict=True))
            return [values[i] for i in program.outputs], operands

        shifts = {
            number: [varying_like(jnp.zeros(a.shape, a.dtype), a) for a in _differentiable(program.steps[number])]
            for number in used
        }
        outputs, vjp, operands = jax.vjp(shifted, shifts, has_aux=True)

        def pull(cotangents: list[Any]) -> list[list[Any]]:
            (found,) = vjp(cotangents)
            return [found[number] for number in used]

        return outputs, pull, operands

    def _structured(self, cotangents: list[dict[int, list[Any]]], operands: Mapping[int, list[Any]]) -> list[Use]:
        """The uses of structured values, in the order of `structured`."""
        uses = []
        for value, (number, position) in self.structured.items():
            step, scaled = self.program.steps[number], self.program.boxes[value].scaled
            # With an index, no array has the entries of the operand along an axis for slopes to be multiplied with.
            rule = derivative(step, position, operands[number], allow_index=not scaled)
            path = self.paths.get(number)
            if path is None or rule is None or not _is_pulled_by_reshape(step):
                uses.append(_use(step, position, operands[number], [c[number] for c in cotangents], rule))
            else:
                slopes, of_sums = path.slopes(self.program.steps, operands), [c[path.end][0] for c in cotangents]
                uses.append(_use_of_sums(step.eqn.invars[position].aval.shape, of_sums, path.kept, slopes, rule))
        return uses

    def _by_jacobian(
        self,
        cotangents: list[list[Any]],
        operands: Mapping[int, list[Any]],
        leaves: Sequence[Any],
        outputs: Mapping[int, Any],
    ) -> list[Any]:
        """Cotangents of `jacobian_leaves`, for one cotangent of the outputs.

        First from results of steps to their operands, added up over all uses of a value; then, for all values in one
        backward pass, through the steps that made them from the leaves. A leaf thus comes after all that depends on it.
        """
        if not self.jacobian_values:
            return []
        program, of_steps = self.program, dict(zip(self.used_steps, cotangents, strict=True))
        total: dict[int, Any] = {}
        for number, positions in self.by_jacobian.items():
            step = program.steps[number]
            found = _operand_cotangents(step, positions, operands[number], of_steps[number])
            for position, cotangent in zip(positions, found, strict=True):
                value = step.operands[position]
                total[value] = cotangent + total[value] if value in total else cotangent
        for leaf, value in self.jacobian_outputs.items():
            if leaf in outputs and value in self.jacobian_values:
                total[value] = outputs[leaf] + total[value] if value in total else outputs[leaf]

        def prepare(some: list[Any]) -> list[Any]:
            changed = dict(zip(self.jacobian_leaves, some, strict=True))
            prepared = program.prepare([changed.get(i, leaf) for i, leaf in enumerate(leaves)])
            return [prepared[value] for value in self.jacobian_values]

        values, vjp = jax.vjp(prepare, [leaves[i] for i in self.jacobian_leaves])
        return vjp([total.get(v, jnp.zeros_like(x)) for v, x in zip(self.jacobian_values, values, strict=True)])[0]


def _use(
    step: Step, position: int, operands: Sequence[Any], cotangents: list[list[Any]], rule: Derivative | None
) -> Use:
    """The Jacobian of each output with respect to an operand, from the cotangents of results for all unit vectors."""
    shape = step.eqn.invars[position].aval.shape
    if rule is None:
        labels = tuple(("axis", axis) for axis in range(len(shape)))
        pulled = [jax.vmap(lambda c: _pull_back(step, (position,), operands, c)[0])(c) for c in cotangents]
        return Use(pulled, labels=labels, operand_labels=labels)
    pulled = [jax.vmap(rule.pull)(c[0]) for c in cotangents]
    return _multiplied_if_small(shape, pulled, rule)


def _is_pulled_by_reshape(step: Step) -> bool:
    """Whether the rule for a step does nothing to cotangents but to give them another shape, axis by axis."""
    name, one_group = step.eqn.primitive.name, step.eqn.params.get("feature_group_count", 1) == 1
    return name in ("dot_general", "add", "add_any", "mul") or (name == "conv_general_dilated" and one_group)


def _use_of_sums(
    shape: Sequence[int], cotangents: list[jax.Array], kept: Sequence[int], slopes: jax.Array, rule: Derivative
) -> Use:
    """The same from cotangents of sums of entries of results, and the slopes of these sums."""
    summed = [axis for axis in range(slopes.ndim) if axis not in kept]
    pulled = [jax.vmap(rule.pull)(jnp.expand_dims(c, [axis + 1 for axis in summed])) for c in cotangents]
    factor = rule.pull(slopes)
    dropped = [axis for axis, size in enumerate(factor.shape) if pulled[0].shape[axis + 1] < size]
    pulled = [jnp.squeeze(c, [axis + 1 for axis in dropped]) for c in pulled]
    of_sums = dataclasses.replace(
        rule,
        labels=tuple(label for axis, label in enumerate(rule.labels) if axis not in dropped),
        factors=(factor, *rule.factors),
        factor_labels=(rule.labels, *rule.factor_labels),
    )
    return _multiplied_if_small(shape, pulled, of_sums)


def _multiplied_if_small(shape: Sequence[int], pulled: list[jax.Array], rule: Derivative) -> Use:
    """A use from what rules make of cotangents: as a Jacobian, if that is no larger."""
    if rule.index is not None or math.prod(shape) > math.prod(pulled[0].shape[1:]):
        return Use(
            pulled, rule.factors, rule.index, rule.labels, rule.factor_labels, rule.operand_labels, rule.index_labels
        )
    # The Jacobian is no larger than what it is made of: multiplied out here, it is a shorter product for the kernel.
    terms = [("unit", *rule.labels), *rule.factor_labels]
    kept = ("unit", *(label for label in chain(*terms) if label in rule.operand_labels))
    output = tuple(dict.fromkeys((*kept, *rule.operand_labels)))  # in the order of the terms: nothing is moved
    jacobians = [contract([c, *rule.factors], terms, output) for c in pulled]
    return Use(jacobians, labels=output[1:], operand_labels=rule.operand_labels)


def _differentiable(step: Step) -> list[Any]:
    """Shapes and types of those results of a step that have derivatives."""
    return [var.aval for var in step.eqn.outvars if jnp.issubdtype(var.aval.dtype, jnp.inexact)]


def _add(results: Sequence[Any], shifts: Sequence[Any]) -> list[Any]:
    rest = iter(shifts)
    return [x + next(rest) if jnp.issubdtype(x.dtype, jnp.inexact) else x for x in results]


def _pull_back(step: Step, positions: Sequence[int], operands: Sequence[Any], cotangents: list[Any]) -> list[Any]:
    """Cotangents of some operands of a step, by jax."""

    def of_operands(some: list[Any]) -> list[Any]:
        changed = dict(zip(positions, some, strict=True))
        results = bind(step.jaxpr, step.eqn, [changed.get(i, x) for i, x in enumerate(operands)])
        return [x for x in results if jnp.issubdtype(x.dtype, jnp.inexact)]

    _, vjp = jax.vjp(of_operands, [operands[i] for i in positions])
    return vjp(cotangents)[0]


def _operand_cotangents(
    step: Step, positions: Sequence[int], operands: Sequence[Any], cotangents: list[Any]
) -> list[Any]:
    """Cotangents of some operands of a step: by rules, or by jax if one of them has none."""
    rules = [derivative(step, position, operands, allow_index=False) for position in positions]
    if any(rule is None for rule in rules):
        return _pull_back(step, positions, operands, cotangents)
    return [
        _product(rule, cotangents[0], operands[i]) for rule, i in zip(rules, positions, strict=True) if rule is not None
    ]


def _product(rule: Derivative, cotangent: jax.Array, operand: jax.Array) -> jax.Array:
    """The cotangent of an operand, multiplied out."""
    arrays, labels = [rule.pull(cotangent), *rule.factors], [rule.labels, *rule.factor_labels]
    return contract(arrays, labels, rule.operand_labels).reshape(operand.shape).astype(operand.dtype)
