"""Outputs of one network trained by gradient flow on the squared loss."""

from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp

from neural_tangents._core.types import Axes
from neural_tangents.predict._arguments import as_kernel, common_dtype, time_per_entry
from neural_tangents.predict._gradient_flow import mean_test, mean_train
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._results import with_methods
from neural_tangents.predict._solve import TrainSystem
from neural_tangents.predict._spectral import matmul


def gradient_descent_mse(
    k_train_train: Any,
    y_train: Any,
    learning_rate: Any = 1.0,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    *,
    noise_variance: Any = None,
    solve_in_float64: bool = False,
) -> Callable[..., Any]:
    """Predicts the outputs of a wide (or linearised) network trained by gradient flow on the mean squared loss.

    For the loss `½ mean((f - y)²)` the outputs obey a linear equation, with the solution

        f_train(t) = f_train(0) + (e^{-Θ_λ τ / n} - I) (f_train(0) - y),
        f_test(t)  = f_test(0) + Θ_td Θ_λ⁻¹ (e^{-Θ_λ τ / n} - I) (f_train(0) - y),

    where `τ = learning_rate · t`, `n = y_train.size` and `Θ_λ = Θ_dd + λ I`. Times correspond to steps of gradient
    descent with a small `learning_rate`.

    Args:
      k_train_train: `Θ_dd`, the kernel of the training set with itself (an NTK; or an NNGP kernel if only the readout
        layer is trained), interleaved as `zip(y_train.shape, y_train.shape)` without the pairs of `trace_axes`. It is
        read as `Θ ⊗ I` along `trace_axes`.
      y_train: targets.
      learning_rate: a scalar.
      diag_reg: `λ` in units of the mean diagonal entry of `Θ_dd`, a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      trace_axes: axes of `y_train` that `k_train_train` lacks, the ones that it was computed with.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `K_dd` besides `λ`: a scalar,
        or one number for each training point; None for none.
      solve_in_float64: whether to factorise matrices in float64, whatever the type of the kernels.

    Returns:
      `predict_fn(t=None, fx_train_0=0., fx_test_0=None, k_test_train=None)`. `t` is a scalar or an array of any shape,
      which becomes the leading axes of predictions; None stands for the limit of infinite time, obtained by a solve
      without a decomposition (on the training set: `y_train`). `fx_train_0` and `fx_test_0` are outputs before
      training, scalars or in full; None leaves out predictions on that set, and for `fx_train_0` then stands for 0.
      `k_test_train` is `Θ_td`, needed for the test set. Returned are train outputs, test outputs, or a pair of both.

      Decompositions are computed when first needed and shared by all later calls of `predict_fn`. It can be used under
      `jit`, `vmap` and `grad`.

      `predict_fn.diagnostics()` tells how well `Θ_λ` is conditioned and what was done to invert it: see `Diagnostics`.
      Where a Cholesky factorisation fails, the smallest sufficient jitter is added to the diagonal, and where none
      suffices, eigenvalues that are negative or zero up to rounding are left out.

    Raises:
      ValueError: sizes of kernels and outputs disagree, there is nothing to predict, `k_test_train` is missing,
        `k_train_train` is seen to have entries that are not finite, or not to be symmetric, or `diag_reg`,
        `noise_variance` or `t` to be negative.

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    kernel, y_train = as_kernel(k_train_train, "k_train_train"), jnp.asarray(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    outputs.check(kernel, "`k_train_train`")
    dtype = common_dtype(kernel, y_train)
    system = TrainSystem(kernel, outputs, dtype, regularisation, solve_in_float64)
    y_train = y_train.astype(dtype)

    def predict_fn(t: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None) -> Any:
        if fx_train_0 is None and fx_test_0 is None:
            raise ValueError(
                "Expected `fx_train_0`, `fx_test_0` or both, got None for both. Pass the outputs before training, or "
                "0., for every set to predict on."
            )
        s = time_per_entry(t, learning_rate, outputs, dtype)
        y = outputs.columns(y_train)
        f0 = outputs.initial(0.0 if fx_train_0 is None else fx_train_0, "fx_train_0", dtype)

        if fx_test_0 is None:
            return _train(s, system, outputs, f0, y)
        if k_test_train is None:
            raise ValueError("Predictions on the test set need the test-train kernel. Pass `k_test_train`.")
        kernel = as_kernel(k_test_train, "k_test_train")
        test_outputs = outputs.held_out(kernel, "`k_test_train`")
        k_dt = outputs.matrix(kernel.astype(dtype)).T
        f0_test = test_outputs.initial(fx_test_0, "fx_test_0", dtype)
        if s is None:
            f_test = f0_test + matmul(k_dt.T, system.solve(y - f0))
        else:
            f_test = mean_test(s, system.spectrum, system.matrix, k_dt, f0, f0_test, y)
        f_test = test_outputs.from_columns(f_test)
        return f_test if fx_train_0 is None else (_train(s, system, outputs, f0, y), f_test)

    return with_methods(predict_fn, diagnostics=system.diagnostics)


def _train(s: jax.Array | None, system: TrainSystem, outputs: Outputs, f0: jax.Array, y: jax.Array) -> jax.Array:
    return outputs.from_columns(y if s is None else mean_train(s, system.spectrum, system.matrix, f0, y))
