"""Outputs of networks in training, from which training can be resumed."""

import dataclasses
from typing import Any

import jax


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


def as_state(fx_train_or_state_0: Any, fx_test_0: Any, momentum: Any) -> ODEState:
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
