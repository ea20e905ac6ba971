"""Networks of Flax linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from zoo import closed_forms as cf
from zoo.entry import IMAGES, SEQUENCES, TOKENS, VECTORS, WIDTH, Conv, Dense, Entry, Scaled, numerical, weights_only

from neural_tangents import stax

normal = nn.initializers.normal


def entry(model, x, truth, **options):
    """A network of linen; `options` are fields of `Entry`."""
    return Entry(model.apply, lambda key: model.init(key, x[:2]), x, truth, **options)


def sequential(x, layers, truth, **options):
    return entry(nn.Sequential(layers), x, truth, **options)


def compact(x, forward, truth, **options):
    """A network by a function of inputs that makes modules."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return forward(x)

    return entry(Network(), x, truth, **options)


def activation(f, layer, **options):
    """Three dense layers."""

    def truth(p):
        hidden = [Dense(WIDTH, parameterization=p), layer()] * 2
        return stax.serial(*hidden, Dense(3, parameterization=p))

    options = {"parameterizations": ("ntk",), **options}  # layers are the same in all: one shows both
    return sequential(VECTORS, [nn.Dense(WIDTH), f, nn.Dense(WIDTH), f, nn.Dense(3)], truth, **options)


def he(p):
    return stax.serial(
        stax.Dense(WIDTH, 2**0.5, 0.3, parameterization=p), stax.Relu(), stax.Dense(2, 1.5, None, parameterization=p)
    )


def cnn(x):
    x = nn.relu(nn.Conv(WIDTH, (3, 3))(x))
    return nn.Dense(2)(nn.relu(nn.Conv(WIDTH, (3, 2), strides=(2, 1))(x)).mean((1, 2)))


def cnn_truth(p):
    return stax.serial(
        Conv(WIDTH, (3, 3), padding="SAME", parameterization=p),
        stax.Relu(),
        Conv(WIDTH, (3, 2), (2, 1), padding="SAME", parameterization=p),
        stax.Relu(),
        stax.GlobalAvgPool(),
        Dense(2, parameterization=p),
    )


def flat_cnn(x):
    x = nn.relu(nn.Conv(WIDTH, (2, 3), padding="VALID", use_bias=False)(x))
    return nn.Dense(2)(x.reshape(x.shape[0], -1))


def flat_truth(p):
    conv = stax.Conv(WIDTH, (2, 3), padding="VALID", parameterization=p)
    return stax.serial(conv, stax.Relu(), stax.Flatten(), Dense(2, parameterization=p))


def circular_cnn(x):
    x = nn.avg_pool(nn.relu(nn.Conv(WIDTH, (3, 3), padding="CIRCULAR")(x)), (2, 2), strides=(1, 2))
    return nn.Dense(2)(x.reshape(x.shape[0], -1))


def circular_truth(p):
    conv = Conv(WIDTH, (3, 3), padding="CIRCULAR", parameterization=p)
    pool = stax.AvgPool((2, 2), (1, 2))
    return stax.serial(conv, stax.Relu(), pool, stax.Flatten(), Dense(2, parameterization=p))


def resnet(x):
    x = nn.Conv(WIDTH, (3, 3), use_bias=False)(x)
    y = nn.Conv(WIDTH, (3, 3), strides=2, use_bias=False)(nn.relu(x))
    y = nn.Conv(WIDTH, (3, 3), use_bias=False)(nn.relu(y))
    x = nn.Conv(WIDTH, (1, 1), strides=2, use_bias=False)(x) + y
    return nn.Dense(2)(nn.relu(x).mean((1, 2)))


def resnet_truth(p):
    def conv(size, stride=1):
        return stax.Conv(WIDTH, (size, size), (stride, stride), padding="SAME", parameterization=p)

    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(conv(1, 2), stax.serial(stax.Relu(), conv(3, 2), stax.Relu(), conv(3))),
        stax.FanInSum(),
    )
    return stax.serial(conv(3), block, stax.Relu(), stax.GlobalAvgPool(), Dense(2, parameterization=p))


def residual_mlp(x):
    x = nn.Dense(WIDTH)(x)
    for _ in range(2):
        x = x + 0.5 * nn.Dense(WIDTH)(nn.relu(x))
    return nn.Dense(2)(nn.relu(x))


def residual_truth(p):
    half = stax.serial(stax.Relu(), Dense(WIDTH, parameterization=p), Scaled(0.5))
    block = stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), half), stax.FanInSum())
    return stax.serial(Dense(WIDTH, parameterization=p), block, block, stax.Relu(), Dense(2, parameterization=p))


def densenet(x):
    x = nn.Dense(WIDTH)(x)
    x = jnp.concatenate([x, nn.Dense(WIDTH)(nn.relu(x))], -1)
    return nn.Dense(2)(nn.relu(x))


def densenet_truth(p):
    def kernels(x):
        h = cf.dense(cf.inputs(x))
        joined = cf.relu(h) + cf.relu(cf.dense(cf.relu(h)))
        return cf.dense(0.5 * joined)

    return kernels


def gated(x):
    return nn.Dense(2)(nn.Dense(WIDTH)(x) * nn.relu(nn.Dense(WIDTH)(x)))


def gated_truth(p):
    dense = Dense(WIDTH, parameterization=p)
    branches = stax.parallel(dense, stax.serial(dense, stax.Relu()))
    return stax.serial(stax.FanOut(2), branches, stax.FanInProd(), Dense(2, parameterization=p))


def layer_norm(x):
    return nn.Dense(2)(nn.relu(nn.LayerNorm()(nn.Dense(WIDTH)(nn.relu(nn.Dense(WIDTH)(x))))))


def layer_norm_truth(p):
    dense = [Dense(WIDTH, parameterization=p), stax.Relu(), Dense(WIDTH, parameterization=p)]
    return stax.serial(*dense, stax.LayerNorm(eps=1e-6), stax.Relu(), Dense(2, parameterization=p))


def normed_cnn(norm):
    def forward(x):
        x = nn.relu(norm()(nn.Conv(WIDTH, (3, 3))(x)))
        return nn.Dense(2)(x.mean((1, 2)))

    return forward


def normed_truth(axis, eps=1e-6):
    def truth(p):
        conv = Conv(WIDTH, (3, 3), padding="SAME", parameterization=p)
        norm = stax.LayerNorm(axis, eps=eps)
        return stax.serial(conv, norm, stax.Relu(), stax.GlobalAvgPool(), Dense(2, parameterization=p))

    return truth


def batch_norm(x):
    return nn.Dense(2)(nn.relu(nn.BatchNorm(use_running_average=True)(nn.Dense(WIDTH)(x))))


def batch_norm_truth(p):  # with averages 0 and variances 1
    return stax.serial(
        Dense(WIDTH, parameterization=p), Scaled((1 + 1e-5) ** -0.5), stax.Relu(), Dense(2, parameterization=p)
    )


def two_layers(width):
    return lambda p: stax.serial(Dense(width, parameterization=p), stax.Relu(), Dense(2, parameterization=p))


def dropout(x):
    return nn.Dense(2)(nn.Dropout(0.5, deterministic=True)(nn.relu(nn.remat(nn.Dense)(WIDTH)(x))))


def heads(x):
    return nn.DenseGeneral(2, axis=(-2, -1))(nn.relu(nn.DenseGeneral((2, WIDTH))(x)))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(WIDTH)(nn.relu(x)), None


def scanned(x):
    layers = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    return nn.Dense(2)(nn.relu(layers(nn.Dense(WIDTH)(x), None)[0]))


def scanned_truth(p):
    hidden = [Dense(WIDTH, parameterization=p), stax.Relu()] * 4
    return stax.serial(*hidden, Dense(2, parameterization=p))


def embedded(x):
    return nn.Dense(2)(nn.relu(nn.Dense(WIDTH)(nn.Embed(6, WIDTH)(x).mean(1))))


def embedded_truth(p):  # lecun_normal over features: entries have the variance 1 / WIDTH
    def kernels(x):
        same = (x.reshape(-1, 1) == x.reshape(1, -1)) / 1.0
        h = cf.mean_positions(cf.new(same / WIDTH), x.shape[1])
        # The layer after it sums WIDTH entries, with weights of the variance 1 / WIDTH.
        return cf.dense(cf.relu(cf.dense(h)))

    return kernels


def recurrent(x):
    h = nn.RNN(nn.SimpleCell(WIDTH, activation_fn=nn.relu))(x)
    return nn.Dense(2)(h[:, -1])


def recurrent_truth(p):
    def kernels(x):
        steps = x.shape[1]
        h = cf.relu(cf.dense(cf.inputs(x[:, 0])))
        for t in range(1, steps):
            h = cf.relu(cf.dense(cf.inputs(x[:, t])) + cf.dense(h))
        return cf.dense(h)

    return kernels


def dilated(x):
    h = nn.relu(nn.Conv(WIDTH, (2,), kernel_dilation=2, padding="VALID")(x))
    return nn.Dense(2)(h.reshape(h.shape[0], -1))


def dilated_truth(p):
    def kernels(x):
        h = cf.relu(cf.dense(cf.window(cf.inputs(x), 4, [(0, 2), (1, 3)])))
        flat = cf.at(h, 2, 0) + cf.at(h, 2, 1)
        return cf.dense(0.5 * flat)

    return kernels


def transposed(x):
    h = nn.relu(nn.ConvTranspose(WIDTH, (3,), strides=(2,))(x))
    return nn.Dense(2)(h.mean(1))


def transposed_truth(p):
    conv = stax.ConvTranspose(WIDTH, (3,), (2,), padding="SAME", b_std=0.0, parameterization=p)
    return stax.serial(conv, stax.Relu(), stax.GlobalAvgPool(), Dense(2, parameterization=p))


def depthwise(x):
    h = nn.relu(nn.Dense(WIDTH)(x))
    h = nn.Conv(WIDTH, (3,), feature_group_count=WIDTH, use_bias=False)(h)
    return nn.Dense(2)(h.mean(1))


def depthwise_truth(p):
    def kernels(x):
        h = cf.relu(cf.dense(cf.inputs(x)))
        # A filter for each channel: fan-in 3, weights of the variance 1 / 3.
        h = cf.window(cf.dense(h), 4, [(None, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, None)])
        return cf.dense(cf.mean_positions(h, 4))

    return kernels


def positions(x):
    table = nn.Embed(4, WIDTH, embedding_init=normal(0.7))(jnp.arange(4))
    return nn.Dense(2)(nn.relu(nn.Dense(WIDTH)(x) + table[None]).mean(1))


def positions_truth(p):
    def kernels(x):
        place = np.tile(np.arange(4), len(x))
        table = cf.new(0.49 * (place[:, None] == place))
        return cf.dense(cf.mean_positions(cf.relu(cf.dense(cf.inputs(x)) + table), 4))

    return kernels


def class_token(x):
    h = nn.Dense(WIDTH)(x)
    shape = (1, 1, WIDTH)
    token = nn.Embed(1, WIDTH, embedding_init=normal(0.5))(jnp.zeros(1, int)).reshape(shape)
    h = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, WIDTH)), h], 1)
    h = nn.relu(nn.Conv(WIDTH, (5,), padding="VALID")(nn.relu(h)))
    return nn.Dense(2)(h[:, 0])


def class_token_truth(p):
    def kernels(x):
        h = cf.relu(cf.dense(cf.inputs(x)))
        token = cf.relu(cf.new(np.full((len(x), len(x)), 0.25)))
        total = token + cf.at(h, 4, 0) + cf.at(h, 4, 1) + cf.at(h, 4, 2) + cf.at(h, 4, 3)
        return cf.dense(cf.relu(cf.dense(0.2 * total)))

    return kernels


class PostActivation(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(WIDTH)(x))
        return nn.Dense(2)(nn.relu(x + nn.Dense(WIDTH)(x)))


def attention(x):
    return nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=WIDTH)(x, x).mean(1)


def max_pool(x):
    return nn.Dense(2)(nn.max_pool(nn.relu(nn.Conv(WIDTH, (3, 3))(x)), (2, 2)).mean((1, 2)))


def gru(x):
    return nn.Dense(2)(nn.RNN(nn.GRUCell(WIDTH))(x)[:, -1])


def training_batch_norm(x):
    return nn.Dense(2)(nn.relu(nn.BatchNorm(use_running_average=False)(nn.Dense(WIDTH)(x))))


def token_mixer(x):
    h = nn.Dense(4)(nn.Dense(WIDTH)(x).transpose(0, 2, 1))
    return nn.Dense(2)(nn.relu(h).transpose(0, 2, 1).mean(1))


def depthwise_relu(x):
    h = nn.Conv(WIDTH, (3,), feature_group_count=WIDTH)(nn.relu(nn.Dense(WIDTH)(x)))
    return nn.Dense(2)(nn.relu(h).mean(1))


def tied_embedding(x):
    embed = nn.Embed(6, WIDTH)
    return embed.attend(nn.relu(nn.Dense(WIDTH)(embed(x).mean(1))))


def weight_normed(x):
    return nn.Dense(2)(nn.relu(nn.WeightNorm(nn.Dense(WIDTH))(x)))


def apply_training(model):
    def apply(params, x):
        return model.apply(params, x, mutable=["batch_stats"])[0]

    return apply


class Training(nn.Module):
    @nn.compact
    def __call__(self, x):
        return training_batch_norm(x)


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=False)(nn.relu(nn.Dense(WIDTH)(x))))


def drop_apply(params, x):
    return Dropped().apply(params, x, rngs={"dropout": jax.random.key(1)})


def drop_init(key):
    return Dropped().init({"params": key, "dropout": key}, VECTORS)


def he_init(model_width):
    he_normal = nn.initializers.he_normal()
    hidden = nn.Dense(model_width, kernel_init=he_normal, bias_init=normal(0.3))
    last = nn.initializers.variance_scaling(2.25, "fan_in", "uniform")
    return [hidden, nn.relu, nn.Dense(2, kernel_init=last, use_bias=False)]


ntk_only = {"parameterizations": ("ntk",)}

NETWORKS = {
    "relu": activation(nn.relu, stax.Relu, parameterizations=("ntk", "standard")),
    "exact gelu": activation(lambda x: nn.gelu(x, approximate=False), stax.Gelu),
    "tanh": activation(nn.tanh, lambda: numerical(jnp.tanh), rtol=1e-4),
    "silu": activation(nn.silu, lambda: numerical(jax.nn.silu), rtol=1e-4),
    "tanh gelu": activation(nn.gelu, lambda: numerical(jax.nn.gelu), rtol=1e-4),
    "softplus": activation(nn.softplus, lambda: numerical(jax.nn.softplus), rtol=1e-4),
    "leaky relu": activation(lambda x: nn.leaky_relu(x, 0.2), lambda: stax.LeakyRelu(0.2)),
    "prelu": activation(nn.PReLU(), lambda: stax.LeakyRelu(0.01), parameterizations=("ntk",)),
    "erf": activation(jax.lax.erf, stax.Erf),
    "sine": activation(jnp.sin, stax.Sin),
    "absolute value": activation(jnp.abs, stax.Abs),
    "cube": activation(lambda x: x**3, lambda: stax.Polynomial([0, 0, 0, 1]), rtol=5e-5),
    "he": sequential(VECTORS, he_init(WIDTH), he),
    "cnn": compact(IMAGES, cnn, cnn_truth),
    "flat cnn": compact(IMAGES, flat_cnn, flat_truth),
    "circular cnn": compact(IMAGES, circular_cnn, circular_truth),
    "resnet": compact(IMAGES, resnet, resnet_truth),
    "residual mlp": compact(VECTORS, residual_mlp, residual_truth),
    "densenet": compact(VECTORS, densenet, densenet_truth, **ntk_only),
    "gated": compact(VECTORS, gated, gated_truth),
    "layer norm": compact(VECTORS, layer_norm, layer_norm_truth, options={"trainable": weights_only}),
    "layer norm cnn": compact(IMAGES, normed_cnn(nn.LayerNorm), normed_truth(-1), options={"trainable": weights_only}),
    "group norm cnn": compact(
        IMAGES,
        normed_cnn(lambda: nn.GroupNorm(num_groups=2)),
        normed_truth((1, 2, 3)),
        options={"trainable": weights_only},
    ),
    "batch norm": compact(VECTORS, batch_norm, batch_norm_truth, options={"trainable": weights_only}),
    "dropout and remat": compact(VECTORS, dropout, two_layers(WIDTH)),
    "dense general": compact(VECTORS, heads, two_layers(2 * WIDTH)),
    "scanned": compact(VECTORS, scanned, scanned_truth),
    "embedded": compact(TOKENS, embedded, embedded_truth, **ntk_only),
    "recurrent": compact(SEQUENCES, recurrent, recurrent_truth, **ntk_only),
    "dilated": compact(SEQUENCES, dilated, dilated_truth, **ntk_only),
    "transposed": compact(SEQUENCES, transposed, transposed_truth),
    "depthwise": compact(SEQUENCES, depthwise, depthwise_truth, **ntk_only),
    "position table": compact(SEQUENCES, positions, positions_truth, **ntk_only),
    "class token": compact(SEQUENCES, class_token, class_token_truth, **ntk_only),
    # Without a kernel.
    "post-activation": entry(PostActivation(), VECTORS, "Gaussian"),
    "attention": compact(SEQUENCES, attention, "random at infinite width"),
    "max pool": compact(IMAGES, max_pool, "average pooling"),
    "gru": compact(SEQUENCES, gru, "Gaussian"),
    "training batch norm": Entry(
        apply_training(Training()), lambda key: Training().init(key, VECTORS), VECTORS, "mixes its inputs"
    ),
    "training dropout": Entry(drop_apply, drop_init, VECTORS, "deterministic=True"),
    "token mixer": compact(SEQUENCES, token_mixer, "finite width|positions"),
    "depthwise then relu": compact(SEQUENCES, depthwise_relu, "Gaussian"),
    "tied embedding": compact(TOKENS, tied_embedding, "embedding"),
    "weight norm": compact(VECTORS, weight_normed, "kernel"),
}
