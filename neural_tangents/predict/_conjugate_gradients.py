"""Kernel systems too large to be factorised."""

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.stored import StoredMatrix
from neural_tangents._core.types import Axes
from neural_tangents.predict import _stored_algebra as algebra
from neural_tangents.predict._arguments import (
    as_kernel_or_stored,
    as_targets,
    check_scalar,
    common_dtype,
    working_dtype,
)
from neural_tangents.predict._host_iteration import iterate
from neural_tangents.predict._kernel_products import (
    Product,
    precision,
    product_of_array,
    product_of_function,
    rows_of_array,
)
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._partial_cholesky import BLOCK, PartialCholesky, partial_cholesky
from neural_tangents.predict._preconditioner import Preconditioner, preconditioner, sketch
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._regularised import diagonal as diagonal_of

# How many numbers the default preconditioner consists of, at most: half a gigabyte in float32.
_NUMBERS = 2**27


class ConjugateGradients(NamedTuple):
    """An approximate solution of `K_λ x = y`, and how good it is.

    Attributes:
      solution: `x`, of the shape of `y`.
      iterations: how many there were, an integer.
      residual: `‖K_λ x - y‖ / ‖y‖`, computed from `x`; 0 for `y = 0`.
    """

    solution: jax.Array
    iterations: jax.Array
    residual: jax.Array


class _Settings(NamedTuple):
    """What a compiled solver depends on besides the shapes of arrays."""

    outputs: Outputs
    absolute: bool
    rank: int
    tolerance: float
    max_iterations: int


def conjugate_gradients(
    kernel: Any,
    y_train: ArrayLike,
    *,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    noise_variance: Any = None,
    trace_axes: Axes = (-1,),
    rank: int | None = None,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    key: Any = None,
) -> ConjugateGradients:
    """Solves a linear system with a kernel by products with the kernel alone, and without factorising it.

    By preconditioned conjugate gradients,

        x = K_λ⁻¹ y,    K_λ = K_dd + λ I + diag(noise_variance),

    so that the mean of a Gaussian process on a test set, and of an ensemble of networks trained to convergence, is
    `K_td x`. An iteration takes one product. Besides the kernel, memory is needed for a few vectors of the size of
    `y`, and for the preconditioner: about `3 rank` vectors while it is made, and `rank` afterwards, in the type of the
    kernel. All targets along `trace_axes` are solved for together, as one system with the kernel `K ⊗ I`.

    The preconditioner is `(F Fᵀ + D)⁻¹`, with a randomly pivoted partial Cholesky factorisation `K ≈ F Fᵀ` made of
    `rank` columns of the kernel. Besides `λ` and the noise, `D` has the diagonal of `K - F Fᵀ`. For a kernel that is a
    function, products with `rank` random vectors take the place of columns.

    Solutions have the floating type that `kernel` and `y_train` have together, but a kernel stays in its own: in
    float32 with `y_train` in float64, under `jax.enable_x64`, it takes the memory of float32 and gives a solution to
    the precision of float64. Where both are float32, rounding in products sets a limit to the residual, which grows
    with the condition number of `K_λ`: 8e-5 in an example with 20,000 points and `diag_reg=1e-3`.

    Needs the package lineax, `pip install lineax`, unless the kernel stays in a store.

    Args:
      kernel: `K_dd`, symmetric and positive semi-definite: an array, or a function. An array is interleaved as
        `zip(y_train.shape, y_train.shape)` without the pairs of `trace_axes`, may be sharded over devices, and is
        neither gathered nor copied. A matrix in a store is loaded if it takes up to 64 MiB, and otherwise read once in
        each iteration, and a few times for the preconditioner, outside of `jit`, `vmap` and `grad`. A function
        `v -> K_dd v` maps arrays of shape `y_train.shape` without `trace_axes` to such arrays, as does the `matvec` of
        `empirical_ntk_operator_fn`; it is called for one target at a time.
      y_train: targets.
      diag_reg: `λ`, in units of the mean diagonal entry of `K_dd`; a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself, as it has to be if `kernel` is a function.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `K_dd` besides `λ`: a scalar,
        or one number for each training point, of shape `y_train.shape[:1]`.
      trace_axes: axes of `y_train` that the kernel lacks, the ones that it was computed with.
      rank: the number of columns of `F`, at most; the more, the fewer iterations. Making the preconditioner of `M` rows
        takes about `3 M rank²` multiplications. 0 for none; None for `M / 7`, or as many as take up to 2²⁷ numbers, but
        at least 100; for a function, where each takes a product, 100.
      tolerance: the largest residual to accept, a number between 0 and 1; None for 1e-6, or 1e-3 in float32. Iterations
        end when the residual that the method keeps up to date is below half of this. The residual that is returned is
        computed anew from the solution, and has to be below `tolerance`.
      max_iterations: an integer >= 1.
      key: the random key of the preconditioner, None for `jax.random.key(0)`.

    Returns:
      `ConjugateGradients(solution, iterations, residual)`. It can be used under `jit`, `vmap` and `grad`. Derivatives
      of `solution` in `kernel` (if it is a function, in arrays that it depends on), `y_train`, `diag_reg` and
      `noise_variance` are solutions of further systems, to the same tolerance. Under these transformations a residual
      above `tolerance` raises no error: look at it.

    Raises:
      RuntimeError: `tolerance` is seen not to be reached.
      ValueError: shapes disagree, a number is out of range, `kernel` or `y_train` are seen to have entries that are not
        finite, `diag_reg` is relative although `kernel` is a function, or a kernel in a store is not complete.
      ImportError: lineax is not installed.

    Source: Gardner et al., "GPyTorch: Blackbox Matrix-Matrix Gaussian Process Inference with GPU Acceleration", 2018,
    https://arxiv.org/abs/1809.11165; for the preconditioner, Chen, Epperly, Tropp, Webber, "Randomly Pivoted Cholesky",
    2022, https://arxiv.org/abs/2207.06503, and of functions, Frangella, Tropp, Udell, "Randomized Nyström
    Preconditioning", 2021, https://arxiv.org/abs/2110.02820.
    """
    y_train = as_targets(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    is_function = callable(kernel)
    if not is_function:
        if hasattr(kernel, "matvec"):
            raise ValueError("Expected `kernel` to be an array or a function, got an operator. Pass its `.matvec`.")
        kernel = as_kernel_or_stored(kernel, "kernel")
        outputs.check(kernel, "`kernel`")
        if not isinstance(kernel, StoredMatrix):
            _check_mesh(kernel)
    elif not diag_reg_absolute_scale and not (is_concrete(diag_reg) and diag_reg == 0):
        raise ValueError(
            "Expected `diag_reg` on the absolute scale for a kernel that is a function, whose mean diagonal entry is "
            "not known. Pass `diag_reg_absolute_scale=True`, with `diag_reg` in the units of the kernel."
        )
    dtype = common_dtype(y_train) if is_function else common_dtype(kernel, y_train)
    y_train = y_train.astype(working_dtype(dtype))
    if tolerance is None:
        tolerance = 1e-6 if y_train.dtype == "float64" else 1e-3
    check_scalar(tolerance, "tolerance")
    if not 0 < tolerance < 1:
        raise ValueError(f"Expected `tolerance` between 0 and 1, got {tolerance}. Pass None for the default.")
    settings = _Settings(
        outputs,
        diag_reg_absolute_scale,
        _rank(rank, math.prod(outputs.described_sizes), is_function),
        float(tolerance),
        _at_least(1, max_iterations, "max_iterations"),
    )
    arguments = y_train, diag_reg, noise_variance, jax.random.key(0) if key is None else key
    if isinstance(kernel, StoredMatrix):
        result = _solve_stored(settings, kernel, *arguments)
        _check_solved(result, kernel, y_train, settings)
        return result._replace(solution=result.solution.astype(dtype))
    _import_lineax()
    if is_function:
        # Compiled for this call alone, so that nothing which the function refers to is kept.
        result = jax.jit(functools.partial(_solve_function, kernel, settings))(*arguments)
    else:
        result = _solve_array(settings, kernel, *arguments)
    if is_concrete(result):
        _check_solved(result, kernel, y_train, settings)
    return result._replace(solution=result.solution.astype(dtype))


@functools.partial(jax.jit, static_argnums=0)
def _solve_array(
    settings: _Settings, kernel: jax.Array, y_train: jax.Array, diag_reg: Any, noise_variance: Any, key: Any
) -> ConjugateGradients:
    dtype = y_train.dtype
    product = product_of_array(kernel, settings.outputs, dtype)
    diagonal = diagonal_of(kernel).reshape(-1)
    if not settings.absolute:
        diag_reg = diag_reg * jnp.mean(diagonal.astype(dtype))

    def low_rank(rank: int) -> tuple[jax.Array, jax.Array]:
        known = lax.stop_gradient(kernel)  # a loop cannot be differentiated
        kept = working_dtype(kernel.dtype) if jnp.issubdtype(kernel.dtype, jnp.inexact) else dtype
        rows = rows_of_array(known, settings.outputs, kept)
        start = lax.stop_gradient(diagonal).astype(kept)
        return _rows_and_rest(partial_cholesky(rows, start, rank, key, precision(kernel.dtype, kept)))

    return _solve(settings, product, low_rank, y_train, diag_reg, noise_variance)


def _solve_function(
    kernel: Callable[[Any], Any], settings: _Settings, y_train: jax.Array, diag_reg: Any, noise_variance: Any, key: Any
) -> ConjugateGradients:
    product, eps = product_of_function(kernel, settings.outputs, y_train.dtype)
    size = math.prod(settings.outputs.described_sizes)
    low_rank = functools.partial(sketch, product, size, key=key, eps=eps, dtype=y_train.dtype)
    return _solve(settings, product, low_rank, y_train, diag_reg, noise_variance)


def _solve_stored(
    settings: _Settings, kernel: StoredMatrix, y_train: jax.Array, diag_reg: Any, noise_variance: Any, key: Any
) -> ConjugateGradients:
    """The same without compilation, since the host computes products and reads rows."""
    algebra.check_known((y_train, diag_reg, noise_variance, key))
    outputs, dtype = settings.outputs, y_train.dtype
    y = outputs.columns(y_train)
    diagonal = jnp.asarray(algebra.diagonal(kernel), working_dtype(kernel.dtype))
    added = Regularisation(diag_reg, settings.absolute, noise_variance).diagonal(diagonal.astype(dtype), outputs)

    def rows_of(numbers: jax.Array) -> jax.Array:
        return jnp.asarray(algebra.rows(kernel, np.asarray(numbers)))

    def regularised(v: jax.Array) -> jax.Array:
        return algebra.product(kernel, v) + added[:, None] * v

    found = None
    if settings.rank:
        block = max(BLOCK, settings.rank // 4)  # each block reads most of the matrix
        low_rank = partial_cholesky(rows_of, diagonal, settings.rank, key, precision(kernel.dtype), block)
        found = preconditioner(*_rows_and_rest(low_rank), added)
    size = _norm(y)
    b = y / jnp.where(size > 0, size, 1)
    x, iterations = iterate(regularised, found, b, settings.tolerance / 2, settings.max_iterations)
    return ConjugateGradients(outputs.from_columns(size * x), jnp.asarray(iterations), _norm(regularised(x) - b))


def _rows_and_rest(found: PartialCholesky) -> tuple[jax.Array, jax.Array]:
    return found.rows, found.rest


def _solve(
    settings: _Settings,
    product: Product,
    low_rank: Callable[[int], tuple[jax.Array, jax.Array]],
    y_train: jax.Array,
    diag_reg: Any,
    noise_variance: Any,
) -> ConjugateGradients:
    """The solution for `v -> K v`, with `diag_reg` on the absolute scale.

    `low_rank` makes `Fᵀ` for an approximation `K ≈ F Fᵀ` of some rank, and the diagonal of what it lacks.
    """
    outputs = settings.outputs
    y = outputs.columns(y_train)
    # On this scale, no more of the matrix matters than its number of rows and its type.
    added = Regularisation(diag_reg, True, noise_variance).diagonal(jnp.zeros(len(y), y.dtype), outputs)

    def regularised(v: jax.Array) -> jax.Array:
        return product(v) + added[:, None] * v

    found = lax.stop_gradient(preconditioner(*low_rank(settings.rank), added)) if settings.rank else None

    def solve(matvec: Product, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _iterate(settings, matvec, found, rhs)

    # Differentiates implicitly, by further solutions.
    x, iterations = lax.custom_linear_solve(regularised, y, solve, symmetric=True, has_aux=True)
    size = _norm(y)
    residual = _norm(regularised(x) - y) / jnp.where(size > 0, size, 1)
    return ConjugateGradients(outputs.from_columns(x), iterations, lax.stop_gradient(residual))


def _iterate(
    settings: _Settings, matvec: Product, preconditioner: Preconditioner | None, rhs: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The solution of `K_λ x = rhs` (`[M, T]`), and the number of iterations."""
    lx = _import_lineax()
    # lineax stops once both the residual and the last step in `x` are below `atol`, and gives up once `pᵀ K_λ p` is
    # below a multiple of `rᵀ P⁻¹ r`. We mean the residual alone, and both rules depend on units. So `rhs` is given with
    # norm 1, `P⁻¹ K_λ` is of order 1, and `x` is in units so large, and `K_λ` in units so small, that steps are tiny
    # and `pᵀ K_λ p` is huge.
    size = _norm(rhs)
    b = rhs / jnp.where(size > 0, size, 1)
    typical = _norm(matvec(b))
    typical = jnp.where(typical > 0, typical, 1)
    small = jnp.finfo(rhs.dtype).eps ** 2
    structure = jax.eval_shape(lambda: b)

    def linear(f: Product) -> Any:
        return lx.FunctionLinearOperator(f, structure, lx.positive_semidefinite_tag)

    # Rounding separates the residual from the one that is updated in each iteration, hence half of the tolerance.
    solver = lx.CG(
        rtol=0.0, atol=settings.tolerance / 2, norm=_norm, stabilise_every=None, max_steps=settings.max_iterations
    )
    options = {}
    if preconditioner is not None:
        options["preconditioner"] = linear(lambda v: typical * preconditioner.solve(v))
    solution = lx.linear_solve(linear(lambda v: matvec(v) / (small * typical)), b, solver, options=options, throw=False)
    return solution.value * (size / (small * typical)), solution.stats["num_steps"]


def _check_mesh(kernel: jax.Array) -> None:
    """Raises `ValueError` if the type of `kernel` tells how it is sharded, as those of its products then have to."""
    if any(jax.typeof(kernel).sharding.spec):
        raise ValueError(
            f"Expected a `kernel` sharded over axes of a mesh that are of type Auto, got {jax.typeof(kernel)}, with "
            f"type Explicit. Pass jax.device_put(kernel, NamedSharding(Mesh(mesh.devices, mesh.axis_names), spec)), "
            f"which copies nothing."
        )


def _check_solved(result: ConjugateGradients, kernel: Any, y_train: jax.Array, settings: _Settings) -> None:
    """Raises an error if the tolerance is not reached."""
    residual, iterations = float(result.residual), int(result.iterations)
    if residual <= settings.tolerance:
        return
    found = f"Expected a residual of at most {settings.tolerance:.1e}, got {residual:.1e} after {iterations} iterations"
    regularise = "more regularisation by `diag_reg` or `noise_variance`"
    if not math.isfinite(residual):
        raise RuntimeError(f"{found}: the kernel is singular, or not finite. Pass a finite one, and {regularise}.")
    if iterations == settings.max_iterations:
        raise RuntimeError(f"{found}. Pass a larger `max_iterations`, `rank` or `tolerance`, or {regularise}.")
    wider = (
        "" if y_train.dtype == "float64" else "targets in float64 (under `jax.enable_x64`; kernels may stay float32), "
    )
    raise RuntimeError(
        f"{found}, where rounding in {y_train.dtype}, or a kernel that is not positive definite, ends progress. Pass "
        f"{wider}a larger `tolerance`, or {regularise}."
    )


def _norm(v: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(v)))


def _rank(rank: int | None, size: int, is_function: bool) -> int:
    """How many columns a preconditioner has for a matrix of some size; each takes a product with a function."""
    if rank is None:
        rank = 100 if is_function else max(100, min(size // 7, _NUMBERS // max(1, size)))
    return min(_at_least(0, rank, "rank"), size)


def _at_least(least: int, number: Any, name: str) -> int:
    if not isinstance(number, int | np.integer) or number < least:
        raise ValueError(f"Expected `{name}` to be an integer >= {least}, got {number}.")
    return int(number)


def _import_lineax() -> Any:
    try:
        return importlib.import_module("lineax")
    except ImportError as error:
        raise ImportError("`conjugate_gradients` needs the package lineax. Install it: pip install lineax.") from error
