"""Networks of Flax nnx: modules are split into parameters, and what stays."""

import jax
import jax.numpy as jnp
from flax import nnx
from zoo import closed_forms as cf
from zoo.entry import IMAGES, SEQUENCES, TOKENS, VECTORS, WIDTH, Conv, Dense, Entry, Scaled, weights_only

from neural_tangents import stax


def entry(make, forward, x, truth, **options):
    """A network of modules `make(rngs)`, which `forward(modules, x)` applies."""

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.data(make(rngs))

        def __call__(self, x):
            return forward(self.layers, x)

    template = Network(nnx.Rngs(0))
    template.eval()
    graph, _, rest = nnx.split(template, nnx.Param, ...)

    def apply(params, x):
        return nnx.merge(graph, params, rest, copy=True)(x)

    return Entry(apply, lambda key: nnx.state(Network(nnx.Rngs(key)), nnx.Param), x, truth, **options)


def dense_layers(rngs):
    return [nnx.Linear(5, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs), nnx.Linear(WIDTH, 2, rngs=rngs)]


def mlp(layers, x):
    first, second, last = layers
    return last(nnx.relu(second(nnx.relu(first(x)))))


def mlp_truth(p):
    return stax.serial(*[Dense(WIDTH, parameterization=p), stax.Relu()] * 2, Dense(2, parameterization=p))


def cnn(layers, x):
    conv, dropout, last = layers
    return last(dropout(nnx.avg_pool(nnx.relu(conv(x)), (2, 2), (2, 2))).reshape(x.shape[0], -1))


def cnn_layers(rngs):
    conv = nnx.Conv(2, WIDTH, (3, 3), strides=(1, 2), rngs=rngs)
    return [conv, nnx.Dropout(0.3, rngs=rngs), nnx.Linear(2 * 1 * WIDTH, 2, rngs=rngs)]


def cnn_truth(p):
    conv = Conv(WIDTH, (3, 3), (1, 2), "SAME", parameterization=p)
    return stax.serial(conv, stax.Relu(), stax.AvgPool((2, 2), (2, 2)), stax.Flatten(), Dense(2, parameterization=p))


def normed(layers, x):
    first, norm, last = layers
    return last(nnx.relu(norm(first(x))))


def normed_layers(norm):
    return lambda rngs: [nnx.Linear(5, WIDTH, rngs=rngs), norm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, 2, rngs=rngs)]


def normed_truth(layer):
    return lambda p: stax.serial(Dense(WIDTH, parameterization=p), layer(), stax.Relu(), Dense(2, parameterization=p))


def attention_layers(rngs):
    return [nnx.MultiHeadAttention(num_heads=2, in_features=3, qkv_features=8, decode=False, rngs=rngs)]


def embedded_layers(rngs):
    return [nnx.Embed(6, WIDTH, rngs=rngs), nnx.Linear(WIDTH, 2, rngs=rngs)]


def embedded(layers, x):
    table, last = layers
    return last(nnx.relu(table(x)).mean(1))


def embedded_truth(p):
    def kernels(x):
        """A table drawn by `variance_scaling` over features, so that entries have the variance 1 / WIDTH."""
        same = (x.reshape(-1, 1) == x.reshape(1, -1)) / WIDTH
        return cf.dense(cf.mean_positions(cf.relu(cf.new(same)), 4))

    return kernels


untrained = {"trainable": lambda path: weights_only(path) and "[1]" not in path}

NETWORKS = {
    "mlp": entry(dense_layers, mlp, VECTORS, mlp_truth),
    "mlp under remat": entry(dense_layers, nnx.remat(mlp), VECTORS, mlp_truth),
    "cnn with dropout": entry(cnn_layers, cnn, IMAGES, cnn_truth),
    "layer norm": entry(
        normed_layers(nnx.LayerNorm),
        normed,
        VECTORS,
        normed_truth(lambda: stax.LayerNorm(-1, eps=1e-6)),
        options=untrained,
    ),
    "rms norm": entry(
        normed_layers(nnx.RMSNorm),
        normed,
        VECTORS,
        normed_truth(lambda: stax.LayerNorm(-1, eps=1e-6)),
        options=untrained,
    ),
    "batch norm": entry(
        normed_layers(nnx.BatchNorm),
        normed,
        VECTORS,
        normed_truth(lambda: Scaled((1 + 1e-5) ** -0.5)),
        options=untrained,
    ),
    "embedded": entry(embedded_layers, embedded, TOKENS, embedded_truth, parameterizations=("ntk",)),
    # Without a kernel.
    "attention": entry(attention_layers, lambda layers, x: layers[0](x).mean(1), SEQUENCES, "random at infinite width"),
    "maximum": entry(dense_layers, lambda layers, x: layers[0](x).max(-1, keepdims=True), VECTORS, "max"),
    "no readout": entry(dense_layers, lambda layers, x: jax.nn.relu(layers[0](x)), VECTORS, "readout"),
    "batch mean": entry(
        dense_layers,
        lambda layers, x: layers[0](x) - jnp.mean(layers[0](x), 0, keepdims=True),
        VECTORS,
        "mixes its inputs",
    ),
}
