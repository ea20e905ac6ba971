"""All tables of a function and of its derivative, made once, and how accurate they are."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents.stax._nonlinearities.angle_tables import AngleTable, Entrywise, Rule, angle_tables
from neural_tangents.stax._nonlinearities.hermite_tables import LARGEST, HermiteTable, hermite_table

Function = Callable[[Any], Any]

# Where tables are compared with another quadrature rule, between the nodes that they are made of.
_CHECKED = np.array([0.0316, 0.117, 0.4, 1.13, 2.9, 10.0])
_CHECKED_ANGLES = np.array([0.0, 1e-3, 0.037, 0.3, 0.81, 1.37])
# Of the terms of a table, those that count: the first of these multiples of the tolerance that gives small errors.
_MULTIPLES = (30.0, 10.0, 3.0, 1.0, 0.1, 0.0)
# For millions of values, also where programs are compiled without optimisations, as they are in tests.
_OPTIMISED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}


class Part(NamedTuple):
    """The even or the odd part of a function.

    Attributes:
      angle: its expectations by angles and standard deviations.
      hermite: the same by Hermite polynomials, for small standard deviations; None if too many would be needed.
    """

    angle: AngleTable
    hermite: HermiteTable | None


class FunctionTables(NamedTuple):
    """Expectations of a function and of its derivative.

    Attributes:
      value: the parts of the function, even and odd, of those that are not zero.
      slope: those of its derivative.
      error: the largest error that was found in `E[g(u) g(v)]`, relative to `sqrt(E[g(u)^2] E[g(v)^2])`, for either.
    """

    value: tuple[Part, ...]
    slope: tuple[Part, ...]
    error: float


@functools.lru_cache(maxsize=128)
def function_tables(fn: Function, derivative: Function | None, tolerance: float) -> FunctionTables:
    """The tables of a function and of its derivative, with as many terms as a tolerance needs, or as there are."""
    both = [_complete(g) for g in (fn, _derivative(fn) if derivative is None else derivative)]
    rounded, errors = zip(*(complete.rounded(tolerance) for complete in both), strict=True)
    hermite: list[list[Any]] = [[None] * len(tables) for tables in rounded]
    for largest in LARGEST:
        found = [c.hermite(tables, largest, tolerance / 2) for c, tables in zip(both, rounded, strict=True)]
        if not any(table is None for tables in found for table in tables):
            hermite = found
            break
    value, slope = (tuple(map(Part, *tables)) for tables in zip(rounded, hermite, strict=True))
    return FunctionTables(value, slope, max(errors))


@functools.lru_cache(maxsize=128)
def _derivative(fn: Function) -> Function:
    return lambda x: jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]


class _Complete(NamedTuple):
    """A function, its tables with all terms, and expectations with which they are compared."""

    fn: Entrywise
    tables: Sequence[AngleTable]
    checks: Sequence[np.ndarray]

    def rounded(self, tolerance: float) -> tuple[list[AngleTable], float]:
        """Tables with fewer terms, and the error of these."""
        for multiple in _MULTIPLES:
            tables = [table.rounded(multiple * tolerance) for table in self.tables]
            if (error := self.error(tables)) <= tolerance / 5:
                break
        return tables, error

    def error(self, tables: Sequence[AngleTable]) -> float:
        left = {odd: self.checks[odd] for odd in (0, 1)}
        for table in tables:
            left[table.odd] = left[table.odd] - table(_CHECKED, _CHECKED_ANGLES)
        size = np.sqrt(np.diagonal(self.checks[0][0] + self.checks[1][0]))
        size = np.maximum(size, 1e-6 * np.max(size))  # functions may vanish near 0
        error = float(np.max((np.abs(left[0]) + np.abs(left[1])) / (size[:, None] * size)))
        return min(error, 1.0) if np.isfinite(error) else 1.0

    def hermite(self, tables: Sequence[AngleTable], largest: float, tolerance: float) -> list[HermiteTable | None]:
        def part(odd: bool) -> Callable[[np.ndarray], np.ndarray]:
            return lambda x: (self.fn(x) - self.fn(-x) if odd else self.fn(x) + self.fn(-x)) / 2

        return [hermite_table(part(table.odd), table.odd, table.order, largest, tolerance) for table in tables]


@functools.lru_cache(maxsize=128)
def _complete(fn: Function) -> _Complete:
    compiled = jax.jit(fn, compiler_options=_OPTIMISED)

    def evaluated(x: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True), jax.core.eval_context(), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.broadcast_to(np.asarray(compiled(jnp.asarray(x, jnp.float64)), np.float64), x.shape)

    entrywise = Entrywise(evaluated)
    rule = Rule.of(20)
    checks = zip(*(rule.moments(entrywise, _CHECKED, phi) for phi in _CHECKED_ANGLES), strict=True)
    return _Complete(entrywise, angle_tables(entrywise), [np.stack(check) for check in checks])
