"""Learning curves from spectra: the error that is to be expected of a kernel on a task, for any number of examples."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.typing import ArrayLike

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import Axes
from neural_tangents.predict._arguments import as_array, as_kernel, as_targets, common_dtype, working_dtype
from neural_tangents.predict._factorise import widened
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._regularised import matmul
from neural_tangents.predict._solve import TrainSystem
from neural_tangents.predict._spectral import decompose

_BISECTIONS = 100  # of an interval of logarithms: to rounding in float64


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("sizes", "test_error", "train_error", "kappa", "effective_dimension"),
    meta_fields=(),
)
@dataclasses.dataclass(frozen=True, eq=False)
class LearningCurve:
    """What to expect of training sets of several sizes. A pytree.

    Attributes:
      sizes: numbers of training points, of any shape, that of all others too.
      test_error: mean squared error on points that are not in the training set, noise of their targets included.
      train_error: mean squared error on the training set.
      kappa: the effective regularisation `κ`: modes with eigenvalues well above it are learned, those below are not.
      effective_dimension: `Σ λ_i / (λ_i + κ)`, the number of modes that are learned.
    """

    sizes: jax.Array
    test_error: jax.Array
    train_error: jax.Array
    kappa: jax.Array
    effective_dimension: jax.Array


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("eigenvalues", "coefficients", "noise", "eigenvectors"),
    meta_fields=("points",),
)
@dataclasses.dataclass(frozen=True, eq=False)
class KernelSpectrum:
    """The eigenvalues of a kernel, and the coefficients of targets on its eigenfunctions.

    Made by `spectrum` from a kernel matrix, or by yourself for a distribution of which they are known. A pytree.

    Attributes:
      eigenvalues: `λ_i` of the kernel as an operator, `f -> E_x[k(·, x) f(x)]`, in descending order, `[M]`. Their sum
        is the mean of `k(x, x)`. Of a matrix of `M` rows they are those of `K / M`.
      coefficients: `v_i` of targets on orthonormal eigenfunctions, with a column for each output, `[M, T]`.
      noise: variance of the noise of targets. It is 0 for spectra of matrices, where it is part of the coefficients.
      eigenvectors: of a matrix, in columns, `[M, M]`; None for a distribution.
      points: how many points the matrix is of, from which training sets are drawn without repetition; None for a
        distribution.
    """

    eigenvalues: jax.Array
    coefficients: jax.Array
    noise: Any = 0.0
    eigenvectors: jax.Array | None = None
    points: int | None = None

    @property
    def power(self) -> jax.Array:
        """How much of the targets lies along each eigenfunction, `v_i²`, a mean over outputs, `[M]`."""
        return jnp.mean(jnp.square(self.coefficients), axis=1)

    @property
    def task_alignment(self) -> jax.Array:
        """The fraction of the power in the first modes, `C(i) = Σ_{j <= i} v_j² / Σ_j v_j²`, `[M]`.

        The faster it rises to 1, the fewer examples a task takes.

        Source: Canatar, Bordelon, Pehlevan, "Spectral Bias and Task-Model Alignment Explain Generalization in Kernel
        Regression and Infinitely Wide Neural Networks", 2021, https://arxiv.org/abs/2006.13198.
        """
        return jnp.cumsum(self.power) / jnp.sum(self.power)

    def effective_dimension(self, kappa: ArrayLike) -> jax.Array:
        """The number of modes above a regularisation `κ`, `Σ λ_i / (λ_i + κ)`, of the shape of `kappa`.

        Args:
          kappa: `κ > 0`, in the units of `eigenvalues`, of any shape.
        """
        return jnp.sum(_learned(self.eigenvalues, jnp.asarray(kappa)), axis=-1)

    def learning_curve(
        self, sizes: ArrayLike, diag_reg: ArrayLike = 0.0, diag_reg_absolute_scale: bool = False
    ) -> LearningCurve:
        """Predicts the errors of kernel regression for training sets of some sizes, without training any.

        For a regularisation `δ` of the kernel, the effective one, `κ`, solves

            n = Σ_i L_i + δ / κ,    L_i = λ_i / (λ_i + κ),

        and `L_i` is what is learned of mode `i`. The mean squared errors on the distribution and the training set are

            E_test = n / (n - Σ L_i²) (Σ (1 - L_i)² v_i² + noise),    E_train = (δ / (n κ))² E_test.

        That is for a distribution. From a matrix, training sets are `n` of its `N` points, drawn without repetition,
        and the other points are tested on. With `c = Σ (1 - L_i) / N`, `ε = δ / (N κ)` and `R = (K / N + κ)⁻¹`,

            n = Σ L_i + c δ / κ,    D = c δ / κ + (1 - ε) Σ L_i (1 - L_i),
            E_test = n c / D mean_i ((R y)_i / R_ii)²,    E_train = n c / D (δ / (n κ))² Σ (1 - L_i)² v_i².

        These are the equations above for `n` much smaller than `N`, and for `n = N` the error of leaving one out.

        Args:
          sizes: numbers `n` of training points, of any shape, at least 1 and at most `points`.
          diag_reg: `δ` in units of the mean of `k(x, x)`, a scalar >= 0, as for predictors.
          diag_reg_absolute_scale: whether `diag_reg` is `δ` itself.

        Returns:
          A `LearningCurve`.

        Raises:
          ValueError: sizes are seen to be out of range, or `diag_reg` to be negative or no scalar; or the spectrum has
            arrays of wrong shapes.
          TypeError: an argument is not made of numbers.

        Source: Bordelon, Canatar, Pehlevan, "Spectrum Dependent Learning Curves in Kernel Regression and Wide Neural
        Networks", 2020, https://arxiv.org/abs/2002.02561; Simon et al., "The Eigenlearning Framework", 2023,
        https://arxiv.org/abs/2110.03922. For a matrix, the same for a random projection of rank `n` in place of `n`
        independent rows, see docs/learning_curves.md.
        """
        sizes = self._checked(sizes, diag_reg)
        lam, n_modes, of_matrix = jnp.maximum(self.eigenvalues, 0), len(self.eigenvalues), self.points is not None
        scale = 1 if diag_reg_absolute_scale else jnp.sum(lam)
        delta = jnp.asarray(diag_reg * scale, lam.dtype)
        rows = sizes.astype(lam.dtype) * (n_modes / self.points if self.points else 1)
        kappa = _effective_regularisation(lam, rows, delta, of_matrix)
        learned, rest = _learned(lam, kappa), _not_learned(lam, kappa)
        unseen = jnp.mean(rest, -1) if of_matrix else jnp.ones_like(kappa)
        epsilon = delta / (n_modes * kappa) if of_matrix else jnp.zeros_like(kappa)
        spread = unseen * delta / kappa + (1 - epsilon) * jnp.sum(learned * rest, -1)
        not_learned = matmul(jnp.square(rest), self.power.astype(lam.dtype)) + self.noise
        factor = rows * unseen / spread
        test_error = factor * (self._left_out(kappa) if of_matrix else not_learned)
        train_error = factor * jnp.square(delta / (rows * kappa)) * not_learned
        return LearningCurve(sizes, test_error, train_error, kappa, jnp.sum(learned, -1))

    def _left_out(self, kappa: jax.Array) -> jax.Array:
        """The mean squared error of leaving out each point, with `K / M + κ` in place of `K_λ`, of the shape of `κ`."""
        assert self.eigenvectors is not None and self.points is not None
        vectors = self.eigenvectors.reshape(self.points, -1, len(self.eigenvalues))

        def error(kappa: jax.Array) -> jax.Array:
            inverse = 1 / (jnp.maximum(self.eigenvalues, 0) + kappa)
            blocks = matmul(vectors * inverse[None, None], jnp.swapaxes(vectors, 1, 2))
            solved = matmul(vectors, inverse[:, None] * self.coefficients)
            residuals = jnp.linalg.solve(blocks, solved)
            return len(self.eigenvalues) * jnp.mean(jnp.square(residuals))

        return lax.map(error, kappa.reshape(-1)).reshape(kappa.shape)

    def _checked(self, sizes: ArrayLike, diag_reg: ArrayLike) -> jax.Array:
        """Sizes as an array."""
        array = as_array(sizes, "sizes", "Pass numbers of training points.")
        Regularisation(diag_reg, True, None).check(Outputs((1,), ()))
        modes, columns = np.shape(self.eigenvalues), np.shape(self.coefficients)
        if len(modes) != 1 or len(columns) != 2 or columns[:1] != modes:
            raise ValueError(
                f"Expected `coefficients` with one row for each of the `eigenvalues`, and a column for each output, "
                f"got shapes {columns} and {modes}."
            )
        if is_concrete(array):
            known, most = np.asarray(array), np.inf if self.points is None else self.points
            if not np.all((known >= 1) & (known <= most)):
                raise ValueError(
                    f"Expected `sizes` from 1 to {most}, got {known.min()} to {known.max()}. A matrix says nothing of "
                    "training sets larger than itself."
                )
        return array


def spectrum(
    k_train_train: Any, y_train: ArrayLike, trace_axes: Axes = (-1,), *, solve_in_float64: bool = False
) -> KernelSpectrum:
    """The spectrum of a kernel, and of targets on its eigenfunctions, from some of their points.

    With the eigenvectors `u_i` of the matrix `K` of `M` rows, `λ_i` are its eigenvalues over `M`, and the coefficients
    of targets are `v_i = u_iᵀ y / √M`. All that it takes is one eigendecomposition; from it follow learning curves:
    `spectrum(k, y).learning_curve(sizes, diag_reg)`.

    Args:
      k_train_train: a kernel of points with themselves, interleaved as `zip(y_train.shape, y_train.shape)` without the
        pairs of `trace_axes`.
      y_train: their targets, `(N, ...)`. For one output per point that is `(N, 1)`.
      trace_axes: axes of `y_train` that the kernel lacks, the ones that it was computed with.
      solve_in_float64: whether to decompose the matrix in float64, whatever the type of the kernel.

    Returns:
      A `KernelSpectrum`. Its derivatives in the kernel are right where eigenvalues are different.

    Raises:
      ValueError: sizes of kernel and targets disagree, the kernel does not tell points apart, is seen to have entries
        that are not finite, or not to be symmetric, or is in a store and too large to be loaded.
      TypeError: an argument is not made of numbers.

    Example:
      >>> import jax
      >>> from neural_tangents import predict, stax
      >>> _, _, kernel_fn = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(1))
      >>> x = jax.random.normal(jax.random.key(0), (200, 5))
      >>> found = predict.spectrum(kernel_fn(x, None, "ntk"), x[:, :1] * x[:, 1:2])
      >>> errors = found.learning_curve([20, 50, 100], diag_reg=1e-2).test_error
      >>> bool(errors[0] > errors[1] > errors[2])
      True

    Source: Bordelon, Canatar & Pehlevan, "Spectrum Dependent Learning Curves in Kernel Regression and Wide Neural
    Networks", 2020, https://arxiv.org/abs/2002.02561.
    """
    kernel, y_train = as_kernel(k_train_train, "k_train_train"), as_targets(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    outputs.check(kernel, "`k_train_train`")
    outputs.check_points()
    dtype = common_dtype(kernel, y_train)
    system = TrainSystem(kernel, outputs, working_dtype(dtype), Regularisation(0.0, True, None), solve_in_float64)
    with widened(solve_in_float64):
        found = decompose(system.matrix, np.dtype("float64") if solve_in_float64 else system.dtype)
        values, vectors = (x[..., ::-1].astype(system.dtype) for x in found)
    columns = outputs.columns(y_train.astype(system.dtype))
    parts = values / max(1, len(values)), matmul(vectors.T, columns) / max(1, len(values)) ** 0.5, vectors
    values, coefficients, vectors = (x.astype(dtype) for x in parts)
    return KernelSpectrum(values, coefficients, eigenvectors=vectors, points=outputs.shape[0])


def _learned(lam: jax.Array, kappa: jax.Array) -> jax.Array:
    """`λ_i / (λ_i + κ)`, with an axis of modes after those of `kappa`."""
    lam = lam.reshape((1,) * kappa.ndim + (-1,))
    return lam / (lam + kappa[..., None])


def _not_learned(lam: jax.Array, kappa: jax.Array) -> jax.Array:
    """`κ / (λ_i + κ)`, which is 1 less what is learned."""
    return kappa[..., None] / (lam.reshape((1,) * kappa.ndim + (-1,)) + kappa[..., None])


def _effective_regularisation(lam: jax.Array, rows: jax.Array, delta: jax.Array, of_matrix: bool) -> jax.Array:
    """The solution `κ` of `rows = Σ λ_i / (λ_i + κ) + c δ / κ`, of the shape of `rows`."""

    def excess(log_kappa: jax.Array) -> jax.Array:
        kappa = jnp.exp(log_kappa)
        unseen = jnp.mean(_not_learned(lam, kappa), -1) if of_matrix else 1.0
        return jnp.sum(_learned(lam, kappa), -1) + unseen * delta / kappa - rows

    def bisect(f: Any, _: jax.Array) -> jax.Array:
        high = jnp.log((jnp.sum(lam) + delta) / rows)

        def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            middle = (ends[0] + ends[1]) / 2
            above = f(middle) < 0  # the function decreases
            return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

        lowest = high + 2 * np.log(jnp.finfo(lam.dtype).eps)
        return lax.fori_loop(0, _BISECTIONS, halve, (lowest, high))[1]

    # Each size has an equation of its own: the Jacobian is diagonal.
    solve_slope = lambda linear, b: b / linear(jnp.ones_like(b))  # noqa: E731
    return jnp.exp(lax.custom_root(excess, jnp.zeros_like(rows), bisect, solve_slope))
