"""Gaussian process regression, which is also the infinite-time limit of ensembles of wide networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, overload

import jax
from jax.typing import ArrayLike

from neural_tangents._core.old_calls import present_form
from neural_tangents._core.types import Axes, Get
from neural_tangents.predict._arguments import (
    DIAGONAL,
    as_targets,
    check_compute_cov,
    common_dtype,
    working_dtype,
)
from neural_tangents.predict._describe import describe
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._influence import Influence
from neural_tangents.predict._left_out import LeftOut
from neural_tangents.predict._marginals import Marginals
from neural_tangents.predict._model_selection import log_marginal_likelihood
from neural_tangents.predict._named_kernels import kernels_by_name, needed_kernels
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
from neural_tangents.predict._results import Gaussians, Names, as_prediction, gaussians, one_requested, requested
from neural_tangents.predict._solve import Diagnostics
from neural_tangents.predict._stored_system import System, train_system


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GaussianProcess:
    """Predictions of Gaussian processes, and of networks trained to convergence, from one training set.

    Made by `gp_inference`, which has the equations. Kernels of the training set are factorised when a prediction first
    needs it, and the factors are shared by all later calls. It can be called under `jax.jit` (with
    `static_argnames=('get', 'compute_cov')`), `jax.vmap` and `jax.grad`, and pickled (without the factors).
    """

    _systems: dict[str, System]
    _outputs: Outputs
    _y_train: jax.Array

    @overload
    def __call__(
        self, get: Names = None, k_test_train: Any = None, k_test_test: Literal[False] | None = None
    ) -> Gaussians[jax.Array]: ...

    @overload
    def __call__(self, get: Names = None, k_test_train: Any = None, k_test_test: Any = ...) -> Gaussians[Gaussian]: ...

    @overload
    def __call__(self, get: str, k_test_train: Any = None, k_test_test: Literal[False] | None = None) -> jax.Array: ...

    @overload
    def __call__(self, get: str, k_test_train: Any = None, k_test_test: Any = ...) -> Gaussian: ...

    @overload
    def __call__(
        self, get: Names = None, k_test_train: Any = None, k_test_test: Any = ..., *, compute_cov: Literal["diag"]
    ) -> Gaussians[Marginals]: ...

    @overload
    def __call__(
        self, get: str, k_test_train: Any = None, k_test_test: Any = ..., *, compute_cov: Literal["diag"]
    ) -> Marginals: ...

    def __call__(
        self,
        get: Get = None,
        k_test_train: Any = None,
        k_test_test: Any = None,
        *,
        compute_cov: bool | str | None = None,
    ) -> Any:
        """Predicts outputs on a test set, or on the training set.

        Args:
          get: `'nngp'`, `'ntk'` or `'ntkgp'`, in upper or lower case, or several of them; None for `('nngp', 'ntk')`.
          k_test_train: kernels of the test with the training set, in the same form as `k_train_train`. None for
            predictions on the training set itself, which is learned exactly: mean `y_train`, covariance 0. Large
            ones in a store are read block by block for the mean, and loaded for covariances.
          k_test_test: kernels of the test set with itself, for covariances; None for means alone. For `'ntk'` the
            NNGP kernel suffices, also as an array. For the training set, pass True.
          compute_cov: whether to compute covariances; None for whether `k_test_test` is given. `'diag'` for variances
            alone, whose time and memory grow with the number of test points, and not with its square. For these,
            `k_test_test` may be the diagonals of the kernels, of the shape of outputs on the test set without
            `trace_axes`.

        Returns:
          For one name the prediction, otherwise a named tuple `Gaussians` of one for each name. A prediction is the
          mean, of the shape of `y_train` but for the test set's length, or, with `k_test_test`,
          `Gaussian(mean, covariance)`, or with `compute_cov='diag'`, `Marginals(mean, variance)`.

        Raises:
          ValueError: sizes of kernels disagree with those of the training set, a kernel that `get` needs is missing, or
            one in a store is not complete, or not positive definite with its regularisation.
          AttributeError: `get` has an unknown name.
          TypeError: `get` is something other than names, or a kernel is not made of numbers.
        """
        names = requested(get, tuple(PREDICTIONS), AttributeError)
        is_given = k_test_test is not None and k_test_test is not False
        spread = is_given if compute_cov is None else check_compute_cov(compute_cov)
        if spread and not is_given and k_test_train is not None:
            raise ValueError(f"`compute_cov={compute_cov!r}` needs kernels of the test set. Pass `k_test_test`.")
        if k_test_train is None:
            return gaussians(get, names, lambda name: learned(self._outputs, self._y_train, spread))
        needed = kernels_needed(names, bool(spread))
        train = needed_kernels(self._systems, needed, names, "k_train_train")
        test_train = needed_kernels(kernels_by_name(k_test_train, "k_test_train"), needed, names, "k_test_train")
        priors = tuple(dict.fromkeys(PREDICTIONS[name].prior for name in names))
        test_test = (
            needed_kernels(kernels_by_name(k_test_test, "k_test_test"), priors, names, "k_test_test") if spread else {}
        )
        dtype = common_dtype(self._y_train, *test_train.values(), *test_test.values())
        test = HeldOutKernels.create(self._outputs, test_train, test_test, working_dtype(dtype), spread == DIAGONAL)
        y = self._columns()
        return gaussians(
            get, names, lambda name: as_prediction(test.outputs, dtype, *posterior(PREDICTIONS[name], train, test, y))
        )

    def diagnostics(self) -> dict[str, Diagnostics]:
        """Says how well the matrices `K_λ` are conditioned, and what was done to invert them.

        Where a Cholesky factorisation fails, the smallest sufficient jitter is added to the diagonal, and where none
        suffices, eigenvalues that are negative or zero up to rounding are left out.

        Returns:
          `Diagnostics` by the name of the kernel, `'nngp'` or `'ntk'`; `'kernel'` for one given as an array.

        Raises:
          ValueError: a kernel is in a store, and too large to be loaded.
        """
        return {name or "kernel": system.diagnostics() for name, system in self._systems.items()}

    def log_marginal_likelihood(self, get: str = "nngp") -> jax.Array:
        """The logarithm of the probability density of `y_train` under a Gaussian process.

            log p(y) = -½ tr(yᵀ K_λ⁻¹ y) - (T / 2) (log det K_λ + M log 2π)

        for targets as `M x T` columns, of which the `T` along `trace_axes` are independent. It can be differentiated in
        whatever the kernel depends on.

        Args:
          get: `'nngp'` for the process with kernel `𝒦`, `'ntkgp'` for that with kernel `Θ`.

        Returns:
          A scalar.

        Raises:
          ValueError: `get` is not the name of one Gaussian process, or its kernel is missing.
          AttributeError: `get` is an unknown name.

        Source: Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.30.
        """
        return log_marginal_likelihood(self._process(get), self._columns()).astype(self._y_train.dtype)

    def leave_one_out(self, get: str = "nngp") -> Gaussian:
        """Predicts the target of each training point from all other points.

        With the block `B = [K_λ⁻¹]_ii` of the outputs of point `i`, the mean is `y_i - B⁻¹ [K_λ⁻¹ y]_i` and the
        covariance, noise included, `B⁻¹`. Both can be differentiated in whatever the kernel depends on.

        Args:
          get: `'nngp'` for the process with kernel `𝒦`, `'ntkgp'` for that with kernel `Θ`.

        Returns:
          `Gaussian(mean, covariance)` with a mean of the shape of `y_train`, and a covariance for each point: axis 0
          numbers the points, and the other axes of outputs come in pairs, without `trace_axes`.

        Raises:
          ValueError: `get` is not the name of one Gaussian process, its kernel is missing, or `trace_axes` has axis 0.
          AttributeError: `get` is an unknown name.

        Source: Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006, equation 5.12.
        """
        found = self.leave_out(None, get)
        return Gaussian(found.mean[:, 0], found.covariance[:, 0, 0])

    def leave_out(self, groups: ArrayLike | None, get: str = "nngp") -> Gaussian:
        """Predicts the targets of each group of training points from all points that are not in it.

        As `leave_one_out`, with the block `B = [K_λ⁻¹]_SS` of the outputs of a group `S`: nothing is fitted again. What
        `diag_reg` adds to the diagonal stays that of the whole training set.

        Args:
          groups: numbers of training points, `(..., S)`: those of a group along the last axis, and groups of equal size
            along others. For `k`-fold cross-validation, a permutation as `(k, N / k)`. None for each point by itself,
            `(N, 1)`.
          get: `'nngp'` for the process with kernel `𝒦`, `'ntkgp'` for that with kernel `Θ`.

        Returns:
          `Gaussian(mean, covariance)` of the outputs of each group, noise included. The mean has the shape of `groups`,
          followed by that of `y_train` without its axis 0.

        Raises:
          ValueError: as `leave_one_out`; or `groups` are seen not to be groups of different points.
          TypeError: `groups` has entries that are not integers.
          AttributeError: `get` is an unknown name.

        Source: Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006, section 5.4.2, for one point; by
        the inverse of a partitioned matrix, its equation A.12, for a group.
        """
        system, y = self._process(get), self._columns()
        found = LeftOut.create(system, self._outputs, y, groups).predictions(self._outputs, y)
        return Gaussian(*(x.astype(self._y_train.dtype) for x in found))

    def influence(self, k_test_train: Any, get: str = "nngp", groups: ArrayLike | None = None) -> Influence:
        """What each training point, or each group of them, contributes to predictions on a test set and to their loss.

        With `B = K_λ⁻¹`, the prediction of a test point `t` from all points `d`, less that from all but a group `S`, is

            f(t) - f_{-S}(t) = [K_td B]_S B_SS⁻¹ [B y]_S

        so that nothing is fitted again. What `diag_reg` adds to the diagonal stays that of the whole training set.

        Args:
          k_test_train: kernels of the test with the training set, as for predictions.
          get: one of `'nngp'`, `'ntk'`, `'ntkgp'`. Means of the last two are the same.
          groups: numbers of training points, `(..., S)`, as for `leave_out`; None for each point by itself.

        Returns:
          An `Influence`: `influence.on_predictions`, and `influence.on_loss(y_test)`.

        Raises:
          ValueError: as predictions and `leave_out`, or `get` has several names.
          TypeError: `groups` has entries that are not integers.
          AttributeError: `get` is an unknown name.

        Source: Cook, "Detection of Influential Observation in Linear Regression", Technometrics 19(1), 1977, in
        the form of kernels.
        """
        name = one_requested(get, tuple(PREDICTIONS), AttributeError)
        (needed,) = kernels_needed((name,), False)
        (system,) = needed_kernels(self._systems, (needed,), (name,), "k_train_train").values()
        given = kernels_by_name(k_test_train, "k_test_train")
        test_train = needed_kernels(given, (needed,), (name,), "k_test_train")
        dtype = common_dtype(self._y_train, *test_train.values())
        test = HeldOutKernels.create(self._outputs, test_train, {}, working_dtype(dtype))
        return Influence.create(needed, system, self._outputs, test, self._columns(), groups, dtype)

    def __repr__(self) -> str:
        system = next(iter(self._systems.values()))
        return describe(
            self,
            kernels=tuple(name or "kernel" for name in self._systems),
            y_train=self._y_train,
            trace_axes=self._outputs.traced,
            **system.regularisation._asdict(),
            solver="Cholesky",
            solve_in_float64=system.in_float64,
        )

    def _columns(self) -> jax.Array:
        """Targets as columns, in the type to compute in."""
        return self._outputs.columns(self._y_train.astype(working_dtype(self._y_train.dtype)))

    def _process(self, get: str) -> System:
        """The system of the Gaussian process with this name."""
        names = requested(get, tuple(PREDICTIONS), AttributeError)
        if len(names) > 1 or PREDICTIONS[names[0]].prior != PREDICTIONS[names[0]].dynamics:
            raise ValueError(f"Expected `get` to be 'nngp' or 'ntkgp', got {get!r}, which is no Gaussian process.")
        return next(iter(needed_kernels(self._systems, kernels_needed(names, False), names, "k_train_train").values()))


_FROM_INPUTS = "gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, diag_reg=...)(x_test=..., get=...)"


def _misplaced(arguments: Mapping[str, Any]) -> str | None:
    if not callable(arguments.get("k_train_train")):
        return None
    return (
        f"Expected kernels in `k_train_train`, got a function. To predict from `kernel_fn` and inputs: {_FROM_INPUTS}."
    )


@present_form(
    "gp_inference(k_train_train, y_train, diag_reg=...)(get, k_test_train, k_test_test)",
    {
        "get": "Pass it to what gp_inference returns.",
        "x_test": f"To predict from `kernel_fn` and inputs: {_FROM_INPUTS}.",
        "compute_cov": "Covariances come with `k_test_test`, or with `compute_cov=True` of what "
        "gradient_descent_mse_ensemble returns.",
    },
    _misplaced,
)
def gp_inference(
    k_train_train: Any,
    y_train: ArrayLike,
    diag_reg: ArrayLike = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    *,
    noise_variance: Any = None,
    solve_in_float64: bool = False,
) -> GaussianProcess:
    """Predicts by Gaussian process regression, and as an infinite ensemble of networks trained to convergence.

    With `K_λ = K_dd + λ I` for kernels of the training set `d` with itself, `K_td` for kernels of the test set `t` with
    the training set, the NNGP kernel `𝒦`, the NTK `Θ` and `A = Θ_td Θ_λ⁻¹`:

        get       mean              covariance
        'nngp'    𝒦_td 𝒦_λ⁻¹ y     𝒦_tt - 𝒦_td 𝒦_λ⁻¹ 𝒦_dt              Bayesian networks; training of the readout
        'ntk'     Θ_td Θ_λ⁻¹ y      𝒦_tt + A 𝒦_dd Aᵀ - A 𝒦_dt - 𝒦_td Aᵀ   gradient descent on all parameters
        'ntkgp'   Θ_td Θ_λ⁻¹ y      Θ_tt - Θ_td Θ_λ⁻¹ Θ_dt                 the Gaussian process with kernel Θ

    Args:
      k_train_train: kernels of the training set with itself: a `Kernel`, a named tuple with fields `nngp`, `ntk`, or an
        array, which then is the one kernel that predictions need. Each is interleaved as `zip(y_train.shape,
        y_train.shape)` without the pairs of `trace_axes`, and read as `K ⊗ I` along `trace_axes`. Arrays may be sharded
        over devices, or be matrices in a store. Of these, up to 64 MiB are loaded. A larger one is factorised tile by
        tile in its store, outside of `jit`, `vmap` and `grad`, with a row of tiles in memory.
      y_train: targets, `(N, ...)`. For one output per point that is `(N, 1)`.
      diag_reg: `λ`, the variance of noise in `y_train`, in units of the mean diagonal entry of `K_dd`; a scalar >= 0.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      trace_axes: axes of `y_train` that the kernels lack, the ones that they were computed with.
      noise_variance: of the targets, in the units of the kernel, added to the diagonal of `K_dd` besides `λ`: a scalar,
        or one number for each training point, `(N,)`; None for none.
      solve_in_float64: whether to factorise matrices in float64, whatever the type of the kernels.

    Returns:
      A `GaussianProcess`, a function `predict_fn(get=None, k_test_train=None, k_test_test=None)` with the methods
      `diagnostics`, `log_marginal_likelihood`, `leave_one_out`, `leave_out` and `influence`.

    Raises:
      ValueError: sizes of kernels and targets disagree, there is no kernel, a kernel of the training set is seen to
        have entries that are not finite, or not to be symmetric, or `diag_reg` or `noise_variance` to be negative; or a
        kernel in a store is not complete.
      TypeError: an argument is not made of numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from neural_tangents import predict, stax
      >>> _, _, kernel_fn = stax.serial(stax.Dense(512), stax.Erf(), stax.Dense(1))
      >>> x_train, y_train = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[0.0], [1.0], [0.0]])
      >>> x_test, names = jnp.array([[1.0], [8.0]]), ("nngp", "ntk")
      >>> predict_fn = predict.gp_inference(kernel_fn(x_train, None, names), y_train, diag_reg=1e-3)
      >>> predict_fn
      GaussianProcess(kernels=('nngp', 'ntk'), ..., trace_axes=(1,), diag_reg=0.001, ...)
      >>> posterior = predict_fn("ntk", kernel_fn(x_test, x_train, names), kernel_fn(x_test, None, "nngp"))
      >>> posterior.mean.shape, posterior.covariance.shape
      ((2, 1), (2, 2))
      >>> bool(posterior.stddev[0, 0] < posterior.stddev[1, 0])  # less certain far from the training set
      True

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720; for `'ntkgp'`, He et al., "Bayesian Deep Ensembles via the Neural Tangent
    Kernel", 2020, https://arxiv.org/abs/2007.05864.
    """
    y_train = as_targets(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, noise_variance)
    regularisation.check(outputs)
    given = kernels_by_name(k_train_train, "k_train_train")
    if not given:
        raise ValueError("Expected a kernel in `k_train_train`, got None for both `nngp` and `ntk`.")
    for name, kernel in given.items():
        outputs.check(kernel, kernel_label("k_train_train", name))
    dtype = common_dtype(y_train, *given.values())
    systems = {
        name: train_system(kernel, outputs, working_dtype(dtype), regularisation, solve_in_float64)
        for name, kernel in given.items()
    }
    return GaussianProcess(systems, outputs, y_train.astype(dtype))
