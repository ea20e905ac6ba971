"""Products, Cholesky factors and substitution for matrices in a store, with a few tiles in memory at a time.

All of it runs on the host, by NumPy and SciPy: nothing here can be traced.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
import scipy
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.stored import Matrix, StoredMatrix
from neural_tangents.predict._regularised import matmul

# Tiles of a store are taken together up to about this many rows and columns: for smaller ones, LAPACK is slow.
_SIDE = 1024


def check_known(tree: Any) -> None:
    """Raises `ValueError` if an array is traced."""
    if not is_concrete(tree):
        raise ValueError(
            "Expected numbers that are known, since a kernel in a store is read by the host, got some that are traced. "
            "Call predictors from a store outside of `jax.jit`, `jax.vmap` and `jax.grad`, or pass kernels as arrays."
        )


def on_host(x: Any) -> np.ndarray:
    """The values of an array; raises `ValueError` if it is traced."""
    check_known(x)
    return np.asarray(x)


def product(matrix: Matrix, v: jax.Array) -> jax.Array:
    """`matrix v`, for `v` of shape `[M, R]`; a matrix in a store is read once."""
    if not isinstance(matrix, StoredMatrix):
        return matmul(matrix, v)
    known = on_host(v)
    out = np.zeros((matrix.shape[0], known.shape[1]), known.dtype)
    for rows in _parts(matrix, 0):
        for columns in _parts(matrix, 1):
            out[rows] += _finite(matrix, rows, columns).astype(known.dtype, copy=False) @ known[columns]
    return jnp.asarray(out)


def rows(matrix: StoredMatrix, numbers: np.ndarray) -> np.ndarray:
    """Some rows of a matrix, of whose tiles those that they pass through are read once."""
    out = np.empty((len(numbers), matrix.shape[1]), matrix.dtype)
    for part in _parts(matrix, 0):
        (wanted,) = np.nonzero((part.start <= numbers) & (numbers < part.stop))
        if len(wanted):
            for columns in _parts(matrix, 1):
                out[wanted, columns] = _finite(matrix, part, columns)[numbers[wanted] - part.start]
    return out


def diagonal_blocks(matrix: StoredMatrix) -> Iterator[np.ndarray]:
    """The tiles of a square matrix that its diagonal passes through."""
    return (_finite(matrix, part, part) for part in _parts(matrix, 0))


def diagonal(matrix: StoredMatrix) -> np.ndarray:
    """The diagonal of a square matrix."""
    return np.concatenate([np.diagonal(block).copy() for block in diagonal_blocks(matrix)])


def cholesky_tile(matrix: StoredMatrix) -> int:
    """Rows and columns of the tiles of a Cholesky factor."""
    return min(matrix.shape[0], _side(matrix.tile_shape[0]))


def write_cholesky(matrix: StoredMatrix, diagonal: np.ndarray, factor: StoredMatrix) -> None:
    """Writes a lower triangular `L`, where `L Lᵀ` is a symmetric matrix with its diagonal replaced.

    Columns of tiles are computed one after the other from those on their left, with one row of tiles in memory. Tiles
    that are there already are not computed again.

    Args:
      matrix: of which the lower triangle is read, once.
      diagonal: what takes the place of its diagonal.
      factor: where `L` is written. Tiles above the diagonal are not.

    Raises:
      ValueError: the matrix is not finite, or not positive definite up to rounding.
    """
    parts = _parts(factor, 0)
    least = np.finfo(factor.dtype).eps * np.mean(np.abs(diagonal))
    for j in range(len(parts)):
        missing = [i for i in range(j, len(parts)) if not factor.has_tile(i, j)]
        if missing:
            _write_column(matrix, diagonal, factor, j, missing, least)


def _write_column(
    matrix: StoredMatrix, diagonal: np.ndarray, factor: StoredMatrix, j: int, missing: list[int], least: Any
) -> None:
    """Writes some tiles of column `j` of tiles of a Cholesky factor, of which all on the left are there."""
    parts = _parts(factor, 0)
    columns = parts[j]
    row = [factor.read(columns, part) for part in parts[:j]]
    corner = factor.read(columns, columns) if factor.has_tile(j, j) else None
    wanted: list[_Wanted] = []
    for i in missing:
        wanted += [(matrix, parts[i], columns)]
        wanted += [(factor, parts[i], part) for part in parts[:j] if i != j]
    with _background() as (ahead, later):
        tiles = ahead(wanted)
        for i in missing:
            tile = np.array(next(tiles), factor.dtype)
            if i == j:
                np.fill_diagonal(tile, diagonal[columns])
            for known in row:
                _subtract_product(tile, known if i == j else next(tiles), known)
            if corner is None:  # i == j, the first that is missing
                tile = corner = _cholesky(tile, least, matrix, columns)
            else:
                tile = _substitute(corner, tile.T).T
            later(factor.write, parts[i], columns, np.ascontiguousarray(tile))


def cholesky_solve(factor: StoredMatrix, rhs: np.ndarray) -> np.ndarray:
    """`(L Lᵀ)⁻¹ rhs`, for `rhs` of shape `[M, R]`, in the type of the factor, which is read twice."""
    x = np.array(rhs, factor.dtype)
    parts = _parts(factor, 0)
    _forward(factor, x, 0)
    order = [(part, other) for i, part in reversed([*enumerate(parts)]) for other in (part, *parts[:i])]
    with _background() as (ahead, _):
        for (part, other), tile in zip(order, ahead([(factor, *place) for place in order]), strict=True):
            if other == part:
                x[part] = _substitute(tile, x[part], transposed=True)
            else:
                x[other] -= tile.T @ x[part]
    return x


def cholesky_half_solve(factor: StoredMatrix, rhs: np.ndarray) -> np.ndarray:
    """`L⁻¹ rhs`, for `rhs` of shape `[M, R]`, in the type of the factor, which is read once."""
    x = np.array(rhs, factor.dtype)
    _forward(factor, x, 0)
    return x


def cholesky_log_determinant(factor: StoredMatrix) -> float:
    """`log det (L Lᵀ)`."""
    return 2 * float(np.sum(np.log(diagonal(factor).astype("float64"))))


def cholesky_inverse_blocks(factor: StoredMatrix, rows: np.ndarray) -> np.ndarray:
    """The blocks of `(L Lᵀ)⁻¹` in some rows and the same columns, `[G, R]` -> `[G, R, R]`.

    They are products of columns of `L⁻¹`, of which as many as rows are read at once are in memory at a time.
    """
    count, size = rows.shape
    out, side = np.empty((count, size, size), factor.dtype), _side(factor.tile_shape[0])
    at_once = max(1, side // size)
    for start in range(0, count, at_once):
        some = rows[start : start + at_once]
        columns = np.zeros((factor.shape[0], some.size), factor.dtype)
        columns[some.reshape(-1), np.arange(some.size)] = 1
        _forward(factor, columns, int(some.min()) // side)
        halves = np.moveaxis(columns.reshape(-1, *some.shape), 1, 0)
        out[start : start + at_once] = np.swapaxes(halves, 1, 2) @ halves
    return out


def _forward(factor: StoredMatrix, x: np.ndarray, first: int) -> None:
    """Overwrites `x`, which is 0 above the part with number `first`, by `L⁻¹ x`."""
    parts = _parts(factor, 0)[first:]
    order = [(part, other) for i, part in enumerate(parts) for other in parts[: i + 1]]
    with _background() as (ahead, _):
        for (part, other), tile in zip(order, ahead([(factor, *place) for place in order]), strict=True):
            if other == part:
                x[part] = _substitute(tile, x[part])
            else:
                x[part] -= tile @ x[other]


def _substitute(lower: np.ndarray, rhs: np.ndarray, transposed: bool = False) -> np.ndarray:
    """`L⁻¹ rhs`, or `L⁻ᵀ rhs`, for a tile on the diagonal."""
    # As the transpose of an upper triangular matrix, it has the order of LAPACK, and is not copied.
    trans = "N" if transposed else "T"
    return scipy.linalg.solve_triangular(lower.T, rhs, trans=trans, overwrite_b=True, check_finite=False)


def _subtract_product(tile: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """`tile -= a bᵀ`, in place; of a tile with itself, the lower triangle only."""
    # By the BLAS of SciPy, like the rest: where NumPy has one of its own, the threads of both would fight. It is given
    # transposes, which have the order that it wants, and which it does not copy.
    gemm, syrk = scipy.linalg.get_blas_funcs(("gemm", "syrk"), (tile,))
    if a is b:
        syrk(-1, b.T, beta=1, c=tile.T, trans=True, overwrite_c=True)
    else:
        gemm(-1, b.T, a.T, beta=1, c=tile.T, trans_a=True, overwrite_c=True)


_Wanted = tuple[StoredMatrix, slice, slice]


@contextlib.contextmanager
def _background() -> Iterator[tuple[Callable[[list[_Wanted]], Iterator[np.ndarray]], Callable[..., None]]]:
    """Two functions for work with a store while the processor computes: to read tiles in order, and to write some.

    At most two tiles that were read, and two that are to be written, wait. What goes wrong is raised, at the latest at
    the end.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        written: list[Any] = []

        def ahead(wanted: list[_Wanted]) -> Iterator[np.ndarray]:
            waiting: list[Any] = []
            for place in wanted:
                waiting.append(thread.submit(_finite, *place))
                if len(waiting) > 1:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

        def later(write: Callable[..., None], *arguments: Any) -> None:
            written.append(thread.submit(write, *arguments))
            if len(written) > 2:
                written.pop(0).result()

        yield ahead, later
        for future in written:
            future.result()


def _cholesky(tile: np.ndarray, least: Any, matrix: StoredMatrix, part: slice) -> np.ndarray:
    """The factor of a tile on the diagonal; it fails if a pivot is not above the `least`."""
    try:
        lower = scipy.linalg.cholesky(tile, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        _refuse(matrix, part, "one that is zero or negative")
    smallest = float(np.min(np.diagonal(lower))) ** 2
    if not smallest > least:
        _refuse(matrix, part, f"{smallest:.3g}")
    return lower


def _refuse(matrix: StoredMatrix, part: slice, found: str) -> NoReturn:
    raise ValueError(
        f"Expected a kernel that is positive definite, with its regularisation, got a pivot that is not above the "
        f"level of rounding ({found}) in rows {part.start} to {part.stop} of {matrix.label}. Pass a larger `diag_reg` "
        f"or `noise_variance`, or `solve_in_float64=True`, or use `conjugate_gradients`."
    ) from None


def _finite(matrix: StoredMatrix, rows: slice, columns: slice) -> np.ndarray:
    """Some of a matrix; raises `ValueError` if it is not finite."""
    values = matrix.read(rows, columns)
    wrong = values.size - int(np.sum(np.isfinite(values)))
    if wrong:
        raise ValueError(
            f"Expected a kernel of finite numbers, got {wrong} that are NaN or infinite in rows {rows.start} to "
            f"{rows.stop} and columns {columns.start} to {columns.stop} of {matrix.label}. Look for them in the "
            f"inputs, and for overflow in deep networks with large weights; float64 has a larger range."
        )
    return values


def _side(tile: int) -> int:
    return tile * max(1, _SIDE // tile)


def _parts(matrix: StoredMatrix, axis: int) -> list[slice]:
    """The rows, or columns, that are read at once: whole tiles."""
    size, side = matrix.shape[axis], _side(matrix.tile_shape[axis])
    return [slice(start, min(start + side, size)) for start in range(0, size, side)]
