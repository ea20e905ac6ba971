"""Networks that look like others and are not: each has the kernel that its definition says, or is refused.

Where there is a truth, an error is right as well: what is not known is not guessed.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from zoo import closed_forms as cf
from zoo.entry import SEQUENCES, VECTORS, WIDTH, Entry
from zoo.plain_networks import IN, OUT, SEQUENCE, SQUARE, THREE, TWO, closed, dense, entry, plus

relu = jax.nn.relu
FIVE = {"u": (5, 5), "v": (5, 2)}


def first(x):
    return cf.dense(cf.inputs(x))


def sum_of_inputs(x):
    """Inputs beside activations: channels have different constants, whose products average."""
    return cf.dense(cf.Pair(first(x).nngp + cf.inputs(x).nngp, first(x).ntk))


def gated_by_inputs(x):
    x = x.astype(np.float64)
    return cf.dense(cf.Pair(first(x).nngp * cf.inputs(x).nngp, first(x).ntk * cf.inputs(x).nngp))


def doubled(layer):
    """Sums of two channels of one layer."""
    return lambda x: cf.dense(layer(2 * first(x)))


def identity(pair):
    return pair


def no_tangent(x):
    h = cf.relu(first(x))
    return cf.dense(cf.Pair(h.nngp, 0 * h.ntk))


@jax.custom_vjp
def straight_through(x):
    return jnp.sign(x)


straight_through.defvjp(lambda x: (jnp.sign(x), None), lambda _, g: (g,))


@jax.custom_jvp
def blocked(x):
    return jnp.maximum(x, 0)


blocked.defjvp(lambda primals, tangents: (blocked(*primals), jnp.zeros_like(tangents[0])))


def straight_truth(x):
    h = first(x)
    norms = np.sqrt(np.outer(np.diag(h.nngp), np.diag(h.nngp)))
    return cf.dense(cf.Pair(2 / np.pi * np.arcsin(np.clip(h.nngp / norms, -1, 1)), h.ntk))


def two_words(key):
    keys = jr.split(key, 3)
    return {"u": jr.normal(keys[0], IN) * jr.bernoulli(keys[1], 0.5, IN), "v": jr.normal(keys[2], OUT)}


def one_key(key):
    return {"u": jr.normal(key, SQUARE), "v": jr.normal(key, OUT)}


def shared_number(key):
    a, b, c = jr.split(key, 3)
    return {"u": jr.normal(a, IN), "b": jr.normal(b) * jnp.ones(WIDTH), "v": jr.normal(c, OUT)}


def half_zero(key):
    a, b = jr.split(key)
    return {"u": jr.normal(a, IN).at[:, 0].set(0), "v": jr.normal(b, OUT)}


def with_mean(key):
    a, b = jr.split(key)
    return {"u": 1 + jr.normal(a, IN), "v": 1 + jr.normal(b, OUT)}


def two(f):
    return lambda p, x: dense(f(dense(x, p["u"])), p["v"])


def with_bias(f):
    return lambda p, x: dense(relu(f(dense(x, p["u"]), p["b"])), p["v"])


def biased(shape):
    return {"u": IN, "b": shape, "v": OUT}


def halves(f):
    return lambda p, x: dense(f(*jnp.split(dense(x, p["u"]), 2, -1)), p["v"][: WIDTH // 2])


def add_pairs(h):
    return h + h[:, ::-1]


def attend(scale, shape):
    def apply(p, x):
        q, k, v = (dense(x, p[name]).reshape(*x.shape[:2], *shape).swapaxes(1, 2) for name in ("q", "k", "w"))
        scores = q @ k.swapaxes(-1, -2) / scale
        h = (jax.nn.softmax(scores) @ v).swapaxes(1, 2)
        return dense(h.reshape(*x.shape[:2], WIDTH).mean(1), p["v"])

    return apply


ATTENTION = {"q": (3, WIDTH), "k": (3, WIDTH), "w": (3, WIDTH), "v": OUT}


def while_loop(p, x):
    h = jax.lax.while_loop(lambda h: jnp.sum(h) < -1e9, lambda h: h * 2, dense(x, p["u"]))
    return dense(h, p["v"])


def twice_biased(p, x):
    h = relu(plus(dense(x, p["u"]), p["b"]))
    return dense(relu(plus(dense(h, p["w"]), p["b"])), p["v"])


def twice_biased_truth(x):
    bias = cf.new(np.ones((len(x), len(x))))
    h = cf.relu(first(x) + bias)
    return cf.dense(cf.relu(cf.dense(h) + bias))


def own_entries(p, x):
    return dense(relu(dense(x, p["u"]) + p["b"]).mean(1), p["v"])


def own_entries_truth(x):
    place = np.tile(np.arange(4), len(x))
    h = first(x) + cf.new((place[:, None] == place) * 1.0)
    return cf.dense(cf.mean_positions(cf.relu(h), 4))


def lora(p, x):
    w = p["w"] / 4 + dense(p["a"], p["c"])
    return dense(relu(dense(x, p["u"]) @ w), p["v"])


HALF = {"u": (5, 2 * WIDTH), "v": OUT}


def overlapping(p, x):
    h = dense(x, p["u"])
    return dense(relu(h[:, :WIDTH] + h[:, WIDTH // 2 : WIDTH // 2 + WIDTH]), p["v"])


def reused_slice(p, x):
    h = dense(relu(dense(x, p["u"])), p["w"][:, :8])
    g = dense(relu(dense(x, p["u"])), p["w"][:, 4:12])
    return dense(h * g, p["v"][:8])


def centred(p, x):
    return dense(relu(x @ (p["u"] - p["u"].mean(0, keepdims=True))), p["v"])


NETWORKS = {
    # Inputs, tiled or not, beside channels.
    "inputs added": entry(lambda p, x: dense(dense(x, p["u"]) + x, p["v"]), VECTORS, closed(sum_of_inputs), FIVE),
    "tiled inputs added": entry(
        lambda p, x: dense(dense(x, p["u"]) + jnp.tile(x, 3), p["v"]),
        VECTORS,
        closed(sum_of_inputs),
        {"u": (5, 15), "v": (15, 2)},
    ),
    "inputs as gates": entry(lambda p, x: dense(dense(x, p["u"]) * x, p["v"]), VECTORS, closed(gated_by_inputs), FIVE),
    "inputs added, then relu": entry(
        lambda p, x: dense(relu(dense(x, p["u"]) + x), p["v"]), VECTORS, "channel|Gaussian", FIVE
    ),
    "constants, then relu": entry(
        two(lambda h: relu(plus(h, jnp.linspace(-1, 1, WIDTH)))), VECTORS, "channel|Gaussian", TWO
    ),
    "tiled inputs, then relu": entry(
        lambda p, x: dense(relu(dense(x, p["u"]) + jnp.tile(x, 3)), p["v"]),
        VECTORS,
        "channel|Gaussian|batch",
        {"u": (5, 15), "v": (15, 2)},
    ),
    # Random numbers that channels share.
    "shared bias": entry(with_bias(plus), VECTORS, r"'b'", biased((1,))),
    "shared number": entry(with_bias(plus), VECTORS, r"'b'", biased(())),
    "shared gain": entry(with_bias(lambda h, b: h * b), VECTORS, r"'b'", biased(())),
    "number shared in the draw": Entry(with_bias(plus), shared_number, VECTORS, r"'b'"),
    "random gains": entry(with_bias(lambda h, b: h * b[None]), VECTORS, "Gaussian", biased((WIDTH,))),
    # Initialisers.
    "one key": Entry(
        lambda p, x: dense(relu(x @ jnp.ones((5, WIDTH)) @ p["u"]), p["v"]), one_key, VECTORS, "one random key"
    ),
    "weights with holes": Entry(two(relu), two_words, VECTORS, r"'u'.*distribution"),
    "a channel of zeros": Entry(two(relu), half_zero, VECTORS, r"'u'.*distribution"),
    "weights with a mean": Entry(two(relu), with_mean, VECTORS, "mean"),
    # Batches.
    "batch of the first": entry(two(lambda h: relu(h - h[:1])), VECTORS, "mixes its inputs", TWO),
    "batch reversed": entry(two(lambda h: relu(h + h[::-1])), VECTORS, "mixes its inputs", TWO),
    "batch gram": entry(two(lambda h: relu(h @ h.T @ h)), VECTORS, "mixes its inputs", TWO),
    "batch mean": entry(two(lambda h: relu(h - h.mean(0, keepdims=True))), VECTORS, "mixes its inputs", TWO),
    "batch size": entry(two(lambda h: relu(h / h.shape[0])), VECTORS, "mixes its inputs", TWO),
    "sorted batch": entry(two(lambda h: relu(jnp.sort(h, 0))), VECTORS, "sort|mixes", TWO),
    # Derivatives.
    "stopped": entry(two(lambda h: relu(jax.lax.stop_gradient(h))), VECTORS, closed(no_tangent), TWO),
    "stopped after": entry(two(lambda h: jax.lax.stop_gradient(relu(h))), VECTORS, closed(no_tangent), TWO),
    "blocked": entry(two(blocked), VECTORS, closed(no_tangent), TWO),
    "straight-through": entry(two(straight_through), VECTORS, closed(straight_truth), TWO),
    # Channels of one layer that meet each other.
    "mirrored channels": entry(two(add_pairs), VECTORS, closed(doubled(identity)), TWO),
    "mirrored channels, then relu": entry(two(lambda h: relu(add_pairs(h))), VECTORS, closed(doubled(cf.relu)), TWO),
    "rolled channels": entry(two(lambda h: relu(h + jnp.roll(h, 1, -1))), VECTORS, closed(doubled(cf.relu)), TWO),
    "permuted channels": entry(
        two(lambda h: relu(h + h[:, np.random.RandomState(0).permutation(WIDTH)])),
        VECTORS,
        closed(doubled(cf.relu)),
        TWO,
    ),
    "halves added": entry(halves(lambda a, b: relu(a + b)), VECTORS, closed(doubled(cf.relu)), TWO),
    "halves multiplied": entry(
        halves(lambda a, b: a * b), VECTORS, closed(lambda x: cf.dense(first(x) * first(x))), TWO
    ),
    "overlapping halves": entry(overlapping, VECTORS, closed(doubled(cf.relu)), HALF),
    "overlapping parts": entry(reused_slice, VECTORS, r"'w'|Gaussian|independent|channel", THREE),
    "accumulated channels": entry(two(lambda h: relu(jnp.cumsum(h, -1))), VECTORS, "channel|cumsum", TWO),
    "sorted channels": entry(two(lambda h: jnp.sort(h, -1)), VECTORS, "sort", TWO),
    "maxout": entry(two(lambda h: jnp.repeat(h.reshape(-1, 8, 2).max(-1), 2, -1)), VECTORS, "max", TWO),
    "some channels": entry(two(lambda h: h.at[:, 3:].set(0)), VECTORS, "channel|scatter", TWO),
    # Leaves.
    "transpose": entry(lambda p, x: dense(relu(dense(x, p["u"])), p["u"].T), VECTORS, r"'u'", {"u": IN}),
    "matrix as a bias": entry(
        lambda p, x: dense(relu(plus(dense(x, p["u"]), p["u"][0])), p["v"]), VECTORS, r"'u'", TWO
    ),
    "squared weights": entry(lambda p, x: dense(relu(dense(x, p["u"] ** 2)), p["v"]), VECTORS, r"'u'", TWO),
    "sum of matrices": entry(lora, VECTORS, r"'[wac]'", {**THREE, "a": (WIDTH, 4), "c": (4, WIDTH)}),
    "centred weights": entry(centred, VECTORS, r"'u'", TWO),
    "tanh of weights": entry(lambda p, x: dense(relu(dense(x, jnp.tanh(p["u"]))), p["v"]), VECTORS, r"'u'", TWO),
    "one bias, twice": entry(twice_biased, VECTORS, closed(twice_biased_truth), {**THREE, "b": (WIDTH,)}),
    "a bias for each position": entry(
        own_entries, SEQUENCES, closed(own_entries_truth), {**SEQUENCE, "b": (1, 4, WIDTH)}
    ),
    # Attention, and nonlinearities of several Gaussians.
    "one head": entry(attend(4.0, (1, WIDTH)), SEQUENCES, "width|random", ATTENTION),
    "uniform heads": entry(attend(1.0, (4, 4)), SEQUENCES, "width|random", ATTENTION),
    "root of squares": entry(
        lambda p, x: dense(jnp.sqrt(dense(x, p["u"]) ** 2 + dense(x, p["w"]) ** 2), p["v"]),
        VECTORS,
        "Gaussian",
        {"u": IN, "w": IN, "v": OUT},
    ),
    "larger of two": entry(
        lambda p, x: dense(jnp.maximum(dense(x, p["u"]), dense(x, p["w"])), p["v"]),
        VECTORS,
        "Gaussian",
        {"u": IN, "w": IN, "v": OUT},
    ),
    "relu of relu and gate": entry(
        two(lambda h: relu(relu(h) - relu(h)[:, ::-1])), VECTORS, "Gaussian|channel|rev", TWO
    ),
    # Outputs.
    "sum over channels": entry(
        lambda p, x: relu(dense(x, p["u"])).sum(-1, keepdims=True), VECTORS, "readout", {"u": IN}
    ),
    "nothing random": entry(
        lambda p, x: x.sum(-1, keepdims=True) + 0 * p["u"][0, 0], VECTORS, "readout|random", {"u": IN}
    ),
    "loop": entry(while_loop, VECTORS, "while", TWO),
    "condition": entry(
        two(lambda h: jax.lax.cond(h[0, 0] > 0, lambda h: h, lambda h: 2 * h, h)), VECTORS, "cond|mixes", TWO
    ),
    "noise": entry(two(lambda h: relu(h + jr.normal(jr.key(1), h.shape))), VECTORS, "[Rr]andom", TWO),
}
