"""Hyper-parameters of a network by the marginal likelihood of the training set."""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize

from neural_tangents.estimators._network_kernel import NetworkKernel
from neural_tangents.estimators._ridge import best_scale

# How far each hyper-parameter may go from its initial value, and the noise from the mean diagonal entry of the kernel.
_FACTOR = 100.0
_SMALLEST_NOISE, _LARGEST_NOISE = 1e-6, 1e2


class Evidence(NamedTuple):
    """The density of the targets as a function of hyper-parameters and noise.

    Attributes:
      kernel: of the network, with initial values.
      get: the kernel of the Gaussian process, `'nngp'` or `'ntk'`.
      x: training inputs.
      y: targets, `(N, T)`.
      weights: of inputs.
      scale: the factor `s` of the covariance; None for the best one.
      alpha: the noise in units of the mean diagonal entry of the kernel; None for the best one.
    """

    kernel: NetworkKernel
    get: str
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    scale: float | None
    alpha: float | None

    def loss_and_gradient(self, logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log density for each target, and its derivatives.

        With `A = W^½ K W^½ + λ I`, `c = A⁻¹ W^½ y` and `m` entries of `y`,

            -log p = tr(yᵀ W^½ c) / 2s + (T log det A + m log 2πs) / 2 - T Σ log w_i / 2,
            d(-log p) / dA = (T A⁻¹ - c cᵀ / s) / 2.

        Args:
          logarithms: of the hyper-parameters, in their order, and of `λ` unless `alpha` is given.
        """
        n, t = self.y.shape
        kernel = self._at(logarithms)
        k, root = kernel.matrix(self.x, None, self.get), np.sqrt(self.weights)
        mean = float(self.weights @ np.diagonal(k) / self.weights.sum())
        noise = float(np.exp(logarithms[-1])) if self.alpha is None else self.alpha * mean
        values, vectors = self._decomposed(root[:, None] * k * root)
        values = np.maximum(values, 0) + noise
        inverse = (vectors / values) @ vectors.T
        y = root[:, None] * self.y
        c = inverse @ y
        quadratic = float(np.sum(y * c))
        s = float(best_scale(np.array(quadratic), n * t)) if self.scale is None else self.scale
        loss = quadratic / s + t * float(np.sum(np.log(values))) + n * t * np.log(2 * np.pi * s)
        loss = (loss - t * float(np.sum(np.log(self.weights)))) / 2
        of_system = (t * inverse - c @ c.T / s) / 2
        of_kernel, of_noise = root[:, None] * of_system * root, float(np.trace(of_system))
        if self.alpha is not None:
            of_kernel[np.diag_indices(n)] += of_noise * self.alpha * self.weights / self.weights.sum()
        found = kernel.pullback(self.x, of_kernel, self.get)
        assert kernel.values is not None
        gradient = [kernel.values[name] * found[name] for name in kernel.values]
        gradient += [noise * of_noise] if self.alpha is None else []
        return loss / (n * t), np.array(gradient) / (n * t)

    def maximised(self) -> tuple[NetworkKernel, float | None]:
        """The kernel with the best hyper-parameters, and the noise unless it is given, found by L-BFGS."""
        assert self.kernel.values is not None
        start = [np.log(value) for value in self.kernel.values.values()]
        bounds = [(x - np.log(_FACTOR), x + np.log(_FACTOR)) for x in start]
        if self.alpha is None:
            mean = np.log(np.mean(self.kernel.diagonal(self.x, self.get)))
            start.append(mean + np.log(1e-2))
            bounds.append((mean + np.log(_SMALLEST_NOISE), mean + np.log(_LARGEST_NOISE)))
        found = scipy.optimize.minimize(
            self.loss_and_gradient,
            np.array(start),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 100},
        )
        return self._at(found.x), float(np.exp(found.x[-1])) if self.alpha is None else None

    def _at(self, logarithms: np.ndarray) -> NetworkKernel:
        assert self.kernel.values is not None
        values = {name: float(np.exp(x)) for name, x in zip(self.kernel.values, logarithms, strict=False)}
        return dataclasses.replace(self.kernel, values=values)

    @staticmethod
    def _decomposed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return scipy.linalg.eigh(matrix, overwrite_a=True, check_finite=False, driver="evd")
