"""Networks as people write them, none of which the rules were made for, against draws of them."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from zoo import nnx_networks

import neural_tangents as nt
from neural_tangents import tracing

W, DRAWS = 128, 60
RNG = np.random.RandomState(5)
IMAGES, SEQUENCES, VECTORS = (RNG.normal(size=size).astype(np.float32) for size in ((3, 8, 8, 2), (3, 6, 3), (3, 5)))
ADJACENCY = np.float32((np.eye(6) + np.eye(6, k=1)) / 2)
relu = jax.nn.relu


def linen(forward, x):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return forward(x)

    return Network().apply, lambda key: Network().init(key, x), x


def equinox(make, forward, x):
    _, static = eqx.partition(make(jax.random.key(0)), eqx.is_inexact_array)

    def apply(params, x):
        return jax.vmap(lambda z: forward(eqx.combine(params, static), z))(x)

    return apply, lambda key: eqx.filter(make(key), eqx.is_inexact_array), x


def haiku(forward, x):
    model = hk.without_apply_rng(hk.transform(forward))
    return model.apply, lambda key: model.init(key, x), x


def of_nnx(sizes, forward, x):
    def make(rngs):
        return [nnx.Linear(*size, rngs=rngs) for size in sizes]

    entry = nnx_networks.entry(make, forward, x, "")
    return entry.apply, entry.init, x


def plain(shapes, apply, x):
    def init(key):
        keys = jax.random.split(key, len(shapes))
        return {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}

    return apply, init, x


def dense(h, w):
    return h @ w / w.shape[0] ** 0.5


def convnext(x):
    x = nn.Conv(W, (2, 2), strides=2)(x)
    h = nn.LayerNorm()(nn.Conv(W, (3, 3), feature_group_count=W)(x))
    x = x + nn.Dense(W)(nn.gelu(nn.Dense(2 * W)(h)))
    return nn.Dense(1)(nn.LayerNorm()(x.mean((1, 2))))


def unet(x):
    a = relu(nn.Conv(W, (3, 3))(x))
    b = relu(nn.Conv(W, (3, 3))(nn.avg_pool(a, (2, 2), (2, 2))))
    up = relu(nn.ConvTranspose(W, (2, 2), strides=(2, 2))(b))
    return nn.Dense(1)(relu(nn.Conv(W, (3, 3))(jnp.concatenate([a, up], -1))).mean((1, 2)))


def densenet(x):
    x = nn.Conv(W, (3, 3))(x)
    for _ in range(2):
        h = relu(nn.BatchNorm(use_running_average=True)(x))
        x = jnp.concatenate([x, nn.Conv(W // 4, (3, 3), use_bias=False)(h)], -1)
    return nn.Dense(1)(relu(x).mean((1, 2)))


def wavenet(x):
    h, skip = nn.Conv(W, (1,))(x), 0.0
    for i in range(2):
        f, g = (nn.Conv(W, (2,), kernel_dilation=2**i, padding="CAUSAL")(h) for _ in range(2))
        z = nn.tanh(f) * nn.sigmoid(g)
        skip, h = skip + nn.Conv(W, (1,))(z), h + nn.Conv(W, (1,))(z)
    return nn.Dense(1)(relu(skip)[:, -1])


def squeeze_and_excite(x):
    x = nn.Conv(W, (3, 3))(x)
    h = nn.Conv(W, (3, 3))(relu(x))
    gates = nn.sigmoid(nn.Dense(W)(relu(nn.Dense(W // 2)(h.mean((1, 2))))))
    return nn.Dense(1)((x + h * gates[:, None, None]).mean((1, 2)))


def linears(*sizes):
    return lambda key: [eqx.nn.Linear(*size, key=jax.random.fold_in(key, i)) for i, size in enumerate(sizes)]


def graph(modules, x):
    h = jax.vmap(modules[0])(x)
    return modules[2](relu(h + ADJACENCY @ jax.vmap(modules[1])(relu(h))).sum(0))


def tcn_modules(key):
    def conv(i, n_in, size, **keywords):
        return eqx.nn.Conv1d(n_in, W, size, key=jax.random.fold_in(key, i), **keywords)

    return [conv(0, 3, 1), conv(1, W, 2, dilation=2), conv(2, W, 2), eqx.nn.Linear(W, 1, key=key)]


def tcn(modules, x):
    h = modules[0](x.T)
    z = relu(modules[1](jnp.pad(relu(h), ((0, 0), (2, 0)))))
    return modules[3]((h + modules[2](jnp.pad(z, ((0, 0), (1, 0)))))[:, -1])


def deep_sets(x):
    h = relu(hk.Linear(W)(x))
    return hk.Linear(1)(relu(hk.Linear(W)(jnp.concatenate([h.mean(1), h.sum(1)], -1))))


def transformer_mlp(x):
    h = hk.Linear(W)(x)
    h = h + hk.Linear(W)(jax.nn.gelu(hk.Linear(2 * W)(hk.LayerNorm(-1, True, True)(h))))
    return hk.Linear(1)(hk.LayerNorm(-1, True, True)(h).mean(1))


def gated_units(layers, x):
    first, second, third, last = layers
    return last(nnx.glu(third(nnx.glu(second(first(x))))))


def input_skips(layers, x):
    first, second, last = layers
    h = relu(second(jnp.concatenate([relu(first(x)), x], -1)))
    return last(jnp.concatenate([h, x], -1))


def highway(p, x):
    h, gate = dense(x, p["u"]), jax.nn.sigmoid(dense(x, p["g"]))
    return dense(gate * dense(relu(h), p["w"]) + (1 - gate) * h, p["v"])


def bidirectional(p, x):
    def run(w, reverse):
        def step(h, z):
            return relu(dense(z, p["u"]) + dense(h, w)), None

        return jax.lax.scan(step, jnp.zeros((len(x), W)), x.swapaxes(0, 1), reverse=reverse)[0]

    return dense(jnp.concatenate([run(p["w"], False), run(p["q"], True)], -1), p["v"])


def fourier_features(p, x):
    h = x @ p["f"]
    h = jnp.concatenate([jnp.sin(h), jnp.cos(h)], -1)
    return dense(relu(dense(h, p["w"])), p["v"])


NETWORKS = {
    "convnext": linen(convnext, IMAGES),
    "unet": linen(unet, IMAGES),
    "densenet": linen(densenet, IMAGES),
    "wavenet": linen(wavenet, SEQUENCES),
    "squeeze and excite": linen(squeeze_and_excite, IMAGES),
    "graph": equinox(linears((3, W), (W, W), (W, 1)), graph, SEQUENCES),
    "tcn": equinox(tcn_modules, tcn, SEQUENCES),
    "deep sets": haiku(deep_sets, SEQUENCES),
    "transformer mlp": haiku(transformer_mlp, SEQUENCES),
    "gated units": of_nnx([(5, W), (W, 2 * W), (W, 2 * W), (W, 1)], gated_units, VECTORS),
    "input skips": of_nnx([(5, W), (W + 5, W), (W + 5, 1)], input_skips, VECTORS),
    "highway": plain({"u": (5, W), "g": (5, W), "w": (W, W), "v": (W, 1)}, highway, VECTORS),
    "bidirectional": plain({"u": (3, W), "w": (W, W), "q": (W, W), "v": (2 * W, 1)}, bidirectional, SEQUENCES),
    "fourier features": plain({"f": (5, W), "w": (2 * W, W), "v": (W, 1)}, fourier_features, VECTORS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_draws(name, optimised):
    apply, init, x = NETWORKS[name]

    def of_draw(key):
        params = init(key)
        y = apply(params, x)
        return y @ y.T, nt.empirical_ntk_fn(apply, trace_axes=(-1,))(x, None, params)

    draws = jax.jit(lambda keys: jax.lax.map(of_draw, keys), compiler_options=optimised)
    expected = draws(jax.random.split(jax.random.key(1), DRAWS))
    for got, ks in zip(tracing.lift(apply, init, x).kernel_fn(x, None, ("nngp", "ntk")), expected, strict=True):
        mean, error = ks.mean(0), ks.std(0) / DRAWS**0.5
        # A width of 128 shifts means by a few per cent; so do first layers whose weights are uniform.
        assert np.all(np.abs(got - mean) < 4 * error + 0.04 * np.abs(mean).max()), (got, mean, error)
