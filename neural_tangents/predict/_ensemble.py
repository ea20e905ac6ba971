"""Infinite ensembles of wide networks trained by gradient flow on the squared loss."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.old_calls import no_scalar, present_form
from neural_tangents._core.types import Axes, Get
from neural_tangents.predict import _gradient_flow as flow
from neural_tangents.predict._arguments import (
    DIAGONAL,
    as_targets,
    check_compute_cov,
    check_scalar,
    common_dtype,
    time_per_entry,
    working_dtype,
)
from neural_tangents.predict._describe import describe
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._influence import Influence
from neural_tangents.predict._kernel_calls import (
    check_kernel_fn,
    check_lengths,
    evaluate,
    evaluate_diagonal,
    split_keywords,
)
from neural_tangents.predict._marginals import Marginals
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._posterior import PREDICTIONS, HeldOutKernels, Roles, kernels_needed, learned, posterior
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._results import Gaussians, Names, as_prediction, gaussians, one_requested, requested
from neural_tangents.predict._solve import Diagnostics, TrainSystem


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GradientDescentMSEEnsemble:
    """Predictions of an infinite ensemble of networks trained on the mean squared loss.

    Made by `gradient_descent_mse_ensemble`, which has the equations. Kernels of the training set and their
    factorisations are computed when a prediction first needs them, and shared by all later calls. It can be called
    under `jax.jit` (with `static_argnames=('get', 'compute_cov')`), `jax.vmap` and `jax.grad`; a `jit` compiles the
    kernels of the training set along, unless an earlier call outside of it has computed them. It can be pickled if
    `kernel_fn` can, with the kernels computed so far, but without their factorisations.
    """

    _kernel_fn: Callable[..., Any]
    _x_train: Any
    _y_train: jax.Array
    _outputs: Outputs
    _learning_rate: Any
    _regularisation: Regularisation
    _in_float64: bool
    _keywords: dict[str, Any]
    _systems: dict[str, TrainSystem] = dataclasses.field(default_factory=dict, init=False)  # of kernels computed so far

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: Names = None, compute_cov: Literal[False] = False, **kwargs: Any
    ) -> Gaussians[jax.Array]: ...

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: Names = None, compute_cov: Literal[True] = ..., **kwargs: Any
    ) -> Gaussians[Gaussian]: ...

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: str = ..., compute_cov: Literal[False] = False, **kwargs: Any
    ) -> jax.Array: ...

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: str = ..., compute_cov: Literal[True] = ..., **kwargs: Any
    ) -> Gaussian: ...

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: Names = None, compute_cov: Literal["diag"] = ..., **kwargs: Any
    ) -> Gaussians[Marginals]: ...

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: str = ..., compute_cov: Literal["diag"] = ..., **kwargs: Any
    ) -> Marginals: ...

    @overload
    def __call__(
        self, t: Any = None, x_test: Any = None, get: Get = ..., compute_cov: bool | str = ..., **kwargs: Any
    ) -> Any: ...

    def __call__(
        self,
        t: Any = None,
        x_test: Any = None,
        get: Get = None,
        compute_cov: bool | str = False,
        **kernel_fn_test_test_kwargs: Any,
    ) -> Any:
        """Predicts outputs on a test set, or on the training set.

        Args:
          t: times, a scalar or an array of any shape, whose axes become the leading axes of predictions. None stands
            for the limit of infinite time, as in `gp_inference`.
          x_test: inputs; None for the training set.
          get: `'nngp'`, `'ntk'`, in upper or lower case, or both; None for `('nngp', 'ntk')`.
          compute_cov: whether to compute covariances too; `'diag'` for variances alone. Of these, time and memory grow
            with the number of test points, and not with its square: `kernel_fn` is called for a few test points at a
            time, to take the diagonal of its results.
          **kernel_fn_test_test_kwargs: passed to `kernel_fn` for the test set; those not given are as for the training
            set. For the test set with the training set, a keyword that is a pair is that of `(test, train)`: the first
            half of the one and the second half of the other. Any other keyword must be the same for both sets.

        Returns:
          For one name the prediction, for several a named tuple `Gaussians` of them. A prediction is the mean, with the
          axes of `t` before those of `y_train`; with `compute_cov=True` it is `Gaussian(mean, covariance)`, with
          `'diag'` it is `Marginals(mean, variance)`.

        Raises:
          ValueError: sizes of kernels and targets disagree, keywords for the training and the test set disagree, a
            kernel of the training set is seen to have entries that are not finite, or not to be symmetric, or `t` to
            be negative.
          KeyError: a keyword is for the test set only.
          NotImplementedError: `get` has another name.
          TypeError: `get` or `t` has the wrong type, or `kernel_fn` returns something other than kernels.
        """
        names = requested(get, ("nngp", "ntk"), NotImplementedError)
        spread = check_compute_cov(compute_cov)
        test_train_kwargs, test_test_kwargs = split_keywords(self._keywords, kernel_fn_test_test_kwargs)
        if t is None and x_test is None:
            y_train = self._y_train.astype(common_dtype(self._y_train))
            return gaussians(get, names, lambda name: learned(self._outputs, y_train, spread))
        needed = kernels_needed(names, bool(spread))
        train = self._train_systems(needed)
        dtype = common_dtype(self._y_train, *(train[name].kernel for name in needed))
        s = time_per_entry(t, self._learning_rate, self._outputs, working_dtype(dtype))
        y = self._outputs.columns(self._y_train.astype(working_dtype(dtype)))
        if x_test is None:
            return gaussians(
                get,
                names,
                lambda name: as_prediction(self._outputs, dtype, *_on_train(s, PREDICTIONS[name], train, y, spread)),
            )
        inputs = {"x_test": x_test, "x_train": self._x_train}
        test_train = evaluate(self._kernel_fn, inputs, needed, test_train_kwargs)
        priors = ("nngp",) if spread else ()
        evaluate_prior = evaluate_diagonal if spread == DIAGONAL else evaluate
        test_test = evaluate_prior(self._kernel_fn, {"x_test": x_test}, priors, test_test_kwargs)
        dtype = common_dtype(self._y_train, *test_train.values(), *test_test.values())
        test = HeldOutKernels.create(self._outputs, test_train, test_test, working_dtype(dtype), spread == DIAGONAL)
        return gaussians(
            get, names, lambda name: as_prediction(test.outputs, dtype, *_on_test(s, PREDICTIONS[name], train, test, y))
        )

    def influence(
        self, x_test: Any, get: str = "ntk", groups: ArrayLike | None = None, **kernel_fn_test_test_kwargs: Any
    ) -> Influence:
        """What each training point, or each group of them, contributes to what is predicted after infinite time.

        With `B = K_λ⁻¹`, the prediction of a test point `t` from all points `d`, less that from all but a group `S`, is

            f(t) - f_{-S}(t) = [K_td B]_S B_SS⁻¹ [B y]_S

        so that nothing is trained again. What `diag_reg` adds to the diagonal stays that of the whole training set. At
        finite times there is no such equation: ensembles that are stopped early have to be computed again.

        Args:
          x_test: inputs; for what the network makes of its own training points, `x_train`.
          get: `'nngp'` or `'ntk'`.
          groups: numbers of training points, `(..., S)`: those of a group along the last axis, and groups of equal size
            along others; None for each point by itself.
          **kernel_fn_test_test_kwargs: as for predictions.

        Returns:
          An `Influence`: `influence.on_predictions`, and `influence.on_loss(y_test)`.

        Raises:
          ValueError: as predictions; `get` has several names, `trace_axes` has axis 0, or `groups` are seen not to be
            groups of different points.
          KeyError: a keyword is for the test set only.
          NotImplementedError: `get` is an unknown name.
          TypeError: `groups` has entries that are not integers, or `kernel_fn` returns something other than kernels.

        Source: Cook, "Detection of Influential Observation in Linear Regression", Technometrics 19(1), 1977, in
        the form of kernels.
        """
        name = one_requested(get, ("nngp", "ntk"), NotImplementedError)
        keywords, _ = split_keywords(self._keywords, kernel_fn_test_test_kwargs)
        system = self._train_systems((name,))[name]
        test_train = evaluate(self._kernel_fn, {"x_test": x_test, "x_train": self._x_train}, (name,), keywords)
        dtype = common_dtype(self._y_train, system.kernel, *test_train.values())
        test = HeldOutKernels.create(self._outputs, test_train, {}, working_dtype(dtype))
        y = self._outputs.columns(self._y_train.astype(working_dtype(dtype)))
        return Influence.create(name, system, self._outputs, test, y, groups, dtype)

    def diagnostics(self) -> dict[str, Diagnostics]:
        """Says how well the matrices `K_λ` are conditioned, and what was done to invert them.

        Where a Cholesky factorisation fails, the smallest sufficient jitter is added to the diagonal, and where none
        suffices, eigenvalues that are negative or zero up to rounding are left out.

        Returns:
          `Diagnostics` by the name of the kernel, `'nngp'` or `'ntk'`, for each that a prediction has needed so far.
        """
        return {name: system.diagnostics() for name, system in self._systems.items()}

    def __repr__(self) -> str:
        return describe(
            self,
            kernel_fn=self._kernel_fn,
            computed=tuple(self._systems),
            y_train=self._y_train,
            trace_axes=self._outputs.traced,
            learning_rate=self._learning_rate,
            **self._regularisation._asdict(),
            solver="eigendecomposition, or Cholesky for t=None",
            solve_in_float64=self._in_float64,
        )

    def _train_systems(self, needed: tuple[str, ...]) -> dict[str, TrainSystem]:
        """The systems of the needed kernels. Those of concrete kernels are kept, so that none is computed twice."""
        missing = tuple(name for name in needed if name not in self._systems)
        kernels = evaluate(self._kernel_fn, {"x_train": self._x_train}, missing, self._keywords)
        systems = {}
        for name, kernel in kernels.items():
            self._outputs.check(kernel, f"the train-train {name} kernel")
            dtype = working_dtype(common_dtype(kernel, self._y_train))
            systems[name] = TrainSystem(kernel, self._outputs, dtype, self._regularisation, self._in_float64)
        self._systems.update({name: systems[name] for name, kernel in kernels.items() if is_concrete(kernel)})
        return {**self._systems, **systems}


@present_form(
    "predict_fn = gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, learning_rate, diag_reg)\n"
    "predict_fn(t, x_test, get, compute_cov)",
    {name: "Pass it to `predict_fn`, what this function returns." for name in ("x_test", "get", "compute_cov")},
    no_scalar("learning_rate", "Pass inputs of the test set later, as `x_test`."),
)
def gradient_descent_mse_ensemble(
    kernel_fn: Callable[..., Any],
    x_train: Any,
    y_train: ArrayLike,
    learning_rate: ArrayLike = 1.0,
    diag_reg: ArrayLike = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    *,
    noise_variance: Any = None,
    solve_in_float64: bool = False,
    **kernel_fn_train_train_kwargs: Any,
) -> GradientDescentMSEEnsemble:
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
      x_train: inputs, `(N, ...)`, or a list or tuple of such arrays.
      y_train: targets, `(N, ...)`. For one output per input that is `(N, 1)`.
      learning_rate: a scalar.
      diag_reg: `λ` in units of the mean diagonal entry of `K_dd`, a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      trace_axes: axes of `y_train` that the kernels lack, the ones that `kernel_fn` leaves out.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `K_dd` besides `λ`: a scalar,
        or one number for each training point, `(N,)`; None for none.
      solve_in_float64: whether to factorise matrices in float64, whatever the type of the kernels.
      **kernel_fn_train_train_kwargs: passed to `kernel_fn` for the training set.

    Returns:
      A `GradientDescentMSEEnsemble`, a function `predict_fn(t=None, x_test=None, get=None, compute_cov=False,
      **kernel_fn_test_test_kwargs)` with the methods `diagnostics` and `influence`.

    Raises:
      ValueError: numbers of inputs and targets disagree, `diag_reg` is no scalar, or it or `noise_variance` is seen to
        be negative.
      TypeError: `kernel_fn` is no function, `learning_rate` no scalar, or an argument is not made of numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from neural_tangents import predict, stax
      >>> _, _, kernel_fn = stax.serial(stax.Dense(512), stax.Erf(), stax.Dense(1))
      >>> x_train, y_train = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[0.0], [1.0], [0.0]])
      >>> predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, diag_reg=1e-3)
      >>> converged = predict_fn(x_test=jnp.array([[1.0], [8.0]]), get="ntk", compute_cov=True)
      >>> converged.mean.shape, converged.stddev.shape
      ((2, 1), (2, 1))
      >>> predict_fn(t=jnp.array([0.0, 10.0, 1e3]), x_test=jnp.array([[1.0]]), get="ntk").shape
      (3, 1, 1)
      >>> both = predict_fn(t=10.0)  # on the training set
      >>> both.nngp.shape, both.ntk.shape
      ((3, 1), (3, 1))

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    check_kernel_fn(kernel_fn)
    y_train = as_targets(y_train)
    check_lengths(x_train, y_train, kernel_fn_train_train_kwargs)
    outputs = Outputs.create(y_train.shape, trace_axes)
    check_scalar(
        learning_rate, "learning_rate", "Pass test inputs later: gradient_descent_mse_ensemble(...)(x_test=...)."
    )
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    return GradientDescentMSEEnsemble(
        kernel_fn,
        x_train,
        y_train,
        outputs,
        learning_rate,
        regularisation,
        solve_in_float64,
        kernel_fn_train_train_kwargs,
    )


def _on_train(
    s: jax.Array | None, roles: Roles, train: Mapping[str, TrainSystem], y: jax.Array, spread: bool | str
) -> tuple[jax.Array, jax.Array | None]:
    """The mean `[..., M, T]` and covariance `[..., M, M]` or variances `[..., M]` on the training set, if asked for."""
    assert s is not None
    system = train[roles.dynamics]
    mean = flow.mean_train(s, system.spectrum, system.matrix, jnp.zeros_like(y), y)
    if not spread:
        return mean, None
    diagonal = spread == DIAGONAL
    if roles.prior == roles.dynamics:
        return mean, flow.nngp_covariance_train(s, system.spectrum, system.matrix, diagonal)
    prior = train[roles.prior].unregularised
    return mean, flow.ntk_covariance_train(s, system.spectrum, system.matrix, prior, diagonal)


def _on_test(
    s: jax.Array | None, roles: Roles, train: Mapping[str, TrainSystem], test: HeldOutKernels, y: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """The mean `[..., N, T]` and covariance `[..., N, N]` or variances `[..., N]` on the test set, if asked for."""
    if s is None:
        return posterior(roles, train, test, y)
    system, k_dt = train[roles.dynamics], test.k_dt(roles.dynamics)
    f0_test = jnp.zeros((k_dt.shape[1], y.shape[1]), y.dtype)
    mean = flow.mean_test(s, system.spectrum, system.matrix, k_dt, jnp.zeros_like(y), f0_test, y)
    if not test.k_tt:
        return mean, None
    k_tt = test.k_tt[roles.prior]
    if roles.prior == roles.dynamics:
        return mean, flow.nngp_covariance_test(s, system.spectrum, system.matrix, k_dt, k_tt)
    prior_dd, prior_dt = train[roles.prior].unregularised, test.k_dt(roles.prior)
    return mean, flow.ntk_covariance_test(s, system.spectrum, system.matrix, k_dt, prior_dd, prior_dt, k_tt)
