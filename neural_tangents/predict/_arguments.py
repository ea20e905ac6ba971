"""Arguments that several predictors share: arrays, stored kernels, scalars, times, and the type to compute in."""

import math
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.stored import Matrix, StoredMatrix
from neural_tangents.predict._finite import check_finite
from neural_tangents.predict._outputs import Outputs

# The value of `compute_cov` that asks for variances alone.
DIAGONAL = "diag"

# A kernel in a store is loaded if it takes at most this many bytes. A larger one stays there.
LOADED = 2**26


def as_array(value: Any, name: str, advice: str) -> jax.Array:
    """Converts to an array; raises `TypeError` for what is not made of numbers, `ValueError` for NaN and infinity."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Expected `{name}` to be an array of numbers, got {_kind(value)}. {advice}") from error
    check_finite(array, name)
    return array


def as_array_or_stored(value: Any, name: str, advice: str) -> Matrix:
    """The same, but a matrix in a store stays there if it is large; raises `ValueError` if it is not complete."""
    if not isinstance(value, StoredMatrix):
        return as_array(value, name, advice)
    if len(value.shape) != 2:
        raise ValueError(
            f"Expected `{name}`, which is in a store, to have two axes, got shape {tuple(value.shape)}. Store kernels "
            f"that have one pair of axes, by their `trace_axes`, or pass an array."
        )
    value.check_complete()
    size = math.prod(value.shape) * np.dtype(value.dtype).itemsize
    return in_memory(value) if size <= LOADED else value


def in_memory(matrix: Matrix) -> jax.Array:
    """The matrix as an array, read as a whole if it is in a store."""
    if not isinstance(matrix, StoredMatrix):
        return matrix
    rows, columns = matrix.shape
    return jnp.asarray(matrix.read(slice(0, rows), slice(0, columns)))


def as_matrix(kernel: Matrix, outputs: Outputs, dtype: Any) -> Matrix:
    """An interleaved kernel as a matrix, and in some type, but as it is if it is in a store."""
    return kernel if isinstance(kernel, StoredMatrix) else outputs.matrix(kernel.astype(dtype))


def as_kernel(kernel: Any, name: str) -> jax.Array:
    """Converts a kernel to an array; raises `ValueError` if it holds several, and `TypeError` if it is no kernel."""
    kernel = as_kernel_or_stored(kernel, name)
    if isinstance(kernel, StoredMatrix):
        raise ValueError(
            f"Expected `{name}` to be an array, or small enough to be loaded ({LOADED >> 20} MiB), got the matrix "
            f"{tuple(kernel.shape)} in {kernel.label}. Pass it to `gp_inference`, `gradient_descent_mse` or "
            f"`conjugate_gradients`, which read it tile by tile."
        )
    return kernel


def as_kernel_or_stored(kernel: Any, name: str) -> Matrix:
    """The same, but a kernel in a store stays there if it is large."""
    kernels = [k for k in (getattr(kernel, "nngp", None), getattr(kernel, "ntk", None)) if k is not None]
    if len(kernels) == 1 and isinstance(kernels[0], StoredMatrix):
        (kernel,) = kernels  # a store of one kernel
    elif kernels:
        raise ValueError(
            f"Expected `{name}` to be one array, got {type(kernel).__name__}, which may hold several kernels. "
            f"Pass one of them, for example its `.ntk`."
        )
    return as_array_or_stored(kernel, name, "Pass a kernel that was computed, such as kernel_fn(x1, x2, 'ntk').")


def as_targets(y_train: Any) -> jax.Array:
    """Converts targets to an array; raises `TypeError` if they are not numbers."""
    return as_array(y_train, "y_train", "Encode classes as numbers, for example by jax.nn.one_hot(labels, n_classes).")


def check_scalar(value: Any, name: str, advice: str = "Pass a number.") -> None:
    """Raises `ValueError` for an array, NaN or infinity, and `TypeError` for what is not a number."""
    if hasattr(value, "ntk") or hasattr(value, "nngp") or not _is_numeric(value):
        raise TypeError(f"Expected `{name}` to be a scalar, got {_kind(value)}. {advice}")
    if np.shape(value) != ():
        raise ValueError(f"Expected `{name}` to be a scalar, got shape {np.shape(value)}. {advice}")
    check_finite(value, name)


def check_compute_cov(compute_cov: Any) -> bool | str:
    """Whether to compute covariances, or `DIAGONAL`; raises an error for anything else."""
    if isinstance(compute_cov, bool | np.bool_):
        return bool(compute_cov)
    if isinstance(compute_cov, str) and compute_cov == DIAGONAL:
        return DIAGONAL
    if isinstance(compute_cov, str):
        raise ValueError(f"Expected `compute_cov` to be True, False or {DIAGONAL!r}, got {compute_cov!r}.")
    raise TypeError(f"Expected `compute_cov` to be True, False or {DIAGONAL!r}, got {_kind(compute_cov)}.")


def check_times(t: Any) -> None:
    """Raises `TypeError` for times that are not numbers, and `ValueError` for times seen to be negative or NaN."""
    if not _is_numeric(t):
        raise TypeError(f"Expected times `t` to be numbers, got {_kind(t)}. Pass None or jnp.inf for infinity.")
    if is_concrete(t) and not np.all(np.asarray(t) >= 0):
        raise ValueError(f"Expected times `t` >= 0, got {np.asarray(t).min()}. Pass None or jnp.inf for infinity.")


def time_per_entry(t: Any, learning_rate: Any, outputs: Outputs, dtype: Any) -> jax.Array | None:
    """`learning_rate · t / n`, or None for `t = None`; raises `ValueError` if a time is seen to be negative or NaN."""
    if t is None:
        return None
    check_times(t)
    t = jnp.asarray(t, dtype)
    is_finite = jnp.isfinite(t)  # no learning rate changes infinity: a product with it would have NaN derivatives
    return jnp.where(is_finite, jnp.where(is_finite, t, 0) * jnp.asarray(learning_rate, dtype) / outputs.size, t)


def common_dtype(*arrays: Any) -> Any:
    """The floating type of predictions from these arrays."""
    return jnp.result_type(*(array.dtype if isinstance(array, StoredMatrix) else array for array in arrays), float)


def working_dtype(dtype: Any) -> Any:
    """The type to compute in for results of some type: there is no factorisation in half precision."""
    return jnp.promote_types(dtype, "float32")


def _is_numeric(value: Any) -> bool:
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    return jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)


def _kind(value: Any) -> str:
    """What a value is, in a word or two."""
    if callable(value):
        return "a function"
    return f"an array of type {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
