"""Entrywise functions of one Gaussian: told apart, and recognised, by their values."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

from neural_tangents import stax
from neural_tangents.tracing import _expectations as expectations
from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._kinks import MOST, kinks

_GRID = np.concatenate([-np.geomspace(8, 0.02, 60), np.geomspace(0.02, 8, 61)])
_TOLERANCE = 1e-7
_ROUGHLY = 1e-3  # errors of series above which they are not used for functions with kinks
_FASTEST = 12.0  # power of a function whose expectations are known


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """An entrywise function.

    Attributes:
      fn: the function, of arrays of any floating type.
      values: its values on a grid, which has no 0.
      at_zero: its value at 0.
      is_bool: whether its values are truth values.
    """

    fn: Callable[[Array], Array]
    values: np.ndarray
    at_zero: float
    is_bool: bool = False

    @functools.cached_property
    def linear(self) -> tuple[float, float] | None:
        """`(a, b)` if it is `a x + b`, also at 0: `where(x == 0, 1, x)` is not, and may be a divisor."""
        if self.is_bool:
            return None
        a, b = np.polyfit(_GRID, self.values, 1) if np.all(np.isfinite(self.values)) else (np.nan, np.nan)
        if not self.is_close(a * _GRID + b) or not abs(self.at_zero - b) <= _TOLERANCE * (1e-3 + abs(b)):
            return None
        return _nice(a), _nice(b)

    @functools.cached_property
    def rough(self) -> expectations.Rough:
        """The function with the places where it is not smooth.

        Raises:
          LiftError: there are too many, or it has no finite value somewhere.
        """
        if not np.all(np.isfinite(self.values)) or not np.isfinite(self.at_zero):
            where = 0.0 if np.all(np.isfinite(self.values)) else float(_GRID[~np.isfinite(self.values)][0])
            raise LiftError(
                f"A nonlinearity is not finite everywhere, such as at {where:.3g}, and its expectations may not be. "
                "Say what it is there by `jnp.where`, or choose one that is bounded."
            )
        fns, fn = [], self.fn
        for _ in range(3):
            fns.append(_on_doubles(fn))
            fn = expectations.slope(fn)
        places = kinks(fns[0], (fns[1], fns[2]))
        if len(places) > MOST:
            raise LiftError("A nonlinearity has too many kinks or jumps for its expectations to be computed.")
        return expectations.Rough(self.fn, places)

    @functools.cached_property
    def slope(self) -> "Activation":
        """Its derivative."""
        return activation(expectations.slope(self.fn))

    @functools.cached_property
    def layer(self) -> Any:
        """The layer that applies it: a public one that has its values, or one for any function.

        Raises:
          LiftError: the function is not finite, grows too fast, or has too many kinks for any.
        """
        if self._found[0] is not None:
            return self._found[0]
        layer = stax.Nonlinearity(self.fn, kinks=self.rough.kinks)
        if self._grows_fast:
            raise LiftError(
                "The expectations of a nonlinearity cannot be computed: it grows too fast, such as exponentially. "
                "Choose one that grows at most as a power, or `exp` of a linear function alone."
            )
        return layer

    @functools.cached_property
    def needs_quadrature(self) -> bool:
        """Whether series are so far off that pairs are better computed by quadrature between kinks."""
        if self._found[0] is not None or not any(self.rough.kinks) or self._is_piecewise_linear:
            return False
        return stax.nonlinearity_error(self.fn) > _ROUGHLY

    @functools.cached_property
    def accuracy(self) -> str:
        """How accurate its kernel is, in words; empty for a closed form. Takes seconds for functions without a name."""
        layer, by_series = self._found
        if layer is not None:
            return f"{layer!r}: relative errors below 1e-9" if by_series else ""
        if self._is_piecewise_linear:
            return f"a function that is linear between kinks at {self._places}: relative errors below 1e-9"
        if self.needs_quadrature:
            return f"a function that is smooth between kinks at {self._places}"
        error = stax.nonlinearity_error(self.fn)
        where = f" with kinks at {self._places}" if any(self.rough.kinks) else ""
        return f"a function without a layer of its own{where}: relative errors of about {error:.0e}"

    @functools.cached_property
    def _found(self) -> tuple[Any, bool]:
        """The layer of its own that it has, and whether the kernel of this is by series; or None."""
        found = ((find(self), find in _BY_SERIES) for find in _FAMILIES)
        return next((pair for pair in found if pair[0] is not None), (None, False))

    @property
    def _places(self) -> str:
        return ", ".join(f"{kink:.4g}" for kink in self.rough.kinks)

    @property
    def _grows_fast(self) -> bool:
        """Whether it grows faster than the power `_FASTEST`, so that series do not reach far enough."""
        near, far = (np.abs(_on_doubles(self.fn)(np.array([-x, x]))) for x in (32.0, 256.0))
        return not bool(np.all(far <= (1 + near) * 8**_FASTEST))

    @functools.cached_property
    def _is_piecewise_linear(self) -> bool:
        ends, fn = np.array([-64.0, *self.rough.kinks, 64.0]), _on_doubles(self.fn)
        values = fn(ends[:-1, None] + np.diff(ends)[:, None] * np.linspace(0.01, 0.99, 9))
        bends = np.max(np.abs(np.diff(values, 2, axis=1)))
        jumps = np.max(np.abs(fn(ends[1:-1] + 1e-9) - fn(ends[1:-1] - 1e-9)))
        return bool(bends <= 1e-12 * (1 + np.max(np.abs(values))) and jumps < 1e-6)

    def times(self, factor: float) -> "Activation":
        """The function times a number."""

        def fn(x: Array) -> Array:
            return self.fn(x) * jnp.asarray(factor, x.dtype)

        return activation(fn)

    def is_close(self, values: np.ndarray) -> bool:
        """Whether its values on the grid are these."""
        scale = _TOLERANCE * (1e-3 + np.abs(self.values))
        return bool(np.all(np.isfinite(values)) and np.all(np.abs(values - self.values) <= scale))

    def mean(self, q: Array) -> Array:
        """`E[f(u)]` for variances `q`."""
        return expectations.mean(self.rough, q)


def _on_doubles(fn: Callable[[Array], Array]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of arrays of NumPy, in double precision."""

    def of_numpy(x: np.ndarray) -> np.ndarray:
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            return np.asarray(fn(jnp.asarray(x, np.float64)), np.float64)

    return of_numpy


_known: list[Activation] = []


def activation(fn: Callable[[Array], Array]) -> Activation:
    """The function as an `Activation`: the same object for functions with equal values."""
    grid = np.append(_GRID, 0.0)
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        results = np.asarray(fn(jnp.asarray(grid)))
    is_bool = results.dtype == bool
    values = np.broadcast_to(results.astype(np.float64), grid.shape)
    for known in _known:
        ours = np.append(known.values, known.at_zero)
        if known.is_bool == is_bool and np.array_equal(ours, values, equal_nan=True):
            return known
    made = Activation(fn, values[:-1], float(values[-1]), is_bool)
    _known.append(made)
    return made


def _nice(x: float) -> float:
    """A number without the rounding error of a short decimal fraction in single precision."""
    return round(float(x), 6) if abs(x - round(float(x), 6)) < 1e-7 * max(1e-2, abs(x)) else float(x)


def _at(fn: Callable[[Array], Array], order: int) -> list[float]:
    """The function and its derivatives at 0."""
    values = []
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        for _ in range(order + 1):
            values.append(float(fn(jnp.zeros(1))[0]))
            fn = expectations.slope(fn)
    return values


def _half_lines(phi: Activation) -> Any:
    a, b = phi.values[0] / _GRID[0], phi.values[-1] / _GRID[-1]
    if not phi.is_close(np.where(_GRID < 0, a, b) * _GRID):
        return None
    a, b = _nice(a), _nice(b)
    return stax.Relu() if (a, b) == (0, 1) else stax.ABRelu(a, b)


def _powers(phi: Activation) -> Any:
    for degree in range(2, 6):
        if phi.is_close(np.maximum(_GRID, 0) ** degree):
            return stax.RectifiedMonomial(degree)
    if phi.is_close(_GRID > 0):
        return stax.RectifiedMonomial(0)
    return stax.Sign() if phi.is_close(np.sign(_GRID)) else None


def _polynomials(phi: Activation) -> Any:
    if not np.all(np.isfinite(phi.values)):
        return None
    for degree in range(9):
        basis = np.vander(_GRID / 8, degree + 1, increasing=True)
        coefficients = np.linalg.lstsq(basis, phi.values, rcond=None)[0]
        if phi.is_close(basis @ coefficients):
            scaled = coefficients / 8.0 ** np.arange(degree + 1)
            return stax.Polynomial(tuple(_nice(c) if abs(c) > 1e-10 else 0.0 for c in scaled))
    return None


def _erfs(phi: Activation) -> Any:
    f, df = _at(phi.fn, 1)
    a = phi.values[-1] - f
    if not np.isfinite([f, df, a]).all() or not a:
        return None
    b = df * math.sqrt(math.pi) / (2 * a)
    erf = np.vectorize(math.erf)
    return stax.Erf(_nice(a), _nice(b), _nice(f)) if phi.is_close(a * erf(b * _GRID) + f) else None


def _gelus(phi: Activation) -> Any:
    gelu = _GRID * np.vectorize(math.erfc)(-_GRID / math.sqrt(2)) / 2
    return stax.Gelu() if phi.is_close(gelu) else None


def _sines(phi: Activation) -> Any:
    d = _at(phi.fn, 3)
    if not np.isfinite(d).all():
        return None
    squared = [-d[i + 2] / d[i] for i in (0, 1) if abs(d[i]) > 1e-8]
    if not squared or squared[0] <= 0:
        return None
    b = math.sqrt(squared[0])
    a, c = math.hypot(d[0], d[1] / b), math.atan2(d[0], d[1] / b)
    if not phi.is_close(a * np.sin(b * _GRID + c)):
        return None
    return stax.Sin(_nice(a), _nice(b), _nice(c))


def _exponentials(phi: Activation) -> Any:
    f, df, ddf = _at(phi.fn, 2)
    if not np.isfinite([f, df, ddf]).all() or not f:
        return None
    b, c = df / f, ddf / (2 * f)
    if phi.is_close(f * np.exp(b * _GRID)):
        return stax.Exp(_nice(f), _nice(b))
    return stax.Gaussian(_nice(f), _nice(c)) if not df and phi.is_close(f * np.exp(c * _GRID**2)) else None


def _without_arguments(phi: Activation) -> Any:
    sigmoid, softplus = special.expit(_GRID), np.logaddexp(_GRID, 0)
    selu = 1.0507009873554805 * np.where(_GRID > 0, _GRID, 1.6732632423543772 * np.expm1(np.minimum(_GRID, 0)))
    functions = {
        **{"Tanh": np.tanh(_GRID), "Sigmoid": sigmoid, "Silu": _GRID * sigmoid, "Softplus": softplus, "Selu": selu},
        **{"Mish": _GRID * np.tanh(softplus), "Softsign": _GRID / (1 + np.abs(_GRID))},
        **{"LogCosh": np.logaddexp(_GRID, -_GRID) - math.log(2)},
        **{"HardTanh": np.clip(_GRID, -1, 1), "Relu6": np.clip(_GRID, 0, 6)},
    }
    return next((getattr(stax, name)() for name, values in functions.items() if phi.is_close(values)), None)


def _elus(phi: Activation) -> Any:
    alpha = _nice(phi.values[0] / math.expm1(_GRID[0]))
    if not alpha or not phi.is_close(np.where(_GRID > 0, _GRID, alpha * np.expm1(np.minimum(_GRID, 0)))):
        return None
    return stax.Elu(alpha)


def _squareplus(phi: Activation) -> Any:
    b = _nice(4 * _at(phi.fn, 0)[0] ** 2)
    return stax.Squareplus(b) if b and phi.is_close((_GRID + np.sqrt(_GRID**2 + b)) / 2) else None


_BY_SERIES = (_without_arguments, _elus, _squareplus)
# In an order in which those that take derivatives come last.
_FAMILIES = (_half_lines, _powers, _polynomials, _gelus, *_BY_SERIES, _erfs, _sines, _exponentials)
