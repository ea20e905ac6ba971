"""Bad input raises an error of a fitting type that says what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.stax import Dense, Erf, FanInConcat, FanInProd, FanInSum, FanOut, Identity, Relu, parallel, serial

X = np.ones((2, 3))
NET = serial(Dense(4), Relu(), Dense(1))
KEY = jax.random.PRNGKey(0)


def two(join, first=None, second=None):
    return serial(FanOut(2), parallel(first or Dense(3), second or Dense(3)), join)


def kernel(net=NET, x=X, **options):
    return net[2](x, **options)


def needs_pairs_of_inputs():
    @stax.requires(diagonal_batch=False)
    def kernel_fn(k):
        return k

    return serial((lambda rng, s: (s, ()), lambda params, x: x, kernel_fn))


def needs_pairs_of_positions():
    @stax.requires(diagonal_spatial=False)
    def kernel_fn(k):
        return k

    return serial((lambda rng, s: (s, ()), lambda params, x: x, kernel_fn))


def attention(n_heads=4, **options):
    return stax.GlobalSelfAttention(1, 2, 3, n_heads, **options)


def apply(layer, shape, x):
    """Outputs for some inputs with parameters that were drawn for others, of another shape."""
    return layer[1](layer[0](KEY, shape)[1], x)


IMAGES = np.ones((2, 3, 3))

CASES = {
    # Inputs
    "1-D input": (lambda: NET[2](X[0]), ValueError, r"at least 2 axes; got shape \(3,\)"),
    "1-D second input": (lambda: NET[2](X, X[0]), ValueError, r"at least 2 axes"),
    "number": (lambda: NET[2](1.0), TypeError, "must be arrays"),
    "list of numbers": (lambda: NET[2]([[1.0, 2.0]]), TypeError, "must be arrays"),
    "complex": (lambda: NET[2](X * 1j), TypeError, "must be real"),
    "features": (lambda: NET[2](X, np.ones((2, 4))), ValueError, r"got shapes \(2, 3\) and \(2, 4\)"),
    "features of flattened": (
        lambda: serial(stax.Flatten(), Dense(1))[2](IMAGES, np.ones((2, 3, 4))),
        ValueError,
        r"got shapes \(2, 3, 3\) and \(2, 3, 4\)",
    ),
    "rank": (lambda: NET[2](X, IMAGES), ValueError, "got shapes"),
    "channel axis": (lambda: Dense(3, channel_axis=2)[2](X), ValueError, "channel_axis=2"),
    "batch axis": (lambda: Dense(3, batch_axis=-3)[2](X), ValueError, "batch_axis=-3"),
    "equal axes": (lambda: Dense(3, channel_axis=0)[2](X), ValueError, "both 0"),
    "trees of different form": (lambda: parallel(Dense(3), Dense(3))[2]([X, X], [X]), ValueError, "2 branches"),
    "array for a tree": (lambda: parallel(Dense(3), Dense(3))[2](X), ValueError, "list or tuple of 2"),
    "tree for an array": (lambda: Dense(3)[2]([X, X]), (TypeError, ValueError), "Dense"),
    "too many branches": (lambda: parallel(Dense(3), Dense(3))[2]([X] * 3), ValueError, "needs a list or tuple of 2"),
    "arrays and kernels": (
        lambda: parallel(Dense(3), Dense(3))[2]([X, NET[2](X)]),
        TypeError,
        "partly arrays and partly kernels",
    ),
    # `get`
    "unknown get": (lambda: NET[2](X, get="ngp"), KeyError, "ngp"),
    "one of them unknown": (lambda: NET[2](X, get=("nngp", "ngp")), KeyError, "ngp"),
    "duplicate get": (lambda: NET[2](X, get=("nngp", "ntk", "NNGP")), ValueError, "duplicates"),
    "empty get": (lambda: NET[2](X, get=()), ValueError, "empty"),
    "empty string": (lambda: NET[2](X, get=""), ValueError, "empty"),
    "get of another type": (lambda: NET[2](X, get=3), TypeError, "`get` must be"),
    "array for get": (lambda: NET[2](X, X, X), TypeError, "`get` must be"),
    # Networks
    "nonlinearity after nonlinearity": (
        lambda: kernel(serial(Dense(3), Relu(), Erf())),
        ValueError,
        "Erf needs a Gaussian",
    ),
    "nonlinearity of inputs": (lambda: kernel(Relu()), ValueError, "needs a Gaussian"),
    "nonlinearity after flatten": (
        lambda: kernel(serial(Dense(3), stax.Flatten(), Relu()), IMAGES),
        ValueError,
        "needs a Gaussian",
    ),
    "layer norm after nonlinearity": (
        lambda: kernel(serial(Dense(3), Relu(), stax.LayerNorm())),
        NotImplementedError,
        "LayerNorm needs a Gaussian",
    ),
    "layer norm without channels": (
        lambda: kernel(serial(Dense(3), stax.LayerNorm(1)), IMAGES),
        ValueError,
        "channel axis",
    ),
    "dropout of inputs": (
        lambda: kernel(serial(stax.Dropout(0.5), Dense(3))),
        ValueError,
        "Dropout of a network's inputs",
    ),
    "dropout without key": (lambda: stax.Dropout(0.5)[1]((), X), ValueError, "rng=key"),
    "rate": (lambda: stax.Dropout(0.0), ValueError, "rate"),
    "rate above one": (lambda: stax.Dropout(1.1), ValueError, "rate"),
    "mode": (lambda: stax.Dropout(0.5, "TRAIN"), ValueError, "mode"),
    "parameterization": (lambda: Dense(3, parameterization="ntkk"), ValueError, "'ntk' or 'standard', got 'ntkk'"),
    "empty serial": (lambda: serial(), ValueError, "serial needs at least one layer"),
    "empty parallel": (lambda: parallel(), ValueError, "parallel needs at least one layer"),
    "no copies": (lambda: FanOut(0), ValueError, "num >= 1"),
    "negative repeat": (lambda: stax.repeat(Dense(3), -1), ValueError, "n >= 0"),
    "flatten": (lambda: stax.Flatten(batch_axis_out=2), ValueError, "batch_axis_out"),
    "factory for a layer": (lambda: serial(Dense(3), Relu), TypeError, r"stax.Relu\(\)"),
    "list of layers": (lambda: serial([Dense(3), Relu()]), TypeError, "separate arguments"),
    "shape": (lambda: Dense(3)[0](KEY, 3), TypeError, "input shape"),
    # Branches
    "shapes of sum": (lambda: kernel(two(FanInSum(), Dense(2))), ValueError, "FanInSum needs inputs of equal shape"),
    "shapes of product": (
        lambda: kernel(two(FanInProd(), Dense(2))),
        ValueError,
        "FanInProd needs inputs of equal shape",
    ),
    "shapes of concatenation": (
        lambda: kernel(two(FanInConcat(1), Dense(2)), IMAGES),
        ValueError,
        "FanInConcat needs inputs of equal shape",
    ),
    "shapes of init": (lambda: two(FanInSum(), Dense(2))[0](KEY, X.shape), ValueError, "equal shape"),
    "axis of concatenation": (lambda: kernel(two(FanInConcat(2))), ValueError, "axis 2 is not"),
    "sum of nonlinearities": (
        lambda: kernel(two(FanInSum(), serial(Dense(3), Relu()))),
        NotImplementedError,
        "FanInSum needs Gaussian inputs",
    ),
    "sum of inputs": (
        lambda: kernel(two(FanInSum(), Identity())),
        NotImplementedError,
        "FanInSum needs Gaussian inputs",
    ),
    "concatenation of nonlinearities": (
        lambda: kernel(two(FanInConcat(1), serial(Dense(3), Relu())), IMAGES),
        NotImplementedError,
        "needs Gaussian inputs",
    ),
    "sum of a single array": (lambda: kernel(serial(Dense(3), FanInSum())), (TypeError, ValueError), "list or tuple"),
    "correlated sum": (
        lambda: kernel(serial(Dense(3), two(FanInSum(), Identity(), Identity()))),
        ValueError,
        "independent",
    ),
    # Diagonals
    "diagonal batch": (lambda: kernel(needs_pairs_of_inputs(), diagonal_batch=True), ValueError, "diagonal_batch=True"),
    "diagonal space": (
        lambda: kernel(needs_pairs_of_positions(), IMAGES, diagonal_spatial=True),
        ValueError,
        "diagonal_spatial=True",
    ),
    "kernel of diagonal batch": (lambda: needs_pairs_of_inputs()[2](NET[2](X)), ValueError, "diagonal_batch"),
    "kernel of diagonal space": (
        lambda: needs_pairs_of_positions()[2](NET[2](IMAGES, diagonal_spatial=True)),
        ValueError,
        "diagonal_spatial",
    ),
    "wish for what a kernel lacks": (
        lambda: NET[2](NET[2](X), diagonal_batch=False),
        ValueError,
        "diagonal_batch",
    ),
    # Kernels as inputs
    "kernel and array": (lambda: NET[2](NET[2](X), X), ValueError, "`x2` must be None"),
    "ntk of a kernel without": (
        lambda: NET[2](NET[2](X).replace(ntk=None), get="ntk"),
        ValueError,
        "the `Kernel` passed in has none",
    ),
    "axes of a kernel": (
        lambda: Dense(3, channel_axis=1)[2](Dense(3)[2](IMAGES)),
        ValueError,
        "Dense has `channel_axis=1`, but that of its inputs",
    ),
    "second input without its kernel": (lambda: NET[2](X, get="cov3"), KeyError, "cov3"),
    # Masks
    "channels masked apart": (
        lambda: kernel(stax.Identity(), np.eye(3), mask_constant=1.0).mask(jnp.eye(3) == 1, None),
        NotImplementedError,
        "same for all channels",
    ),
    # Nonlinearities
    "degree": (lambda: stax.Monomial(6), NotImplementedError, "from 0 to 5"),
    "negative degree": (lambda: stax.RectifiedMonomial(-1), NotImplementedError, "0 or more"),
    "hermite": (lambda: stax.Hermite(-1), NotImplementedError, "0 or more"),
    "elementwise of nothing": (lambda: stax.Elementwise(), ValueError, "needs `fn`"),
    "elementwise without kernel": (
        lambda: kernel(serial(Dense(3), stax.Elementwise(jnp.tanh))),
        NotImplementedError,
        "nngp_fn",
    ),
    "elementwise without function": (
        lambda: stax.Elementwise(None, lambda k, q1, q2: k, lambda k, q1, q2: 1.0)[1]((), X),
        NotImplementedError,
        "only a kernel",
    ),
    "normalized exponential": (lambda: stax.ExpNormalized()[1]((), X), NotImplementedError, "only a kernel"),
    "nodes": (lambda: stax.ElementwiseNumerical(jnp.tanh, 0), ValueError, "deg"),
    # Hyper-parameters
    "size of a filter": (lambda: stax.Conv(64, 3), TypeError, r"Conv needs a tuple .* `filter_shape`.*got 3.*\(3, 3\)"),
    "fraction in a filter": (lambda: stax.Conv(64, (3, 2.5)), TypeError, r"`filter_shape`.*got \(3, 2.5\)"),
    "negative filter": (
        lambda: stax.ConvTranspose(64, (3, -3)),
        ValueError,
        r"ConvTranspose.*at least 1, got \(3, -3\)",
    ),
    "stride": (lambda: stax.ConvLocal(64, (3, 3), strides=2), TypeError, "ConvLocal.*`strides`.*got 2"),
    "channels": (lambda: stax.Conv(0, (3, 3)), ValueError, "Conv needs `out_chan` of at least 1, got 0"),
    "letters of axes": (
        lambda: stax.Conv(64, (3, 3), dimension_numbers="NHWC"),
        TypeError,
        "Conv needs three strings as `dimension_numbers`",
    ),
    "padding": (lambda: stax.Conv(64, (3, 3), padding="same"), ValueError, "Conv: `padding` .* got 'same'"),
    "negative width": (lambda: Dense(-3), ValueError, "Dense needs `out_dim` of at least 1, got -3"),
    "fractional width": (lambda: Dense(3.5), TypeError, "Dense needs a whole number as `out_dim`, got 3.5"),
    "text for a number": (lambda: Dense(3, "1"), TypeError, "Dense needs a single real number as `W_std`, got '1'"),
    "one number for each": (lambda: Dense(3, 1.0, np.ones(3)), TypeError, r"`b_std`, got an array of shape \(3,\)"),
    "axis": (lambda: Dense(3, channel_axis=None), TypeError, "Dense needs a whole number as `channel_axis`, got None"),
    "no parameterization": (lambda: Dense(3, parameterization=None), ValueError, "Dense: .* got None"),
    "single multiplier": (lambda: Dense(3, s=2), TypeError, r"Dense needs a pair .*\(s_in, s_out\)`.*got 2"),
    "zero multiplier": (lambda: Dense(3, s=(0, 1)), ValueError, r"Dense needs positive .*`s`, got \(0, 1\)"),
    "window": (lambda: stax.AvgPool(2), TypeError, "AvgPool needs a tuple .* `window_shape`"),
    "stride of a pool": (lambda: stax.SumPool((2, 2), (0, 1)), ValueError, "SumPool needs `strides` of at least 1"),
    "axis of a pool": (lambda: stax.GlobalAvgPool(channel_axis="C"), TypeError, "GlobalAvgPool .* `channel_axis`"),
    "axes to normalise": (lambda: stax.LayerNorm(axis=None), TypeError, "LayerNorm needs .* `axis`.*got None"),
    "epsilon": (lambda: stax.LayerNorm(eps=None), TypeError, "LayerNorm needs a single real number as `eps`"),
    "rate of another type": (lambda: stax.Dropout("0.5"), TypeError, "Dropout needs .* `rate`, got '0.5'"),
    "axis to index": (lambda: stax.Index(0, batch_axis=None), TypeError, "Index needs a whole number as `batch_axis`"),
    "axis to flatten": (lambda: stax.Flatten("0"), TypeError, "Flatten needs a whole number as `batch_axis`, got '0'"),
    "size of images": (lambda: stax.ImageResize((-1, 2.5, -1), "linear"), TypeError, "ImageResize .* `shape`"),
    "method": (lambda: stax.ImageResize((-1, 2, -1), None), ValueError, "ImageResize: unknown resize method None"),
    "axis of a graph": (lambda: stax.Aggregate(1.5), TypeError, "Aggregate needs a whole number as `aggregate_axis`"),
    "axes of a graph": (lambda: stax.Aggregate("xy"), TypeError, "Aggregate needs .* `aggregate_axis`.*got 'xy'"),
    "making a graph": (
        lambda: stax.Aggregate(to_dense=3),
        TypeError,
        "Aggregate needs a function as `to_dense`, got 3",
    ),
    "form of graphs": (lambda: stax.Aggregate(implementation="dense"), ValueError, "Aggregate: `implementation`"),
    "constant without axes": (
        lambda: stax.DotGeneral(lhs=np.ones((2, 4)), dimension_numbers=((1,), (1,))),
        TypeError,
        "DotGeneral needs axes .* `dimension_numbers`",
    ),
    "no heads": (lambda: attention(n_heads=0), ValueError, "GlobalSelfAttention needs `n_heads` of at least 1, got 0"),
    "fractional heads": (lambda: attention(n_heads=4.0), TypeError, "GlobalSelfAttention .* `n_heads`, got 4.0"),
    "mechanism": (lambda: attention(attention_mechanism="softmax"), ValueError, "GlobalSelfAttention: .*'SOFTMAX'"),
    "embedding": (lambda: attention(pos_emb_type=None), ValueError, "GlobalSelfAttention: .*'NONE'.*got None"),
    "decay": (lambda: attention(pos_emb_decay_fn=2), TypeError, "GlobalSelfAttention .* `pos_emb_decay_fn`, got 2"),
    "bias of attention": (lambda: attention(b_std="x"), TypeError, "GlobalSelfAttention needs .* `b_std`, got 'x'"),
    "fraction of a copy": (lambda: FanOut(2.5), TypeError, "FanOut needs a whole number as `num`, got 2.5"),
    "name of an axis": (lambda: FanInConcat("x"), TypeError, "FanInConcat needs a whole number as `axis`, got 'x'"),
    "fraction of a layer": (lambda: stax.repeat(Dense(3), 2.5), TypeError, "repeat needs a whole number as `n`"),
    "slope": (lambda: stax.LeakyRelu(np.ones(2)), TypeError, r"LeakyRelu .* `alpha`, got an array of shape \(2,\)"),
    "no frequency": (lambda: stax.Sin(b=None), TypeError, "Sin needs a single real number as `b`, got None"),
    "fraction of a degree": (lambda: stax.Monomial(2.5), NotImplementedError, "Monomial .* `degree`, got 2.5"),
    "degree of another type": (lambda: stax.Hermite("2"), TypeError, "Hermite needs .* `degree`, got '2'"),
    "coefficient": (
        lambda: stax.Polynomial(2.0),
        ValueError,
        r"Polynomial needs a sequence .*got an array of shape \(\)",
    ),
    "no function": (lambda: stax.Elementwise(3), TypeError, "Elementwise needs a function as `fn`, got 3"),
    "no function to sum": (lambda: stax.ElementwiseNumerical(None, 3), TypeError, "needs a function as `fn`, got None"),
    # Parameters
    "features of parameters": (
        lambda: apply(Dense(5), (2, 4), X),
        ValueError,
        r"Dense needs weights of shape \(3, \*\) for inputs of shape \(2, 3\), got \(4, 5\)",
    ),
    "features of a filter": (
        lambda: apply(stax.Conv(5, (2,)), (2, 3, 2), IMAGES),
        ValueError,
        r"Conv needs weights of shape \(2, 3, \*\) for inputs of shape \(2, 3, 3\), got \(2, 2, 5\)",
    ),
    "features of a transposed filter": (
        lambda: apply(stax.ConvTranspose(5, (2,)), (2, 3, 2), IMAGES),
        ValueError,
        "ConvTranspose needs weights of shape",
    ),
    "positions of parameters": (
        lambda: apply(stax.ConvLocal(5, (2,)), (2, 4, 3), IMAGES),
        ValueError,
        r"ConvLocal needs weights of shape \(2, 6, \*\) for inputs of shape \(2, 3, 3\), got \(3, 6, 5\)",
    ),
    "filter of another size": (
        lambda: stax.Conv(5, (2,))[1](stax.Conv(5, (3,))[0](KEY, IMAGES.shape)[1], IMAGES),
        ValueError,
        r"\(2, 3, \*\) .* got \(3, 3, 5\)",
    ),
    "features of attention": (
        lambda: apply(attention(linear_scaling=False), (2, 3, 4), IMAGES),
        ValueError,
        r"`K` of shape \(4, 3, 2\) for inputs of shape \(2, 3, 3\)",
    ),
    "no parameters": (lambda: Dense(5)[1]((), X), TypeError, r"Dense needs a pair `\(W, b\)` .* got tuple of 0"),
    "parameters of another library": (lambda: Dense(5)[1]({"w": X}, X), TypeError, "Dense needs a pair .* got dict"),
    "a bias": (lambda: Dense(5)[1](Dense(5, 1.0, 1.0)[0](KEY, (2, 3))[1], X), TypeError, "Dense got a bias"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    call, error, text = CASES[name]
    with pytest.raises(error, match=text) as caught:
        call()
    assert "frozenset" not in str(caught.value)  # nor any other detail of the implementation


@pytest.mark.parametrize("name", ["nonlinearity after nonlinearity", "features", "unknown get"])
def test_errors_come_at_the_trace_too(name):
    call, error, text = CASES[name]
    with pytest.raises(error, match=text):
        jax.jit(lambda: call())()
