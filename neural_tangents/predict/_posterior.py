"""Predictions after infinite time: which kernels they are made of, and means and covariances on the test set."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from neural_tangents._core.axes import zip_flat
from neural_tangents._core.stored import Matrix
from neural_tangents.predict._arguments import as_matrix, in_memory
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._gradient_flow import residual_covariance
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import matmul
from neural_tangents.predict._stored_algebra import product
from neural_tangents.predict._stored_system import System


class Roles(NamedTuple):
    """The kernels that a prediction is made of.

    Attributes:
      dynamics: the one that carries information from the training to the test set.
      prior: the covariance of what is conditioned on the data, or trained.
    """

    dynamics: str
    prior: str


PREDICTIONS = {"nngp": Roles("nngp", "nngp"), "ntk": Roles("ntk", "nngp"), "ntkgp": Roles("ntk", "ntk")}


def kernels_needed(names: Iterable[str], with_covariance: bool) -> tuple[str, ...]:
    """The train-train and test-train kernels that predictions are made of, in a fixed order."""
    needed = {PREDICTIONS[name].dynamics for name in names}
    if with_covariance:
        needed |= {PREDICTIONS[name].prior for name in names}
    return tuple(name for name in ("nngp", "ntk") if name in needed)


def learned(outputs: Outputs, y_train: jax.Array, with_covariance: bool) -> Any:
    """The prediction on the training set after infinite time: what was learned, with no uncertainty."""
    if not with_covariance:
        return y_train
    sizes = outputs.described_sizes
    return Gaussian(y_train, jnp.zeros(zip_flat(sizes, sizes), y_train.dtype))


class HeldOutKernels(NamedTuple):
    """Kernels that involve the test set, by name, as matrices.

    Attributes:
      outputs: the outputs on the test set.
      k_td: test-train kernels, `N x M`; in their store, if they are there, unless a covariance is asked for.
      k_tt: test-test kernels, `N x N`; none if no covariance is asked for.
    """

    outputs: Outputs
    k_td: dict[str, Matrix]
    k_tt: dict[str, jax.Array]

    @classmethod
    def create(
        cls, train: Outputs, test_train: Mapping[str, Any], test_test: Mapping[str, Any], dtype: Any
    ) -> "HeldOutKernels":
        """Reads interleaved test-train and test-test kernels; raises `ValueError` if their sizes disagree."""
        found = {train.held_out(k, kernel_label("k_test_train", name)) for name, k in test_train.items()}
        if len(found) > 1:
            shapes = {name: kernel.shape for name, kernel in test_train.items()}
            raise ValueError(f"Expected test-train kernels of the same data, got different shapes, {shapes}.")
        (outputs,) = found
        for name, kernel in test_test.items():
            outputs.check(kernel, kernel_label("k_test_test", name))
        # A covariance takes as much memory as `k_tt`, and for the weights that it is made of, as `k_td`.
        read = in_memory if test_test else lambda kernel: kernel
        k_td = {name: as_matrix(read(kernel), outputs, dtype) for name, kernel in test_train.items()}
        k_tt = {name: outputs.matrix(in_memory(kernel).astype(dtype)) for name, kernel in test_test.items()}
        return cls(outputs, k_td, k_tt)

    def k_dt(self, name: str) -> jax.Array:
        """A train-test kernel in memory, `M x N`."""
        return in_memory(self.k_td[name]).T


def posterior(
    roles: Roles, train: Mapping[str, System], test: HeldOutKernels, y: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """The mean `N x T` and covariance `N x N` (None if not asked for) on the test set after infinite time."""
    system = train[roles.dynamics]
    mean = product(test.k_td[roles.dynamics], system.solve(y))
    if not test.k_tt:
        return mean, None
    k_dt = test.k_dt(roles.dynamics)
    weights, k_tt = system.solve(k_dt), test.k_tt[roles.prior]
    if roles.prior == roles.dynamics:
        return mean, k_tt - matmul(k_dt.T, weights)
    return mean, residual_covariance(weights, train[roles.prior].unregularised, test.k_dt(roles.prior), k_tt)


def kernel_label(argument: str, name: str) -> str:
    return f"`{argument}.{name}`" if name else f"`{argument}`"
