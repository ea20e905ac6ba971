"""What an initialiser does to its random words: each entry of a leaf as a function of one word, or not.

`jax.random` makes every random number of words of random bits, which are independent and uniform. An entry that is made
of one word by elementwise functions has the law of that function. So the program of an initialiser is run with the
function in place of the number: an array of random numbers is replaced by the values that one entry takes on a grid of
words. Arrays keep their shapes as labels alone, and nothing has their size.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from neural_tangents._compat import bind, is_literal, opened

# Equations that contain a program, and the parameter that holds it.
_CALLS = {
    **{name: "jaxpr" for name in ("jit", "pjit", "checkpoint", "remat", "remat2")},
    **{name: "call_jaxpr" for name in ("closed_call", "core_call", "custom_jvp_call", "custom_vjp_call")},
}

_ELEMENTWISE = frozenset(
    """abs acos acosh add and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil clamp
    convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt
    integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not or population_count
    pow reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin
    sinh sqrt square sub tan tanh xor""".split()
)

# The same by NumPy, of the usual types: compiling each step takes longer than all else.
_NUMPY: dict[str, Callable] = {
    **{"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "sqrt": np.sqrt},
    **{
        "or": np.bitwise_or,
        "and": np.bitwise_and,
        "xor": np.bitwise_xor,
        "neg": np.negative,
        "nextafter": np.nextafter,
    },
    **{"erf": special.erf, "erf_inv": special.erfinv},
}
_NUMPY_OF_WORDS: dict[str, Callable] = {"shift_right_logical": np.right_shift, "shift_left": np.left_shift}

# Quantiles of a standard normal, at which words are put.
REACH, STEP = 5.25, 0.01
POINTS = np.arange(-round(REACH / STEP), round(REACH / STEP) + 1) * STEP
ALL_WORDS = 16  # bits of words which are all taken
_EQUAL_PARTS = 2**20


@dataclasses.dataclass(frozen=True)
class Known:
    """An array of the program as it is for one key: a constant, or a key and what is counted with it."""

    value: Any
    keyed: bool


@dataclasses.dataclass(frozen=True)
class Entries:
    """An array whose entries have one law: all are the same number, or the same function of a word of their own.

    Attributes:
      shape: its shape.
      values: what an entry is on the grid of words, `[words]`, or the number, `[]`.
      bits: bits of a word; 0 for a number.
      keys: the random keys that the words are drawn with, as bytes.
      order: which word belongs to which entry; equal for two arrays with the same keys if it is the same for both.
      steps: a number for the steps that it was made by, whatever the sizes and constants.
    """

    shape: tuple[int, ...]
    values: Any
    bits: int = 0
    keys: tuple[bytes, ...] = ()
    order: Hashable = ()
    steps: int = 0


@dataclasses.dataclass(frozen=True)
class Unknown:
    """An array that is neither; the keys that it is drawn with, as far as they are known."""

    keys: tuple[bytes, ...] = ()


Value = Known | Entries | Unknown
Rule = Callable[[Any, Any, list[Any]], list[Any]]


def run(closed: Any, arguments: Sequence[Any], needed: Sequence[bool], constant: Callable, rule: Rule) -> list[Any]:
    """Results of a program, by a rule for its equations; those that are not needed are None.

    Args:
      closed: a jaxpr with its constants.
      arguments: its operands.
      needed: which of its results are wanted. Equations that these do not need are left out, and calls are opened.
      constant: from an array to what the rule takes.
      rule: from the jaxpr, the equation, and its operands, to its results.

    Returns:
      A list of results.
    """
    jaxpr, constants = opened(closed)
    wanted = {v for v, is_needed in zip(jaxpr.outvars, needed, strict=True) if is_needed and not is_literal(v)}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if wanted.intersection(eqn.outvars):
            wanted.update(atom for atom in eqn.invars if not is_literal(atom))
            kept.append(eqn)
    values = dict(zip(jaxpr.invars, arguments, strict=True))
    values.update({v: constant(c) for v, c in zip(jaxpr.constvars, constants, strict=True) if v in wanted})

    def read(atom: Any) -> Any:
        return constant(np.asarray(atom.val, atom.aval.dtype)) if is_literal(atom) else values.get(atom)

    for eqn in reversed(kept):
        operands = [read(atom) for atom in eqn.invars]
        call = _CALLS.get(eqn.primitive.name)
        if call in eqn.params:
            inner = [v in wanted for v in eqn.outvars]
            results = run(eqn.params[call], operands, inner, constant, rule)
        else:
            results = rule(jaxpr, eqn, operands)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(v) if is_needed else None for v, is_needed in zip(jaxpr.outvars, needed, strict=True)]


def interpret(closed: Any, key: Any, grid: Callable[[int], np.ndarray]) -> list[Value]:
    """What each result of the program of a function of one key is, on a grid of words of so many bits."""

    def rule(jaxpr: Any, eqn: Any, operands: list[Value]) -> list[Value]:
        name = eqn.primitive.name
        if name == "random_bits" and isinstance(operands[0], Known) and operands[0].keyed:
            return [_words(eqn, operands[0].value, grid)]
        if name == "scan" and not all(_is_constant(x) for x in operands):
            return _scan(eqn, operands, rule)
        return _results(jaxpr, eqn, operands)

    with jax.ensure_compile_time_eval():
        return run(closed, [Known(key, True)], [True] * len(opened(closed)[0].outvars), known, rule)


def quantiles(bits: int) -> np.ndarray:
    """Words at quantiles of a standard normal; all of them if they are short."""
    words = special.ndtr(POINTS) * 2.0**bits if bits > ALL_WORDS else np.arange(2**bits)
    return np.floor(words).astype(f"uint{bits}")


def equal_parts(bits: int) -> np.ndarray:
    """Words in the middle of parts of equal size; all of them if they are short."""
    words = (np.arange(_EQUAL_PARTS) + 0.5) * (2.0**bits / _EQUAL_PARTS) if bits > ALL_WORDS else np.arange(2**bits)
    return np.floor(words).astype(f"uint{bits}")


def known(value: Any, keyed: bool = False) -> Known | Entries:
    """A constant, as one number if it is one."""
    if not keyed and not jnp.issubdtype(value.dtype, jax.dtypes.extended) and value.size:
        array = np.asarray(value)
        if np.all(array == array.flat[0]):
            return Entries(array.shape, array.ravel()[0:1].reshape(()))
    return Known(value, keyed)


def _is_constant(x: Value) -> bool:
    return not x.keyed if isinstance(x, Known) else isinstance(x, Entries) and not x.bits


def _results(jaxpr: Any, eqn: Any, operands: list[Value]) -> list[Value]:
    if all(isinstance(x, Entries) for x in operands):
        found = _entries(jaxpr, eqn, operands)  # type: ignore[arg-type]
        if found is not None:
            return found  # type: ignore[return-value]
    if any(isinstance(x, Unknown) or (isinstance(x, Entries) and x.bits) for x in operands):
        keys = tuple(sorted({key for x in operands if not isinstance(x, Known) for key in x.keys}))
        return [Unknown(keys) for _ in eqn.outvars]
    keyed = any(isinstance(x, Known) and x.keyed for x in operands)
    return [known(x, keyed) for x in bind(jaxpr, eqn, [_array(x) for x in operands])]


def _array(x: Value) -> Any:
    """A constant as an array."""
    return x.value if isinstance(x, Known) else jnp.broadcast_to(x.values, x.shape)  # type: ignore[union-attr]


def _words(eqn: Any, keys: Any, grid: Callable[[int], np.ndarray]) -> Value:
    """Random words, each by itself."""
    bits, shape = eqn.params["bit_width"], eqn.outvars[0].aval.shape
    data = np.asarray(jax.random.key_data(keys))
    drawn_with = tuple(row.tobytes() for row in data.reshape(-1, data.shape[-1]))
    return Entries(shape, grid(bits), bits, drawn_with, shape, hash(("words", bits)))


def _entries(jaxpr: Any, eqn: Any, operands: list[Entries]) -> list[Entries] | None:
    """Results of an equation on arrays whose entries have one law, if it leaves them so."""
    name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.outvars]
    random = [x for x in operands if x.bits]
    if not operands:
        return None
    first = random[0] if random else operands[0]
    steps = hash((name, *(x.steps for x in operands)))
    if name in _ELEMENTWISE:
        same = all((x.bits, x.keys, x.order) == (first.bits, first.keys, first.order) for x in random)
        whole = all(math.prod(x.shape) == math.prod(shapes[0]) for x in random)
        resized = name == "bitcast_convert_type" and operands[0].shape != shapes[0]
        if not same or not whole or resized:
            return None
        size = first.values.shape
        values = _evaluate(jaxpr, eqn, [np.broadcast_to(x.values, size) for x in operands])
        return [dataclasses.replace(first, shape=shapes[0], values=values, steps=steps)]
    if name == "concatenate":
        drawn_with = tuple(key for x in random for key in x.keys)
        equal = all(x.bits == first.bits and np.array_equal(x.values, first.values) for x in operands)
        return [Entries(shapes[0], first.values, first.bits, drawn_with, steps, steps)] if equal else None
    moved = (name, first.shape, str(eqn.params))
    if name in ("broadcast_in_dim", "reshape", "squeeze"):
        same_order = eqn.params.get("dimensions") is None or name == "squeeze"
        if random and (math.prod(first.shape) != math.prod(shapes[0]) or not same_order):
            return None
        return [dataclasses.replace(first, shape=shapes[0])]
    if name in ("transpose", "rev", "slice", "split"):
        return [
            dataclasses.replace(first, shape=shape, order=(first.order, moved, i)) for i, shape in enumerate(shapes)
        ]
    return None


def _evaluate(jaxpr: Any, eqn: Any, operands: list[np.ndarray]) -> np.ndarray:
    """The result of an elementwise equation."""
    name, kinds = eqn.primitive.name, {x.dtype.kind for x in operands}
    to = np.dtype(eqn.params.get("new_dtype", operands[0].dtype))
    if kinds <= set("fiu") and to.kind in "fiub":
        if name == "convert_element_type":
            return operands[0].astype(to)
        if name == "bitcast_convert_type":
            return operands[0].view(to)
        if name == "div" and kinds == {"f"}:
            return np.divide(*operands)
        function = _NUMPY.get(name) or (_NUMPY_OF_WORDS.get(name) if kinds == {"u"} else None)
        if function is not None:
            return np.asarray(function(*operands))
    return np.asarray(*bind(jaxpr, eqn, operands))


def _scan(eqn: Any, operands: list[Value], rule: Rule) -> list[Value]:
    """A loop, step by step; what it stacks up has one law if all steps give the same."""
    body = eqn.params["jaxpr"]
    steps, reverse = eqn.params["length"], eqn.params["reverse"]
    n_stacked = sum(v.aval.ndim < w.aval.ndim for v, w in zip(body.jaxpr.invars, eqn.invars, strict=True))
    n_carry = sum(v.aval.ndim == w.aval.ndim for v, w in zip(body.jaxpr.outvars, eqn.outvars, strict=True))
    fixed, scanned = operands[: len(operands) - n_stacked], operands[len(operands) - n_stacked :]
    constants, carry = fixed[: len(fixed) - n_carry], fixed[len(fixed) - n_carry :]
    stacked: list[list[Value]] = []
    for i in range(steps)[::-1] if reverse else range(steps):
        slices = [_step_of(x, i) for x in scanned]
        results = run(body, [*constants, *carry, *slices], [True] * len(eqn.outvars), known, rule)
        carry = results[:n_carry]
        stacked.append(results[n_carry:])
    stacked = stacked[::-1] if reverse else stacked
    return [*carry, *(_stack(values) for values in zip(*stacked, strict=True))]


def _step_of(x: Value, i: int) -> Value:
    if isinstance(x, Known):
        return known(x.value[i], x.keyed)
    if isinstance(x, Entries):
        return dataclasses.replace(x, shape=x.shape[1:], order=(x.order, "step", i))
    return x


def _stack(values: Sequence[Value]) -> Value:
    first = values[0]
    if all(isinstance(x, Known) or _is_constant(x) for x in values):
        return known(jnp.stack([_array(x) for x in values]), any(isinstance(x, Known) and x.keyed for x in values))
    keys = tuple(key for x in values if not isinstance(x, Known) for key in x.keys)
    entries = [x for x in values if isinstance(x, Entries)]
    equal = all(x.bits == entries[0].bits and np.array_equal(x.values, entries[0].values) for x in entries)
    if not isinstance(first, Entries) or len(entries) < len(values) or not equal:
        return Unknown(keys)
    order = tuple(x.order for x in entries)
    return dataclasses.replace(first, shape=(len(values), *first.shape), keys=keys, order=order)
