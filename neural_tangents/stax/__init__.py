"""Layers and combinators of infinitely wide networks; each layer is a triple `(init_fn, apply_fn, kernel_fn)`."""

from neural_tangents._core.demands import Bool, Diagonal
from neural_tangents._core.masking import MaskedArray, unmask_fn
from neural_tangents.stax._aggregate import Aggregate, AggregateImplementation
from neural_tangents.stax._attention._layer import GlobalSelfAttention
from neural_tangents.stax._attention._mechanism import AttentionMechanism, PositionalEmbedding
from neural_tangents.stax._branching import FanInConcat, FanInProd, FanInSum, FanOut
from neural_tangents.stax._combinators import parallel, repeat, serial
from neural_tangents.stax._conv._layer import Conv, ConvTranspose
from neural_tangents.stax._conv._local import ConvLocal
from neural_tangents.stax._custom import layer, requires, supports_masking
from neural_tangents.stax._dense import Dense
from neural_tangents.stax._dot_general import DotGeneral
from neural_tangents.stax._elementwise import (
    ABRelu,
    Abs,
    Cos,
    Elementwise,
    ElementwiseNumerical,
    Erf,
    Exp,
    ExpNormalized,
    Gabor,
    Gaussian,
    Gelu,
    Hermite,
    LeakyRelu,
    Monomial,
    Polynomial,
    Rbf,
    RectifiedMonomial,
    Relu,
    Sigmoid_like,
    Sign,
    Sin,
)
from neural_tangents.stax._global_pool import GlobalAvgPool, GlobalSumPool
from neural_tangents.stax._indexing import Index, Slice
from neural_tangents.stax._normalise import Dropout, LayerNorm
from neural_tangents.stax._pool import AvgPool, SumPool
from neural_tangents.stax._resize import ImageResize
from neural_tangents.stax._shape import Flatten, Identity
from neural_tangents.stax._window import Padding

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
    "Hermite",
    "Identity",
    "ImageResize",
    "Index",
    "LayerNorm",
    "LeakyRelu",
    "MaskedArray",
    "Monomial",
    "Padding",
    "Polynomial",
    "PositionalEmbedding",
    "Rbf",
    "RectifiedMonomial",
    "Relu",
    "Sigmoid_like",
    "Sign",
    "Sin",
    "Slice",
    "SumPool",
    "layer",
    "parallel",
    "repeat",
    "requires",
    "serial",
    "supports_masking",
    "unmask_fn",
]
