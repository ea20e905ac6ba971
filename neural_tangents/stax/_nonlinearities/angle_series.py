"""Expectations of pairs of Gaussians from tables of a function: which table to use, and the sums over its terms."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core import mesh_axes
from neural_tangents._core.numerics import safe_sqrt
from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._nonlinearities.angle_tables import AngleTable, place_of_deviation, place_of_distance
from neural_tangents.stax._nonlinearities.function_tables import Part
from neural_tangents.stax._nonlinearities.hermite_tables import HermiteTable
from neural_tangents.stax._nonlinearities.polar import Pairs, Spread

# About how many pairs are evaluated at a time, so that they stay in the caches of a processor.
_BLOCK = 2**14


def expectations(
    functions: Sequence[Sequence[Part]], pairs: Pairs, spread: Spread, shortest: bool = False
) -> tuple[Array, ...]:
    """`E[g(u) g(v)]` of some functions, each given by its parts.

    The shortest series for all pairs depends on the variances. Where they are the same, it is one in the angle alone,
    whose derivatives in the variances are not right. Where they are small and functions smooth, it is Mehler's.

    Args:
      functions: tables of each function.
      pairs: distances and standard deviations.
      spread: brings arrays of the shapes of `r1` and `r2` into those that broadcast against `k`.
      shortest: whether to choose between series, each of which is compiled; else the one that is always right is used.
    """
    if not shortest:
        return _by_angle(functions, pairs, spread)
    least = jnp.minimum(jnp.min(pairs.r1), jnp.min(pairs.r2))
    most = jnp.maximum(jnp.max(pairs.r1), jnp.max(pairs.r2))
    middle = (least + most) / 2
    routes: list[Callable[[Pairs], Any]] = [
        lambda pairs: _by_angle(functions, pairs, spread),
        lambda pairs: tuple(_of_one_deviation(parts, pairs, spread, middle) for parts in functions),
    ]
    index = jnp.where(most - least <= 8 * jnp.finfo(most.dtype).eps * most, 1, 0)
    series = [part.hermite for parts in functions for part in parts]
    if all(table is not None for table in series):
        limit = min(table.largest for table in series if table is not None)
        index = jnp.where((index == 0) & (most <= limit), 2, index)
        routes.append(lambda pairs: tuple(_by_hermite(parts, pairs, spread) for parts in functions))
    return mesh_axes.switch(index, routes, pairs)


def square(parts: Sequence[Part], r: Array) -> Array:
    """`E[g(u)^2]` of a function, for standard deviations."""
    total = jnp.zeros_like(r)
    for table in (part.angle for part in parts):
        h = _functions(table, r)
        core = np.tensordot((-1.0) ** np.arange(len(table.core)), table.core, 1)
        total += jnp.sum(h * _product(core, h), axis=0)
    return total


def _of_one_deviation(parts: Sequence[Part], pairs: Pairs, spread: Spread, r: Array) -> Array:
    total, y = jnp.zeros_like(pairs.k), place_of_distance(pairs.distance, safe_sqrt)
    for table in (part.angle for part in parts):
        h = _functions(table, r)
        terms = jnp.einsum("jab,a,b->j", jnp.asarray(table.core, h.dtype), h, h, precision=matmul_precision())
        total += pairs.signed(_chebyshev_sum(terms, y), table.odd)
    # A layout may have entries that stand for no pair, which must stay zero.
    return total * jnp.multiply(*spread(jnp.ones_like(pairs.r1), jnp.ones_like(pairs.r2)))


def _by_hermite(parts: Sequence[Part], pairs: Pairs, spread: Spread) -> Array:
    total, cosine = jnp.zeros_like(pairs.k), 1 - pairs.distance
    square = cosine * cosine
    for table in (part.hermite for part in parts):
        assert table is not None
        terms = zip(_coefficients(table, pairs.r1), _coefficients(table, pairs.r2), strict=True)
        products = [jnp.multiply(*spread(a, b)) for a, b in terms]
        value = _power_sum(products[0::2], square * square) + square * _power_sum(products[1::2], square * square)
        total += pairs.signed(value * cosine if table.odd else value, table.odd)
    return total


def _by_angle(functions: Sequence[Sequence[Part]], pairs: Pairs, spread: Spread) -> tuple[Array, ...]:
    tables = [part.angle for parts in functions for part in parts]
    lefts = [jnp.moveaxis(_functions(table, pairs.r1), 0, -1) for table in tables]
    # Axes `(a, j)`: then sums over `a` are one matrix product.
    rights = [_product(np.swapaxes(table.core, 0, 1), _functions(table, pairs.r2)) for table in tables]

    def of_rows(rows: tuple[Pairs, list[Array]]) -> tuple[Array, ...]:
        pairs, lefts = rows
        y = place_of_distance(pairs.distance, safe_sqrt)
        values = [
            pairs.signed(_chebyshev_loop(_bilinear(jnp.moveaxis(left, -1, 0), right, pairs, spread), y), table.odd)
            for table, left, right in zip(tables, lefts, rights, strict=True)
        ]
        each = iter(values)
        return tuple(sum((next(each) for _ in parts), jnp.zeros_like(y)) for parts in functions)

    return _in_blocks(of_rows, pairs, lefts)


def _bilinear(left: Array, right: Array, pairs: Pairs, spread: Spread) -> Array:
    """`sum_a left[a] right[a, j]` for all pairs, `(J, *shape of pairs)`."""
    first = jax.vmap(lambda a: spread(a, pairs.r2)[0])(left)
    second = jax.vmap(jax.vmap(lambda b: spread(pairs.r1, b)[1]))(right)
    if first.ndim == 3 and first.shape[2] == second.shape[2] == 1:
        terms = jnp.einsum("an,ajm->njm", first[:, :, 0], second[:, :, 0], precision=matmul_precision())
        return jnp.moveaxis(terms, 1, 0)

    def step(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        return total + pair[0][None] * pair[1], None

    zeros = jnp.zeros((right.shape[1], *pairs.k.shape), left.dtype)
    return mesh_axes.scan(step, zeros, (first, second))[0]


def _chebyshev_loop(terms: Array, y: Array) -> Array:
    """`sum_j terms[j] T_j(y)` by Clenshaw's recurrence, as a loop that compiles fast."""

    def step(carry: tuple[Array, Array], term: Array) -> tuple[tuple[Array, Array], None]:
        one, two = carry
        return (2 * y * one - two + term, one), None

    (last, before), _ = mesh_axes.scan(step, (jnp.zeros_like(y), jnp.zeros_like(y)), terms[::-1])
    return last - y * before


def _in_blocks(fn: Callable[[Any], Any], pairs: Pairs, firsts: list[Array]) -> Any:
    """`fn` of some inputs of the first batch at a time, and all of the second."""
    n = len(pairs.r1) if 0 < pairs.r1.ndim < pairs.k.ndim else 1
    size = max(1, min(n, _BLOCK * n // max(1, pairs.k.size)))
    if size >= n:
        return fn((pairs, firsts))
    count = -(-n // size)

    def cut(x: Array) -> Array:
        padded = jnp.concatenate([x, jnp.broadcast_to(x[:1], (count * size - n, *x.shape[1:]))])
        return padded.reshape(count, size, *x.shape[1:])

    def step(carry: None, rows: tuple[Array, Array, Array, list[Array]]) -> tuple[None, Any]:
        k, distance, r1, firsts = rows
        return None, fn((Pairs(k, distance, r1, pairs.r2), firsts))

    rows = (cut(pairs.k), cut(pairs.distance), cut(pairs.r1), [cut(first) for first in firsts])
    results = mesh_axes.scan(step, None, rows)[1]
    return jax.tree.map(lambda x: x.reshape(count * size, *pairs.k.shape[1:])[:n], results)


def _power_sum(terms: Sequence[Array], x: Array) -> Array:
    value = jnp.zeros_like(x)
    for term in reversed(terms):
        value = value * x + term
    return value


def _functions(table: AngleTable, r: Array) -> Array:
    """The functions of a deviation of a table, `(R, *shape)`."""
    return table.weight(r)[None] * _product(table.basis.T, _chebyshev(place_of_deviation(r, jnp), len(table.basis)))


def _coefficients(table: HermiteTable, r: Array) -> Array:
    """The coefficients of a series, `(n, *shape)`."""
    x = jnp.minimum(2 / table.largest * r - 1, 1)
    return (r**table.order)[None] * _product(table.basis.T, _chebyshev(x, len(table.basis)))


def _product(matrix: np.ndarray, x: Array) -> Array:
    return jnp.tensordot(jnp.asarray(matrix, x.dtype), x, 1, precision=matmul_precision())


def _chebyshev_sum(terms: Sequence[Array] | Array, y: Array) -> Array:
    """`sum_j terms[j] T_j(y)`: even and odd terms by themselves, in two chains of operations half as long."""
    w = 2 * y * y - 1  # with it, `T_(2 i)(y) = T_i(w)` and `T_(2 i + 1)(y) = y W_i(w)`, where `W_1 = 2 w - 1`
    even, odd = [(jnp.zeros_like(y), jnp.zeros_like(y))] * 2
    for i in reversed(range(1, (len(terms) + 1) // 2)):
        even = 2 * w * even[0] - even[1] + terms[2 * i], even[0]
    for i in reversed(range(len(terms) // 2)):
        odd = 2 * w * odd[0] - odd[1] + terms[2 * i + 1], odd[0]
    return w * even[0] - even[1] + terms[0] + y * (odd[0] - odd[1])


def _chebyshev(x: Array, n: int) -> Array:
    """The first polynomials, `(n, *shape of x)`."""

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        before, last = carry
        return (last, 2 * x * last - before), before

    return mesh_axes.scan(step, (jnp.ones_like(x), x), None, n)[1]
