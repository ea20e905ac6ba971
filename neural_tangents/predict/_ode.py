"""Outputs of one network trained by gradient flow, or with momentum, on any loss."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, overload

import jax
import numpy as np
from jax import numpy as jnp
from jax.typing import ArrayLike

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.old_calls import no_scalar, present_form
from neural_tangents._core.types import Axes
from neural_tangents.predict._arguments import (
    as_kernel,
    as_targets,
    check_scalar,
    check_times,
    common_dtype,
    working_dtype,
)
from neural_tangents.predict._describe import describe
from neural_tangents.predict._integrate import LONGEST, MAX_STEPS, integrate
from neural_tangents.predict._ode_state import ODEState, as_state
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import matmul


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GradientDescent:
    """Predictions of one network trained on any loss, with or without momentum.

    Made by `gradient_descent`, which has the equations. It can be called under `jax.jit`, under `jax.vmap` (also over
    `t`), and under `jax.grad` with respect to everything, including what `loss` closes over. Derivatives are those of
    the steps taken, of first order, and in reverse mode only. It can be pickled if `loss` can.
    """

    _loss: Callable[[Any, Any], Any]
    _kernel: jax.Array
    _y_train: jax.Array
    _outputs: Outputs
    _learning_rate: Any
    _momentum: Any
    _dtype: Any  # of predictions

    @overload
    def __call__(
        self, t: Any, fx_train_or_state_0: ODEState, fx_test_0: None = None, k_test_train: Any = None
    ) -> ODEState: ...

    @overload
    def __call__(
        self, t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: None = None, k_test_train: Any = None
    ) -> jax.Array: ...

    @overload
    def __call__(self, t: Any, fx_train_or_state_0: None, fx_test_0: Any, k_test_train: Any) -> jax.Array: ...

    @overload
    def __call__(
        self, t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: Any = ..., k_test_train: Any = ...
    ) -> tuple[jax.Array, jax.Array]: ...

    def __call__(
        self, t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Any:
        """Predicts outputs on the training set, a test set, or both.

        Infinite time need not have a limit: time goes on until outputs (and velocities) change by less than 1e-7 (5e-4
        in float32) of their largest values while it doubles; as they converge exponentially, what is left is about the
        square of this. A time of 1e15, or the largest number of steps, may end it before. Then there is a warning, and
        the last outputs are returned.

        Args:
          t: times, a scalar or an array of any shape, strictly increasing when flattened, whose axes become the leading
            axes of predictions. None and `jnp.inf` stand for the limit of infinite time.
          fx_train_or_state_0: outputs on the training set before training, a scalar or in the shape of `y_train`. None
            for 0, and no predictions on the training set. Or an `ODEState` at time 0.
          fx_test_0: outputs on the test set before training, a scalar or in full. None for no predictions there.
          k_test_train: `Θ_td`, the kernel of the test with the training set. Needed for the test set.

        Returns:
          Outputs on the training set, outputs on the test set, or a pair of both.

          For an `ODEState` at time 0, the `ODEState` at time `t`, from which training can be resumed:
          `predict_fn(t2 - t1, predict_fn(t1, state), k_test_train=k_td)` is `predict_fn(t2, state, k_test_train=k_td)`.

          Under transformations such as `jit`, predictions are NaN where `t` is not reached, and where it decreases.

        Raises:
          ValueError: sizes disagree; `t` is negative or does not increase; there is nothing to predict; `k_test_train`
            is missing; `fx_test_0` is given besides a state; a state has velocities without momentum, or without
            outputs.
          TypeError: `t` or `k_test_train` is not made of numbers.
          RuntimeError: `t` is not reached (too many steps, or gradients of `loss` that are not finite).
        """
        given = as_state(fx_train_or_state_0, fx_test_0, self._momentum)
        resumable = isinstance(fx_train_or_state_0, ODEState)
        outputs, dtype = self._outputs, self._y_train.dtype
        k_td, test_outputs, found_dtype = None, None, self._dtype
        if given.fx_test is not None:
            if k_test_train is None:
                raise ValueError("Predictions on the test set need the test-train kernel. Pass `k_test_train`.")
            k_test_train = as_kernel(k_test_train, "k_test_train")
            test_outputs = outputs.held_out(k_test_train, "`k_test_train`")
            k_td = outputs.matrix(k_test_train.astype(dtype))
            found_dtype = jnp.result_type(found_dtype, k_test_train)

        names = ("fx_train", "fx_test") if resumable else ("fx_train_or_state_0", "fx_test_0")
        start, rate, friction = self._start(given, test_outputs, names)
        times = _times(t, dtype)
        k_dd = outputs.matrix(self._kernel.astype(dtype))
        found, reached = self._solve(_spans(times, rate), start, k_dd, k_td, self._y_train, friction)
        _check_reached(times, reached, found.fx_train)

        def end(columns: jax.Array | None, shape: Outputs | None) -> jax.Array | None:
            if columns is None or shape is None:
                return None
            end_dtype = self._dtype if shape is outputs else found_dtype
            return shape.from_columns(columns).reshape(times.shape + shape.shape).astype(end_dtype)

        states = ODEState(
            end(found.fx_train, outputs),
            end(found.fx_test, test_outputs),
            end(found.qx_train, outputs),
            end(found.qx_test, test_outputs),
        )
        if resumable:
            return states
        if fx_test_0 is None:
            return states.fx_train
        return states.fx_test if fx_train_or_state_0 is None else (states.fx_train, states.fx_test)

    def __repr__(self) -> str:
        return describe(
            self,
            loss=self._loss,
            y_train=self._y_train,
            trace_axes=self._outputs.traced,
            learning_rate=self._learning_rate,
            momentum=self._momentum,
            solver="Dormand-Prince",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return GradientDescent, tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def _start(
        self, given: ODEState, test_outputs: Outputs | None, names: tuple[str, str]
    ) -> tuple[ODEState, jax.Array, jax.Array | None]:
        """The state at time 0, as columns; units of `t` in the time of the equation; the factor of friction, if any."""
        dtype = self._y_train.dtype

        def columns(value: Any, shape: Outputs | None, name: str) -> jax.Array | None:
            return None if shape is None else shape.initial(0.0 if value is None else value, name, dtype)

        train, test = columns(given.fx_train, self._outputs, names[0]), columns(given.fx_test, test_outputs, names[1])
        rate = jnp.asarray(self._learning_rate, dtype)
        if self._momentum is None:
            return ODEState(train, test), rate, None
        rate = jnp.sqrt(rate)
        velocities = (
            columns(given.qx_train, self._outputs, "qx_train"),
            columns(given.qx_test, test_outputs, "qx_test"),
        )
        return ODEState(train, test, *velocities), rate, (1 - jnp.asarray(self._momentum, dtype)) / rate

    @functools.cached_property
    def _solve(self) -> Callable[..., tuple[ODEState, jax.Array]]:
        """Integrates over spans of time. Kept, since a loop is compiled anew for every function that it calls."""
        loss, outputs = self._loss, self._outputs

        @jax.jit
        def solve(
            spans: jax.Array, start: ODEState, k_dd: jax.Array, k_td: jax.Array | None, y: jax.Array, friction: Any
        ) -> tuple[ODEState, jax.Array]:
            def force(k: jax.Array, gradient: jax.Array, q: jax.Array | None) -> jax.Array:
                return -matmul(k, gradient) if q is None else -matmul(k, gradient) - friction * q

            def velocity(state: ODEState) -> ODEState:
                gradient = outputs.columns(jax.grad(loss)(outputs.from_columns(state.fx_train), y))
                train = force(k_dd, gradient, state.qx_train)
                test = None if k_td is None else force(k_td, gradient, state.qx_test)
                if friction is None:
                    return ODEState(train, test)
                return ODEState(state.qx_train, state.qx_test, train, test)

            return integrate(velocity, start, spans)

        return solve


def _misplaced(arguments: Mapping[str, Any]) -> str | None:
    if "loss" in arguments and not callable(arguments["loss"]):
        got = type(arguments["loss"]).__name__
        return f"Expected `loss` to be a function of outputs and targets, got {got}. It comes before `k_train_train`."
    return no_scalar("learning_rate", "Pass test kernels later, as `k_test_train`.")(arguments)


@present_form(
    "gradient_descent(loss, k_train_train, y_train, learning_rate, momentum)"
    "(t, fx_train_or_state_0, fx_test_0, k_test_train)",
    {
        "g_dd": "It is `k_train_train` now.",
        "ntk_train_train": "It is `k_train_train` now.",
        "g_td": "Pass it as `k_test_train` to what gradient_descent returns.",
        "ntk_test_train": "Pass it as `k_test_train` to what gradient_descent returns.",
        "k_test_train": "Pass it to what gradient_descent returns.",
    },
    _misplaced,
)
def gradient_descent(
    loss: Callable[[Any, Any], Any],
    k_train_train: Any,
    y_train: ArrayLike,
    learning_rate: ArrayLike = 1.0,
    momentum: ArrayLike | None = None,
    trace_axes: Axes = (-1,),
) -> GradientDescent:
    """Predicts the outputs of a wide (or linearised) network trained by gradient flow on any loss.

    For a loss `L(f) = loss(f, y_train)` the outputs obey, in the time `τ = learning_rate · t`,

        df_train/dτ = -Θ_dd ∇L(f_train),    df_test/dτ = -Θ_td ∇L(f_train),

    and with momentum `m`, in the time `s = √learning_rate · t`,

        df_train/ds = q_train,    dq_train/ds = -Θ_dd ∇L(f_train) - (1 - m) / √learning_rate · q_train,

    with `Θ_td` in place of `Θ_dd` for the test set. Both are solved numerically, to a relative error of about 1e-8 in
    float64 and 1e-5 in float32 (ten times that for `m = 0.99`). Times correspond to steps of gradient descent, or of
    the heavy-ball method `w(t+1) = w(t) + m (w(t) - w(t-1)) - learning_rate ∇L`, with a small `learning_rate` and `m`
    close to 1.

    The solver is explicit. It takes about 0.4 steps for each time constant of the fastest decay, and gives up after
    262,144 steps. For the squared loss `½ mean((f - y)²)` the rate of this decay is the largest eigenvalue of `Θ_dd`
    over `y_train.size`; `gradient_descent_mse` has the closed form.

    Args:
      loss: a differentiable function of outputs and targets, both of shape `y_train.shape`, to a scalar.
      k_train_train: `Θ_dd`, the kernel of the training set with itself (an NTK; or an NNGP kernel if only the readout
        layer is trained), interleaved as `zip(y_train.shape, y_train.shape)` without the pairs of `trace_axes`. It is
        read as `Θ ⊗ I` along `trace_axes`.
      y_train: targets, `(N, ...)`; for one output per point that is `(N, 1)`. Integers are converted to floating point.
      learning_rate: a scalar > 0.
      momentum: `m`, a scalar from 0 to 1; None for gradient flow.
      trace_axes: axes of `y_train` that `k_train_train` lacks, the ones that it was computed with.

    Returns:
      A `GradientDescent`, a function `predict_fn(t=None, fx_train_or_state_0=0., fx_test_0=None, k_test_train=None)`.

    Raises:
      ValueError: sizes of kernels and targets disagree; `loss` does not return a scalar; `momentum` is no scalar; or it
        or `learning_rate` is out of range.
      TypeError: `loss` is no function, `learning_rate` no scalar, or another argument is not made of numbers.

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    kernel, y_train = as_kernel(k_train_train, "k_train_train"), as_targets(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    _check_scalars(learning_rate, momentum)
    outputs.check(kernel, "`k_train_train`")
    dtype = common_dtype(kernel, y_train)
    y_train = y_train.astype(working_dtype(dtype))
    _check_loss(loss, y_train)
    return GradientDescent(loss, kernel, y_train, outputs, learning_rate, momentum, dtype)


def _check_scalars(learning_rate: Any, momentum: Any) -> None:
    check_scalar(learning_rate, "learning_rate", "Pass test kernels later: gradient_descent(...)(k_test_train=...).")
    if momentum is not None:
        check_scalar(momentum, "momentum", "Pass a number from 0 to 1, or None for gradient flow.")
    if is_concrete(learning_rate) and not (learning_rate > 0 and np.isfinite(learning_rate)):
        raise ValueError(f"Expected a finite `learning_rate` > 0, got {learning_rate}. Pass a number such as 1.")
    if momentum is not None and is_concrete(momentum) and not 0 <= momentum <= 1:
        raise ValueError(f"Expected `momentum` from 0 to 1, got {momentum}. Pass None for gradient flow.")


def _check_loss(loss: Callable[[Any, Any], Any], y: jax.Array) -> None:
    if not callable(loss):
        raise TypeError(
            f"Expected `loss` to be a function of outputs and targets, got {type(loss).__name__}. Pass it first: "
            "gradient_descent(loss, k_train_train, y_train)."
        )
    try:
        value = jax.eval_shape(loss, y, y)
    except Exception as error:
        error.add_note(f"This is from `loss(fx, y)`, for outputs and targets of type {y.dtype} and shape {y.shape}.")
        raise
    if getattr(value, "shape", None) != ():
        raise ValueError(
            f"Expected `loss(fx, y)` to return a scalar for outputs and targets of shape {y.shape}, got "
            f"{getattr(value, 'shape', value)}. Take the mean or the sum, as training does."
        )


def _times(t: Any, dtype: Any) -> jax.Array:
    """Times as an array, infinite for `t = None`; raises `ValueError` if they are seen to be wrong."""
    if t is None:
        t = np.inf
    check_times(t)
    if is_concrete(t):
        times = np.asarray(t, float).reshape(-1)
        if not np.all(times[1:] > times[:-1]):
            raise ValueError(f"Expected strictly increasing times `t`, got {times}. Sort them, and drop repeated ones.")
    return jnp.asarray(t, dtype)


def _spans(times: jax.Array, rate: jax.Array) -> jax.Array:
    """`rate · t` between successive times, from 0 on."""
    spans = jnp.diff(times.reshape(-1), prepend=0)
    infinite = jnp.isposinf(spans)  # which no rate changes, so that no derivative comes from there
    return jnp.where(infinite, jnp.inf, rate * jnp.where(infinite, 0, spans))


def _check_reached(times: jax.Array, reached: jax.Array, fx_train: jax.Array) -> None:
    """Raises or warns if states are seen to be others than wanted."""
    if not is_concrete((times, reached, fx_train)) or np.all(reached):
        return
    first = int(np.argmin(reached))
    t = np.asarray(times).reshape(-1)[first]
    if np.isinf(t) and not np.any(np.isnan(fx_train[first])):
        warnings.warn(
            f"Outputs still change at the end of training for an infinite time (`t=None`), which is a time of "
            f"{LONGEST:.0e}, or what {MAX_STEPS:,} steps of the solver reach. The last outputs are returned. Pass a "
            f"finite `t` if the loss has no minimum.",
            UserWarning,
            stacklevel=3,
        )
    else:
        raise RuntimeError(
            f"The solver did not reach t = {t}: it takes more than {MAX_STEPS:,} steps, or the gradient of `loss` is "
            f"not finite on the way. Shorten the time, or for the squared loss use `gradient_descent_mse`."
        )
