"""Layers of neural networks, each of finite and of infinite width.

A layer, and a network made of layers, is a triple of functions:

    init_fn(rng, input_shape) -> (output_shape, params)    draws parameters of the finite network;
    apply_fn(params, x, **keywords) -> outputs             applies it;
    kernel_fn(x1, x2, get, **keywords) -> kernels          gives NNGP and NTK of the infinite network.

Networks          `serial` one layer after another, `parallel` side by side, `repeat` one layer many times
Branches          `FanOut` copies; `FanInSum`, `FanInProd`, `FanInConcat` join
Random weights    `Dense`, `Conv`, `ConvTranspose`, `ConvLocal`, `GlobalSelfAttention`
Pooling, readout  `AvgPool`, `SumPool`, `GlobalAvgPool`, `GlobalSumPool`, `Flatten`
Shape             `Identity`, `Index` (with `Slice`), `ImageResize`, `DotGeneral`
Graphs            `Aggregate`
Regularisation    `LayerNorm`, `Dropout`
Nonlinearities    `Relu`, `LeakyRelu`, `ABRelu`, `Abs`, `Sign`, `RectifiedMonomial`: made of half-lines
                  `Erf`, `Sigmoid_like`, `Gelu`: made of the error function
                  `Sin`, `Cos`, `Rbf`, `Exp`, `ExpNormalized`, `Gaussian`, `Gabor`: made of exponentials
                  `Monomial`, `Polynomial`, `Hermite`: polynomials
                  `Tanh`, `Sigmoid`, `Silu` or `Swish`, `Softplus`, `Mish`, `Squareplus`, `LogCosh`, `Softsign`: smooth
                  `Elu`, `Selu`, `HardTanh`, `Relu6`: with kinks
                  `Nonlinearity`: your own; `nonlinearity_error` says how accurate its kernel is
                  `Elementwise`, `ElementwiseNumerical`: your own, from a known kernel or by simple quadrature
Your own layers   `layer`, `requires`, `supports_masking`; `Diagonal` and `Bool` say what a layer requires
Memory            `explain` says which layers are evaluated in bounded memory, and why others are not
Masked inputs     `MaskedArray`, `unmask_fn`
Choices           `Padding`, `AttentionMechanism`, `PositionalEmbedding`, `AggregateImplementation`
"""

from typing import TYPE_CHECKING

from neural_tangents._core.masking import MaskedArray, unmask_fn
from neural_tangents._core.requirements import Bool, Diagonal
from neural_tangents.stax._branching import FanInConcat, FanInProd, FanInSum, FanOut
from neural_tangents.stax._combinators import parallel, serial
from neural_tangents.stax._custom import layer, requires, supports_masking
from neural_tangents.stax._layers.aggregate import Aggregate, AggregateImplementation
from neural_tangents.stax._layers.attention.mechanism import AttentionMechanism, PositionalEmbedding
from neural_tangents.stax._layers.attention.self_attention import GlobalSelfAttention
from neural_tangents.stax._layers.conv.conv_local import ConvLocal
from neural_tangents.stax._layers.conv.convolution import Conv, ConvTranspose
from neural_tangents.stax._layers.dense import Dense
from neural_tangents.stax._layers.dot_general_layer import DotGeneral
from neural_tangents.stax._layers.global_pool import GlobalAvgPool, GlobalSumPool
from neural_tangents.stax._layers.indexing_layer import Index, Slice
from neural_tangents.stax._layers.normalise import Dropout, LayerNorm
from neural_tangents.stax._layers.pool import AvgPool, SumPool
from neural_tangents.stax._layers.resize import ImageResize
from neural_tangents.stax._layers.shape import Flatten, Identity
from neural_tangents.stax._nonlinearities.abrelu import ABRelu, Abs, LeakyRelu, Relu
from neural_tangents.stax._nonlinearities.activations import (
    Elu,
    LogCosh,
    Mish,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Squareplus,
    Swish,
    Tanh,
)
from neural_tangents.stax._nonlinearities.elementwise import Elementwise
from neural_tangents.stax._nonlinearities.erf import Erf, Sigmoid_like
from neural_tangents.stax._nonlinearities.exponential import Exp, ExpNormalized
from neural_tangents.stax._nonlinearities.gabor import Gabor
from neural_tangents.stax._nonlinearities.gaussian import Gaussian
from neural_tangents.stax._nonlinearities.gelu import Gelu
from neural_tangents.stax._nonlinearities.own_function import Nonlinearity, nonlinearity_error
from neural_tangents.stax._nonlinearities.piecewise_linear import HardTanh, Relu6
from neural_tangents.stax._nonlinearities.polynomial import Hermite, Monomial, Polynomial
from neural_tangents.stax._nonlinearities.quadrature import ElementwiseNumerical
from neural_tangents.stax._nonlinearities.rectified_monomial import RectifiedMonomial
from neural_tangents.stax._nonlinearities.sign import Sign
from neural_tangents.stax._nonlinearities.trigonometric import Cos, Rbf, Sin
from neural_tangents.stax._repeat import repeat
from neural_tangents.stax._streaming.explain import explain
from neural_tangents.stax._window import Padding

if not TYPE_CHECKING:  # type checkers find missing names by themselves
    from neural_tangents._core.missing_names import of_stax as __getattr__  # noqa: F401

__all__ = [
    "ABRelu",
    "Abs",
    "Aggregate",
    "AggregateImplementation",
    "AttentionMechanism",
    "AvgPool",
    "Bool",
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "Cos",
    "Dense",
    "Diagonal",
    "DotGeneral",
    "Dropout",
    "Elementwise",
    "ElementwiseNumerical",
    "Elu",
    "Erf",
    "Exp",
    "ExpNormalized",
    "FanInConcat",
    "FanInProd",
    "FanInSum",
    "FanOut",
    "Flatten",
    "Gabor",
    "Gaussian",
    "Gelu",
    "GlobalAvgPool",
    "GlobalSelfAttention",
    "GlobalSumPool",
    "HardTanh",
    "Hermite",
    "Identity",
    "ImageResize",
    "Index",
    "LayerNorm",
    "LeakyRelu",
    "LogCosh",
    "MaskedArray",
    "Mish",
    "Monomial",
    "Nonlinearity",
    "Padding",
    "Polynomial",
    "PositionalEmbedding",
    "Rbf",
    "RectifiedMonomial",
    "Relu",
    "Relu6",
    "Selu",
    "Sigmoid",
    "Sigmoid_like",
    "Sign",
    "Silu",
    "Sin",
    "Slice",
    "Softplus",
    "Softsign",
    "Squareplus",
    "SumPool",
    "Swish",
    "Tanh",
    "explain",
    "layer",
    "nonlinearity_error",
    "parallel",
    "repeat",
    "requires",
    "serial",
    "supports_masking",
    "unmask_fn",
]
