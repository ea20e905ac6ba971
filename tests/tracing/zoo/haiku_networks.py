"""Networks of Haiku."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from zoo import closed_forms as cf
from zoo.entry import IMAGES, SEQUENCES, TOKENS, VECTORS, WIDTH, Entry

from neural_tangents import stax

# Weights are normal, cut off at two standard deviations, and not rescaled.
STD = float(stats.truncnorm(-2, 2).std())


def entry(forward, x, truth, **options):
    model = hk.without_apply_rng(hk.transform(forward))
    return Entry(model.apply, lambda key: model.init(key, x[:2]), x, truth, **options)


def dense(n, p):
    return stax.Dense(n, STD, 0.0, parameterization=p)


def mlp_truth(p):
    return stax.serial(*[dense(WIDTH, p), stax.Relu()] * 2, dense(2, p))


def cnn(x):
    x = jax.nn.relu(hk.Conv2D(WIDTH, 3)(x))
    x = jax.nn.relu(hk.Conv2D(WIDTH, (2, 3), stride=2, with_bias=False)(x))
    return hk.Linear(2)(hk.Flatten()(x))


def cnn_truth(p):
    first = stax.Conv(WIDTH, (3, 3), None, "SAME", STD, 0.0, parameterization=p)
    second = stax.Conv(WIDTH, (2, 3), (2, 2), "SAME", STD, None, parameterization=p)
    return stax.serial(first, stax.Relu(), second, stax.Relu(), stax.Flatten(), dense(2, p))


def pooled(x):
    x = hk.AvgPool((2, 2, 1), (2, 2, 1), "VALID")(jax.nn.relu(hk.Conv2D(WIDTH, 3)(x)))
    return hk.Linear(2)(jnp.mean(x, (1, 2)))


def pooled_truth(p):
    conv = stax.Conv(WIDTH, (3, 3), None, "SAME", STD, 0.0, parameterization=p)
    return stax.serial(conv, stax.Relu(), stax.AvgPool((2, 2), (2, 2)), stax.GlobalAvgPool(), dense(2, p))


def counted_pool(x):
    """An average over the positions that a window has: fewer at the edge."""
    h = hk.AvgPool((3, 1), (1, 1), "SAME")(jax.nn.relu(hk.Conv1D(WIDTH, 1)(x)))
    return hk.Linear(2)(hk.Flatten()(h))


POOL = np.array([[1, 1, 0, 0], [2 / 3, 2 / 3, 2 / 3, 0], [0, 2 / 3, 2 / 3, 2 / 3], [0, 0, 1, 1]]) / 2


def counted_truth(p):
    def kernels(x):
        h = cf.relu(cf.dense(cf.inputs(x), STD**2))
        h = h.mapped(np.kron(np.eye(len(x)), POOL))
        total = cf.at(h, 4, 0) + cf.at(h, 4, 1) + cf.at(h, 4, 2) + cf.at(h, 4, 3)
        return cf.dense(0.25 * total, STD**2)

    return kernels


def normed(x):
    norm = hk.LayerNorm(-1, create_scale=False, create_offset=False)
    return hk.Linear(2)(jax.nn.relu(norm(hk.Linear(WIDTH)(x))))


def normed_truth(p):
    return stax.serial(dense(WIDTH, p), stax.LayerNorm(-1, eps=1e-5), stax.Relu(), dense(2, p))


def rms_normed(x):
    norm = hk.RMSNorm(-1, create_scale=False)
    return hk.Linear(2)(jax.nn.relu(norm(hk.Linear(WIDTH)(x))))


def recurrent(x):
    core = hk.VanillaRNN(WIDTH)
    state = core.initial_state(x.shape[0])
    for t in range(3):
        _, state = core(x[:, t], state)
    return hk.Linear(2)(state)


def recurrent_truth(p):
    def kernels(x):
        h = cf.relu(cf.dense(cf.inputs(x[:, 0]), STD**2))
        for t in (1, 2):
            h = cf.relu(cf.dense(cf.inputs(x[:, t]), STD**2) + cf.dense(h, STD**2))
        return cf.dense(h, STD**2)

    return kernels


def embedded(x):
    return hk.Linear(2)(jax.nn.relu(hk.Embed(6, WIDTH)(x)).mean(1))


def embedded_truth(p):
    def kernels(x):
        same = (x.reshape(-1, 1) == x.reshape(1, -1)) * STD**2
        return cf.dense(cf.mean_positions(cf.relu(cf.new(same)), 4), STD**2)

    return kernels


def post_activation(x):
    x = jax.nn.relu(hk.Linear(WIDTH)(x))
    return hk.Linear(2)(jax.nn.relu(hk.Linear(WIDTH)(x) + x))


def attention(x):
    return hk.MultiHeadAttention(2, 4, w_init=hk.initializers.VarianceScaling())(x, x, x).mean(1)


def lstm(x):
    core = hk.LSTM(WIDTH)
    h, _ = core(x[:, 0], core.initial_state(x.shape[0]))
    h, _ = core(x[:, 1], core.initial_state(x.shape[0])._replace(hidden=h))
    return hk.Linear(2)(h)


only_ntk = {"parameterizations": ("ntk",)}

NETWORKS = {
    "mlp": entry(lambda x: hk.nets.MLP([WIDTH, WIDTH, 2])(x), VECTORS, mlp_truth),
    "cnn": entry(cnn, IMAGES, cnn_truth),
    "pooled cnn": entry(pooled, IMAGES, pooled_truth),
    "counted pool": entry(counted_pool, SEQUENCES, counted_truth, **only_ntk),
    "layer norm": entry(normed, VECTORS, normed_truth),
    "rms norm": entry(rms_normed, VECTORS, normed_truth),
    "recurrent": entry(recurrent, SEQUENCES, recurrent_truth, **only_ntk),
    "embedded": entry(embedded, TOKENS, embedded_truth, **only_ntk),
    # Without a kernel.
    "post-activation": entry(post_activation, VECTORS, "Gaussian"),
    "attention": entry(attention, SEQUENCES, "random at infinite width"),
    "lstm": entry(lstm, SEQUENCES, "Gaussian"),
}
