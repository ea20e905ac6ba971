"""Networks whose kernel is easily wrong: means, single channels, channels that become positions, and their like."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from zoo import closed_forms as cf
from zoo.entry import IMAGES, SEQUENCES, VECTORS, WIDTH, Entry
from zoo.hostile_networks import biased, first, two
from zoo.plain_networks import IN, OUT, SEQUENCE, SQUARE, THREE, TWO, closed, dense, entry, plus

relu = jax.nn.relu


def with_constant(value, shape=(WIDTH,)):
    """Two layers, with a bias that begins with a constant."""

    def init(key):
        u, v = jr.split(key)
        return {"u": jr.normal(u, IN), "b": jnp.full(shape, value), "v": jr.normal(v, OUT)}

    return init


def shifted_relu(h):
    return cf.numerical(lambda t: np.maximum(t + 0.5, 0), lambda t: t > -0.5)(h)


def shifted_truth(x):
    return cf.dense(shifted_relu(first(x)))


def norms(pair):
    return np.sqrt(np.diag(pair.nngp))


def on_sphere(x):
    h = cf.relu(first(x))
    size = np.diag(1 / norms(h))
    return cf.dense(h.mapped(size))


def positive_weights(x):
    """Softmax over channels: the sum of exponentials is its mean, and shrinks outputs by the width."""
    h = first(x)
    q = np.diag(h.nngp)
    k = np.exp(h.nngp + (q[:, None] + q) / 2)
    pair = cf.Pair(k, h.ntk * k)
    return cf.dense(pair.mapped(np.diag(np.exp(-q / 2))))


def squeeze_and_excite(p, x):
    h = dense(x, p["u"])
    gate = jax.nn.sigmoid(dense(relu(dense(h.mean(1), p["w"])), p["q"]))
    return dense((h * gate[:, None]).mean(1), p["v"])


def excite_truth(x):
    h = first(x)
    sigmoid = cf.numerical(lambda t: 1 / (1 + np.exp(-t)), lambda t: np.exp(-t) / (1 + np.exp(-t)) ** 2)
    gate = sigmoid(cf.dense(cf.relu(cf.dense(cf.mean_positions(h, 4)))))
    return cf.dense(cf.mean_positions(h, 4) * gate)


def space_to_depth(p, x):
    h = dense(x, p["u"]).reshape(x.shape[0], 2, 2 * WIDTH)
    return dense(relu(dense(h, p["w"])).mean(1), p["v"])


def space_to_depth_truth(x):
    h = first(x)
    pairs = cf.window(h, 4, [(0, 1), (2, 3)])
    return cf.dense(cf.mean_positions(cf.relu(cf.dense(pairs)), 2))


def depth_to_space(p, x):
    """Halves of the channels become two positions, which have weights of their own: then a window over positions."""
    h = relu(dense(x, p["u"])).reshape(x.shape[0], 2, WIDTH // 2)
    h = jnp.stack([h[:, 0], h[:, 1], h[:, 0] + h[:, 1]], 1)
    return dense(relu(dense(h, p["w"][: WIDTH // 2])).mean(1), p["v"])


def depth_to_space_truth(x):
    half = cf.relu(first(x))
    across = np.outer(norms(first(x)), norms(first(x))) / (2 * np.pi)  # of means of two different channels
    n = len(x)
    rows = np.array([[1, 0], [0, 1], [1, 1]])
    own, other = rows @ rows.T, rows @ (1 - np.eye(2)) @ rows.T
    k = np.einsum("ij,ts->itjs", half.nngp, own) + np.einsum("ij,ts->itjs", across, other)
    t = np.einsum("ij,ts->itjs", half.ntk, own)
    pair = cf.Pair(k.reshape(3 * n, -1), t.reshape(3 * n, -1))
    return cf.dense(cf.mean_positions(cf.relu(cf.dense(pair)), 3))


def interleaved(p, x):
    h = jnp.stack([relu(dense(x, p["u"])), jnp.sin(dense(x, p["w"]))], -1).reshape(x.shape[0], 2 * WIDTH)
    return dense(h, p["v"])


def interleaved_truth(x):
    return cf.dense(0.5 * (cf.relu(first(x)) + cf.numerical(np.sin, np.cos)(first(x))))


def merged_batch(p, x):
    n, t, c = x.shape
    return dense(relu(dense(x.reshape(n * t, c), p["u"])).reshape(n, t, WIDTH).mean(1), p["v"])


def mean_truth(x):
    return cf.dense(cf.mean_positions(cf.relu(first(x)), 4))


def mapped_over_examples(p, x):
    def one(x):
        return dense(jax.vmap(lambda row: relu(dense(row[None], p["u"]))[0])(x).mean(0)[None], p["v"])[0]

    return jax.vmap(one)(x)


def rolled(p, x):
    """A circular convolution by hand."""
    w = p["u"].reshape(2, 3, WIDTH) / 6**0.5
    h = relu(x @ w[0] + jnp.roll(x, 1, axis=1) @ w[1])
    return dense(h.mean(1), p["v"])


def rolled_truth(x):
    h = cf.window(cf.inputs(x), 4, [(0, 3), (1, 0), (2, 1), (3, 2)])
    return cf.dense(cf.mean_positions(cf.relu(cf.dense(h)), 4))


def fourier(p, x):
    return dense(relu(jnp.real(jnp.fft.fft(dense(x, p["u"]), axis=1))).mean(1), p["v"])


def fourier_truth(x):
    matrix = np.real(np.fft.fft(np.eye(4)))
    h = first(x).mapped(np.kron(np.eye(len(x)), matrix))
    return cf.dense(cf.mean_positions(cf.relu(h), 4))


def product_of_positions(p, x):
    """The overlap of two positions is a number for each input, by the law of large numbers."""
    h = dense(x, p["u"])
    overlap = jnp.sum(h[:, 0] * h[:, 1], -1, keepdims=True) / WIDTH
    return dense(relu(dense(x[:, 2], p["w"][:3])) * overlap, p["v"])


def overlap_truth(x):
    size = np.sum(x[:, 0] * x[:, 1], -1) / 3
    h = cf.relu(cf.dense(cf.inputs(x[:, 2])))
    return cf.dense(h.mapped(np.diag(size)))


def summed_gates(p, x):
    """A gate and what it gates from one layer: halves for one, their sum for the other."""
    a, b = jnp.split(dense(x, p["u"]), 2, -1)
    return dense((a + b) * relu(a - b), p["v"][: WIDTH // 2])


def summed_gates_truth(x):
    h = 2 * first(x)  # of a + b and a - b, which are independent
    return cf.dense(h * cf.relu(h))


def correlated_gates(p, x):
    a, b = jnp.split(dense(x, p["u"]), 2, -1)
    return dense((a + b) * relu(a), p["v"][: WIDTH // 2])


def correlated_gates_truth(x):
    """`(a + b) relu(a)` is a function of `a`, and a product with `b`, which do not covary."""
    h = first(x)
    alone = cf.numerical(lambda t: np.maximum(t, 0) ** 2, lambda t: 2 * np.maximum(t, 0))(h)
    return cf.dense(alone + h * cf.relu(h))


def learned_average(key):
    u, v = jr.split(key)
    return {"u": jr.normal(u, (3, WIDTH)), "a": jnp.full((4,), 0.25), "v": jr.normal(v, OUT)}


def average(p, x):
    return dense(jnp.einsum("ntc,t->nc", relu(dense(x, p["u"])), p["a"]), p["v"])


def outputs_in_a_tree(p, x):
    return dense(relu(dense(x, p["u"])), p["v"])[:, ::-1]


def centred(x):
    h = cf.relu(first(x))
    size = norms(first(x)) / np.sqrt(2 * np.pi)
    return cf.dense(cf.Pair(h.nngp - np.outer(size, size), h.ntk))


NETWORKS = {
    "bias with a mean": Entry(
        lambda p, x: dense(relu(plus(dense(x, p["u"]), p["b"])), p["v"]),
        with_constant(0.5),
        VECTORS,
        closed(shifted_truth),
        parameterizations=("ntk",),
        rtol=1e-3,  # of the quadrature of the truth
    ),
    "one number as a bias": Entry(
        lambda p, x: dense(relu(plus(dense(x, p["u"]), p["b"])), p["v"]),
        with_constant(0.5, ()),
        VECTORS,
        closed(shifted_truth),
        parameterizations=("ntk",),
        rtol=1e-3,
    ),
    "weights over positions": Entry(
        average, learned_average, SEQUENCES, closed(mean_truth), parameterizations=("ntk",)
    ),
    "weights over positions, trained": Entry(average, learned_average, SEQUENCES, "'a'"),
    "random weights over positions": entry(average, SEQUENCES, "'a'|positions", {**SEQUENCE, "a": (4,)}),
    "one channel as a gate": entry(two(lambda h: h * h[:, :1]), VECTORS, "channel", TWO),
    "one channel subtracted": entry(two(lambda h: relu(h - h[:, :1])), VECTORS, "channel", TWO),
    "on a sphere": entry(
        two(lambda h: relu(h) / jnp.linalg.norm(relu(h), axis=-1, keepdims=True) * WIDTH**0.5),
        VECTORS,
        closed(on_sphere),
        TWO,
    ),
    "softmax of channels": entry(
        two(lambda h: WIDTH * jax.nn.softmax(h, axis=-1)), VECTORS, closed(positive_weights), TWO
    ),
    "mean subtracted": entry(two(lambda h: relu(h) - relu(h).mean(-1, keepdims=True)), VECTORS, closed(centred), TWO),
    "squeeze and excite": entry(
        squeeze_and_excite, SEQUENCES, closed(excite_truth), {**SEQUENCE, "w": SQUARE, "q": SQUARE}, rtol=1e-4
    ),
    "space to depth": entry(
        space_to_depth, SEQUENCES, closed(space_to_depth_truth), {**SEQUENCE, "w": (2 * WIDTH, WIDTH)}
    ),
    "depth to space": entry(depth_to_space, VECTORS, closed(depth_to_space_truth), THREE),
    "interleaved": entry(interleaved, VECTORS, closed(interleaved_truth), {"u": IN, "w": IN, "v": (2 * WIDTH, 2)}),
    "batch and positions merged": entry(merged_batch, SEQUENCES, closed(mean_truth), SEQUENCE),
    "mapped over examples": entry(mapped_over_examples, SEQUENCES, closed(mean_truth), SEQUENCE),
    "rolled": entry(rolled, SEQUENCES, closed(rolled_truth), {"u": (6, WIDTH), "v": OUT}),
    "fourier": entry(fourier, SEQUENCES, closed(fourier_truth), SEQUENCE),
    "overlap of positions": entry(product_of_positions, SEQUENCES, closed(overlap_truth), {**SEQUENCE, "w": SQUARE}),
    "independent gates of one layer": entry(summed_gates, VECTORS, closed(summed_gates_truth), TWO),
    "correlated gates": entry(correlated_gates, VECTORS, closed(correlated_gates_truth), TWO),
    "outputs reversed": entry(outputs_in_a_tree, VECTORS, closed(lambda x: cf.dense(cf.relu(first(x)))), TWO),
    "outputs weighted": entry(
        lambda p, x: dense(relu(dense(x, p["u"])), p["v"]) * jnp.array([[1.0, 2.0]]), VECTORS, "channel|output", TWO
    ),
    "sum of outputs": entry(
        lambda p, x: dense(relu(dense(x, p["u"])), p["v"]).sum(-1, keepdims=True),
        VECTORS,
        "readout|output|channel",
        TWO,
    ),
    "image transposed": entry(
        lambda p, x: dense(relu(dense(x.transpose(0, 2, 1, 3), p["u"])).mean((1, 2)), p["v"]),
        IMAGES,
        closed(lambda x: cf.dense(cf.mean_positions(cf.relu(first(x)), 30))),
        {"u": (2, WIDTH), "v": OUT},
    ),
    "batch as a feature": entry(
        lambda p, x: dense(relu(dense(x, p["u"])), p["v"]) * (1 + jnp.sum(jnp.ones_like(x[:, 0]))),
        VECTORS,
        "mixes",
        TWO,
    ),
    "noise in each channel": entry(
        two(lambda h: relu(plus(h, jr.normal(jr.key(1), (WIDTH,))))), VECTORS, "[Rr]andom", TWO
    ),
    "sparse weights": entry(
        lambda p, x: dense(relu(dense(x, p["u"] * (np.arange(5 * WIDTH).reshape(5, WIDTH) % 3 > 0))), p["v"]),
        VECTORS,
        "'u'",
        TWO,
    ),
    "scaled columns": entry(
        lambda p, x: dense(relu(dense(x, p["u"] * np.linspace(0.5, 1, WIDTH, dtype=np.float32)[None])), p["v"]),
        VECTORS,
        "'u'|channel",
        TWO,
    ),
    "random gain of outputs": entry(
        lambda p, x: dense(relu(dense(x, p["u"])), p["v"]) * p["b"][None], VECTORS, "'b'", biased((1,))
    ),
}
