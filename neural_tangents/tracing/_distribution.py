"""The distribution of each leaf of the parameters: read from an initialiser, or given."""

import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from neural_tangents._compat import bind, opened
from neural_tangents._core.types import PyTree
from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._initialiser import (
    ALL_WORDS,
    POINTS,
    REACH,
    STEP,
    Entries,
    Known,
    equal_parts,
    interpret,
    quantiles,
    run,
)

_HOW = "Pass `distribution`, a function of the path and shape of a leaf that returns its variance, or (mean, variance)."
_STANDARD_ERRORS = 6
_DRAWN = 4096  # entries that a check looks at


class LeafLaw(NamedTuple):
    """The distribution of one leaf, whose entries are independent.

    Attributes:
      path: where the leaf is, as `jax.tree_util.keystr` writes it.
      shape: its shape.
      dtype: its type. A leaf of another type than floating that changes with the key has the mean NaN.
      mean: the mean of all its entries, or the array `value`.
      variance: the variance of all its entries; 0 for a constant.
      value: a constant whose entries differ, or None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: Any
    mean: float | np.ndarray
    variance: float
    value: np.ndarray | None


def read_initialiser(init: Callable[[Any], PyTree]) -> list[LeafLaw]:
    """The distributions of all leaves of `init(key)`, which is not run but for small checks.

    Entries that are functions of one random word each have the moments of these functions, by the trapezoid rule. Other
    leaves have to be such that the sum of squares of their entries is the same in all draws, as of orthogonal matrices.

    Args:
      init: from a random key to the parameters.

    Returns:
      Distributions, in the order of leaves.

    Raises:
      LiftError: there are leaves that are no arrays, that are drawn with one key, or that cannot be read.
    """
    key = jax.random.key(0)
    try:
        closed, shapes = jax.make_jaxpr(init, return_shape=True)(key)
    except TypeError as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise LiftError(
                f"The initialiser is no program of JAX alone, so it cannot be read. {_HOW}\n{error}"
            ) from error
        if "JAX type" not in str(error):
            raise
        advice = "return arrays alone, for example `eqx.filter(model, eqx.is_inexact_array)`"
        raise LiftError(f"The initialiser returns leaves that are no arrays: {advice}. {error}") from error
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]]
    leaves = jax.tree.leaves(shapes)
    values = interpret(closed, key, quantiles)
    _check_keys(paths, values)
    jumps = any(isinstance(value, Entries) and _jumps(value) for value in values)
    finer = interpret(closed, key, equal_parts) if jumps else values
    laws = [_law(*arguments) for arguments in zip(paths, leaves, values, finer, strict=True)]
    unread = [i for i, law in enumerate(laws) if law is None]
    checked = _one_of_each_kind(values)
    for i in unread:
        laws[i] = _pooled(paths[i], leaves[i], _draw(closed, i, leaves[i].size))
    for i in checked:
        _check_moments(laws[i], _draw(closed, i, leaves[i].size))  # type: ignore[arg-type]
    return laws  # type: ignore[return-value]


def given_distribution(params: PyTree, distribution: Callable[[str, tuple[int, ...]], Any]) -> list[LeafLaw]:
    """The distributions of all leaves, as a function gives them.

    Args:
      params: an initialiser, or parameters: arrays, or anything with a shape and a type.
      distribution: from the path and the shape of a leaf to its variance, or to its mean and variance.

    Returns:
      Distributions, in the order of leaves. Arrays of other types than floating are constants.

    Raises:
      LiftError: `distribution` fails, or returns something else.
    """
    if callable(params) and jax.tree_util.all_leaves([params]):
        params = jax.eval_shape(params, jax.random.key(0))
    laws = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(path)
        if not hasattr(leaf, "dtype"):
            if not isinstance(leaf, numbers.Number):
                raise LiftError(f"Leaf {name} of the parameters is no array but {leaf!r}: keep it out of them.")
            leaf = np.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            law = _given(name, leaf, distribution)
        elif isinstance(leaf, jax.ShapeDtypeStruct) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            law = LeafLaw(name, leaf.shape, leaf.dtype, math.nan, 0.0, None)
        else:
            law = _constant(name, leaf)
        laws.append(law)
    return laws


def _given(path: str, leaf: Any, distribution: Callable[[str, tuple[int, ...]], Any]) -> LeafLaw:
    where = f"`distribution` for leaf {path} of shape {leaf.shape}"
    wanted = "a variance, or (mean, variance), as finite numbers"
    try:
        answer = distribution(path, tuple(leaf.shape))
    except Exception as error:
        raise LiftError(f"Expected from {where} {wanted}, got {type(error).__name__}: {error}") from error
    pair = answer if isinstance(answer, tuple | list) else (0.0, answer)
    try:
        mean, variance = (float(x) for x in pair)
    except (TypeError, ValueError) as error:
        raise LiftError(f"Expected from {where} {wanted}, got {answer!r}.") from error
    if not (math.isfinite(mean) and math.isfinite(variance) and variance >= 0):
        raise LiftError(f"Expected from {where} {wanted}, the variance not negative, got {answer!r}.")
    return LeafLaw(path, tuple(leaf.shape), leaf.dtype, mean, variance, None)


def _law(path: str, leaf: Any, value: Any, finer: Any) -> LeafLaw | None:
    """The distribution of a leaf, or None where only draws can tell; `finer` is used for functions with jumps."""
    if isinstance(value, Known) and not value.keyed:
        return _constant(path, value.value)
    if isinstance(value, Entries) and not value.bits:
        return LeafLaw(path, leaf.shape, leaf.dtype, float(value.values), 0.0, None)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return LeafLaw(path, leaf.shape, leaf.dtype, math.nan, 0.0, None)
    if not isinstance(value, Entries):
        return None
    mean, square, tail = _moments(value)
    if not math.isfinite(square) or tail > 1e-4 * square:
        raise LiftError(f"Leaf {path} has a distribution with heavy tails, whose variance cannot be read. {_HOW}")
    jumps = _jumps(value)
    if jumps:
        values = np.asarray(finer.values, np.float64)
        mean, square = float(values.mean()), float(np.mean(values**2))
    law = LeafLaw(path, leaf.shape, leaf.dtype, mean, square - mean**2, None)
    return _rounded(law, 1e-5 if jumps else 1e-6)


def _constant(path: str, value: Any) -> LeafLaw:
    if jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return LeafLaw(path, value.shape, value.dtype, math.nan, 0.0, None)
    array = np.asarray(value)
    if array.size == 0 or np.all(array == array.flat[0]):
        return LeafLaw(path, array.shape, array.dtype, float(array.flat[0]) if array.size else 0.0, 0.0, None)
    return LeafLaw(path, array.shape, array.dtype, array, 0.0, array)


def _jumps(value: Entries) -> bool:
    """Whether the trapezoid rule needs a finer grid for a function of long words than the one it has."""
    if value.bits <= ALL_WORDS or value.values.dtype.kind != "f":
        return False
    square = np.asarray(value.values, np.float64) ** 2
    odd = np.asarray(value.values, np.float64) * np.exp(-(POINTS**2) / 2)
    even = square * np.exp(-(POINTS**2) / 2)
    off = max(abs(f[1::2].sum() - f[::2].sum()) for f in (even, odd + even))
    return bool(off > 1e-5 * even.sum())


def _moments(value: Entries) -> tuple[float, float, float]:
    """`E[Q]`, `E[Q^2]`, and what of it is beyond the grid, of values `Q(t)` at quantiles `t` of a standard normal."""
    values = np.asarray(value.values, np.float64)
    if value.bits <= ALL_WORDS:
        return float(values.mean()), float(np.mean(values**2)), 0.0
    density = np.exp(-(POINTS**2) / 2) / math.sqrt(2 * math.pi)
    weights = density * STEP
    weights[[0, -1]] /= 2
    # Beyond the grid, `Q` is taken to grow as `t`: then the integral of `t^2` times the density is that of one normal.
    beyond = REACH * density[0] + special.ndtr(-REACH)
    tail = (values[0] ** 2 + values[-1] ** 2) / REACH**2 * beyond
    mean = weights @ values + (values[0] + values[-1]) / REACH * density[0]
    return float(mean), float(weights @ values**2 + tail), float(tail)


def _rounded(law: LeafLaw, accuracy: float = 1e-6) -> LeafLaw:
    """The law that was meant: fractions of sizes, short decimals, and no mean below the resolution of its type."""
    mean, variance = float(law.mean), law.variance
    deviation = math.sqrt(max(variance, 0.0))
    resolution = max(1e-5, 4 * float(jnp.finfo(law.dtype).eps))
    for near in (0.0, float(Fraction(mean).limit_denominator(12)), float(f"{mean:.3g}")):
        if abs(mean - near) <= resolution * deviation:
            mean = near
            break
    products = [[math.prod(s) for s in itertools.combinations(law.shape, n)] for n in range(len(law.shape) + 1)]
    for size in [*sorted(itertools.chain(*products)), *_mean_fans(law.shape)]:
        fraction = float(Fraction(variance * size).limit_denominator(12))
        if size and abs(variance * size - fraction) <= accuracy * fraction:
            return law._replace(mean=mean, variance=fraction / size)
    short = float(f"{deviation:.3g}") ** 2
    return law._replace(mean=mean, variance=short if abs(variance - short) <= accuracy * short else variance)


def _mean_fans(shape: Sequence[int]) -> list[float]:
    """Half of fan-in plus fan-out: of convolutions, with channels last or first, and of dense layers with more axes."""
    if len(shape) < 2:
        return []
    convolutions = [
        (shape[-2] + shape[-1]) / 2 * math.prod(shape[:-2]),
        (shape[0] + shape[1]) / 2 * math.prod(shape[2:]),
    ]
    return convolutions + [(math.prod(shape[:n]) + math.prod(shape[n:])) / 2 for n in range(1, len(shape))]


def _check_keys(paths: Sequence[str], values: Sequence[Any]) -> None:
    """Raises if two leaves, or parts of one, are drawn with the same key."""
    owner: dict[bytes, str] = {}
    for path, value in zip(paths, values, strict=True):
        for key in () if isinstance(value, Known) else value.keys:
            if key in owner:
                which = f"leaves {owner[key]} and {path}" if owner[key] != path else f"parts of leaf {path}"
                raise LiftError(
                    f"The initialiser draws {which} with one random key, so they are not independent. Split the key, "
                    f"or, if they are different entries of one draw, say so. {_HOW}"
                )
            owner[key] = path


def _one_of_each_kind(values: Sequence[Any]) -> list[int]:
    """One leaf for each way in which leaves are made of words: of those large enough for a check, the smallest."""
    best: dict[int, int] = {}
    for i, value in enumerate(values):
        if isinstance(value, Entries) and value.bits:

            def cost(j: int) -> float:
                size = math.prod(values[j].shape)
                return max(size / _DRAWN, _DRAWN / max(size, 1))

            if value.steps not in best or cost(i) < cost(best[value.steps]):
                best[value.steps] = i
    return list(best.values())


def _draw(closed: Any, leaf: int, size: int) -> np.ndarray:
    """Draws of one leaf by the initialiser's program, `[draws, *shape]`, with words by NumPy: keys were checked."""
    needed = [i == leaf for i in range(len(opened(closed)[0].outvars))]
    missing: list[jax.ShapeDtypeStruct] = []

    def program(key: Any, words: Sequence[Any]) -> Any:
        remaining = list(words)

        def rule(jaxpr: Any, eqn: Any, operands: list[Any]) -> list[Any]:
            if eqn.primitive.name != "random_bits":
                return bind(jaxpr, eqn, operands)
            if not words:
                missing.append(jax.ShapeDtypeStruct(eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype))
            return [remaining.pop(0) if remaining else jnp.zeros(missing[-1].shape, missing[-1].dtype)]

        return run(closed, [key], needed, lambda x: x, rule)[leaf]

    keys = jax.random.split(jax.random.key(1), min(max(_DRAWN // max(size, 1), 2), 64))
    jax.eval_shape(program, keys[0], ())
    generator, compiled = np.random.default_rng(0), jax.jit(program)
    draws = []
    for key in keys:
        words = [generator.integers(0, np.iinfo(w.dtype).max, w.shape, w.dtype, endpoint=True) for w in missing]
        draws.append(np.asarray(compiled(key, words), np.float64))
    return np.stack(draws)


def _check_moments(law: LeafLaw, draws: np.ndarray) -> None:
    """Raises if true draws do not have the moments that were read."""
    square, expected = np.mean(draws**2), law.variance + float(law.mean) ** 2
    error = math.sqrt(max(np.mean(draws**4) - square**2, 0.0) / max(draws.size, 1))
    mean_error = math.sqrt(law.variance / max(draws.size, 1))
    off = abs(square - expected) > _STANDARD_ERRORS * error + 1e-5 * expected
    if off or abs(np.mean(draws) - law.mean) > _STANDARD_ERRORS * mean_error + 1e-5 * math.sqrt(expected):
        raise LiftError(
            f"Leaf {law.path} has the mean {law.mean:.4g} and mean square {expected:.4g} by the initialiser's program, "
            f"but draws have {np.mean(draws):.4g} and {square:.4g}. {_HOW}"
        )


def _pooled(path: str, leaf: Any, draws: np.ndarray) -> LeafLaw:
    """The distribution of entries that depend on each other, if all draws have one sum of squares, in all places."""
    cannot = (
        f"The distribution of leaf {path} of shape {leaf.shape} cannot be read from the initialiser: its entries are"
    )
    if draws.size == 0:
        return LeafLaw(path, leaf.shape, leaf.dtype, 0.0, 0.0, None)
    squares = np.mean(draws.reshape(len(draws), -1) ** 2, axis=1)
    square = float(squares.mean())
    if np.ptp(squares) > 1e-4 * square:
        raise LiftError(f"{cannot} no functions of one random number each, or share one. {_HOW}")
    spread = math.sqrt(max(np.mean(draws**4) - square**2, 0.0))
    for axis in range(1, draws.ndim):
        others = tuple(a for a in range(draws.ndim) if a != axis)
        off = np.abs(np.mean(draws**2, axis=others) - square)
        if np.any(off > _STANDARD_ERRORS * spread / math.sqrt(draws.size / draws.shape[axis]) + 1e-5 * square):
            raise LiftError(f"{cannot} distributed differently along axis {axis - 1}. {_HOW}")
    if np.any(np.ptp(draws, axis=0) == 0) or abs(np.mean(draws)) > _STANDARD_ERRORS * math.sqrt(square / draws.size):
        raise LiftError(f"{cannot} distributed differently, or have a mean. {_HOW}")
    return _rounded(LeafLaw(path, leaf.shape, leaf.dtype, 0.0, square, None))
