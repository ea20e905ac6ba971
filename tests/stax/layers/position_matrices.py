"""Kernels of convolutional networks by explicit matrices: slow, and with nothing in common with the library.

The state is the pair of NNGP and NTK of all inputs and positions as two square matrices. A layer that sums over
positions is a matrix from input to output positions, and all it does is `M K M^T`.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class State:
    """NNGP and NTK of `(input, position)` pairs, and the sizes of an image."""

    nngp: np.ndarray
    ntk: np.ndarray
    image: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of inputs."""
        return len(self.nngp) // int(np.prod(self.image))


def inputs(x: np.ndarray) -> State:
    """The state of images `(N, *sizes, C)`."""
    rows = x.reshape(-1, x.shape[-1])
    nngp = rows @ rows.T / x.shape[-1]
    return State(nngp, np.zeros_like(nngp), x.shape[1:-1])


def first(n: int, size: int, stride: int, padding: str) -> tuple[int, int]:
    """Where the first window starts, and how many there are."""
    if padding == "VALID":
        return 0, len(range(0, n - size + 1, stride))
    count = len(range(0, n, stride))
    return -(max((count - 1) * stride + size - n, 0) // 2), count


def taps(
    image: Sequence[int], size: Sequence[int], stride: Sequence[int], padding: str
) -> tuple[list, tuple[int, ...]]:
    """For each place in the filter the 0/1 matrix from positions to outputs reading there; the sizes of the output."""
    starts, counts = zip(*[first(*axis, padding) for axis in zip(image, size, stride, strict=True)], strict=True)
    matrices = []
    for place in itertools.product(*map(range, size)):
        matrix = np.zeros((*counts, *image))
        for out in itertools.product(*map(range, counts)):
            read = [s + q * p + d for s, q, p, d in zip(starts, stride, out, place, strict=True)]
            if padding == "CIRCULAR":
                read = [r % n for r, n in zip(read, image, strict=True)]
            if all(0 <= r < n for r, n in zip(read, image, strict=True)):
                matrix[(*out, *read)] = 1
        matrices.append(matrix.reshape(int(np.prod(counts)), -1))
    return matrices, tuple(counts)


def through(matrix: np.ndarray, k: np.ndarray, n: int) -> np.ndarray:
    """`M K M^T` for each pair of inputs."""
    blocks = k.reshape(n, matrix.shape[1], n, matrix.shape[1])
    return np.einsum("pi,nimj,qj->npmq", matrix, blocks, matrix, optimize=True).reshape([n * len(matrix)] * 2)


def conv(state: State, size, stride=None, padding="SAME", W_std=1.0, b_std=0.0) -> State:
    """A convolution: the filter reads both copies at the same place."""
    matrices, image = taps(state.image, size, stride or [1] * len(size), padding)
    mean = lambda k: sum(through(m, k, state.n) for m in matrices) * W_std**2 / len(matrices)  # noqa: E731
    nngp = mean(state.nngp) + b_std**2
    return State(nngp, nngp + mean(state.ntk), image)


def pool(state: State, size, stride, padding="VALID") -> State:
    """A mean over windows: places in the two copies are independent."""
    matrices, image = taps(state.image, size, stride, padding)
    matrix = sum(matrices) / len(matrices)
    return State(through(matrix, state.nngp, state.n), through(matrix, state.ntk, state.n), image)


def relu(state: State) -> State:
    """The arc-cosine kernel of order 1, Cho and Saul, 2009."""
    root = np.sqrt(np.diag(state.nngp))
    cos = np.clip(state.nngp / np.outer(root, root), -1, 1)
    np.fill_diagonal(cos, 1)
    angle = np.arccos(cos)
    nngp = np.outer(root, root) * (np.sin(angle) + (np.pi - angle) * cos) / (2 * np.pi)
    return State(nngp, state.ntk * (np.pi - angle) / (2 * np.pi), state.image)


def add(a: State, b: State) -> State:
    """The sum of two independent branches."""
    return State(a.nngp + b.nngp, a.ntk + b.ntk, a.image)


def average(state: State) -> State:
    """Mean over all positions."""
    size = int(np.prod(state.image))
    matrix = np.full((1, size), 1 / size)
    return State(through(matrix, state.nngp, state.n), through(matrix, state.ntk, state.n), (1,) * len(state.image))


def flatten(state: State) -> State:
    """Positions become features: the mean over pairs of equal positions."""
    size = int(np.prod(state.image))
    nngp, ntk = (np.einsum("npmp->nm", k.reshape(state.n, size, state.n, size)) / size for k in (state.nngp, state.ntk))
    return State(nngp, ntk, (1,) * len(state.image))


def dense(state: State, W_std=1.0, b_std=0.0) -> State:
    """A fully-connected layer at each position."""
    return conv(state, (1,) * len(state.image), None, "VALID", W_std, b_std)
