"""Expectations of pairs of Gaussians from tables of a function: which table to use, and the sums over its terms."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core import mesh_axes
from neural_tangents._core.chebyshev import chebyshev_sum
from neural_tangents._core.numerics import safe_sqrt
from neural_tangents._core.precision import matmul_precision
from neural_tangents.stax._nonlinearities.angle_tables import AngleTable, place_of_deviation, place_of_distance
from neural_tangents.stax._nonlinearities.function_tables import FunctionTables, Part, Stack
from neural_tangents.stax._nonlinearities.hermite_tables import HermiteTable
from neural_tangents.stax._nonlinearities.polar import Pairs, Spread

# About how many pairs are evaluated at a time, so that they stay in the caches of a processor.
_BLOCK = 2**14
# So many pairs are few.
FEW = 2**14


def compiled_for_layouts(*static: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles a function of `(data, pairs, spread, shortest)` once for each `spread`; not if that holds traced values.

    Args:
      static: further arguments that are known.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        program = jax.jit(fn, static_argnames=(*static, "spread", "shortest"))

        @functools.wraps(fn)
        def call(data: Any, pairs: Pairs, spread: Spread, shortest: bool = False) -> Any:
            try:
                hash(spread)
            except TypeError:  # that of a slab
                return fn(data, pairs, spread, shortest)
            return program(data, pairs, spread=spread, shortest=shortest)

        return call

    return decorate


@compiled_for_layouts()
def expectations(tables: FunctionTables, pairs: Pairs, spread: Spread, shortest: bool = False) -> tuple[Array, ...]:
    """`E[f(u) f(v)]` and `E[f'(u) f'(v)]`.

    The shortest series for all pairs depends on the variances. Where they are the same, it is one in the angle alone,
    whose derivatives in the variances are not right. Where they are small and functions smooth, it is Mehler's. For few
    pairs, compiling takes longer than evaluating: for them there is one program, which all functions share.

    Args:
      tables: those of a function.
      pairs: distances and standard deviations.
      spread: brings arrays of the shapes of `r1` and `r2` into those that broadcast against `k`.
      shortest: whether to choose between series, each of which is compiled; else the one that is always right is used.
    """
    functions = (tables.value, tables.slope)
    if pairs.k.size <= FEW:
        return _by_stack(tables.stack, pairs, spread)
    if not shortest:
        return _by_angle(functions, pairs, spread)
    equal, middle = one_deviation(pairs)
    most = jnp.maximum(jnp.max(pairs.r1), jnp.max(pairs.r2))
    routes: list[Callable[[Pairs], Any]] = [
        lambda pairs: _by_angle(functions, pairs, spread),
        lambda pairs: tuple(_of_one_deviation(parts, pairs, spread, middle) for parts in functions),
    ]
    index = jnp.where(equal, 1, 0)
    series = [part.hermite for parts in functions for part in parts]
    if series[0] is not None:  # then there is one of each part, up to the same deviation
        index = jnp.where((index == 0) & (most <= series[0].largest), 2, index)
        routes.append(lambda pairs: tuple(_by_hermite(parts, pairs, spread) for parts in functions))
    return mesh_axes.switch(index, routes, pairs)


def one_deviation(pairs: Pairs) -> tuple[Array, Array]:
    """Whether all inputs have the same standard deviation, up to rounding; and one in the middle of all."""
    least = jnp.minimum(jnp.min(pairs.r1), jnp.min(pairs.r2))
    most = jnp.maximum(jnp.max(pairs.r1), jnp.max(pairs.r2))
    return most - least <= 8 * jnp.finfo(most.dtype).eps * most, (least + most) / 2


@jax.jit
def square(stack: Stack, r: Array) -> Array:
    """`E[f(u)^2]` for standard deviations."""
    h = _functions_of_stack(stack, r.ravel())[0]
    signs = (-1.0) ** np.arange(len(stack.core))[::-1]
    core = jnp.tensordot(jnp.asarray(signs, h.dtype), stack.core[:, 0], 1)
    product = jnp.einsum("pab,pbn->pan", core, h, precision=matmul_precision())
    return jnp.sum(h * product, axis=(0, 1)).reshape(r.shape)


def _of_one_deviation(parts: Sequence[Part], pairs: Pairs, spread: Spread, r: Array) -> Array:
    total, y = jnp.zeros_like(pairs.k), place_of_distance(pairs.distance, safe_sqrt)
    for table in (part.angle for part in parts):
        h = _functions(table, r)
        terms = jnp.einsum("jab,a,b->j", jnp.asarray(table.core, h.dtype), h, h, precision=matmul_precision())
        value = chebyshev_sum(terms, y)
        total += value * pairs.correlation if table.odd else value
    # A layout may have entries that stand for no pair, which must stay zero.
    return total * jnp.multiply(*spread(jnp.ones_like(pairs.r1), jnp.ones_like(pairs.r2)))


def _by_hermite(parts: Sequence[Part], pairs: Pairs, spread: Spread) -> Array:
    total, square = jnp.zeros_like(pairs.k), pairs.correlation**2
    for table in (part.hermite for part in parts):
        assert table is not None
        terms = zip(_coefficients(table, pairs.r1), _coefficients(table, pairs.r2), strict=True)
        products = [jnp.multiply(*spread(a, b)) for a, b in terms]
        value = _power_sum(products[0::2], square * square) + square * _power_sum(products[1::2], square * square)
        total += value * pairs.correlation if table.odd else value
    return total


def _by_angle(functions: Sequence[Sequence[Part]], pairs: Pairs, spread: Spread) -> tuple[Array, ...]:
    tables = [part.angle for parts in functions for part in parts]
    lefts = [jnp.moveaxis(_functions(table, pairs.r1), 0, -1) for table in tables]
    # Axes `(a, j)`: then sums over `a` are one matrix product.
    rights = [_product(jnp.swapaxes(table.core, 0, 1), _functions(table, pairs.r2)) for table in tables]

    def of_rows(rows: tuple[Pairs, list[Array]]) -> tuple[Array, ...]:
        pairs, lefts = rows
        y = place_of_distance(pairs.distance, safe_sqrt)
        each = iter(
            chebyshev_sum(_bilinear(left, right, pairs, spread), y) * (pairs.correlation if table.odd else 1)
            for table, left, right in zip(tables, lefts, rights, strict=True)
        )
        return tuple(sum((next(each) for _ in parts), jnp.zeros_like(y)) for parts in functions)

    return _in_blocks(of_rows, pairs, lefts)


def _by_stack(stack: Stack, pairs: Pairs, spread: Spread) -> tuple[Array, ...]:
    """As `_by_angle`, with all parts of both functions at once, in a program of few operations."""
    h = _functions_of_stack(stack, jnp.concatenate([pairs.r1.ravel(), pairs.r2.ravel()]))
    first, second = h[..., : pairs.r1.size], h[..., pairs.r1.size :]
    y = place_of_distance(pairs.distance, safe_sqrt)[None, None]
    matrix = _is_matrix(pairs)

    def step(carry: tuple[Array, Array], core: Array) -> tuple[tuple[Array, Array], None]:
        one, two = carry
        right = jnp.einsum("fpab,fpbm->fpam", core, second, precision=matmul_precision())
        if matrix:
            term = jnp.einsum("fpan,fpam->fpnm", first, right, precision=matmul_precision())
        else:
            both = (x.reshape(-1, *r.shape) for x, r in ((first, pairs.r1), (right, pairs.r2)))
            products = jax.vmap(lambda a, b: jnp.multiply(*spread(a, b)))(*both)
            term = jnp.sum(products.reshape(*first.shape[:3], *products.shape[1:]), axis=2)
        return (2 * y * one - two + term, one), None

    zeros = jnp.zeros((2, 2, *pairs.k.shape), y.dtype)
    (last, before), _ = mesh_axes.scan(step, (zeros, zeros), stack.core)
    even, odd = jnp.moveaxis(last - y * before, 1, 0)
    return tuple(even + pairs.correlation[None] * odd)


def _functions_of_stack(stack: Stack, r: Array) -> Array:
    """The functions of a deviation of all tables, `(2, parity, R, len(r))`."""
    polynomials = _chebyshev(place_of_deviation(r, jnp), stack.basis.shape[3])
    h = jnp.tensordot(stack.basis, polynomials, 1, precision=matmul_precision())
    return _weight(stack.order, stack.growth, r[None, None, None]) * h


def _is_matrix(pairs: Pairs) -> bool:
    """Whether covariances are those of all inputs of one batch with all of the other."""
    return pairs.k.shape == (*pairs.r1.shape, *pairs.r2.shape) and pairs.r1.ndim == pairs.r2.ndim == 1


def _bilinear(left: Array, right: Array, pairs: Pairs, spread: Spread) -> Sequence[Array]:
    """`sum_a left[..., a] right[a, j]` for all pairs, for each `j`."""
    if _is_matrix(pairs):
        terms = jnp.einsum("na,ajm->njm", left, right, precision=matmul_precision())
        return [terms[:, j] for j in range(terms.shape[1])]
    first = jax.vmap(lambda a: spread(a, pairs.r2)[0])(jnp.moveaxis(left, -1, 0))
    second = jax.vmap(jax.vmap(lambda b: spread(pairs.r1, b)[1]))(right)

    def step(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        return total + pair[0][None] * pair[1], None

    zeros = jnp.zeros((right.shape[1], *pairs.k.shape), left.dtype)
    return list(mesh_axes.scan(step, zeros, (first, second))[0])


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
    return _weight(table.order, table.growth, r)[None] * _product(
        table.basis.T, _chebyshev(place_of_deviation(r, jnp), len(table.basis))
    )


def _coefficients(table: HermiteTable, r: Array) -> Array:
    """The coefficients of a series, `(n, *shape)`."""
    x = jnp.minimum(2 / table.largest * r - 1, 1)
    return (r**table.order)[None] * _product(table.basis.T, _chebyshev(x, len(table.basis)))


def _weight(order: Any, growth: Any, r: Array) -> Array:
    """`AngleTable.weight`, where the order may be an array."""
    zero = jnp.where(order == 0, 1, jnp.where(order == 1, r, r * r))
    return zero * jnp.exp((growth - order) * jnp.log1p(r))


def _product(matrix: Any, x: Array) -> Array:
    return jnp.tensordot(jnp.asarray(matrix, x.dtype), x, 1, precision=matmul_precision())


def _chebyshev(x: Array, n: int) -> Array:
    """The first polynomials, `(n, *shape of x)`."""

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        before, last = carry
        return (last, 2 * x * last - before), before

    return mesh_axes.scan(step, (jnp.ones_like(x), x), None, n)[1]
