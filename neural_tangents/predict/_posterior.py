"""Predictions after infinite time: which kernels they are made of, and means and covariances on the test set."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from neural_tangents._core.axes import zip_flat
from neural_tangents._core.stored import Matrix, StoredMatrix
from neural_tangents.predict._arguments import DIAGONAL, as_matrix, in_memory
from neural_tangents.predict._gaussian_prediction import Gaussian
from neural_tangents.predict._gradient_flow import positive, residual_covariance
from neural_tangents.predict._linear_system import LinearSystem
from neural_tangents.predict._marginals import Marginals
from neural_tangents.predict._outputs import Outputs
from neural_tangents.predict._regularised import diagonal
from neural_tangents.predict._stored_algebra import diagonal as diagonal_of_stored
from neural_tangents.predict._stored_algebra import product
from neural_tangents.predict._stored_system import StoredSystem, System


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


def learned(outputs: Outputs, y_train: jax.Array, spread: bool | str) -> Any:
    """The prediction on the training set after infinite time: what was learned, with no uncertainty."""
    if not spread:
        return y_train
    if spread == DIAGONAL:
        return Marginals(y_train, jnp.zeros_like(y_train))
    sizes = outputs.described_sizes
    return Gaussian(y_train, jnp.zeros(zip_flat(sizes, sizes), y_train.dtype))


class HeldOutKernels(NamedTuple):
    """Kernels that involve the test set, by name, as matrices.

    Attributes:
      outputs: the outputs on the test set.
      k_td: test-train kernels, `N x M`; in their store, if they are there, unless a covariance is asked for.
      k_tt: test-test kernels, `N x N`, or their diagonals, `N`; none if no covariance is asked for.
    """

    outputs: Outputs
    k_td: dict[str, Matrix]
    k_tt: dict[str, jax.Array]

    @classmethod
    def create(
        cls,
        train: Outputs,
        test_train: Mapping[str, Any],
        test_test: Mapping[str, Any],
        dtype: Any,
        diagonal: bool = False,
    ) -> "HeldOutKernels":
        """Reads interleaved test-train and test-test kernels; raises `ValueError` if their sizes disagree.

        With `diagonal`, only diagonals of test-test kernels are kept, which may also be given alone.
        """
        found = {train.held_out(k, kernel_label("k_test_train", name)) for name, k in test_train.items()}
        if len(found) > 1:
            shapes = {name: kernel.shape for name, kernel in test_train.items()}
            raise ValueError(f"Expected test-train kernels of the same data, got different shapes, {shapes}.")
        (outputs,) = found
        for name, kernel in test_test.items():
            if not (diagonal and kernel.shape == outputs.described_sizes):
                outputs.check(kernel, kernel_label("k_test_test", name))
        # A covariance takes as much memory as `k_tt`, and for the weights that it is made of, as `k_td`.
        read = in_memory if test_test else lambda kernel: kernel
        k_td = {name: as_matrix(read(kernel), outputs, dtype) for name, kernel in test_train.items()}
        k_tt = {
            name: _diagonal(kernel, outputs, dtype) if diagonal else outputs.matrix(in_memory(kernel).astype(dtype))
            for name, kernel in test_test.items()
        }
        return cls(outputs, k_td, k_tt)

    def k_dt(self, name: str) -> jax.Array:
        """A train-test kernel in memory, `M x N`."""
        return in_memory(self.k_td[name]).T


def posterior(
    roles: Roles, train: Mapping[str, System], test: HeldOutKernels, y: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """The mean `N x T` and covariance `N x N` (None if not asked for) on the test set after infinite time.

    For a diagonal in place of `K_tt`, the covariance is its diagonal too.
    """
    system, k_tt = train[roles.dynamics], test.k_tt.get(roles.prior)
    prior = None
    if k_tt is not None and roles.prior != roles.dynamics:
        prior = train[roles.prior].unregularised, test.k_td[roles.prior]
    k_td, y = test.k_td[roles.dynamics], y.astype(system.dtype)
    if isinstance(system, StoredSystem) or any(isinstance(a, StoredMatrix) for a in (k_td, *(prior or ()))):
        return _posterior(system, k_td, k_tt, prior, y)
    return _posterior_in_memory(system.linear, k_td, k_tt, prior, y)


def _posterior(
    system: LinearSystem | System,
    k_td: Matrix,
    k_tt: jax.Array | None,
    prior: tuple[Matrix, Matrix] | None,
    y: jax.Array,
) -> tuple[jax.Array, jax.Array | None]:
    """The same from a system, `K_td`, `K_tt`, and `K_dd` and `K_td` of the prior if it is another one."""
    mean = product(k_td, system.solve(y))
    if k_tt is None:
        return mean, None
    k_dt = in_memory(k_td).T.astype(y.dtype)
    if prior is None:
        return mean, positive(k_tt - system.quadratic(k_dt, k_tt.ndim == 1))
    prior_dd, prior_td = prior
    return mean, residual_covariance(system.refined(k_dt), prior_dd, in_memory(prior_td).T, k_tt)


_posterior_in_memory = jax.jit(_posterior)


def _diagonal(kernel: Matrix, outputs: Outputs, dtype: Any) -> jax.Array:
    """The diagonal of a test-test kernel, `[N]`, which may be given alone."""
    if isinstance(kernel, StoredMatrix):
        return jnp.asarray(diagonal_of_stored(kernel), dtype)
    alone = kernel if kernel.shape == outputs.described_sizes else diagonal(kernel)
    return jnp.asarray(alone.reshape(-1), dtype)


def kernel_label(argument: str, name: str) -> str:
    return f"`{argument}.{name}`" if name else f"`{argument}`"
