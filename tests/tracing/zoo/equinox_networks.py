"""Networks of Equinox: modules of one input, whose leaves are arrays and functions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from zoo import closed_forms as cf
from zoo.entry import IMAGES, SEQUENCES, TOKENS, VECTORS, WIDTH, Entry

from neural_tangents import stax

# Weights and biases are uniform, with the variance 1 / (3 fan-in).
THIRD = 3**-0.5


def entry(make, x, truth, forward=None, **options):
    """A network of the module `make(key)`; `forward(module, x)` applies it to one input."""
    forward = (lambda module, x: module(x)) if forward is None else forward
    _, static = eqx.partition(make(jr.key(0)), eqx.is_inexact_array)

    def apply(params, x):
        module = eqx.nn.inference_mode(eqx.combine(params, static))
        return jax.vmap(lambda x: forward(module, x))(x)

    return Entry(apply, lambda key: eqx.filter(make(key), eqx.is_inexact_array), x, truth, **options)


def dense(n, fan_in, p):
    return stax.Dense(n, THIRD, (3 * fan_in) ** -0.5, parameterization=p)


def layers(*makers):
    """Modules in sequence; functions of keys make them, and functions of arrays are wrapped."""
    return lambda key: eqx.nn.Sequential([make(k) for make, k in zip(makers, jr.split(key, len(makers)), strict=True)])


def linear(n_in, n_out):
    return lambda key: eqx.nn.Linear(n_in, n_out, key=key)


def function(f):
    return lambda key: eqx.nn.Lambda(f)


relu = function(jax.nn.relu)


def mlp_truth(p):
    hidden = dense(WIDTH, 5, p), stax.Relu(), dense(WIDTH, WIDTH, p), stax.Relu()
    return stax.serial(*hidden, dense(3, WIDTH, p))


def two_layers(layer, **keywords):
    return lambda p: stax.serial(dense(WIDTH, 5, p), layer(**keywords), dense(2, WIDTH, p))


CHANNELS_FIRST = np.moveaxis(IMAGES, -1, 1)


def conv(n_in, n_out, size, **keywords):
    return lambda key: eqx.nn.Conv2d(n_in, n_out, size, key=key, **keywords)


cnn = layers(
    conv(2, WIDTH, 3, padding=1),
    relu,
    conv(WIDTH, WIDTH, 2, use_bias=False),
    relu,
    function(lambda h: h.mean((1, 2))),
    linear(WIDTH, 2),
)


def cnn_truth(p):
    numbers = ("NCHW", "OIHW", "NCHW")
    first = stax.Conv(WIDTH, (3, 3), None, "SAME", THIRD, 54**-0.5, numbers, parameterization=p)
    second = stax.Conv(WIDTH, (2, 2), None, "VALID", THIRD, None, numbers, parameterization=p)
    pool = stax.GlobalAvgPool(channel_axis=1)
    return stax.serial(first, stax.Relu(), second, stax.Relu(), pool, dense(2, WIDTH, p))


# Padding (1, 1) at stride 2 on 6 positions, which SAME would pad by (0, 1).
strided = layers(
    lambda key: eqx.nn.Conv1d(3, WIDTH, 3, stride=2, padding=1, use_bias=False, key=key),
    relu,
    function(lambda h: h.mean(1)),
    linear(WIDTH, 2),
)
SIX = np.random.RandomState(1).normal(size=(4, 3, 6)).astype(np.float32)


def strided_truth(p):
    def kernels(x):
        h = cf.window(cf.inputs(np.moveaxis(x, 1, 2)), 6, [(None, 0, 1), (1, 2, 3), (3, 4, 5)])
        h = cf.relu(cf.dense(h, 1 / 3))
        return cf.dense(cf.mean_positions(h, 3), 1 / 3, 1 / (3 * WIDTH))

    return kernels


def with_norm(key):
    first, last = jr.split(key)
    return [eqx.nn.Linear(5, WIDTH, key=first), eqx.nn.LayerNorm(WIDTH), eqx.nn.Linear(WIDTH, 2, key=last)]


def normed(modules, x):
    first, norm, last = modules
    return last(jax.nn.relu(norm(first(x))))


def embedding(key):
    first, last = jr.split(key)
    return [eqx.nn.Embedding(6, WIDTH, key=first), eqx.nn.Linear(WIDTH, 2, key=last)]


def embedded(modules, x):
    first, last = modules
    return last(jax.nn.relu(jax.vmap(first)(x)).mean(0))


def embedded_truth(p):
    def kernels(x):
        h = cf.relu(cf.new((x.reshape(-1, 1) == x.reshape(1, -1)) * 1.0))
        return cf.dense(cf.mean_positions(h, 4), 1 / 3, 1 / (3 * WIDTH))

    return kernels


def vmapped(key):
    first, last, *middle = jr.split(key, 5)
    stacked = eqx.filter_vmap(lambda k: eqx.nn.Linear(WIDTH, WIDTH, key=k))(jnp.stack(middle))
    return [eqx.nn.Linear(5, WIDTH, key=first), stacked, eqx.nn.Linear(WIDTH, 2, key=last)]


def through_scan(modules, x):
    first, stacked, last = modules
    arrays, static = eqx.partition(stacked, eqx.is_array)

    def step(h, layer):
        return eqx.combine(layer, static)(jax.nn.relu(h)), None

    return last(jax.nn.relu(jax.lax.scan(step, first(x), arrays)[0]))


def scan_truth(p):
    hidden = [layer for _ in range(3) for layer in (stax.Relu(), dense(WIDTH, WIDTH, p))]
    return stax.serial(dense(WIDTH, 5, p), *hidden, stax.Relu(), dense(2, WIDTH, p))


def cell(kind):
    def make(key):
        first, last = jr.split(key)
        return [kind(3, WIDTH, key=first), eqx.nn.Linear(WIDTH, 2, key=last)]

    return make


def recurrent(modules, x):
    first, last = modules
    state = jnp.zeros(WIDTH)
    state = (state, state) if isinstance(first, eqx.nn.LSTMCell) else state
    for t in range(2):
        state = first(x[t], state)
    return last(state[0] if isinstance(state, tuple) else state)


def attention(key):
    return eqx.nn.MultiheadAttention(2, 3, key=key)


weights = {"options": {"trainable": lambda path: path.startswith(("[0]", "[2]"))}}

NETWORKS = {
    "mlp": entry(lambda key: eqx.nn.MLP(5, 3, WIDTH, 2, key=key), VECTORS, mlp_truth),
    "mlp of erf": entry(
        layers(linear(5, WIDTH), function(jax.lax.erf), linear(WIDTH, 2)), VECTORS, two_layers(stax.Erf)
    ),
    "dropout": entry(
        layers(linear(5, WIDTH), relu, lambda key: eqx.nn.Dropout(0.5), linear(WIDTH, 2)),
        VECTORS,
        two_layers(stax.Relu),
    ),
    "cnn": entry(cnn, CHANNELS_FIRST, cnn_truth),
    "strided, padded": entry(strided, SIX, strided_truth, parameterizations=("ntk",)),
    "layer norm": entry(
        with_norm,
        VECTORS,
        lambda p: stax.serial(dense(WIDTH, 5, p), stax.LayerNorm(-1, eps=1e-5), stax.Relu(), dense(2, WIDTH, p)),
        normed,
        **weights,
    ),
    "rms norm": entry(
        layers(linear(5, WIDTH), lambda key: eqx.nn.RMSNorm(WIDTH), relu, linear(WIDTH, 2)),
        VECTORS,
        lambda p: stax.serial(dense(WIDTH, 5, p), stax.LayerNorm(-1, eps=1e-5), stax.Relu(), dense(2, WIDTH, p)),
        parameterizations=("ntk",),
        rtol=1e-4,
    ),
    "mean pool": entry(
        layers(
            lambda key: eqx.nn.Conv1d(3, WIDTH, 1, key=key),
            relu,
            lambda key: eqx.nn.AvgPool1d(2, 2),
            function(lambda h: h.mean(1)),
            linear(WIDTH, 2),
        ),
        np.moveaxis(SEQUENCES, -1, 1),
        lambda p: stax.serial(
            stax.Conv(WIDTH, (1,), None, "VALID", THIRD, 1 / 3, ("NCH", "OIH", "NCH"), parameterization=p),
            stax.Relu(),
            stax.AvgPool((2,), (2,), channel_axis=1),
            stax.GlobalAvgPool(channel_axis=1),
            dense(2, WIDTH, p),
        ),
        parameterizations=("ntk",),
    ),
    "embedding": entry(embedding, TOKENS, embedded_truth, embedded, parameterizations=("ntk",)),
    "stacked by vmap": entry(vmapped, VECTORS, scan_truth, through_scan),
    # Without a kernel.
    "gru": entry(cell(eqx.nn.GRUCell), SEQUENCES, "Gaussian", recurrent),
    "lstm": entry(cell(eqx.nn.LSTMCell), SEQUENCES, "Gaussian", recurrent),
    "attention": entry(attention, SEQUENCES, "random at infinite width", lambda m, x: m(x, x, x).mean(0)),
    "max pool": entry(
        layers(conv(2, WIDTH, 3), lambda key: eqx.nn.MaxPool2d(2), function(jnp.ravel), linear(WIDTH * 6, 2)),
        CHANNELS_FIRST,
        "average pooling",
    ),
}
