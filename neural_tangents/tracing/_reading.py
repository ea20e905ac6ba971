"""Reads a program step by step: what each value is, and the graph of activations."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents.tracing._atoms import BATCH, POSITION, REPEATED, Atom, Axes, Misfit, Names, find
from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import Fixed, Host, Node, Weights, walk
from neural_tangents.tracing._steps import Program, Step
from neural_tangents.tracing._values import Data, Known, Param, Parts, Value, equal, weights_of

Rule = Callable[["Reading", Step, Sequence[Any]], Any]
RANDOM = (
    "random_bits",
    "random_wrap",
    "random_seed",
    "random_unwrap",
    "random_fold_in",
    "random_split",
    "threefry2x32",
)
ONE = 2.0  # up to how many times the mean over channels counts as of order one


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A parameter: where it is, how its entries are distributed, and how fast they are trained.

    Attributes:
      path: as `jax.tree_util.keystr` writes it.
      shape: of the array.
      mean: of the entries.
      variance: of the entries.
      rate: how fast it is trained.
      value: the array, if it is constant and its entries differ.
    """

    path: str
    shape: tuple[int, ...]
    mean: float
    variance: float
    rate: float
    value: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Expectation:
    """A sum over channels: `factor` times the mean of a node."""

    node: Node
    factor: float
    axes: Axes


class Reading:
    """What is known of the values of a program, which was traced at two batch sizes.

    Args:
      programs: both programs.
      sizes: both batch sizes.
      leaves: the parameters.
      products: what becomes of sums of products of independent activations.
      rules: for each primitive, what it does to values.
    """

    def __init__(
        self,
        programs: tuple[Program, Program],
        sizes: tuple[int, int],
        leaves: Sequence[Leaf],
        products: str,
        rules: "Rules",
    ) -> None:
        self.programs, self.sizes, self.leaves, self.products, self.rules = programs, sizes, leaves, products, rules
        self.names = Names()
        self.values: dict[int, Any] = {}
        self.expectations: dict[int, Expectation] = {}
        self.vanishing: set[int] = set()  # sums over channels that are 0
        self.uses: dict[Weights, Step] = {}
        self.fixed: dict[Any, Fixed] = {}
        self.restrictions: dict[Any, dict[Node, Node]] = {}
        self.count = 0

    def read(self) -> list[Value]:
        """Reads all steps; returns the outputs."""
        first, second = self.programs
        for number, constant in first.constants.items():
            if number not in second.constants:
                raise LiftError("The program of the network differs between batch sizes.")
            self.values[number] = Known((_array(constant), _array(second.constants[number])), number)
        *params, x = first.inputs
        for i, (leaf, number) in enumerate(zip(self.leaves, params, strict=True)):
            self.values[number] = self.leaf_value(i, leaf, number)
        self.values[x] = self.fresh_host(x)
        if [s.name for s in first.steps] != [s.name for s in second.steps]:
            raise LiftError("The program of the network differs between batch sizes: it may not depend on them.")
        for step, other in zip(first.steps, second.steps, strict=True):
            results = self.results(step, other)
            for result in results:
                if isinstance(result, Data):
                    result.node.__dict__.setdefault("step", step)
            self.values.update(zip(step.results, results, strict=True))
        return [self.values[number] for number in first.outputs]

    def leaf_value(self, i: int, leaf: Leaf, number: int) -> Value:
        """A parameter; one that neither is random nor trained is a constant."""
        if not leaf.variance and not leaf.rate:
            array = np.full(leaf.shape, leaf.mean) if leaf.value is None else leaf.value
            return Known((array.astype(self.programs[0].avals[number].dtype),) * 2, number)
        if leaf.value is not None:
            raise LiftError(
                f"The parameter {leaf.path} is a trained constant whose entries differ, so that channels are not "
                "exchangeable. Leave it out of training by `trainable=`, or give its mean by `distribution=`."
            )
        axes = tuple((Atom("leaf", n, axis),) if n > 1 else () for axis, n in enumerate(leaf.shape))
        return Param(i, tuple(tuple(range(n)) for n in leaf.shape), axes, 1.0, leaf.mean)

    def results(self, step: Step, other: Step) -> list[Value]:
        """What a step makes of its operands."""
        operands = [self.values[number] for number in step.operands]
        try:
            if any(isinstance(v, Known) and v.unscaled for v in operands) and self.rules.on_activations(operands):
                raise Misfit(self.rules.root_width)
            if self.rules.is_zero(step, operands) and not all(isinstance(v, Known) for v in operands):
                if any(isinstance(v, Known) and v.vanished for v in operands) and self.rules.has_weights(operands):
                    raise Misfit(
                        "weights multiply means over channels of mean 0, which vanish at infinite width, so that what "
                        "depends on them is not random"
                    )
                made: Any = self.zeros(step)
            elif all(isinstance(v, Known) for v in operands):
                made = self.evaluated(step, other, operands)
            elif any(isinstance(v, Parts) for v in operands):
                made = self.rules.parts(self, step, operands)
            elif all(isinstance(v, Known | Host) for v in operands):
                made = self.rules.host(self, step, operands)
            elif step.name in self.rules.rules:
                made = self.rules.rules[step.name](self, step, operands)
            else:
                known = ", ".join(sorted(self.rules.rules))
                self.fail(
                    step,
                    f"there is no rule for `{step.name}` of activations or parameters. There are rules for: {known}",
                )
        except Misfit as misfit:
            self.fail(step, f"`{step.name}`: {misfit}", operands)
        return made if isinstance(made, list) else [made]

    def evaluated(self, step: Step, other: Step, operands: list[Known]) -> list[Value]:
        """A step on constants, carried out."""
        if step.name in RANDOM or step.name.startswith("random"):
            self.fail(
                step,
                "random numbers are drawn inside of the network. For dropout, lift the network in evaluation mode, "
                "such as by `deterministic=True`",
            )
        with jax.ensure_compile_time_eval():
            runs = [s.run([v.values[i] for v in operands]) for i, s in enumerate((step, other))]
        unscaled = self.rules.unscaled(self, step, operands)
        vanished = any(v.vanished for v in operands)
        return [
            Known((_array(a), _array(b)), number, unscaled, vanished)
            for a, b, number in zip(*runs, step.results, strict=True)
        ]

    def zeros(self, step: Step, unscaled: float = 0.0, vanished: bool = False) -> Known:
        """The result of a step that is 0 whatever the parameters are."""
        number = step.results[0]
        self.vanishing.add(number)
        dtype = self.programs[0].avals[number].dtype
        first, second = (np.zeros(shape, dtype) for shape in self.shapes(number))
        return Known((first, second), number, unscaled, vanished=vanished)

    def fail(self, step: Step, text: str, operands: Sequence[Any] = ()) -> NoReturn:
        """Raises a `LiftError` that says where it happened and which parameters are concerned."""
        paths = list(dict.fromkeys(self.leaves[v.leaf].path for v in operands if isinstance(v, Param)))
        about = f"\nParameter: {', '.join(paths)}" if paths else ""
        at = f"\nMet at {step.line}" if step.line else ""
        raise LiftError(f"{text[0].upper()}{text[1:]}.{about}{at}")

    def shapes(self, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of a value for both batch sizes."""
        first, second = (program.avals[number].shape for program in self.programs)
        return first, second

    def new_axes(self, number: int) -> list[Atom | None]:
        """For each axis of a value, the batch axis if it is that, or a new one of positions; None for size 1."""
        atoms: list[Atom | None] = []
        for a, b in zip(*self.shapes(number), strict=True):
            if a == b:
                self.count += 1
                atoms.append(Atom(POSITION, a, self.count) if a > 1 else None)
            elif (a, b) == self.sizes:
                atoms.append(Atom(BATCH, a))
            else:
                raise Misfit(
                    "the network mixes its inputs: an axis has a size that depends on the number of inputs in another "
                    "way. Statistics over the batch have no kernel; use evaluation mode"
                )
        if sum(atom is not None and atom.kind == BATCH for atom in atoms) > 1:
            raise Misfit("the network mixes its inputs: it pairs inputs of a batch with each other")
        return atoms

    def fresh_host(self, number: int, varies: bool = True) -> Host:
        """A value that depends on inputs alone, in a way that is not known."""
        axes = tuple((atom,) if atom is not None else () for atom in self.new_axes(number))
        if varies and not find(axes, BATCH):
            raise Misfit(
                "the network mixes its inputs: a value without a batch axis depends on them; use evaluation mode"
            )
        return Host(number, axes)

    def host_of(self, value: Known) -> Host:
        """A constant as numbers that could depend on inputs."""
        first, second = value.values
        axes: list[tuple[Atom, ...]] = []
        for i, atom in enumerate(self.new_axes(value.number) if first.shape == self.shapes(value.number)[0] else ()):
            if atom is None:
                axes.append(())
            elif equal(first, first.take([0], i)):
                axes.append((Atom(atom.kind if atom.kind == BATCH else REPEATED, atom.size),))
            elif atom.kind == BATCH:
                raise Misfit("the network mixes its inputs: a constant differs between inputs of a batch")
            else:
                axes.append((atom,))
            if atom is not None and atom.kind == BATCH:
                first, second = first.take([0], i), second.take([0], i)
        if first.shape != second.shape or not equal(first, second):
            raise Misfit("the network mixes its inputs: a constant depends on how many there are")
        return Host(value.number, tuple(axes))

    def as_data(self, value: Host) -> Data:
        """Numbers that depend on inputs, as an activation without channels."""
        keys = sorted(atom.key for atom in find(value.axes, POSITION))
        place = {key: i for i, key in enumerate(keys)}

        def renamed(atom: Atom) -> Atom:
            return dataclasses.replace(atom, key=place[atom.key]) if atom.kind == POSITION else atom

        axes = tuple(tuple(map(renamed, axis)) for axis in value.axes)
        stored = tuple(tuple(map(renamed, axis)) for axis in value.stored)
        fin = {atom.key: atom.size for atom in find(axes, POSITION)}
        key = (value.number, value.invert, value.case, stored)
        if key not in self.fixed:
            host = dataclasses.replace(value, axes=stored, layout=None)
            self.fixed[key] = Fixed(tuple(fin[i] for i in range(len(keys))), host)
        return Data(self.fixed[key], axes)

    def used(self, step: Step, param: Param, role: dict[int, Any]) -> Weights:
        """A parameter that meets activations in some role."""
        leaf = self.leaves[param.leaf]
        weights = weights_of(param, role, leaf.variance, leaf.rate)
        self.uses[weights] = step
        return weights

    def check_uses(self, outputs: Sequence[Node]) -> None:
        """Raises a `LiftError` if parts of a parameter that the graph is made of overlap, or have several roles."""
        nodes = walk([*outputs, *(expectation.node for expectation in self.expectations.values())])
        seen: dict[int, dict[Any, Weights]] = {}
        for node in nodes:
            weights = getattr(node, "weights", None)
            if weights is None:
                continue
            for other in seen.setdefault(weights.leaf, {}).values():
                equal = other.box == weights.box and other.role == weights.role and other.variance == weights.variance
                if not equal and all(set(a) & set(b) for a, b in zip(other.box, weights.box, strict=True)):
                    step, where = self.uses[weights], self.uses[other].line
                    self.fail(
                        step,
                        f"the parameter {self.leaves[weights.leaf].path} is used in two ways (also at {where}): its "
                        "kernel is known only for repeated use in one role, or of parts without common entries",
                    )
            seen[weights.leaf][(weights.box, weights.role)] = weights


@dataclasses.dataclass(frozen=True)
class Rules:
    """What primitives do to values.

    Attributes:
      rules: by the name of the primitive.
      helpers: what rules use of each other, by name.
      host: for values that depend on inputs alone.
      parts: for values in parts along channels.
      unscaled: how many channels the result of a step on sums over channels adds up.
      root_width: what to say of such a sum of mean 0 that meets activations.
    """

    rules: dict[str, Rule]
    helpers: dict[str, Rule]
    host: Rule
    parts: Rule
    unscaled: Callable[[Reading, Step, Sequence[Any]], float]
    root_width: str

    @staticmethod
    def is_zero(step: Step, operands: Sequence[Any]) -> bool:
        """Whether a step is a product with 0."""
        if step.name not in ("mul", "dot_general", "conv_general_dilated"):
            return False
        return any(isinstance(v, Known) and v.uniform == 0 and not v.unscaled for v in operands)

    @staticmethod
    def has_weights(operands: Sequence[Any]) -> bool:
        """Whether some of the operands are parameters."""
        return any(isinstance(v, Param) for v in operands)

    @staticmethod
    def on_activations(operands: Sequence[Any]) -> bool:
        """Whether some of the operands are activations or parameters."""
        return any(isinstance(v, Data | Param | Parts) for v in operands)


def _array(value: Any) -> np.ndarray:
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        return np.zeros(value.shape)  # a random key: what is drawn with it is refused
    return np.asarray(value)
