"""Kernels of a network as matrices on the host, computed tile by tile in few compiled programs."""

import dataclasses
import functools
import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents import stax
from neural_tangents._core.compiled import compiled
from neural_tangents._core.programs import Programs
from neural_tangents._core.tiling.traits import traits_of
from neural_tangents.estimators._scikit_learn import cloudpickle

# Sides of tiles. Inputs are padded to a power of two of them, so that data of any size share a few programs.
SMALLEST, LARGEST = 32, 512

# Test points for which a kernel is computed at once if only its diagonal is needed.
_AT_ONCE = SMALLEST

# Programs by what they compute and of which network.
_PROGRAMS = Programs(most=64)


@functools.cache
def default_network() -> Any:
    """A fully-connected network with three hidden layers of ReLU."""
    dense = stax.Dense(512, W_std=2**0.5, b_std=1.0)
    return stax.serial(*[dense, stax.Relu()] * 3, stax.Dense(1, W_std=1.0, b_std=1.0))


def check_network(network: Any, hyperparameters: Any) -> None:
    """Raises `TypeError` or `ValueError` if an estimator cannot use these arguments."""
    is_triple = isinstance(network, tuple | list) and len(network) == 3 and callable(network[2])
    if network is not None and not is_triple and not callable(network):
        raise TypeError(
            "Expected `network` to be None, a network `(init_fn, apply_fn, kernel_fn)` of `stax`, or a function, got "
            f"{network!r}."
        )
    if hyperparameters is None:
        if network is not None and not is_triple:
            advice = "If it makes a network, pass initial values of its arguments as `hyperparameters`."
            _check_call(network, "kernel_fn(x1, x2, get)", [None, None, "ntk"], {}, advice)
        return
    if network is None or is_triple:
        raise TypeError(
            "Expected `network` to be a function of the hyper-parameters that returns a network, as `hyperparameters` "
            f"are given; got {network!r}. For example: lambda W_std: stax.serial(stax.Dense(512, W_std), ...)."
        )
    if not isinstance(hyperparameters, Mapping) or not hyperparameters:
        raise TypeError(f"Expected `hyperparameters` to be numbers by name, got {hyperparameters!r}.")
    wrong = {k: v for k, v in hyperparameters.items() if not isinstance(v, numbers.Real) or not 0 < float(v) < np.inf}
    if wrong:
        raise ValueError(f"Expected initial values > 0 in `hyperparameters`, got {wrong}.")
    advice = "Pass initial values of all its arguments that have no default, and of no others."
    _check_call(network, f"a function of {', '.join(hyperparameters)}", [], dict(hyperparameters), advice)


def _check_call(network: Any, form: str, args: list[Any], kwargs: dict[str, Any], advice: str) -> None:
    try:
        signature = inspect.signature(network)
    except (TypeError, ValueError):
        return  # it does not say how it is called
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(network, "__name__", repr(network))
        raise TypeError(f"Expected `network` to be {form}, got {name}{signature}: {error}. {advice}") from error


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkKernel:
    """The kernels of a network. Calls with arrays of JAX are as of any `kernel_fn`; matrices are float64 of NumPy.

    Attributes:
      network: None for the default, `(init_fn, apply_fn, kernel_fn)`, or `kernel_fn`; a function of `values` that
        returns one of these, if there are any.
      values: of hyper-parameters, by name; None if there are none.
    """

    network: Any
    values: dict[str, float] | None = None

    def __call__(self, x1: Any, x2: Any = None, get: str = "ntk") -> jax.Array:
        return self._program("kernel", _kernel)(self.values, x1, x2, get)

    def matrix(self, x1: np.ndarray, x2: np.ndarray | None, get: str) -> np.ndarray:
        """The kernel of two sets of inputs, or of one with itself if `x2` is None, `(N1, N2)` in float64.

        Raises:
          ValueError: `kernel_fn` returns something of another shape, or numbers that are not finite.
        """
        widen = _widened if self.network is None and x1.ndim == 2 else _as_input
        x1, x2 = _as_input(widen(x1)), None if x2 is None else _as_input(widen(x2))
        if x1.ndim > 2:
            return _checked(self(x1, x2, get), len(x1), len(x1 if x2 is None else x2))
        found = np.empty((len(x1), len(x1 if x2 is None else x2)))
        for rows, columns, is_mirrored in _tiles(x1, x2):
            a, b = (
                _padded(x1[rows]),
                None if x2 is None and rows == columns else _padded((x1 if x2 is None else x2)[columns]),
            )
            tile = _checked(self(a, b, get), len(a), len(a if b is None else b))
            found[rows, columns] = tile[: rows.stop - rows.start, : columns.stop - columns.start]
            if is_mirrored:
                found[columns, rows] = found[rows, columns].T
        return found

    def diagonal(self, x: np.ndarray, get: str) -> np.ndarray:
        """The kernel of each input with itself, `(N,)`."""
        parts = [x[start : start + _AT_ONCE] for start in range(0, len(x), _AT_ONCE)]
        return np.concatenate([np.diagonal(self.matrix(part, None, get)) for part in parts])

    def pullback(self, x: np.ndarray, cotangent: np.ndarray, get: str) -> dict[str, float]:
        """The derivative of `Σ_ij G_ij K(x_i, x_j)`, for a symmetric `G`, in each of `values`."""
        assert self.values is not None
        x = _as_input(x)
        total = dict.fromkeys(self.values, 0.0)
        for rows, columns, is_mirrored in _tiles(x, None):
            a, b = _padded(x[rows]), None if rows == columns else _padded(x[columns])
            g = np.zeros((len(a), len(a if b is None else b)), x.dtype)
            part = cotangent[rows, columns]
            g[: part.shape[0], : part.shape[1]] = (2 if is_mirrored else 1) * part
            for name, value in self._program("pullback", _pullback)(self.values, a, b, g, get).items():
                total[name] += float(value)
        return total

    def gradients(
        self, x: np.ndarray, x_train: np.ndarray, coefficients: np.ndarray, root: np.ndarray, get: str
    ) -> Iterator[np.ndarray]:
        """Gradients of `f(x) = K(root x, root x_train) c` at each `x`, for some of these at a time: `(n, T, C)`."""
        width = x.shape[1]
        if self.network is None:
            root = _widened(root)
            x, x_train, root = (_with_zeros(a, axis, root.shape[1]) for a, axis in ((x, 1), (x_train, 1), (root, 0)))
        x, x_train, root = (_as_input(a) for a in (x, x_train, root))
        train = _padded(x_train, multiple=LARGEST)
        c = np.zeros((len(train), coefficients.shape[1]), x.dtype)
        c[: len(x_train)] = coefficients
        for start in range(0, len(x), 4 * SMALLEST):
            some = x[start : start + 4 * SMALLEST]
            found = self._program("gradients", _gradients)(self.values, _padded(some), train, c, root, get)
            yield np.asarray(found, np.float64)[: len(some), :, :width]

    def _program(self, name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        network = default_network() if self.network is None else self.network
        if self.values is None and isinstance(network, tuple | list):
            network = network[2]  # the same in copies of the network
        # The program holds the network, so no other one has its `id`.
        return _PROGRAMS.kept((name, id(network)), lambda: compiled(functools.partial(compute, network)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (packed(self.network), self.values)


def packed(network: Any) -> bytes:
    """A network as bytes: it is made of functions within functions, which `pickle` alone does not know."""
    return cloudpickle.dumps(network)


def unpacked(network: bytes) -> Any:
    """The network of these bytes."""
    return cloudpickle.loads(network)


def _unpickled(network: bytes, values: dict[str, float] | None) -> NetworkKernel:
    return NetworkKernel(unpacked(network), values)


def _kernel(network: Any, values: dict[str, Any] | None, x1: Any, x2: Any, get: str) -> jax.Array:
    made = network if values is None else network(**values)
    kernel_fn = made[2] if isinstance(made, tuple | list) and len(made) == 3 else made
    if not callable(kernel_fn):
        raise TypeError(
            f"Expected `network` to return a network or a kernel function for `hyperparameters`, got {made!r}."
        )
    # Whether two batches happen to be equal must not matter, not even by rounding.
    options = {"eps": 0.0} if x2 is not None and traits_of(kernel_fn).takes_eps else {}
    found = kernel_fn(x1, x2, get, **options)
    if not isinstance(found, jax.Array | np.ndarray):
        raise TypeError(
            f"Expected `network` to return an array for `get={get!r}`, got a {type(found).__name__}. Pass a function "
            "`kernel_fn(x1, x2, get)`; for a kernel of scikit-learn, lambda x1, x2, get: kernel(x1, x2)."
        )
    return jnp.asarray(found)


def _pullback(
    network: Any, values: dict[str, Any], x1: Any, x2: Any, cotangent: jax.Array, get: str
) -> dict[str, jax.Array]:
    return jax.grad(lambda values: jnp.sum(cotangent * _kernel(network, values, x1, x2, get)))(values)


def _gradients(
    network: Any, values: dict[str, Any] | None, x: Any, x_train: Any, c: jax.Array, root: jax.Array, get: str
) -> jax.Array:
    moved = x_train @ root

    def of_output(c: jax.Array) -> jax.Array:
        # An output for `x_i` depends on no other input, so the gradient of their sum is that of each.
        return jax.grad(lambda x: jnp.sum(_kernel(network, values, x @ root, moved, get) @ c))(x)

    return jax.vmap(of_output, in_axes=1, out_axes=1)(c)


def _as_input(x: np.ndarray) -> np.ndarray:
    """Inputs in the floating type of JAX: float64 where it is enabled, and otherwise float32."""
    return np.asarray(x, jnp.result_type(float))


def _widened(x: np.ndarray) -> np.ndarray:
    """Inputs with features that are zero, so that inputs of any width share a few programs.

    The first layer divides by the number of features, hence the factor.
    """
    width = x.shape[1]
    wide = max(4, 1 << (width - 1).bit_length())
    return _with_zeros(x * np.sqrt(wide / width), 1, wide)


def _with_zeros(a: np.ndarray, axis: int, size: int) -> np.ndarray:
    """A matrix with zeros after its last row or column, up to some size."""
    more = size - a.shape[axis]
    return np.pad(a, ((0, more), (0, 0)) if axis == 0 else ((0, 0), (0, more)))


def _padded(x: np.ndarray, multiple: int = 0) -> np.ndarray:
    """Rows, the last of them repeated, until there are as many as some program takes."""
    size = max(SMALLEST, 1 << (len(x) - 1).bit_length())
    if multiple and size > multiple:
        size = -(-len(x) // multiple) * multiple
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)])


def _tiles(x1: np.ndarray, x2: np.ndarray | None) -> Iterator[tuple[slice, slice, bool]]:
    """Rows and columns of each tile, and whether its mirror image is left out, as it is if `x2` is None."""
    rows, columns = (
        [slice(start, min(start + LARGEST, len(x))) for start in range(0, len(x), LARGEST)]
        for x in (x1, x1 if x2 is None else x2)
    )
    for i, row in enumerate(rows):
        for column in columns[i:] if x2 is None else columns:
            yield row, column, x2 is None and row != column


def _checked(kernel: jax.Array, n1: int, n2: int) -> np.ndarray:
    found = np.asarray(kernel, np.float64)
    if found.shape != (n1, n2):
        raise ValueError(
            f"Expected the kernel of `network` for {n1} and {n2} inputs to have the shape {(n1, n2)}, got "
            f"{found.shape}. Outputs need no axes of their own: end the network in `stax.Dense(1)`."
        )
    if not np.all(np.isfinite(found)):
        raise ValueError("The kernel of `network` has entries that are not finite. Look at its layers and its inputs.")
    return found
