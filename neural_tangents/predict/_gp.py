"""Gaussian process regression, which is also the infinite-time limit of ensembles of wide networks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import numpy as jnp

from neural_tangents._core.types import Axes, Get
from neural_tangents.predict._model_selection import leave_one_out, log_marginal_likelihood
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._posterior import (
    PREDICTIONS,
    HeldOutKernels,
    kernel_label,
    kernels_needed,
    learned,
    posterior,
)
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._results import as_prediction, gaussians, requested, with_methods
from neural_tangents.predict._solve import Diagnostics, TrainSystem

# The key of a kernel given as an array: that of whichever name is asked for.
_BARE = ""


def gp_inference(
    k_train_train: Any,
    y_train: Any,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    *,
    noise_variance: Any = None,
    solve_in_float64: bool = False,
) -> Callable[..., Any]:
    """Predicts by Gaussian process regression, and as an infinite ensemble of networks trained to convergence.

    With `K_λ = K_dd + λ I`, the NNGP kernel `𝒦`, the NTK `Θ` and `A = Θ_td Θ_λ⁻¹`:

        get       mean              covariance
        'nngp'    𝒦_td 𝒦_λ⁻¹ y     𝒦_tt - 𝒦_td 𝒦_λ⁻¹ 𝒦_dt              Bayesian networks; training of the readout
        'ntk'     Θ_td Θ_λ⁻¹ y      𝒦_tt + A 𝒦_dd Aᵀ - A 𝒦_dt - 𝒦_td Aᵀ   gradient descent on all parameters
        'ntkgp'   Θ_td Θ_λ⁻¹ y      Θ_tt - Θ_td Θ_λ⁻¹ Θ_dt                 the Gaussian process with kernel Θ

    Args:
      k_train_train: kernels of the training set with itself: a `Kernel`, a named tuple with fields `nngp`, `ntk`, or an
        array, which then is the one kernel that predictions need. Each is interleaved as `zip(y_train.shape,
        y_train.shape)` without the pairs of `trace_axes`, and read as `K ⊗ I` along `trace_axes`.
      y_train: targets.
      diag_reg: `λ`, the variance of noise in `y_train`, in units of the mean diagonal entry of `K_dd`; a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      trace_axes: axes of `y_train` that the kernels lack, the ones that they were computed with.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `K_dd` besides `λ`: a scalar,
        or one number for each training point; None for none.
      solve_in_float64: whether to factorise matrices in float64, whatever the type of the kernels.

    Returns:
      `predict_fn(get=None, k_test_train=None, k_test_test=None)`. `get` is a name in the table, for a bare prediction,
      or several, for a named tuple `Gaussians` of them; None stands for `('nngp', 'ntk')`. A prediction is the mean,
      or `Gaussian(mean, covariance)` if `k_test_test` is given. Without `k_test_train` it is about the training set
      itself, which is learned exactly: mean `y_train`, covariance 0 (and `k_test_test=True` asks for it). For `'ntk'`,
      `k_test_test` may be the bare NNGP kernel.

      Factorisations are computed when first needed and shared by all later calls of `predict_fn`. It can be used under
      `jit` (with `get` static), `vmap` and `grad`.

      `predict_fn.diagnostics()` tells for each kernel how well `K_λ` is conditioned and what was done to invert it: see
      `Diagnostics`. Where a Cholesky factorisation fails, the smallest sufficient jitter is added to the diagonal, and
      where none suffices, eigenvalues that are negative or zero up to rounding are left out.

      `predict_fn.log_marginal_likelihood(get='nngp')` is `log p(y_train)` under the Gaussian process with kernel `𝒦`,
      or `Θ` for `'ntkgp'`, and `predict_fn.leave_one_out(get='nngp')` the `Gaussian` predicted for each training point
      from all others, noise included, with a covariance `(N, ...)` for each point. Both can be differentiated in what
      the kernels depend on.

    Raises:
      ValueError: sizes of kernels and outputs disagree, `get` needs a kernel not given, a kernel of the training set is
        seen to have entries that are not finite, or not to be symmetric, or `diag_reg` or `noise_variance` to be
        negative.
      AttributeError: `get` has an unknown name.

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720; for `'ntkgp'`, He et al., "Bayesian Deep Ensembles via the Neural Tangent
    Kernel", 2020, https://arxiv.org/abs/2007.05864.
    """
    y_train = jnp.asarray(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    given = _given(k_train_train)
    for name, kernel in given.items():
        outputs.check(kernel, kernel_label("k_train_train", name))
    dtype = jnp.result_type(y_train, *given.values(), float)
    y_train = y_train.astype(dtype)
    systems = {
        name: TrainSystem(kernel, outputs, dtype, regularisation, solve_in_float64) for name, kernel in given.items()
    }

    def predict_fn(get: Get = None, k_test_train: Any = None, k_test_test: Any = None) -> Any:
        names = requested(get, tuple(PREDICTIONS), AttributeError)
        with_covariance = k_test_test is not None and k_test_test is not False
        if k_test_train is None:
            return gaussians(get, names, lambda name: learned(outputs, y_train, with_covariance))
        needed = kernels_needed(names, with_covariance)
        train = _pick(systems, needed, names, "k_train_train")
        test_train = _pick(_given(k_test_train), needed, names, "k_test_train")
        priors = tuple(dict.fromkeys(PREDICTIONS[name].prior for name in names))
        test_test = _pick(_given(k_test_test), priors, names, "k_test_test") if with_covariance else {}
        test = HeldOutKernels.create(outputs, test_train, test_test, dtype)
        y = outputs.columns(y_train)
        return gaussians(
            get, names, lambda name: as_prediction(test.outputs, *posterior(PREDICTIONS[name], train, test, y))
        )

    def diagnostics() -> dict[str, Diagnostics]:
        return {name or "kernel": system.diagnostics() for name, system in systems.items()}

    def process(get: str) -> TrainSystem:
        """The system of the Gaussian process with this name."""
        (name,) = requested(get, tuple(PREDICTIONS), AttributeError)
        if PREDICTIONS[name].prior != PREDICTIONS[name].dynamics:
            raise ValueError(f"Expected `get` to be 'nngp' or 'ntkgp', got {get!r}, which is no Gaussian process.")
        return next(iter(_pick(systems, kernels_needed((name,), False), (name,), "k_train_train").values()))

    return with_methods(
        predict_fn,
        diagnostics=diagnostics,
        log_marginal_likelihood=lambda get="nngp": log_marginal_likelihood(process(get), outputs.columns(y_train)),
        leave_one_out=lambda get="nngp": leave_one_out(process(get), outputs, y_train),
    )


def _given(kernels: Any) -> dict[str, jax.Array]:
    """The kernels by name that a `Kernel` or a named tuple has, or an array, which has no name."""
    if not (hasattr(kernels, "nngp") or hasattr(kernels, "ntk")):
        return {_BARE: jnp.asarray(kernels)}
    found = {name: getattr(kernels, name, None) for name in ("nngp", "ntk")}
    return {name: jnp.asarray(kernel) for name, kernel in found.items() if kernel is not None}


def _pick(given: Mapping[str, Any], needed: tuple[str, ...], names: tuple[str, ...], label: str) -> dict[str, Any]:
    """The needed ones of the given kernels; raises `ValueError` if one is not there."""
    if _BARE in given and len(needed) == 1:
        return {needed[0]: given[_BARE]}
    missing = [name for name in needed if name not in given]
    if missing:
        got = "one array, which stands for a single kernel" if _BARE in given else f"{tuple(given)}"
        raise ValueError(
            f"Predictions {names} need the kernels {needed} in `{label}`, got {got}. Pass a `Kernel` or a named tuple "
            f"with the fields {needed}, such as kernel_fn(x1, x2, {needed}), or ask for other predictions with `get`."
        )
    return {name: given[name] for name in needed}
