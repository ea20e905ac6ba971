"""Outputs of one network trained by gradient flow on the squared loss."""

import dataclasses
from typing import Any, overload

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from neural_tangents._core.old_calls import no_scalar, present_form
from neural_tangents._core.stored import Matrix
from neural_tangents._core.types import Axes
from neural_tangents.predict._arguments import (
    as_kernel_or_stored,
    as_matrix,
    as_targets,
    check_scalar,
    common_dtype,
    in_memory,
    time_per_entry,
    working_dtype,
)
from neural_tangents.predict._describe import describe
from neural_tangents.predict._gradient_flow import mean_test, mean_train
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._solve import Diagnostics
from neural_tangents.predict._stored_algebra import product
from neural_tangents.predict._stored_system import System, train_system


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GradientDescentMSE:
    """Predictions of one network trained on the mean squared loss.

    Made by `gradient_descent_mse`, which has the equations. The kernel of the training set is decomposed when a
    prediction first needs it, and the decomposition is shared by all later calls. It can be called under `jax.jit`,
    `jax.vmap` and `jax.grad`, and pickled (without the decomposition).
    """

    _system: System
    _y_train: jax.Array
    _learning_rate: Any

    @overload
    def __call__(
        self, t: Any = None, fx_train_0: Any = 0.0, fx_test_0: None = None, k_test_train: Any = None
    ) -> jax.Array: ...

    @overload
    def __call__(self, t: Any, fx_train_0: None, fx_test_0: Any, k_test_train: Any) -> jax.Array: ...

    @overload
    def __call__(
        self, t: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = ..., k_test_train: Any = ...
    ) -> tuple[jax.Array, jax.Array]: ...

    def __call__(self, t: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None) -> Any:
        """Predicts outputs on the training set, a test set, or both.

        Args:
          t: times, a scalar or an array of any shape, whose axes become the leading axes of predictions. None stands
            for the limit of infinite time, for which the kernel is not decomposed (on the training set: `y_train`).
          fx_train_0: outputs on the training set before training, a scalar or in the shape of `y_train`. None for 0,
            and no predictions on the training set.
          fx_test_0: outputs on the test set before training, a scalar or in full. None for no predictions there.
          k_test_train: `Θ_td`, the kernel of the test with the training set. Needed for the test set.

        Returns:
          Outputs on the training set, outputs on the test set, or a pair of both.

        Raises:
          ValueError: sizes disagree, there is nothing to predict, `k_test_train` is missing, `t` is seen to be
            negative, or it is finite although the kernel of the training set stays in a store.
          TypeError: `t` or `k_test_train` is not made of numbers.
        """
        if fx_train_0 is None and fx_test_0 is None:
            raise ValueError(
                "Expected `fx_train_0`, `fx_test_0` or both, got None for both. Pass the outputs before training, or "
                "0., for every set to predict on."
            )
        outputs, dtype = self._system.outputs, self._system.dtype
        s = time_per_entry(t, self._learning_rate, outputs, dtype)
        y = outputs.columns(self._y_train)
        y = y.astype(dtype)
        f0 = outputs.initial(0.0 if fx_train_0 is None else fx_train_0, "fx_train_0", dtype)

        if fx_test_0 is None:
            return self._on_train(s, f0, y).astype(self._y_train.dtype)
        if k_test_train is None:
            raise ValueError("Predictions on the test set need the test-train kernel. Pass `k_test_train`.")
        kernel = as_kernel_or_stored(k_test_train, "k_test_train")
        test_outputs = outputs.held_out(kernel, "`k_test_train`")
        found = common_dtype(self._y_train, kernel)
        k_td = as_matrix(kernel, outputs, working_dtype(found))
        f0_test = test_outputs.initial(fx_test_0, "fx_test_0", dtype)
        f_test = test_outputs.from_columns(self._on_test(s, k_td, f0, f0_test, y)).astype(found)
        return f_test if fx_train_0 is None else (self._on_train(s, f0, y).astype(self._y_train.dtype), f_test)

    def diagnostics(self) -> Diagnostics:
        """Says how well the matrix `Θ_λ` is conditioned, and what was done to invert it.

        Where a Cholesky factorisation fails, the smallest sufficient jitter is added to the diagonal, and where none
        suffices, eigenvalues that are negative or zero up to rounding are left out.

        Returns:
          `Diagnostics`.

        Raises:
          ValueError: the kernel is in a store, and too large to be loaded.
        """
        return self._system.diagnostics()

    def __repr__(self) -> str:
        return describe(
            self,
            y_train=self._y_train,
            trace_axes=self._system.outputs.traced,
            learning_rate=self._learning_rate,
            **self._system.regularisation._asdict(),
            solver="eigendecomposition, or Cholesky for t=None",
            solve_in_float64=self._system.in_float64,
        )

    def _on_train(self, s: jax.Array | None, f0: jax.Array, y: jax.Array) -> jax.Array:
        system = self._system
        columns = _limit(s, y) if system.solves_at(s) else mean_train(s, system.spectrum, system.matrix, f0, y)
        return system.outputs.from_columns(columns)

    def _on_test(self, s: jax.Array | None, k_td: Matrix, f0: jax.Array, f0_test: jax.Array, y: jax.Array) -> jax.Array:
        system = self._system
        if system.solves_at(s):
            return _limit(s, f0_test + product(k_td, system.solve(y - f0)))
        return mean_test(s, system.spectrum, system.matrix, in_memory(k_td).astype(y.dtype).T, f0, f0_test, y)


@present_form(
    "gradient_descent_mse(k_train_train, y_train, learning_rate)(t, fx_train_0, fx_test_0, k_test_train)",
    {
        "g_dd": "It is `k_train_train` now.",
        "ntk_train_train": "It is `k_train_train` now.",
        "g_td": "Pass it as `k_test_train` to what gradient_descent_mse returns.",
        "ntk_test_train": "Pass it as `k_test_train` to what gradient_descent_mse returns.",
        "k_test_train": "Pass it to what gradient_descent_mse returns.",
    },
    no_scalar("learning_rate", "Pass test kernels later, as `k_test_train`."),
)
def gradient_descent_mse(
    k_train_train: Any,
    y_train: ArrayLike,
    learning_rate: ArrayLike = 1.0,
    diag_reg: ArrayLike = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    *,
    noise_variance: Any = None,
    solve_in_float64: bool = False,
) -> GradientDescentMSE:
    """Predicts the outputs of a wide (or linearised) network trained by gradient flow on the mean squared loss.

    For the loss `½ mean((f - y)²)` the outputs obey a linear equation, with the solution

        f_train(t) = f_train(0) + (e^{-Θ_λ τ / n} - I) (f_train(0) - y),
        f_test(t)  = f_test(0) + Θ_td Θ_λ⁻¹ (e^{-Θ_λ τ / n} - I) (f_train(0) - y),

    where `τ = learning_rate · t`, `n = y_train.size` and `Θ_λ = Θ_dd + λ I`. Times correspond to steps of gradient
    descent with a small `learning_rate`.

    Args:
      k_train_train: `Θ_dd`, the kernel of the training set with itself (an NTK; or an NNGP kernel if only the readout
        layer is trained), interleaved as `zip(y_train.shape, y_train.shape)` without the pairs of `trace_axes`. It is
        read as `Θ ⊗ I` along `trace_axes`. It may be sharded over devices, or be a matrix in a store, which is loaded
        if it takes up to 64 MiB. A larger one is factorised tile by tile in its store, outside of `jit`, `vmap` and
        `grad`, and gives predictions for infinite times only: others need eigenvectors.
      y_train: targets, `(N, ...)`. For one output per point that is `(N, 1)`.
      learning_rate: a scalar.
      diag_reg: `λ` in units of the mean diagonal entry of `Θ_dd`, a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      trace_axes: axes of `y_train` that `k_train_train` lacks, the ones that it was computed with.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `Θ_dd` besides `λ`: a scalar,
        or one number for each training point, `(N,)`; None for none.
      solve_in_float64: whether to factorise matrices in float64, whatever the type of the kernels.

    Returns:
      A `GradientDescentMSE`, a function `predict_fn(t=None, fx_train_0=0., fx_test_0=None, k_test_train=None)` with the
      method `diagnostics`.

    Raises:
      ValueError: sizes of kernels and targets disagree, `diag_reg` is no scalar, `k_train_train` is seen
        to have entries that are not finite, or not to be symmetric, `diag_reg` or `noise_variance` to be negative,
        or a kernel in a store is not complete.
      TypeError: `learning_rate` is no scalar, or an argument is not made of numbers.

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    kernel, y_train = as_kernel_or_stored(k_train_train, "k_train_train"), as_targets(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    check_scalar(
        learning_rate, "learning_rate", "Pass test kernels later: gradient_descent_mse(...)(k_test_train=...)."
    )
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    outputs.check(kernel, "`k_train_train`")
    dtype = common_dtype(kernel, y_train)
    system = train_system(kernel, outputs, working_dtype(dtype), regularisation, solve_in_float64)
    return GradientDescentMSE(system, y_train.astype(dtype), learning_rate)


def _limit(s: jax.Array | None, columns: jax.Array) -> jax.Array:
    """Columns that are the same at all times `s`."""
    return columns if s is None else jnp.broadcast_to(columns, s.shape + columns.shape)
