"""One instance of every public layer in a small network: the rows of the table that `test_every_layer.py` crosses."""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents import stax

RANDOM = np.random.RandomState(70)
X1, X2 = (RANDOM.normal(size=(n, 4, 3)) for n in (2, 3))  # (N, S, C)
GRAPHS = tuple(RANDOM.uniform(size=(n, 4, 4)) for n in (2, 3))

# Networks before a layer. They have no biases, so that zeros stay zeros.
HIDDEN = stax.serial(stax.Dense(4, 1.3), stax.Dense(3, 1.1))
BRANCHES = stax.serial(stax.FanOut(2), stax.parallel(HIDDEN, stax.Dense(3, 0.9)))


class Case(NamedTuple):
    """A layer, and what is said of it.

    Attributes:
      layer: the layer.
      before: the network before it, of inputs `(N, S, C)`.
      takes: the run-time argument that it needs: `'rng'` or `'pattern'`.
      streams: whether a convolution before it, and a pool behind it, are evaluated slab by slab; None for layers of
        several inputs or outputs, which are in such a network with others only.
      cuts: whether an image whose end is masked has the kernel of a shorter image.
      finite: whether there are finite networks with it.
      agreement: relative differences of numbers that are computed in other ways; series have a tolerance of their own.
      rounding: relative errors of kernels of inputs that are equal, which functions with kinks find from their angle.
    """

    layer: Any
    before: Any = HIDDEN
    takes: str | None = None
    streams: bool | None = True
    cuts: bool = True
    finite: bool = True
    agreement: float = 1e-11
    rounding: float = 1e-9

    @property
    def net(self) -> Any:
        """The layer behind the network before it."""
        return stax.serial(self.before, self.layer)

    def outputs(self, x1: Any, **kwargs: Any) -> Any:
        """Those of one draw of the finite network for `X1`; None if there is none."""
        given = {"rng": {"rng": jax.random.key(1)}, "pattern": {"pattern": GRAPHS[0]}}.get(self.takes, {})
        params = self.net[0](jax.random.key(0), x1.shape)[1]
        return self.net[1](params, x1, **given, **kwargs) if self.finite else None

    def of_kernel(self, twice: bool = False) -> dict[str, Any]:
        """Keyword arguments of `kernel_fn` with `X1` and `X2`, or with `X1` twice."""
        return {"pattern": (GRAPHS[0], GRAPHS[0 if twice else 1])} if self.takes == "pattern" else {}


def lift(x: Any) -> Any:
    """The activation of `Elementwise`."""
    return 1 + x


def affine(k: Any, q1: Any, q2: Any) -> Any:
    """`E[f(u) f(v)]` of `f(x) = 1 + x`."""
    return 1 + k


def one(k: Any, q1: Any, q2: Any) -> Any:
    """`E[f'(u) f'(v)]` of the same."""
    return jnp.ones_like(k)


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "The kernel of `ElementwiseNumerical` is approximate")
    warnings.filterwarnings("ignore", "The kernel of `Hermite` assumes inputs of unit variance")
    HERMITE = stax.Hermite(2)
    NUMERICAL = stax.ElementwiseNumerical(jnp.square, 4)  # is exact for polynomials of low degree

# Layers whose tests would be those of `Silu`, `Selu` or `HardTanh` again: they differ in nothing but the function.
LIKE_OTHERS = (
    *(
        "Elu",
        "LogCosh",
        "Mish",
        "Nonlinearity",
        "Relu6",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Squareplus",
        "Swish",
        "Tanh",
    ),
)

CASES = {
    # Nonlinearities.
    "ABRelu": Case(stax.ABRelu(0.3, 1.2)),
    "Abs": Case(stax.Abs()),
    "Cos": Case(stax.Cos(0.8, 1.1, 0.2)),
    "Elementwise": Case(stax.Elementwise(lift, affine, one)),
    "ElementwiseNumerical": Case(NUMERICAL),
    "Erf": Case(stax.Erf(0.9, 1.2, 0.1)),
    "Exp": Case(stax.Exp(0.7, 0.6)),
    "ExpNormalized": Case(stax.ExpNormalized(0.5), finite=False),
    "Gabor": Case(stax.Gabor()),
    "Gaussian": Case(stax.Gaussian(1.1, -0.6)),
    "Gelu": Case(stax.Gelu()),
    "Hermite": Case(HERMITE, stax.serial(HIDDEN, stax.LayerNorm())),
    "LeakyRelu": Case(stax.LeakyRelu(0.2)),
    "Monomial": Case(stax.Monomial(2)),
    "Polynomial": Case(stax.Polynomial([0.2, 1.0, 0.3])),
    "Rbf": Case(stax.Rbf(0.7)),
    "RectifiedMonomial": Case(stax.RectifiedMonomial(2)),
    "Relu": Case(stax.Relu()),
    "Sigmoid_like": Case(stax.Sigmoid_like()),
    "Sign": Case(stax.Sign()),
    "Sin": Case(stax.Sin(0.8, 1.1, 0.2)),
    "Elu": Case(stax.Elu(0.8)),
    "HardTanh": Case(stax.HardTanh(), agreement=1e-9, rounding=1e-6),
    "LogCosh": Case(stax.LogCosh()),
    "Mish": Case(stax.Mish()),
    "Nonlinearity": Case(stax.Nonlinearity(jnp.arctan)),
    "Relu6": Case(stax.Relu6()),
    "Selu": Case(stax.Selu(), agreement=1e-9, rounding=1e-6),
    "Sigmoid": Case(stax.Sigmoid()),
    "Silu": Case(stax.Silu(), agreement=1e-9),
    "Softplus": Case(stax.Softplus()),
    "Softsign": Case(stax.Softsign()),
    "Squareplus": Case(stax.Squareplus()),
    "Swish": Case(stax.Swish()),
    "Tanh": Case(stax.Tanh()),
    # Layers with weights.
    "Dense": Case(stax.Dense(5, 1.2, 0.3)),
    "Conv": Case(stax.Conv(5, (3,), None, "SAME", 1.2, 0.3)),
    "ConvTranspose": Case(stax.ConvTranspose(5, (2,), (2,), "SAME", 1.2, 0.3), streams=False),
    "ConvLocal": Case(stax.ConvLocal(5, (3,), None, "SAME", 1.2, 0.3), streams=False),
    "GlobalSelfAttention": Case(
        stax.GlobalSelfAttention(5, 2, 2, 2, False, b_std=0.2, attention_mechanism="IDENTITY"), streams=False
    ),
    # Layers without.
    "Identity": Case(stax.Identity()),
    "LayerNorm": Case(stax.LayerNorm()),
    "Dropout": Case(stax.Dropout(0.7), takes="rng"),
    "AvgPool": Case(stax.AvgPool((2,), (2,))),
    "SumPool": Case(stax.SumPool((3,), None, "SAME")),
    "GlobalAvgPool": Case(stax.GlobalAvgPool()),
    "GlobalSumPool": Case(stax.GlobalSumPool()),
    "Flatten": Case(stax.Flatten(), cuts=False),
    "Index": Case(stax.Index(stax.Slice[:, 1:]), streams=False),
    "ImageResize": Case(stax.ImageResize((-1, 3, -1), "linear"), streams=False, cuts=False),
    "DotGeneral": Case(
        stax.DotGeneral(rhs=np.array([0.5, -1.0, 2.0, 0.25]), dimension_numbers=(((1,), (0,)), ((), ()))),
        streams=False,
        cuts=False,
    ),
    "Aggregate": Case(stax.Aggregate(), takes="pattern", streams=False, cuts=False),
    # Branches and combinators.
    "FanOut": Case(stax.FanOut(2), streams=None),
    "FanInSum": Case(stax.FanInSum(), BRANCHES),
    "FanInProd": Case(stax.FanInProd(), BRANCHES),
    "FanInConcat": Case(stax.FanInConcat(), BRANCHES, streams=False),
    "parallel": Case(stax.parallel(stax.Relu(), stax.Dense(2, 1.1, 0.2)), BRANCHES, streams=None),
    "serial": Case(stax.serial(stax.Erf(), stax.Conv(3, (3,), None, "SAME", 1.1, 0.2))),
    "repeat": Case(stax.repeat(stax.serial(stax.Relu(), stax.Dense(3, 1.2, 0.1)), 3)),
}
