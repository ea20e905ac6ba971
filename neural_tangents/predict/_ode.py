"""Outputs of one network trained by gradient flow, or with momentum, on any loss."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import Axes
from neural_tangents.predict._arguments import as_kernel, common_dtype
from neural_tangents.predict._integrate import LONGEST, MAX_STEPS, integrate
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._spectral import matmul


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ODEState:
    """Outputs of a network in training, and how fast they move if it is trained with momentum.

    A pytree. With times of shape `[...]`, `gradient_descent` returns states whose arrays have these leading axes.

    Attributes:
      fx_train: outputs on the training set, of shape `y_train.shape`, or a scalar; None stands for 0.
      fx_test: outputs on the test set; None leaves it out.
      qx_train: velocities of `fx_train`, that is, derivatives by `√learning_rate · t`; None stands for 0, a network at
        rest. None without momentum.
      qx_test: the same of `fx_test`.
    """

    fx_train: Any = None
    fx_test: Any = None
    qx_train: Any = None
    qx_test: Any = None


def gradient_descent(
    loss: Callable[[Any, Any], Any],
    k_train_train: Any,
    y_train: Any,
    learning_rate: Any = 1.0,
    momentum: Any = None,
    trace_axes: Axes = (-1,),
) -> Callable[..., Any]:
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
    262,144. For the squared loss `½ mean((f - y)²)` this decay is the largest eigenvalue of `Θ_dd` over `y_train.size`;
    `gradient_descent_mse` has the closed form.

    Args:
      loss: a differentiable function of outputs and targets, both of shape `y_train.shape`, to a scalar.
      k_train_train: `Θ_dd`, the kernel of the training set with itself (an NTK; or an NNGP kernel if only the readout
        layer is trained), interleaved as `zip(y_train.shape, y_train.shape)` without the pairs of `trace_axes`. It is
        read as `Θ ⊗ I` along `trace_axes`.
      y_train: targets. Integers are converted to floating point.
      learning_rate: a scalar > 0.
      momentum: `m`, a scalar from 0 to 1; None for gradient flow.
      trace_axes: axes of `y_train` that `k_train_train` lacks, the ones that it was computed with.

    Returns:
      `predict_fn(t=None, fx_train_or_state_0=0., fx_test_0=None, k_test_train=None)`.

      `t` is a scalar or an array of any shape, strictly increasing when flattened, which becomes the leading axes of
      predictions. `jnp.inf` and None stand for the limit of infinite time, which need not exist: time goes on until
      outputs (and velocities) change by less than 1e-7 (5e-4 in float32) of their largest values while it doubles; as
      they converge exponentially, what is left is about the square of this. A time of 1e15 or the number of steps may
      end it before, with a warning, and the last outputs are returned.

      `fx_train_or_state_0` and `fx_test_0` are outputs before training, scalars or in full; None leaves out
      predictions on that set, and for the training set then stands for 0. `k_test_train` is `Θ_td`, needed for the
      test set. Returned are train outputs, test outputs, or a pair of both.

      If instead `fx_train_or_state_0` is an `ODEState` at time 0, then the `ODEState` at time `t` is returned, from
      which training can be resumed: `predict_fn(t2 - t1, predict_fn(t1, state), k_test_train=k_td)` is
      `predict_fn(t2, state, k_test_train=k_td)`.

      It can be used under `jit`, under `vmap` (also over `t`), and under `grad` with respect to everything, including
      what `loss` closes over. Derivatives are those of the steps taken, of first order, and in reverse mode only.
      Where `t` is not reached, an error is raised; under these transformations, predictions are NaN instead, also
      where a traced `t` decreases.

    Raises:
      ValueError: sizes of kernels and outputs disagree; `loss` does not return a scalar; `learning_rate`, `momentum` or
        `t` is out of range, or `t` does not increase; there is nothing to predict; `k_test_train` is missing;
        `fx_test_0` is given besides a state; a state has velocities without momentum, or without outputs.
      RuntimeError: `t` is not reached (too many steps, or gradients of `loss` that are not finite).

    Source: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", 2019,
    https://arxiv.org/abs/1902.06720.
    """
    kernel, y_train = as_kernel(k_train_train, "k_train_train"), jnp.asarray(y_train)
    outputs = Outputs.create(y_train.shape, trace_axes)
    outputs.check(kernel, "`k_train_train`")
    dtype = common_dtype(kernel, y_train)
    y_train = y_train.astype(dtype)
    _check_scalars(learning_rate, momentum)
    _check_loss(loss, y_train)

    @jax.jit  # once per predictor: a loop is compiled anew for every function that it calls
    def solve(
        spans: jax.Array, start: ODEState, k_dd: jax.Array, k_td: jax.Array | None, y: jax.Array, friction: Any
    ) -> tuple[ODEState, jax.Array]:
        def force(k: jax.Array, gradient: jax.Array, q: jax.Array | None) -> jax.Array:
            return -matmul(k, gradient) if q is None else -matmul(k, gradient) - friction * q

        def velocity(state: ODEState) -> ODEState:
            gradient = outputs.columns(jax.grad(loss)(outputs.from_columns(state.fx_train), y))
            train = force(k_dd, gradient, state.qx_train)
            test = None if k_td is None else force(k_td, gradient, state.qx_test)
            return ODEState(train, test) if friction is None else ODEState(state.qx_train, state.qx_test, train, test)

        return integrate(velocity, start, spans)

    def predict_fn(
        t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Any:
        given = _as_state(fx_train_or_state_0, fx_test_0, momentum)
        resumable = isinstance(fx_train_or_state_0, ODEState)
        k_td, test_outputs = None, None
        if given.fx_test is not None:
            if k_test_train is None:
                raise ValueError("Predictions on the test set need the test-train kernel. Pass `k_test_train`.")
            k_test_train = as_kernel(k_test_train, "k_test_train")
            test_outputs = outputs.held_out(k_test_train, "`k_test_train`")
            k_td = outputs.matrix(k_test_train.astype(dtype))

        def start(value: Any, shape: Outputs | None, name: str) -> jax.Array | None:
            return None if shape is None else shape.initial(0.0 if value is None else value, name, dtype)

        state = ODEState(
            fx_train=start(given.fx_train, outputs, "fx_train" if resumable else "fx_train_or_state_0"),
            fx_test=start(given.fx_test, test_outputs, "fx_test" if resumable else "fx_test_0"),
        )
        friction, rate = None, jnp.asarray(learning_rate, dtype)
        if momentum is not None:
            rate = jnp.sqrt(rate)
            friction = (1 - jnp.asarray(momentum, dtype)) / rate
            state = dataclasses.replace(
                state,
                qx_train=start(given.qx_train, outputs, "qx_train"),
                qx_test=start(given.qx_test, test_outputs, "qx_test"),
            )

        times = _times(t, dtype)
        k_dd = outputs.matrix(kernel.astype(dtype))
        states, reached = solve(_spans(times, rate), state, k_dd, k_td, y_train, friction)
        _check_reached(times, reached, states.fx_train)

        def end(columns: jax.Array | None, shape: Outputs | None) -> jax.Array | None:
            if columns is None or shape is None:
                return None
            return shape.from_columns(columns).reshape(times.shape + shape.shape)

        states = ODEState(
            end(states.fx_train, outputs),
            end(states.fx_test, test_outputs),
            end(states.qx_train, outputs),
            end(states.qx_test, test_outputs),
        )
        if resumable:
            return states
        if fx_test_0 is None:
            return states.fx_train
        return states.fx_test if fx_train_or_state_0 is None else (states.fx_train, states.fx_test)

    return predict_fn


def _as_state(fx_train_or_state_0: Any, fx_test_0: Any, momentum: Any) -> ODEState:
    """The state at time 0 as it was given, or `ValueError`."""
    if not isinstance(fx_train_or_state_0, ODEState):
        state = ODEState(fx_train_or_state_0, fx_test_0)
    elif fx_test_0 is None:
        state = fx_train_or_state_0
    else:
        raise ValueError("Expected no `fx_test_0` besides a state, got both. Pass `ODEState(fx_train, fx_test)` alone.")
    if state.fx_train is None and state.fx_test is None:
        raise ValueError(
            "Expected outputs before training on the training set, the test set or both, got None for both. Pass them, "
            "or 0., for every set to predict on."
        )
    for name in ("train", "test"):
        if getattr(state, f"qx_{name}") is None:
            continue
        if momentum is None:
            raise ValueError(
                f"Expected a state without velocities, since `momentum` is None, got `qx_{name}`. Pass a `momentum` to "
                f"`gradient_descent`, or leave out `qx_train` and `qx_test`."
            )
        if getattr(state, f"fx_{name}") is None:
            raise ValueError(f"Expected a state with `fx_{name}`, since it has `qx_{name}`, got None. Pass both.")
    return state


def _check_scalars(learning_rate: Any, momentum: Any) -> None:
    for name, value in dict(learning_rate=learning_rate, momentum=momentum).items():
        if np.shape(value) != ():
            raise ValueError(f"Expected `{name}` to be a scalar, got shape {np.shape(value)}.")
    if is_concrete(learning_rate) and not (learning_rate > 0 and np.isfinite(learning_rate)):
        raise ValueError(f"Expected a finite `learning_rate` > 0, got {learning_rate}.")
    if momentum is not None and is_concrete(momentum) and not 0 <= momentum <= 1:
        raise ValueError(f"Expected `momentum` from 0 to 1, got {momentum}. Pass None for gradient flow.")


def _check_loss(loss: Callable[[Any, Any], Any], y: jax.Array) -> None:
    value = jax.eval_shape(loss, y, y)
    if getattr(value, "shape", None) != ():
        raise ValueError(
            f"Expected `loss(fx, y)` to return a scalar for outputs and targets of shape {y.shape}, got "
            f"{getattr(value, 'shape', value)}. Take the mean or the sum, as training does."
        )


def _times(t: Any, dtype: Any) -> jax.Array:
    """Times as an array, infinite for `t = None`; raises `ValueError` if they are seen to be wrong."""
    if t is None:
        t = np.inf
    if is_concrete(t):
        times = np.asarray(t, float).reshape(-1)
        if not np.all(times >= 0):
            raise ValueError(f"Expected times `t` >= 0, got {times.min()}. Pass None or jnp.inf for infinity.")
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
