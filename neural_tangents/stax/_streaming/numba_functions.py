"""The loops of `numba_loop.py`, for Numba to compile: this file is imported only where it is used.

All but the outermost run over neighbours in memory, so that LLVM vectorises them. Constants are made numbers of the
type of the arrays, as in `number(1)`: with those of another type, Numba would compute in that.

Where arguments recur, `geometry` is `(height, width, row, half)`, of images that have `row - width` zeros after each
row, and `half` rows of zeros after the last one, which are not stored; `numbers` are those of `NumbaLoop`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from neural_tangents._core.numerics import ACOS_LONG, ACOS_SHORT


def jit(function: Callable[..., Any], fastmath: Any = frozenset({"contract", "nsz"})) -> Callable[..., Any]:
    """Compiles a function when it is first called, and keeps the result on disk if there is a place for it."""
    options: Any = dict(nogil=True, error_model="numpy", fastmath=set(fastmath))
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # no place
        return numba.njit(function, **options)


@jit
def add_up(x: Any, out: Any, n: int, margin: int, size: int, step: int) -> None:
    """`out[i] = sum_d x[i + step d]` over a window of odd size, for `n` places with a margin before and after them."""
    out, x = out[margin : margin + n], x[margin - size // 2 * step :]
    if size == 3:
        a, b, c = x[:n], x[step : step + n], x[2 * step : 2 * step + n]
        for i in range(n):
            out[i] = a[i] + b[i] + c[i]
        return
    for i in range(n):
        out[i] = x[i]
    for d in range(1, size):
        a = x[d * step : d * step + n]
        for i in range(n):
            out[i] += a[i]


def acos_over_root(d: Any) -> Any:
    """`acos(1 - d) / sqrt(d)` for `d` in [0, 1], in the precision of `d`."""
    raise NotImplementedError("only compiled code calls it")


@numba.extending.overload(acos_over_root)
def _acos_over_root(d: Any) -> Callable[..., Any]:
    def short(d: Any) -> Any:
        a = np.float32(ACOS_SHORT[-1])
        for c in ACOS_SHORT[-2::-1]:
            a = a * d + np.float32(c)
        return a

    def long(d: Any) -> Any:
        even, odd, z = ACOS_LONG[-2], ACOS_LONG[-1], d * d
        for c in ACOS_LONG[-4::-2]:
            even = even * z + c
        for c in ACOS_LONG[-3::-2]:
            odd = odd * z + c
        return even + d * odd

    return short if d == numba.float32 else long


@jit
def layers(
    nngp: Any, ntk: Any, roots1: Any, roots2: Any, start: int, numbers: Any, noise: Any, out_nngp: Any, out_ntk: Any
) -> None:
    """What a convolution and a nonlinearity do to sums over windows; formulas are those of `Conv` and `ABRelu`."""
    number = nngp.dtype.type
    zero, one, two, pi = number(0), number(1), number(2), number(math.pi)
    factor, shift, linear, bent = numbers[0], numbers[1], numbers[2], numbers[3]
    n = len(nngp)
    r1, inverse1 = roots1[0], roots1[1]
    r2, inverse2 = roots2[0, start : start + n], roots2[1, start : start + n]
    for i in range(n):
        k = nngp[i] * factor + shift
        t = ntk[i] * factor + k
        r = r1[i] * r2[i]
        rho = k * inverse1[i] * inverse2[i]
        d = one - abs(rho)
        d = zero if d < noise else d
        phi = np.sqrt(d) * acos_over_root(d)
        m = (zero if rho < zero else pi) - phi  # `pi - theta`, with the sign of `rho`
        c = one - d
        out_nngp[i] = r * (linear * (-c if rho < zero else c) + bent * (np.sqrt(d * (two - d)) + c * m))
        out_ntk[i] = zero if r <= zero else (linear + bent * abs(m)) * t


@functools.partial(jit, fastmath=frozenset({"reassoc", "nsz"}))
def total(x: Any) -> Any:
    """The sum of an array."""
    result = x.dtype.type(0)
    for i in range(len(x)):
        result += x[i]
    return result


@jit
def roots(x: Any, geometry: Any, windows: Any, there: Any, numbers: Any, least: Any, out: Any) -> None:
    """Roots of variances before each nonlinearity, and their reciprocals; zeros where there is no position.

    Args:
      x: inputs, `(N, C, places)`.
      geometry: see above.
      windows: sizes of the filter of each convolution.
      there: 1 for each position that there is after it, else 0, `(layers, places)`.
      numbers: see above.
      least: smaller variances count as zero.
      out: the results, `(N, layers, 2, places)`.
    """
    number = x.dtype.type
    height, _, row, half = geometry
    n, margin = height * row, (half + 1) * row
    zero, one = number(0), number(1)
    buffers = np.zeros((3, n + 2 * margin), x.dtype)
    q, rows, sums = buffers[0], buffers[1], buffers[2]
    here = q[margin : margin + n]
    for a in range(len(x)):
        here[:] = zero
        add_products(x[a], x[a], here)
        for layer in range(len(windows)):
            add_up(q, rows, n, margin, windows[layer, 0], row)
            add_up(rows, sums, n, margin, windows[layer, 1], 1)
            factor, shift = numbers[layer, 0], numbers[layer, 1]
            # As `layers` does it, so that a variance is the covariance of equal inputs, without rounding in other ways.
            after = numbers[layer, 2] + numbers[layer, 3] * number(math.pi)
            variances, exists, root, inverse = (
                sums[margin : margin + n],
                there[layer],
                out[a, layer, 0],
                out[a, layer, 1],
            )
            for i in range(n):
                variance = (variances[i] * factor + shift) * exists[i]
                small = variance < least
                r = np.sqrt(one if small else variance)
                root[i] = zero if small else r
                inverse[i] = zero if small else one / r
                here[i] = zero if small else r * r * after


@jit
def add_products(x: Any, y: Any, out: Any) -> None:
    """Adds the mean over channels of `x[c, i] y[c, i]` to `out[i]`."""
    scale = x.dtype.type(1) / x.dtype.type(max(len(x), 1))
    for c in range(len(x)):
        a, b = x[c], y[c]
        for i in range(len(out)):
            out[i] += a[i] * b[i] * scale


@jit
def shifted(table: Any, geometry: Any, dx: int, n_dy: int) -> Any:
    """What is at the positions `p + d`, from what is at `p`: for an offset `dy`, the places from `dy row` on."""
    height, _, row, half = geometry
    out = np.zeros((len(table), (height + n_dy - 1) * row), table.dtype)
    for y in range(height + n_dy - 1):
        source = y % (height + half)
        if source < height:
            middle = row - dx
            for a in range(len(table)):
                line, into = table[a, source * row :], out[a, y * row :]
                for x in range(middle):
                    into[x] = line[x + dx]
                for x in range(middle, row):
                    into[x] = line[x - middle]
    return out


@jit
def add_rows(cov: Any, geometry: Any, dy: int, rows: Any, out: Any) -> None:
    """Adds covariances of one offset to those of the windows of a pool that their two rows are in.

    Args:
      cov: covariances, `(places,)`.
      geometry: see above.
      dy: the offset along the first axis.
      rows: numbers of the windows that rows of positions are in, -1 for none, and for each row of zeros.
      out: the sums, `(H, H, row)` for `H` windows.
    """
    row = geometry[2]
    for y in range(geometry[0]):
        y2 = (y + dy) % len(rows)
        if rows[y] >= 0 and rows[y2] >= 0:
            a, b = rows[y], rows[y2]
            for x in range(row):
                out[a, b, x] += cov[y * row + x]


@jit
def add_columns(lines: Any, dx: int, columns: Any, weight: Any, out: Any) -> None:
    """Adds the sums of `add_rows` to those of the windows that their two columns are in.

    Args:
      lines: sums for one offset along the second axis, `(H, H, row)`.
      dx: this offset.
      columns: numbers of the windows that columns of positions are in, -1 for none, and for each column of zeros.
      weight: a factor.
      out: the sums, `(H, H, W, W)` for `H` times `W` windows.
    """
    row = len(columns)
    for a in range(len(lines)):
        for b in range(len(lines)):
            for x in range(row):
                c, d = columns[x], columns[x + dx if x + dx < row else x + dx - row]
                if c >= 0 and d >= 0:
                    out[a, b, c, d] += weight * lines[a, b, x]


@jit
def through_layers(
    buffers: Any, geometry: Any, dy: int, windows: Any, roots1: Any, roots2: Any, numbers: Any, noise: Any
) -> None:
    """Passes covariances of one offset of a pair of inputs through all layers.

    Args:
      buffers: five arrays of places with margins, `(5, margin + places + margin)`: the NNGP and the NTK, before and
        after, and room for sums.
      geometry: see above.
      dy: the offset along the first axis.
      windows: sizes of the filter of each convolution.
      roots1: see `roots`, of one input, `(layers, 2, places)`.
      roots2: of the other one, shifted along the second axis, with rows for all `dy`.
      numbers: see above.
      noise: smaller distances `d` count as zero.
    """
    height, _, row, half = geometry
    n, margin = height * row, (half + 1) * row
    nngp, ntk, sums, sums_nngp, sums_ntk = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
    inner_nngp, inner_ntk = nngp[margin : margin + n], ntk[margin : margin + n]
    inner_sums_nngp, inner_sums_ntk = sums_nngp[margin : margin + n], sums_ntk[margin : margin + n]
    for layer in range(len(windows)):
        add_up(nngp, sums, n, margin, windows[layer, 0], row)
        add_up(sums, sums_nngp, n, margin, windows[layer, 1], 1)
        add_up(ntk, sums, n, margin, windows[layer, 0], row)
        add_up(sums, sums_ntk, n, margin, windows[layer, 1], 1)
        r1, r2, some = roots1[layer], roots2[layer], numbers[layer]
        layers(inner_sums_nngp, inner_sums_ntk, r1, r2, dy * row, some, noise, inner_nngp, inner_ntk)


@jit
def add_slabs(
    x1: Any,
    roots1: Any,
    x2: Any,
    roots2: Any,
    geometry: Any,
    offsets: Any,
    windows: Any,
    numbers: Any,
    noise: Any,
    rows: Any,
    columns: Any,
    out: Any,
    start: Any,
) -> None:
    """Adds up all offsets `dy` of some offsets `dx`, for some pairs of inputs.

    Args:
      x1: inputs, `(N, C, places)`.
      roots1: see `roots`, `(N, layers, 2, places)`.
      x2: others, `(M, C, places)`.
      roots2: the same, `(M, layers, 2, places)`.
      geometry: see above.
      offsets: `(dy, first, last, dx)`: how many `dy` there are; which `dx`, of how many.
      windows: sizes of the filter of each convolution.
      numbers: see above.
      noise: smaller distances `d` count as zero.
      rows: see `add_rows`.
      columns: see `add_columns`.
      out: sums of the NNGP and of the NTK, `(2, N1, N2, H, H, W, W)`.
      start: `(i, j, pairs)`: numbers of the first of the inputs there, and which pairs are wanted: 0 for all, 1 for
        those with `i <= j`, 2 for an input with itself, in `out[:, i, 0]`. Of the latter, transposes of the sums are
        to be added to them, so that offsets that are their own transposes count half.
    """
    number = x1.dtype.type
    height, row, half = geometry[0], geometry[2], geometry[3]
    n, margin = height * row, (half + 1) * row
    buffers = np.zeros((5, n + 2 * margin), x1.dtype)
    nngp, ntk = buffers[0, margin : margin + n], buffers[1, margin : margin + n]
    lines = np.zeros((2, out.shape[3], out.shape[3], row), x1.dtype)
    n_dy, first_dx, last_dx, n_dx = offsets
    i, j, pairs = start
    for dx, b in [(dx, b) for dx in range(first_dx, last_dx) for b in range(len(x2))]:
        weight = number(0.5) if pairs == 2 and 2 * dx % n_dx == 0 else number(1)
        y, tables = x2[b], roots2[b]
        if dx > 0 or n_dy > 1:
            y = shifted(y, geometry, dx, n_dy)
            tables = shifted(tables.reshape(-1, n), geometry, dx, n_dy).reshape(len(windows), 2, y.shape[1])
        for a in range(len(x1)):
            if (pairs == 1 and i + a > j + b) or (pairs == 2 and i + a != j + b):
                continue
            into = out[:, i + a, 0 if pairs == 2 else j + b]
            for dy in range(n_dy):
                nngp[:] = number(0)
                ntk[:] = number(0)
                add_products(x1[a], y[:, dy * row : dy * row + n], nngp)
                through_layers(buffers, geometry, dy, windows, roots1[a], tables, numbers, noise)
                if out.shape[3] * out.shape[5] == 1:
                    into[0, 0, 0, 0, 0] += weight * total(nngp)
                    into[1, 0, 0, 0, 0] += weight * total(ntk)
                else:
                    add_rows(nngp, geometry, dy, rows, lines[0])
                    add_rows(ntk, geometry, dy, rows, lines[1])
            if out.shape[3] * out.shape[5] > 1:
                add_columns(lines[0], dx, columns, weight, into[0])
                add_columns(lines[1], dx, columns, weight, into[1])
                lines[:] = number(0)
