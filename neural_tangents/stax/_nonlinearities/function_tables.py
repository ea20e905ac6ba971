"""All tables of a function and of its derivative, made once, and how accurate they are."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from neural_tangents.stax._nonlinearities.angle_tables import FINEST, AngleTable, angle_tables
from neural_tangents.stax._nonlinearities.hermite_tables import LARGEST, HermiteTable, half_line, hermite_table
from neural_tangents.stax._nonlinearities.sectors import DEVIATIONS, Function, Quadrature, Rule

# Where tables are compared with another quadrature rule, between the nodes that they are made of.
_CHECKED = np.array([0.0316, 0.117, 0.4, 1.13, 2.9, 10.0])
_CHECKED_ANGLES = np.array([0.0, 1e-3, 0.037, 0.3, 0.81, 1.37])
# Where the order of a zero at 0 is seen.
_TINY = np.array([1e-3, 2e-3])
# Of the terms of a table, those that count: the first of these multiples of the tolerance that gives small errors.
_MULTIPLES = (30.0, 10.0, 3.0, 1.0, 0.1, 0.0)


class Part(NamedTuple):
    """The even or the odd part of a function.

    Attributes:
      angle: its expectations by angles and standard deviations.
      hermite: the same by Hermite polynomials, for small standard deviations; None if too many would be needed.
    """

    angle: AngleTable
    hermite: HermiteTable | None


class Stack(NamedTuple):
    """All parts of a function and of its derivative in arrays of the same shape, for a program that does not know them.

    Attributes:
      order: of the zeros of both at 0, `(2, 1, 1, 1)`.
      growth: the exponents with which both grow, `(2, 1, 1, 1)`.
      basis: `AngleTable.basis`, filled up with zeros, `(2, parity, R, M)`.
      core: `AngleTable.core` from the last term to the first, `(J, 2, parity, R, R)`.
    """

    order: np.ndarray
    growth: np.ndarray
    basis: np.ndarray
    core: np.ndarray

    @classmethod
    def of(cls, both: Sequence[Sequence[AngleTable]], dtype: Any) -> "Stack":
        """The stack of both lists of tables."""
        every = [table for tables in both for table in tables]
        j, r = (n + -n % 8 for n in map(max, zip(*(t.core.shape[:2] for t in every), strict=True)))
        order, growth = np.zeros((2, 2, 1, 1, 1), dtype)
        basis, core = np.zeros((2, 2, r, DEVIATIONS), dtype), np.zeros((j, 2, 2, r, r), dtype)
        for i, tables in enumerate(both):
            for t in tables:
                order[i], growth[i] = t.order, t.growth
                n, m = t.core.shape[:2]
                basis[i, int(t.odd), :m] = t.basis.T
                core[j - n :, i, int(t.odd), :m, :m] = t.core[::-1]
        return cls(order, growth, basis, core)


class FunctionTables(NamedTuple):
    """Expectations of a function and of its derivative.

    Attributes:
      value: the parts of the function, even and odd, of those that are not zero.
      slope: those of its derivative.
      stack: the tables by angles of both.
      error: the largest error that was found in `E[g(u) g(v)]`, relative to `sqrt(E[g(u)^2] E[g(v)^2])`, for either.
    """

    value: tuple[Part, ...]
    slope: tuple[Part, ...]
    stack: Stack
    error: float


@functools.lru_cache(maxsize=128)
def function_tables(fn: Function, derivative: Function | None, tolerance: float, dtype: Any = float) -> FunctionTables:
    """The tables of a function and of its derivative, with as many terms as a tolerance needs, or as there are."""
    both = _complete(fn, derivative)
    rounded, errors = zip(*(complete.rounded(tolerance) for complete in both), strict=True)
    hermite: list[list[Any]] = [[None] * len(tables) for tables in rounded]
    for largest in LARGEST:
        found = [c.hermite(tables, largest, tolerance / 2) for c, tables in zip(both, rounded, strict=True)]
        if not any(table is None for tables in found for table in tables):
            hermite = found
            break
    value, slope = (tuple(map(Part, *tables)) for tables in zip(rounded, hermite, strict=True))
    value, slope = jax.tree.map(lambda x: np.asarray(x, dtype) if isinstance(x, np.ndarray) else x, (value, slope))
    return FunctionTables(value, slope, Stack.of(rounded, dtype), max(errors))


class _Complete(NamedTuple):
    """A function, its tables with all terms, and what tables with fewer are made of and compared with.

    Attributes:
      values: of the even and of the odd part at the nodes of `half_line`.
      tables: of those parts that are not zero.
      checks: expectations of both parts, `(parity, angle, S, S)`.
    """

    values: np.ndarray
    tables: Sequence[AngleTable]
    checks: np.ndarray

    def rounded(self, tolerance: float) -> tuple[list[AngleTable], float]:
        """Tables with fewer terms, and the error of these."""
        for multiple in _MULTIPLES:
            tables = [table.rounded(multiple * tolerance) for table in self.tables]
            if (error := self.error(tables)) <= tolerance / 4:
                break
        return tables, error

    def error(self, tables: Sequence[AngleTable]) -> float:
        if not np.any(self.checks):
            return 0.0  # of what is 0, as the derivative of a function of steps
        left = self.checks.copy()
        for table in tables:
            left[int(table.odd)] -= table(_CHECKED, _CHECKED_ANGLES)
        size = np.sqrt(np.diagonal(self.checks[0, 0] + self.checks[1, 0]))
        size = np.maximum(size, 1e-6 * np.max(size))  # functions may vanish near 0
        error = float(np.max(np.sum(np.abs(left), axis=0) / (size[:, None] * size)))
        return min(error, 1.0) if np.isfinite(error) else 1.0

    def hermite(self, tables: Sequence[AngleTable], largest: float, tolerance: float) -> list[HermiteTable | None]:
        return [hermite_table(self.values[int(t.odd)], t.odd, t.order, largest, tolerance) for t in tables]


@functools.lru_cache(maxsize=128)
def _complete(fn: Function, derivative: Function | None) -> list[_Complete]:
    """The function and its derivative."""
    quadrature = Quadrature(fn, derivative)
    x, _ = half_line()
    right, left = np.moveaxis(quadrature.values(np.stack([x, -x])), 1, 0)
    values = np.stack([right + left, right - left], axis=1) / 2
    checks = quadrature(np.append(_CHECKED, _TINY), _CHECKED_ANGLES, Rule.of(0.7 * FINEST))
    tiny = np.sum(np.diagonal(checks[:, :, 0], axis1=2, axis2=3), axis=1)[:, len(_CHECKED) :]
    n = len(_CHECKED)
    return list(map(_Complete, values, angle_tables(quadrature, tiny), checks[..., :n, :n]))
