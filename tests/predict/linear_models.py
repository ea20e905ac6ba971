"""Linear random feature models `f(x) = φ(x)ᵀ w`, of which everything about kernels and training is known exactly."""

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg

SHAPES_AND_TRACES = [
    ((4,), ()),
    ((4, 3), ()),
    ((4, 3), (-1,)),
    ((4, 3), (0,)),
    ((3, 2, 3), ()),
    ((3, 2, 3), (1, 2)),
    ((3, 2, 3), (2, -2, 1)),
    ((3, 2, 3), (1,)),
    ((3, 2, 3), (0, -1)),
    ((3, 2, 3), (0, 1, 2)),
]


def described(shape, trace_axes):
    traced = {axis % len(shape) for axis in trace_axes}
    return [axis for axis in range(len(shape)) if axis not in traced]


def dense(kernel, shape1, shape2, trace_axes):
    """The matrix `Θ ⊗ I` over all outputs that an interleaved kernel without `trace_axes` stands for."""
    rows, columns = "abcd"[: len(shape1)], "wxyz"[: len(shape1)]
    operands, terms = [np.asarray(kernel)], ["".join(rows[i] + columns[i] for i in described(shape1, trace_axes))]
    for axis in set(range(len(shape1))) - set(described(shape1, trace_axes)):
        operands.append(np.eye(shape1[axis]))
        terms.append(rows[axis] + columns[axis])
    full = np.einsum(f"{','.join(terms)}->{rows}{columns}", *operands)
    return full.reshape(math.prod(shape1), math.prod(shape2))


class Problem(NamedTuple):
    """Data of some shape, and interleaved kernels `dd` (train-train), `td`, `tt` of an NNGP and of an NTK."""

    y: np.ndarray
    f0: np.ndarray
    f0_test: np.ndarray
    nngp: dict
    ntk: dict
    trace_axes: tuple

    def dense(self, kernels, block):
        shapes = dict(d=self.y.shape, t=self.f0_test.shape)
        return dense(kernels[block], shapes[block[0]], shapes[block[1]], self.trace_axes)

    def joint(self, kernels):
        dd, td, tt = (self.dense(kernels, block) for block in ("dd", "td", "tt"))
        return np.block([[dd, td.T], [td, tt]])


def problem(shape, trace_axes, seed, features=40):
    """A `Problem` with two rows of test data (as many as of training data, if axis 0 is traced)."""
    rng = np.random.default_rng(seed)
    kept = described(shape, trace_axes)
    shape_test = (2, *shape[1:]) if 0 in kept else shape
    scales = rng.uniform(0.3, 1.5, size=features)
    phi = {
        name: rng.normal(size=[s[axis] for axis in kept] + [features]) / features**0.5
        for name, s in dict(d=shape, t=shape_test).items()
    }

    def kernels(scale):
        out = {}
        for first, second in ("dd", "td", "tt"):
            outer = np.tensordot(phi[first] * scale, phi[second], (-1, -1))
            out[first + second] = outer.transpose([i // 2 + i % 2 * len(kept) for i in range(2 * len(kept))])
        return out

    y, f0, f0_test = (rng.normal(size=s) for s in (shape, shape, shape_test))
    return Problem(y, f0, f0_test, kernels(scales**2), kernels(1.0), trace_axes)


def regularised(matrix, diag_reg, absolute):
    return matrix + np.eye(len(matrix)) * diag_reg * (1 if absolute else np.trace(matrix) / len(matrix))


def flow(theta_dd, theta_td, s):
    """The linear map `(f - y, f_test)(0) -> (f - y, f_test)(s)` of `d(f, f_test)/ds = -(Θ_dd, Θ_td)(f - y)`."""
    m, n = len(theta_dd), len(theta_td)
    generator = np.block([[-theta_dd, np.zeros((m, n))], [-theta_td, np.zeros((n, n))]])
    return scipy.linalg.expm(generator * s)


def undense(matrix, shape1, shape2, trace_axes):
    """The inverse of `dense`: the interleaved kernel, read at index 0 of every pair of traced axes."""
    full = np.asarray(matrix).reshape(shape1 + shape2)
    index = [slice(None) if i in described(shape1, trace_axes) else 0 for i in range(len(shape1))]
    full = full[(*index, *index)]
    half = full.ndim // 2
    return full.transpose([i // 2 + i % 2 * half for i in range(2 * half)])
