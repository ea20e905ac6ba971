"""Kernels of lifted networks against means over draws of the finite networks, for what no sequence of layers says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import tracing

W = 192
SEQUENCES = (2, 4, 3)


def layer_norm(x, eps=1e-5):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + eps)


def bias(b, ndim=3):
    return b.reshape((1,) * (ndim - 1) + (-1,))


def normed(p, x):
    h = jax.nn.relu(layer_norm(x @ p["u"]) * bias(p["scale"]) + bias(p["shift"]))
    return (layer_norm(h) * bias(p["last"])).mean(1) @ p["w"]


def attention(p, x):
    h = x @ p["u"]
    q, v = h @ p["q"], h @ p["v"]
    a = jax.nn.softmax(jnp.einsum("nic,njc->nij", q, q) / W, -1)
    return jax.nn.relu(h + jnp.einsum("nij,njc->nic", a, v)).mean(1) @ p["w"]


def tied(p, x):
    def branch(z):
        return jax.nn.relu(z @ p["u"]) @ p["q"]

    h = jax.nn.relu(branch(x[:, 0]) - branch(x[:, 1]))
    return jnp.sin(jnp.sin(h @ p["v"]) @ p["v"]) @ p["w"]


def recurrent(p, x):
    def step(h, z):
        h = jax.nn.relu(h @ p["v"] + z @ p["u"] + p["b"][None])
        return h, h

    _, hs = jax.lax.scan(step, jnp.zeros((len(x), W)), x.swapaxes(0, 1))
    return (hs[-1] + hs[1]) @ p["w"]


def tokens(p, x):
    h = jnp.concatenate([jnp.broadcast_to(p["token"], (len(x), 1, W)), x @ p["u"]], 1) + p["places"]
    h = jax.nn.relu(h @ p["v"])
    return (h[:, 0] + 2 * h[:, 2]) @ p["w"]


def gates(p, x):
    h = jax.nn.relu(x @ p["u"])
    g = jax.nn.sigmoid(h.mean(1) @ p["v"])
    return (h * g[:, None]).mean(1) @ p["w"]


def scaled(p, x):
    h = jax.nn.relu(x @ p["u"]) * bias(p["noise"])
    return jax.nn.relu(h @ p["v"]).mean(1) @ p["w"]


def masked(p, x):
    h = jnp.where(x[..., :1] > 0, jax.nn.relu(x @ p["u"]), 0.0)
    return jnp.cumsum(h, 1)[:, 1:3].sum(1) @ p["w"]


def depthwise(p, x):
    def conv(x, w, groups=1):
        return jax.lax.conv_general_dilated(
            x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups
        )

    h = conv(conv(x, p["f"]), p["d"], W)
    return jax.nn.relu(h @ p["v"]).mean(1) @ p["w"]


def heads(p, x):
    h = jnp.einsum("ntd,dhe->nthe", x, p["h"])
    a = jnp.einsum("nthe,nshe->nhts", h, jnp.einsum("ntd,dhe->nthe", x, p["k"])) / 8**0.5
    return jnp.einsum("nhts,nshe,heo->nto", a, jnp.einsum("ntd,dhe->nthe", x, p["m"]), p["o"]).mean(1)


SHAPES = {
    **{"u": (3, W), "q": (W, W), "v": (W, W), "w": (W, 32), "b": (W,), "token": (1, 1, W), "places": (1, 5, W)},
    **{"noise": (W,), "f": (3, 3, W), "d": (3, 1, W), "h": (3, 24, 8), "k": (3, 24, 8), "m": (3, 24, 8)},
    **{"o": (24, 8, 32), "scale": (W,), "shift": (W,), "last": (W,)},
}
VARIANCES = {
    **{"u": 1 / 3, "q": 1.5 / W, "v": 2 / W, "w": 1 / W, "b": 0.3, "token": 1.0, "places": 0.25, "noise": (1.0, 0.5)},
    **{"f": 1 / 9, "d": 1 / 3, "h": 1 / 3, "k": 1 / 3, "m": 1 / 3, "o": 1 / W},
    **{"scale": (1.5, 0.0), "shift": (0.0, 0.0), "last": (0.5, 0.0)},
}
NETWORKS = {
    "normed": (normed, "u scale shift last w"),
    "attention": (attention, "u q v w"),
    "tied": (tied, "u q v w"),
    "recurrent": (recurrent, "u v b w"),
    "tokens": (tokens, "u v w token places"),
    "gates": (gates, "u v w"),
    "scaled": (scaled, "u v w noise"),
    "masked": (masked, "u w"),
    "depthwise": (depthwise, "f d v w"),
    "heads": (heads, "h k m o"),
}


def drawn(names, key):
    params = {}
    for name, k in zip(names, jax.random.split(key, len(names)), strict=True):
        mean, variance = VARIANCES[name] if isinstance(VARIANCES[name], tuple) else (0.0, VARIANCES[name])
        params[name] = mean + variance**0.5 * jax.random.normal(k, SHAPES[name])
    return params


def estimates(f, names, x, n):
    """Returns means over draws of the NNGP and of the NTK by parameter, and their standard errors."""

    def of_draw(key):
        params = drawn(names, key)
        y = f(params, x)
        found = {"nngp": y @ y.T / y.shape[-1]}
        for name in names:
            others = {k: v for k, v in params.items() if k != name}

            def of_one(p, x, others=others, name=name):
                return f({**others, name: p}, x)

            found[name] = nt.empirical_ntk_fn(of_one, trace_axes=(-1,))(x, None, params[name])
        return found

    found = jax.jit(lambda keys: jax.lax.map(of_draw, keys))(jax.random.split(jax.random.key(3), n))
    return {name: (ks.mean(0), ks.std(0) / n**0.5) for name, ks in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_each_parameter(name):
    f, used = NETWORKS[name]
    names = used.split()
    x = jax.random.normal(jax.random.key(1), SEQUENCES)
    structs = {key: jax.ShapeDtypeStruct(SHAPES[key], jnp.float32) for key in names}
    expected = estimates(f, names, x, 60)
    total = sum(np.abs(expected[part][0]).max() for part in names)
    for part in ["nngp", *names]:
        lifted = tracing.lift(
            *(f, structs, x),
            distribution=lambda path, _: VARIANCES[path[2:-2]],
            trainable=lambda path, part=part: path[2:-2] == part,
        )
        mean, error = expected[part]
        got = lifted.kernel_fn(x, None, "nngp" if part == "nngp" else "ntk")
        # A part that vanishes at infinite width is of order one, beside parts of the order of the width.
        bar = 4 * error + (0.1 * np.abs(mean).max() if np.any(got) else 2 * total / W)
        assert np.all(np.abs(got - mean) < bar), (part, got, mean, error)
