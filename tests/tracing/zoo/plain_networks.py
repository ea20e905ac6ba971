"""Networks in plain JAX. Parameters are standard normal and scaled where they are used, so parameterizations agree."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from zoo import closed_forms as cf
from zoo.entry import IMAGES, SEQUENCES, TOKENS, VECTORS, WIDTH, Entry, numerical

from neural_tangents import stax


def entry(apply, x, truth, shapes, **options):
    """A network with normal parameters of some shapes, by name."""

    def init(key):
        return {
            name: jr.normal(k, shape)
            for k, (name, shape) in zip(jr.split(key, len(shapes)), shapes.items(), strict=True)
        }

    return Entry(apply, init, x, truth, **options)


def dense(h, w):
    return h @ w / w.shape[0] ** 0.5


def plus(h, b):
    """A bias; here, arrays are not broadcast to more axes by themselves."""
    return h + b.reshape((1,) * (h.ndim - b.ndim) + b.shape)


def chain(*layers):
    """The truth by `stax`, in either parameterization."""
    return lambda p: stax.serial(*layers)


def closed(kernels):
    """The truth in closed form."""
    return lambda p: kernels


IN, SQUARE, OUT = (5, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)
TWO = {"u": IN, "v": OUT}
THREE = {"u": IN, "w": SQUARE, "v": OUT}
SEQUENCE = {"u": (3, WIDTH), "v": OUT}
relu_chain = chain(stax.Dense(WIDTH), stax.Relu(), stax.Dense(2))


def two(f, shapes=TWO):
    """Two layers with a function between."""
    return lambda p, x: dense(f(dense(x, p["u"])), p["v"])


@jax.custom_jvp
def custom_relu(x):
    return jnp.maximum(x, 0)


custom_relu.defjvp(lambda primals, tangents: (custom_relu(*primals), jnp.where(primals[0] > 0, tangents[0], 0.0)))


def transposed_leaves(p, x):
    h = jax.nn.relu(x @ p["u"].T.reshape(5, WIDTH) * (5**-0.5))
    return dense(h, (2 * p["v"])) / 2


def einsums(p, x):
    h = jax.nn.relu(jnp.einsum("nthc,hcd->nthd", jnp.einsum("ntc,chd->nthd", x, p["u"]) / 3**0.5, p["w"]) / 4)
    return jnp.einsum("nthd,hdo->no", h, p["v"]) / (4 * 2 * 16) ** 0.5


def einsum_truth(x):
    """Two heads of equal laws; the readout has the same weights at all positions."""
    h = cf.relu(cf.dense(cf.dense(cf.inputs(x))))
    return cf.dense(4 * cf.mean_positions(h, 4))


def fused(p, x):
    a, b = jnp.split(dense(x, p["u"]), 2, axis=-1)
    return dense(a * jax.nn.sigmoid(b), p["v"])


def fused_truth(p):
    branches = stax.parallel(stax.Dense(WIDTH), stax.serial(stax.Dense(WIDTH), numerical(jax.nn.sigmoid)))
    return stax.serial(stax.FanOut(2), branches, stax.FanInProd(), stax.Dense(2))


def stacked(p, x):
    h = dense(x, p["u"])
    h, _ = jax.lax.scan(lambda h, w: (dense(jax.lax.erf(h), w), None), h, p["w"])
    return dense(jax.lax.erf(h), p["v"])


def siamese(p, x):
    return dense(jax.nn.relu(dense(x[:, 0], p["u"])) - jax.nn.relu(dense(x[:, 1], p["u"])), p["v"])


def siamese_truth(x):
    h = cf.relu(cf.dense(cf.inputs(x)))
    return cf.dense(h.mapped(np.kron(np.eye(len(x)), [[1, -1, 0, 0]])))


def one_readout(p, x):
    return dense(jax.nn.relu(dense(x, p["u"])), p["v"]) + dense(jnp.sin(dense(x, p["w"])), p["v"])


def one_readout_kernels(x):
    h = cf.dense(cf.inputs(x))
    sine = cf.numerical(np.sin, np.cos)(h)
    relu = cf.relu(h)
    # Means of the first branch and the second do not covary: the second has the mean 0.
    return cf.dense(relu + sine)


ADJACENCY = np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 2], [1, 0, 1, 1]], np.float32)


def graph(p, x):
    h = jax.nn.relu(jnp.einsum("ts,nsc->ntc", ADJACENCY, dense(x, p["u"])))
    return dense(jnp.sum(h, 1), p["v"])


def graph_truth(x):
    h = cf.dense(cf.inputs(x)).mapped(np.kron(np.eye(len(x)), ADJACENCY))
    return cf.dense(16 * cf.mean_positions(cf.relu(h), 4))


def attended(p, x):
    """Attention by the inputs themselves."""
    scores = jax.nn.softmax(x @ x.transpose(0, 2, 1))
    return dense(jax.nn.relu(dense(scores @ x, p["u"])).mean(1), p["v"])


def softmax(a):
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def blocks(matrices):
    """A matrix with these along its diagonal."""
    n, t, _ = matrices.shape
    out = np.zeros((n, t, n, t))
    out[np.arange(n), :, np.arange(n)] = matrices
    return out.reshape(n * t, n * t)


def attended_truth(x):
    x = x.astype(np.float64)
    h = cf.inputs(x).mapped(blocks(softmax(x @ x.transpose(0, 2, 1))))
    return cf.dense(cf.mean_positions(cf.relu(cf.dense(h)), 4))


def tied_attention(p, x):
    h = jax.nn.relu(dense(x, p["u"]))
    q = dense(h, p["q"])
    weights = jax.nn.softmax(q @ q.transpose(0, 2, 1) / WIDTH)
    return dense(jax.nn.relu(weights @ dense(h, p["w"])).mean(1), p["v"])


def tied_attention_truth(x):
    h = cf.relu(cf.dense(cf.inputs(x)))
    n = len(x)
    own = np.stack([h.nngp.reshape(n, 4, n, 4)[i, :, i] for i in range(n)])  # queries have the covariance of `h`
    h = cf.dense(h).mapped(blocks(softmax(own)))
    return cf.dense(cf.mean_positions(cf.relu(h), 4))


def through_time(p, x):
    def step(h, x):
        return jax.lax.erf(plus(dense(x, p["u"]) + dense(h, p["w"]), p["b"])), None

    h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], WIDTH)), x.transpose(1, 0, 2))
    return dense(h, p["v"])


def through_time_truth(x):
    bias = cf.new(np.ones((len(x), len(x))))
    h = cf.erf(cf.dense(cf.inputs(x[:, 0])) + bias)
    for t in range(1, 4):
        h = cf.erf(cf.dense(cf.inputs(x[:, t])) + cf.dense(h) + bias)
    return cf.dense(h)


def one_hot(p, x):
    return dense(jax.nn.relu(jax.nn.one_hot(x, 6) @ p["u"]).mean(1), p["v"])


def one_hot_truth(x):
    h = cf.relu(cf.new((x.reshape(-1, 1) == x.reshape(1, -1)) * 1.0))
    return cf.dense(cf.mean_positions(h, 4))


def with_inputs(p, x):
    """Inputs join the activations before the readout."""
    return dense(jnp.concatenate([jax.nn.relu(dense(x, p["u"])), x], -1), p["v"])


def with_inputs_truth(x):
    h = cf.relu(cf.dense(cf.inputs(x)))
    return cf.dense((1 / (WIDTH + 5)) * (WIDTH * h + 5 * cf.inputs(x)))


def positions(p, x):
    """Pads, flips, takes every other position, and adds up."""
    h = jax.nn.relu(dense(jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, ::-1][:, ::2], p["u"]))
    return dense(jnp.cumsum(h, 1)[:, 1:].reshape(x.shape[0], -1), p["v"])


def positions_truth(x):
    moved = np.pad(x, ((0, 0), (1, 0), (0, 0)))[:, ::-1][:, ::2]
    h = cf.relu(cf.dense(cf.inputs(moved)))
    h = h.mapped(np.kron(np.eye(len(x)), np.tril(np.ones((3, 3)))[1:]))
    return cf.dense(0.5 * (cf.at(h, 2, 0) + cf.at(h, 2, 1)))


def explicit_conv(p, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    h = jax.lax.conv_general_dilated(x, p["u"] / 18**0.5, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers)
    return dense(jax.nn.relu(h).sum((1, 2)) / 30, p["v"])


def normed_inputs(p, x):
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    return dense(jax.nn.relu(dense(x, p["u"])), p["v"])


def normed_inputs_truth(x):
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    return cf.dense(cf.relu(cf.dense(cf.inputs(x))))


def half_precision(p, x):
    h = jax.nn.relu(dense(x.astype(jnp.bfloat16), p["u"].astype(jnp.bfloat16))).astype(jnp.float32)
    return dense(h, p["v"])


def masked(p, x):
    h = jnp.where(x[:, :1] > 0, dense(x, p["u"]), 0.5 * dense(x, p["u"]))
    return dense(jax.nn.relu(h) * jnp.exp(x[:, 1:2]), p["v"])


def masked_truth(x):
    x = x.astype(np.float64)
    first, second = np.diag(np.where(x[:, 0] > 0, 1, 0.5)), np.diag(np.exp(x[:, 1]))
    return cf.dense(cf.relu(cf.dense(cf.inputs(x)).mapped(first)).mapped(second))


def three_gates(p, x):
    return dense(dense(x, p["u"]) * jax.nn.relu(dense(x, p["w"])) * dense(x, p["q"]), p["v"])


def three_gates_truth(x):
    h = cf.dense(cf.inputs(x))
    return cf.dense(h * cf.relu(h) * h)


def deep_tied(p, x):
    """One matrix in two layers, whose sum needs the covariance of both."""
    first = dense(jax.nn.relu(dense(x, p["u"])), p["w"])
    second = dense(jax.nn.relu(first), p["w"])
    return dense(jax.nn.relu(first + second), p["v"])


def deep_tied_truth(x):
    start = cf.dense(cf.inputs(x))
    first = cf.dense(cf.relu(start))
    second = cf.dense(cf.relu(first))
    # E[relu(start) relu(first')] of independent Gaussians, and its mirror image: the weights of both are the same.
    cross = np.sqrt(np.outer(np.diag(start.nngp), np.diag(first.nngp))) / (2 * np.pi)
    return cf.dense(cf.relu(first + second + cf.new(cross + cross.T)))


def step_function(p, x):
    return dense((dense(x, p["u"]) > 0).astype(x.dtype), p["v"])


def step_truth(x):
    h = cf.relu(cf.Pair(cf.dense(cf.inputs(x)).nngp, np.ones((len(x), len(x)))))
    return cf.dense(cf.Pair(h.ntk, 0 * h.ntk))


NETWORKS = {
    "two layers": entry(two(jax.nn.relu), VECTORS, relu_chain, TWO),
    "relu by where": entry(two(lambda h: jnp.where(h > 0, h, 0)), VECTORS, relu_chain, TWO),
    "relu by product": entry(two(lambda h: h * (h > 0)), VECTORS, relu_chain, TWO),
    "relu by absolute value": entry(two(lambda h: (h + jnp.abs(h)) / 2), VECTORS, relu_chain, TWO),
    "relu with its derivative": entry(two(custom_relu), VECTORS, relu_chain, TWO),
    "clipped": entry(
        two(lambda h: jnp.clip(h, -1, 1)),
        VECTORS,
        closed(
            lambda x: cf.dense(cf.numerical(lambda t: np.clip(t, -1, 1), lambda t: abs(t) < 1)(cf.dense(cf.inputs(x))))
        ),
        TWO,
        rtol=1e-3,  # of the quadrature, which the truth is by
    ),
    "square": entry(
        two(lambda h: h * h - 1), VECTORS, chain(stax.Dense(9), stax.Polynomial([-1, 0, 1]), stax.Dense(2)), TWO
    ),
    "cosine": entry(two(jnp.cos), VECTORS, chain(stax.Dense(9), stax.Cos(), stax.Dense(2)), TWO),
    "exponential": entry(two(jnp.exp), VECTORS, chain(stax.Dense(9), stax.Exp(), stax.Dense(2)), TWO),
    "step": entry(step_function, VECTORS, closed(step_truth), TWO),
    "transposed leaves": entry(transposed_leaves, VECTORS, relu_chain, {"u": (WIDTH, 5), "v": OUT}),
    "einsums": entry(einsums, SEQUENCES, closed(einsum_truth), {"u": (3, 2, 16), "w": (2, 16, 16), "v": (2, 16, 2)}),
    "fused gates": entry(fused, VECTORS, fused_truth, {"u": (5, 2 * WIDTH), "v": OUT}, rtol=1e-4),
    "three gates": entry(three_gates, VECTORS, closed(three_gates_truth), {"u": IN, "w": IN, "q": IN, "v": OUT}),
    "stacked": entry(
        stacked,
        VECTORS,
        chain(*[stax.Dense(9), stax.Erf()] * 4, stax.Dense(2)),
        {"u": IN, "w": (3, *SQUARE), "v": OUT},
    ),
    "siamese": entry(siamese, SEQUENCES, closed(siamese_truth), SEQUENCE),
    "one readout": entry(one_readout, VECTORS, closed(one_readout_kernels), {"u": IN, "w": IN, "v": OUT}),
    "graph": entry(graph, SEQUENCES, closed(graph_truth), SEQUENCE),
    "attended": entry(attended, SEQUENCES, closed(attended_truth), SEQUENCE),
    "tied attention": entry(
        tied_attention, SEQUENCES, closed(tied_attention_truth), {**SEQUENCE, "q": SQUARE, "w": SQUARE}
    ),
    "through time": entry(
        through_time, SEQUENCES, closed(through_time_truth), {**SEQUENCE, "w": SQUARE, "b": (WIDTH,)}
    ),
    "one-hot": entry(one_hot, TOKENS, closed(one_hot_truth), {"u": (6, WIDTH), "v": OUT}),
    "with inputs": entry(with_inputs, VECTORS, closed(with_inputs_truth), {"u": IN, "v": (WIDTH + 5, 2)}),
    "positions": entry(positions, SEQUENCES, closed(positions_truth), {"u": (3, WIDTH), "v": (2 * WIDTH, 2)}),
    "explicit convolution": entry(
        explicit_conv,
        IMAGES,
        chain(stax.Conv(9, (3, 3), padding="SAME"), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(2)),
        {"u": (3, 3, 2, WIDTH), "v": OUT},
    ),
    "normalised inputs": entry(normed_inputs, VECTORS, closed(normed_inputs_truth), TWO),
    "half precision": entry(half_precision, VECTORS, relu_chain, TWO, rtol=1e-2),
    "masked": entry(masked, VECTORS, closed(masked_truth), TWO),
    "deep, tied": entry(deep_tied, VECTORS, closed(deep_tied_truth), THREE),
}
