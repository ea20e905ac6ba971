"""Random weights and biases: how they are drawn, scaled, and what they do to covariances, in both parameterizations."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, random

from neural_tangents._core.cosine_distance import CosineDistance, lengths_of_parts, of_sum
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.numerics import along_rows, length
from neural_tangents._core.types import Shape
from neural_tangents.stax._hyperparameters import check_numbers, integer, number


@dataclasses.dataclass(frozen=True)
class Affine:
    """A map of activations `x -> W x + b`, where each output is a sum over `fan_in` inputs.

        'ntk':       W_std / sqrt(fan_in) W x + b_std b,    entries of W and b from N(0, 1),
        'standard':  W x / sqrt(s_in) + b,                  W from N(0, W_std^2 s_in / fan_in), b from N(0, b_std^2).

    Attributes:
      W_std: standard deviation of the weights.
      b_std: standard deviation of the biases; None for no bias.
      standard: whether the parameterization is 'standard'.
      s_in: width multiplier of the inputs.
      s_out: width multiplier of the outputs.
    """

    W_std: Any
    b_std: Any
    standard: bool
    s_in: float
    s_out: int

    @classmethod
    def of(cls, W_std: Any, b_std: Any, parameterization: str, s: tuple[int, int], layer: str = "Affine") -> "Affine":
        """The map that a user's arguments describe.

        Raises:
          TypeError: standard deviations are not numbers, or `s` is not a pair of numbers.
          ValueError: unknown parameterization; `s` is not positive.
        """
        check_numbers(layer, W_std=W_std, b_std=0.0 if b_std is None else b_std)
        if not isinstance(s, Sequence) or len(s) != 2:
            raise TypeError(f"{layer} needs a pair of whole numbers `(s_in, s_out)` as `s`, got {s!r}.")
        integer(layer, "s", s[1])
        if not number(layer, "s", s[0]) > 0:
            raise ValueError(f"{layer} needs positive width multipliers `s`, got {s}.")
        form = parameterization.lower() if isinstance(parameterization, str) else parameterization
        if form not in ("ntk", "standard"):
            raise ValueError(f"{layer}: `parameterization` must be 'ntk' or 'standard', got {parameterization!r}.")
        return cls(W_std, b_std, form == "standard", *(s if form == "standard" else (1, 1)))

    def draw(self, rng: Array, weights: Shape, biases: Shape, fan_in: int) -> tuple[Array, Array | None]:
        """Parameters: weights and biases (None if there are none) of given shapes."""
        key_w, key_b = random.split(rng)
        w = random.normal(key_w, weights)
        if self.standard:
            w = w * (self.W_std / (fan_in / self.s_in) ** 0.5)
        if self.b_std is None:
            return w, None
        b = random.normal(key_b, biases)
        return w, b * self.b_std if self.standard else b

    def outputs(self, product: Array, b: Any, fan_in: int) -> Array:
        """Outputs, from the product of weights and inputs."""
        outputs = (self.s_in**-0.5 if self.standard else self.W_std / fan_in**0.5) * product
        return outputs if b is None else outputs + (b if self.standard else self.b_std * b)

    @property
    def takes_bias(self) -> bool:
        """Whether outputs can have a bias; whether they have one is up to the parameters."""
        return self.standard or self.b_std is not None

    def kernel(self, k: Kernel, mean: Callable[[Array, int], Array] | None, fan_in: int) -> Kernel:
        """The kernel of the outputs.

            nngp' = W_std^2 mean(nngp) + b_std^2,    likewise cov1, cov2,
            ntk' = nngp' + W_std^2 mean(ntk),
            'standard':  ntk' = fan_in / s_in mean(nngp) + W_std^2 mean(ntk) (+ 1 if there is a bias).

        Args:
          k: kernel of the inputs.
          mean: `(covariance, n_batch_axes) -> covariance`, the mean over pairs of inputs that have the same weights;
            None if there is but one pair.
          fan_in: number of inputs of each output at finite width.
        """
        m = k if mean is None else k.map_covariances(mean)
        w_squared = _of_pairs(self.W_std**2, m.nngp)  # once: sums over all pairs make its derivative
        nngp, ntk = w_squared * m.nngp, m.ntk
        if self.b_std is not None:
            nngp = nngp + _of_pairs(self.b_std**2, m.nngp)
        if ntk is not None:
            direct = nngp
            if self.standard:
                direct = fan_in / self.s_in * m.nngp
                direct = direct if self.b_std is None else direct + 1.0
            ntk = direct if ntk.ndim == 0 else direct + w_squared * ntk
        return m.replace(
            nngp=nngp,
            ntk=ntk,
            cov1=affine_covariance(m.cov1, self.W_std, self.b_std),
            cov2=None if m.cov2 is None else affine_covariance(m.cov2, self.W_std, self.b_std),
            is_gaussian=True,
            distance=self._distance(m, nngp),
        )

    def _distance(self, k: Kernel, after: Array) -> CosineDistance | None:
        """The cosine distance of the outputs: the bias is one more component, the same for all inputs."""
        if k.distance is None or self.b_std is None:
            return k.distance
        constant = CosineDistance(jnp.zeros((), after.dtype), acute=True)
        lengths = (lengths_of_parts([_scaled(q, self.W_std), jnp.asarray(self.b_std**2, q.dtype)]) for q in k.variances)
        (w1, w2), (b1, b2) = (k.layout.spread(*pair) for pair in zip(*lengths, strict=True))
        r1, r2 = k.layout.spread(*(length(affine_covariance(q, self.W_std, self.b_std)) for q in k.variances))
        return of_sum([(k.distance, k.nngp, w1, w2), (constant, after, b1, b2)], after, r1, r2)


def weights_and_bias(
    layer: str, params: Any, needed: Sequence[int | None], x_shape: Shape, takes_bias: bool
) -> tuple[Array, Any]:
    """The weights and the bias of a layer's parameters, if they fit its inputs.

    Args:
      layer: name of the layer, for errors.
      params: what `apply_fn` was given.
      needed: shape of weights that fit; None stands for any size.
      x_shape: shape of the inputs, for errors.
      takes_bias: whether there may be a bias.

    Raises:
      TypeError: parameters are not a pair of weights and a bias (None for no bias).
      ValueError: weights are for inputs of another shape.
    """
    advice = f"Use parameters that `init_fn(rng, {tuple(x_shape)})` of this layer returns."
    if not isinstance(params, tuple | list) or len(params) != 2:
        got = f"{type(params).__name__} of {len(params)}" if isinstance(params, tuple | list) else type(params).__name__
        raise TypeError(f"{layer} needs a pair `(W, b)` of parameters, got {got}. {advice}")
    if params[1] is not None and not takes_bias:
        raise TypeError(f"{layer} got a bias among its parameters, but its `b_std` is None. {advice}")
    shape = jnp.shape(params[0])
    if len(shape) != len(needed) or any(n not in (None, size) for n, size in zip(needed, shape, strict=True)):
        text = ", ".join("*" if n is None else str(n) for n in needed)
        raise ValueError(
            f"{layer} needs weights of shape ({text}) for inputs of shape {tuple(x_shape)}, got {shape}. {advice}"
        )
    return params[0], params[1]


def affine_covariance(cov: Array, W_std: Any, b_std: Any) -> Array:
    """Covariance after random weights and bias: `W_std^2 cov + b_std^2`."""
    cov = _scaled(cov, W_std)
    return cov if b_std is None else cov + b_std**2


def _of_pairs(x: Any, cov: Array) -> Any:
    """A number for all entries of a covariance."""
    return along_rows(x, cov.shape) if isinstance(x, Array) and jnp.result_type(x, cov) == x.dtype else x


def _scaled(cov: Array, W_std: Any) -> Array:
    return W_std**2 * cov
