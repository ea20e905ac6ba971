"""Infinite ensembles of wide networks for training sets whose kernels do not fit into memory."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.typing import ArrayLike

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import Get
from neural_tangents.predict import _low_rank_kernel as low_rank
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
from neural_tangents.predict._kernel_calls import check_kernel_fn, check_lengths, evaluate, evaluate_diagonal
from neural_tangents.predict._low_rank_kernel import Learned, LowRankKernel
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._posterior import PREDICTIONS, Roles, kernels_needed
from neural_tangents.predict._regularisation import Regularisation
from neural_tangents.predict._results import as_prediction, gaussians, requested


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LowRankEnsemble:
    """Predictions of an infinite ensemble of networks, by kernels of low rank.

    Made by `low_rank_ensemble`, which has the equations. Pivots are chosen, and what is learned from the training set
    is computed, when a prediction first needs it, and shared by all later calls. It can be called under `jax.jit` (with
    `static_argnames=('get', 'compute_cov')`), `jax.vmap` and `jax.grad`, with derivatives in `t`, `x_test` and
    `learning_rate`. It can be pickled if `kernel_fn` can.
    """

    _kernel_fn: Callable[..., Any]
    _x_train: Any
    _y_train: jax.Array
    _outputs: Outputs
    _rank: int
    _learning_rate: Any
    _regularisation: Regularisation
    _key: jax.Array
    _keywords: dict[str, Any]
    _kernels: dict[str, LowRankKernel] = dataclasses.field(default_factory=dict, init=False)
    _learned: dict[str, Learned] = dataclasses.field(default_factory=dict, init=False)
    _products: dict[Roles, tuple[jax.Array, jax.Array]] = dataclasses.field(default_factory=dict, init=False)

    def __call__(self, t: Any = None, x_test: Any = None, get: Get = None, compute_cov: bool | str = False) -> Any:
        """Predicts outputs on a test set.

        Args:
          t: times, a scalar or an array of any shape, whose axes become the leading axes of predictions. None stands
            for the limit of infinite time.
          x_test: inputs; None for those of the training set, which are treated as any others.
          get: `'nngp'`, `'ntk'`, in upper or lower case, or both; None for `('nngp', 'ntk')`.
          compute_cov: whether to compute covariances too; `'diag'` for variances alone.

        Returns:
          For one name the prediction, for several a named tuple `Gaussians` of them. A prediction is the mean, with the
          axes of `t` before those of `y_train`; with `compute_cov=True` it is `Gaussian(mean, covariance)`, with
          `'diag'` it is `Marginals(mean, variance)`.

        Raises:
          ValueError: kernels have other axes than those of inputs, or are seen not to be finite, or `t` to be negative.
          NotImplementedError: `get` has another name.
          TypeError: `get` or `t` has the wrong type, or `kernel_fn` returns something other than kernels.
        """
        names = requested(get, ("nngp", "ntk"), NotImplementedError)
        spread = check_compute_cov(compute_cov)
        x_test = self._x_train if x_test is None else x_test
        needed = kernels_needed(names, bool(spread))
        train = {name: self._kernel(name) for name in needed}
        count = _length(x_test)
        outputs = Outputs((count, *self._outputs.shape[1:]), self._outputs.traced)
        phi = {
            name: low_rank.features(
                kernel,
                low_rank.kernel_rows(self._kernel_fn, kernel.inputs, {"x_test": x_test}, count, name, self._keywords),
            )
            for name, kernel in train.items()
        }
        prior = {}
        if spread:
            evaluate_prior = evaluate_diagonal if spread == DIAGONAL else evaluate
            prior = evaluate_prior(self._kernel_fn, {"x_test": x_test}, ("nngp",), self._keywords)
        dtype = common_dtype(self._y_train, *phi.values())
        s = time_per_entry(t, self._learning_rate, self._outputs, working_dtype(dtype))
        s = jnp.full((), jnp.inf, working_dtype(dtype)) if s is None else s

        def predict(name: str) -> Any:
            roles = PREDICTIONS[name]
            kernel = train[roles.dynamics]
            learned, added = self._what_is_learned(roles.dynamics, kernel), self._added(kernel)
            mean = low_rank.mean(s, learned, added, phi[roles.dynamics])
            if not spread:
                return as_prediction(outputs, dtype, mean, None)
            products = self._prior_products(roles, train, learned, added)
            covariance = low_rank.error_covariance(
                s, learned, added, products, phi[roles.dynamics], phi[roles.prior], prior[roles.prior].astype(s.dtype)
            )
            return as_prediction(outputs, dtype, mean, covariance)

        return gaussians(get, names, predict)

    def __repr__(self) -> str:
        return describe(
            self,
            kernel_fn=self._kernel_fn,
            computed=tuple(self._kernels),
            y_train=self._y_train,
            rank=self._rank,
            learning_rate=self._learning_rate,
            diag_reg=self._regularisation.diag_reg,
            diag_reg_absolute_scale=self._regularisation.diag_reg_absolute_scale,
        )

    def _kernel(self, name: str) -> LowRankKernel:
        def compute() -> LowRankKernel:
            dtype = working_dtype(common_dtype(self._y_train, *jax.tree.leaves(self._x_train)))
            count = self._outputs.shape[0]
            return low_rank.low_rank_kernel(
                self._kernel_fn, self._x_train, count, name, self._rank, self._key, dtype, self._keywords
            )

        return _kept(self._kernels, name, compute)

    def _added(self, kernel: LowRankKernel) -> jax.Array:
        """`λ`."""
        diag_reg, absolute, _ = self._regularisation
        return jnp.asarray(diag_reg if absolute else diag_reg * kernel.scale, kernel.rows.dtype)

    def _what_is_learned(self, name: str, kernel: LowRankKernel) -> Learned:
        y = self._outputs.columns(self._y_train).astype(kernel.rows.dtype)
        return _kept(self._learned, name, lambda: low_rank.learn(kernel.rows, y))

    def _prior_products(
        self, roles: Roles, train: dict[str, LowRankKernel], learned: Learned, added: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        rows, prior = train[roles.dynamics].rows, train[roles.prior]
        with_noise = roles.dynamics == roles.prior
        return _kept(
            self._products,
            roles,
            lambda: low_rank.prior_products(with_noise, learned, added, rows, prior.rows, prior.rest),
        )


def _length(x_test: Any) -> int:
    """How many test inputs there are."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(x_test)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"Expected inputs of one length in `x_test`, got arrays of shapes {shapes}.")
    return int(shapes[0][0])


def _kept(cache: dict[Any, Any], key: Any, compute: Callable[[], Any]) -> Any:
    """What was computed before, or is computed now, and kept unless it is traced."""
    if key in cache:
        return cache[key]
    found = compute()
    if is_concrete(found):
        cache[key] = found
    return found


def low_rank_ensemble(
    kernel_fn: Callable[..., Any],
    x_train: Any,
    y_train: ArrayLike,
    rank: int,
    learning_rate: ArrayLike = 1.0,
    diag_reg: ArrayLike = 0.0,
    diag_reg_absolute_scale: bool = False,
    *,
    key: Any = None,
    **kernel_fn_kwargs: Any,
) -> LowRankEnsemble:
    """Predicts as `gradient_descent_mse_ensemble` does, for training sets whose kernels do not fit into memory.

    Kernels are computed at `rank` training points `S`, the pivots, only. With `K_SS = L Lᵀ`, `φ(x) = L⁻¹ K(S, x)` takes
    the place of the kernel `K`, as `K(x, x') ≈ φ(x)ᵀ φ(x')`. With the features `F_id = φ_d(x_i)` of the training set,
    `E = e^{-(F Fᵀ + λ I) τ / n}`, `τ = learning_rate · t`, `n = y_train.size`, and

        A = φ_tᵀ Fᵀ (F Fᵀ + λ I)⁻¹ (I - E),

    for `K` the NNGP kernel `𝒦` (`get='nngp'`) or the NTK (`'ntk'`), predictions are

        mean = A y,
        cov = 𝒦_tt - γ_tᵀ γ_t + (γ_t - Gᵀ Aᵀ)ᵀ (γ_t - Gᵀ Aᵀ) + A diag(𝒦_dd - G Gᵀ) Aᵀ + λ A Aᵀ,

    where the features `γ`, `G` are those of `𝒦`, and the last term is part of `'nngp'` only. The mean is that of subset
    of regressors. The covariance is that of the error of this mean, if what the features of `𝒦` lack is independent
    between training points (as in FITC). So a variance is never negative, never below what the features lack of
    `𝒦(x, x)`, and far from the training set that of the networks before training. With `rank = N` predictions on a test
    set are those of `gradient_descent_mse_ensemble`.

    Pivots are drawn by a randomly pivoted Cholesky factorisation, one set for each kernel. For each kernel of `N`
    training points this takes about `N rank` of its entries, `5 N rank²` multiplications and memory for `2 N rank`
    numbers; a prediction takes memory for `2 rank` numbers for each test point.

    Args:
      kernel_fn: any function `(x1, x2, get, **kwargs)` that returns an array `(N1, N2)` for `get` of `'nngp'` or
        `'ntk'`; `x2` is None for a set with itself. It is called for 128 pivots at a time: compile it by
        `jax.jit(kernel_fn, static_argnames='get')`.
      x_train: inputs, `(N, ...)`, or a list or tuple of such arrays.
      y_train: targets, `(N, ...)`. All axes but the first are of independent outputs that share the kernel.
      rank: how many pivots there are, at most; an integer from 1 to N.
      learning_rate: a scalar.
      diag_reg: `λ` in units of the mean diagonal entry of `K_dd`, a scalar >= 0. Singular values of `F` that are 0 up
        to rounding are left out.
      diag_reg_absolute_scale: whether `diag_reg` is `λ` itself.
      key: the random key of pivots, None for `jax.random.key(0)`.
      **kernel_fn_kwargs: passed to `kernel_fn` in every call.

    Returns:
      A `LowRankEnsemble`, a function `predict_fn(t=None, x_test=None, get=None, compute_cov=False)`.

    Raises:
      ValueError: numbers of inputs and targets disagree, `rank` is out of range, or `diag_reg` is seen to be negative.
      TypeError: `kernel_fn` is no function, `learning_rate` no scalar, or an argument is not made of numbers.

    Example:
      >>> import jax
      >>> from neural_tangents import predict, stax
      >>> _, _, kernel_fn = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(1))
      >>> x = jax.random.normal(jax.random.key(0), (300, 3))
      >>> y = x[:, :1] * x[:, 1:2]
      >>> predict_fn = predict.low_rank_ensemble(kernel_fn, x[:200], y[:200], rank=50, diag_reg=1e-3)
      >>> found = predict_fn(x_test=x[200:], get="ntk", compute_cov="diag")
      >>> found.mean.shape, found.stddev.shape
      ((100, 1), (100, 1))

    Source: Quiñonero-Candela, Rasmussen, "A Unifying View of Sparse Approximate Gaussian Process Regression", 2005,
    https://jmlr.org/papers/v6/quinonero-candela05a.html; for the pivots, Chen, Epperly, Tropp, Webber, "Randomly
    Pivoted Cholesky", 2022, https://arxiv.org/abs/2207.06503.
    """
    check_kernel_fn(kernel_fn)
    y_train = as_targets(y_train)
    if y_train.ndim == 0:
        raise ValueError("Expected `y_train` of shape (N, ...), got a scalar. Pass one row for each input.")
    check_lengths(x_train, y_train, kernel_fn_kwargs)
    outputs = Outputs(y_train.shape, tuple(range(1, y_train.ndim)))
    if not isinstance(rank, int | np.integer) or not 1 <= rank <= y_train.shape[0]:
        raise ValueError(
            f"Expected `rank` to be an integer from 1 to the number of training points, {y_train.shape[0]}, got "
            f"{rank!r}. Pass as many pivots as memory and time allow."
        )
    check_scalar(learning_rate, "learning_rate", "Pass test inputs later: low_rank_ensemble(...)(x_test=...).")
    regularisation = Regularisation(diag_reg, diag_reg_absolute_scale, None)
    regularisation.check(outputs)
    key = jax.random.key(0) if key is None else key
    return LowRankEnsemble(
        kernel_fn, x_train, y_train, outputs, int(rank), learning_rate, regularisation, key, kernel_fn_kwargs
    )
