"""Infinite ensembles of wide networks trained by gradient flow on the squared loss."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import Axes, Get
from neural_tangents.predict import _gradient_flow as flow
from neural_tangents.predict._arguments import time_per_entry
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._posterior import PREDICTIONS, HeldOutKernels, Roles, kernels_needed, learned, posterior
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._results import as_prediction, gaussians, requested, with_methods
from neural_tangents.predict._solve import Diagnostics, TrainSystem


def gradient_descent_mse_ensemble(
    kernel_fn: Callable[..., Any],
    x_train: Any,
    y_train: Any,
    learning_rate: Any = 1.0,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    *,
    noise_variance: Any = None,
    solve_in_float64: bool = False,
    **kernel_fn_train_train_kwargs: Any,
) -> Callable[..., Any]:
    """Predicts the outputs of an infinite ensemble of wide networks trained by gradient flow on the mean squared loss.

    Networks start as draws of a Gaussian process with mean 0 and the NNGP kernel `𝒦`, and follow the gradient of the
    loss `½ mean((f - y)²)`. If only the readout layer is trained (`get='nngp'`), then `𝒦` is also the kernel of the
    dynamics; if all parameters are (`'ntk'`), it is the NTK `Θ`. With `K` the one or the other, `K_λ = K_dd + λ I`,
    `E = e^{-K_λ τ / n}`, `τ = learning_rate · t`, `n = y_train.size` and `A = Θ_td Θ_λ⁻¹ (I - E)`:

                      training set       test set
        mean          (I - E) y          K_td K_λ⁻¹ (I - E) y
        cov 'nngp'    𝒦_λ E²            𝒦_tt - 𝒦_td 𝒦_λ⁻¹ (I - E²) 𝒦_dt
        cov 'ntk'     E 𝒦_dd E          𝒦_tt + A 𝒦_dd Aᵀ - A 𝒦_dt - 𝒦_td Aᵀ

    Args:
      kernel_fn: any function `(x1, x2, get, **kwargs)` that returns an array for `get` of `'nngp'` or `'ntk'`, and
        an object with these attributes for `get=('nngp', 'ntk')`; `x2` is None for a set with itself. Kernels are
        interleaved as `zip(y1.shape, y2.shape)` without the pairs of `trace_axes`, and read as `K ⊗ I` along them. It
        is called when first needed, and only for the kernels needed.
      x_train: inputs.
      y_train: targets, one for each input along axis 0.
      learning_rate: a scalar.
      diag_reg: `λ` in units of the mean diagonal entry of `K_dd`, a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      trace_axes: axes of `y_train` that the kernels lack, the ones that `kernel_fn` leaves out.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `K_dd` besides `λ`: a scalar,
        or one number for each training point; None for none.
      solve_in_float64: whether to factorise matrices in float64, whatever the type of the kernels.
      **kernel_fn_train_train_kwargs: passed to `kernel_fn` for the training set.

    Returns:
      `predict_fn(t=None, x_test=None, get=None, compute_cov=False, **kernel_fn_test_test_kwargs)`. `t` is a scalar or
      an array of any shape, which becomes the leading axes of predictions; None is infinity, as in `gp_inference`.
      `x_test` are inputs; None stands for the training set. `get` is `'nngp'` or `'ntk'`, for a bare prediction, or
      both, for a named tuple `Gaussians`; None stands for `('nngp', 'ntk')`. A prediction is the mean, or, with
      `compute_cov`, `Gaussian(mean, covariance)`. The keywords are passed to `kernel_fn` for the test set; those not
      given are as for the training set. For the test set with the training set, a keyword that is a pair is that of
      `(test, train)`: the first half of the one and the second half of the other. Any other keyword must be the same
      for both.

      Kernels of the training set and their factorisations are computed when first needed and shared by all later calls
      of `predict_fn`. It can be used under `jit` (with `get` and `compute_cov` static), `vmap` and `grad`. A `jit`
      compiles the kernels of the training set along, unless `predict_fn` has needed them outside of it before.

      `predict_fn.diagnostics()` tells for each kernel that was needed how well `K_λ` is conditioned and what was done
      to invert it: see `Diagnostics`. Where a Cholesky factorisation fails, the smallest sufficient jitter is added to
      the diagonal, and where none suffices, eigenvalues that are negative or zero up to rounding are left out.

    Raises:
      ValueError: sizes of inputs, kernels and outputs disagree, keywords for the training and the test set disagree, a
        kernel of the training set is seen to have entries that are not finite, or not to be symmetric, or `diag_reg`,
        `noise_variance` or `t` to be negative.
      KeyError: a keyword is for the test set only.
      NotImplementedError: `get` has another name.

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    y_train = jnp.asarray(y_train)
    y_train = y_train.astype(jnp.result_type(y_train, float))
    _check_lengths(x_train, y_train, kernel_fn_train_train_kwargs)
    outputs = Outputs.create(y_train.shape, trace_axes)
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    kept: dict[str, TrainSystem] = {}

    def train_systems(needed: tuple[str, ...]) -> dict[str, TrainSystem]:
        """The systems of the needed kernels. Those of concrete kernels are kept, so that none is computed twice."""
        missing = tuple(name for name in needed if name not in kept)
        kernels = _evaluate(kernel_fn, x_train, None, missing, kernel_fn_train_train_kwargs)
        systems = {}
        for name, kernel in kernels.items():
            outputs.check(kernel, f"the train-train {name} kernel")
            dtype = jnp.result_type(kernel, y_train)
            systems[name] = TrainSystem(kernel, outputs, dtype, regularisation, solve_in_float64)
        kept.update({name: systems[name] for name, kernel in kernels.items() if is_concrete(kernel)})
        return {**kept, **systems}

    def predict_fn(
        t: Any = None, x_test: Any = None, get: Get = None, compute_cov: bool = False, **kernel_fn_test_test_kwargs: Any
    ) -> Any:
        names = requested(get, ("nngp", "ntk"), NotImplementedError)
        test_train_kwargs, test_test_kwargs = _split_kwargs(kernel_fn_train_train_kwargs, kernel_fn_test_test_kwargs)
        if t is None and x_test is None:
            return gaussians(get, names, lambda name: learned(outputs, y_train, compute_cov))
        needed = kernels_needed(names, compute_cov)
        train = train_systems(needed)
        dtype = jnp.result_type(*(train[name].dtype for name in needed))
        s = time_per_entry(t, learning_rate, outputs, dtype)
        y = outputs.columns(y_train.astype(dtype))
        if x_test is None:
            return gaussians(
                get, names, lambda name: as_prediction(outputs, *_on_train(s, PREDICTIONS[name], train, y, compute_cov))
            )
        test_train = _evaluate(kernel_fn, x_test, x_train, needed, test_train_kwargs)
        test_test = _evaluate(kernel_fn, x_test, None, ("nngp",) if compute_cov else (), test_test_kwargs)
        test = HeldOutKernels.create(outputs, test_train, test_test, dtype)
        return gaussians(
            get, names, lambda name: as_prediction(test.outputs, *_on_test(s, PREDICTIONS[name], train, test, y))
        )

    def diagnostics() -> dict[str, Diagnostics]:
        return {name: system.diagnostics() for name, system in kept.items()}

    return with_methods(predict_fn, diagnostics=diagnostics)


def _on_train(
    s: jax.Array | None, roles: Roles, train: Mapping[str, TrainSystem], y: jax.Array, with_covariance: bool
) -> tuple[jax.Array, jax.Array | None]:
    """The mean `[..., M, T]` and covariance `[..., M, M]` (None if not asked for) on the training set."""
    assert s is not None
    system = train[roles.dynamics]
    mean = flow.mean_train(s, system.spectrum, system.matrix, jnp.zeros_like(y), y)
    if not with_covariance:
        return mean, None
    if roles.prior == roles.dynamics:
        return mean, flow.nngp_covariance_train(s, system.spectrum, system.matrix)
    prior = train[roles.prior].unregularised
    return mean, flow.ntk_covariance_train(s, system.spectrum, system.matrix, prior)


def _on_test(
    s: jax.Array | None, roles: Roles, train: Mapping[str, TrainSystem], test: HeldOutKernels, y: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """The mean `[..., N, T]` and covariance `[..., N, N]` (None if not asked for) on the test set."""
    if s is None:
        return posterior(roles, train, test, y)
    system, k_dt = train[roles.dynamics], test.k_dt[roles.dynamics]
    f0_test = jnp.zeros((k_dt.shape[1], y.shape[1]), y.dtype)
    mean = flow.mean_test(s, system.spectrum, system.matrix, k_dt, jnp.zeros_like(y), f0_test, y)
    if not test.k_tt:
        return mean, None
    k_tt = test.k_tt[roles.prior]
    if roles.prior == roles.dynamics:
        return mean, flow.nngp_covariance_test(s, system.spectrum, system.matrix, k_dt, k_tt)
    prior_dd, prior_dt = train[roles.prior].unregularised, test.k_dt[roles.prior]
    return mean, flow.ntk_covariance_test(s, system.spectrum, system.matrix, k_dt, prior_dd, prior_dt, k_tt)


def _evaluate(
    kernel_fn: Callable[..., Any], x1: Any, x2: Any, names: tuple[str, ...], kwargs: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The named kernels, by one call of `kernel_fn`, or by none if there are no names."""
    if not names:
        return {}
    if len(names) == 1:
        return {names[0]: jnp.asarray(kernel_fn(x1, x2, names[0], **kwargs))}
    kernels = kernel_fn(x1, x2, names, **kwargs)
    return {name: jnp.asarray(getattr(kernels, name)) for name in names}


def _check_lengths(x_train: Any, y_train: jax.Array, kwargs: Mapping[str, Any]) -> None:
    """Raises `ValueError` if there are more or fewer inputs than targets."""
    if "batch_axis" in kwargs:
        return  # inputs are not counted along axis 0: the shapes of kernels will tell
    lengths = {np.shape(x)[0] for x in jax.tree.leaves(x_train) if np.ndim(x)}
    if lengths - {y_train.shape[0]}:
        raise ValueError(
            f"Expected one row of `y_train` for each input, got {y_train.shape[0]} rows for `x_train` of length "
            f"{', '.join(map(str, sorted(lengths)))}. Pass inputs and targets of the same data."
        )


def _split_kwargs(train: Mapping[str, Any], test: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of `kernel_fn` for test-train and for test-test kernels."""
    test_train, test_test = dict(train), dict(train)
    for name, value in test.items():
        if name not in train:
            raise KeyError(
                f"Expected keywords that were also given for the training set, {tuple(train)}, got {name!r}. Pass "
                f"{name!r} to `gradient_descent_mse_ensemble` too."
            )
        if _is_pair(value) and _is_pair(train[name]):
            test_train[name] = (value[0], train[name][1])
        elif not _are_equal(value, train[name]):
            raise ValueError(
                f"Expected keyword {name!r} to be the same for the training and the test set, or a pair for both, got "
                f"{train[name]!r} for the training set and {value!r} for the test set."
            )
        test_test[name] = value
    return test_train, test_test


def _is_pair(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2


def _are_equal(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure and leaves. Leaves not known yet are equal to themselves only."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (a, b)]
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
    return structures[0] == structures[1] and all(
        x is y or (is_concrete((x, y)) and np.array_equal(x, y)) for x, y in pairs
    )
