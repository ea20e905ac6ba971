"""Models of other frameworks as functions `f(params, x)`, as docs/recipes.md has them.

Their kernels are compared with explicit Jacobians, for all implementations.
"""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import IMAGE1, IMAGE2, TOKENS1, TOKENS2, X1, X2, assert_close, full_ntk, reduced
from flax import nnx

import neural_tangents as nt

KEY = jax.random.key(0)


def flax_linen():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.gelu(nn.Dense(4)(x)))

    model = Model()
    params = model.init(KEY, X1)
    return lambda p, x: model.apply(p, x), params, X1, X2


def flax_linen_resnet():
    """With batch normalisation by running averages, which are no parameters."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Conv(4, (3, 3), use_bias=False)(x)
            h = nn.relu(nn.BatchNorm(use_running_average=True)(h))
            return x + nn.Conv(4, (3, 3))(h)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = Block()(nn.Conv(4, (2, 2), strides=2)(x))
            return nn.Dense(2)(h.mean((1, 2)))

    model = Model()
    variables = model.init(KEY, IMAGE1)
    params, rest = variables["params"], {name: variables[name] for name in variables if name != "params"}
    # Averages as after some training.
    rest = jax.tree.map(lambda average: 1.5 * average.astype(np.float64) + 0.5, rest)
    return lambda p, x: model.apply({"params": p, **rest}, x), params, IMAGE1, IMAGE2


def flax_linen_transformer():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            embed = nn.Embed(7, 4)
            h = embed(tokens) + self.param("position", nn.initializers.normal(1.0), (1, 4, 4))
            h = h + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(h))
            return embed.attend(nn.LayerNorm()(h).mean(1))  # logits with the weights of the embedding

    model = Model()
    params = model.init(KEY, TOKENS1)
    return model.apply, params, TOKENS1, TOKENS2


def flax_nnx():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(5, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
            self.norm, self.dropout = nnx.BatchNorm(4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.last(self.dropout(nnx.tanh(self.norm(self.first(x)))))

    model = Model(nnx.Rngs(0))
    model.eval()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return lambda p, x: nnx.merge(graph, p, rest)(x), params, X1, X2


def equinox():
    class Model(eqx.Module):
        layers: list

        def __init__(self, key):
            keys = jax.random.split(key, 2)
            self.layers = [
                eqx.nn.Linear(5, 4, key=keys[0]),
                jnp.tanh,
                eqx.nn.Dropout(),
                eqx.nn.Linear(4, 2, key=keys[1]),
            ]

        def __call__(self, x):  # of one input
            for layer in self.layers:
                x = layer(x)
            return x

    model = eqx.nn.inference_mode(Model(KEY))
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    return lambda p, x: jax.vmap(eqx.combine(p, rest))(x), params, X1, X2


def haiku():
    def model(x):
        x = jax.nn.relu(hk.Conv2D(4, 3, stride=2)(x))
        return hk.nets.MLP([3, 2])(x.mean((1, 2)))

    transformed = hk.without_apply_rng(hk.transform(model))
    params = transformed.init(KEY, IMAGE1)
    return transformed.apply, params, IMAGE1, IMAGE2


def no_framework():
    """No framework: nested lists and dictionaries of arrays."""
    params = [{"w": jax.random.normal(KEY, shape), "b": jnp.ones(shape[1])} for shape in ((5, 4), (4, 2))]

    def f(p, x):
        for layer in p[:-1]:
            x = jax.nn.relu(x @ layer["w"] + layer["b"][None])
        return x @ p[-1]["w"] + p[-1]["b"][None]

    return f, params, X1, X2


RECIPES = [flax_linen, flax_linen_resnet, flax_linen_transformer, flax_nnx, equinox, haiku, no_framework]


@pytest.mark.parametrize("recipe", RECIPES)
def test_kernels_of_models(recipe):
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):  # frameworks rely on it
        f, params, x1, x2 = recipe()
        params = jax.tree.map(lambda p: jnp.asarray(p, np.float64), params)
        (truth,) = full_ntk(f, params, x1, x2)

        def all_kernels(x1, x2, params):
            fns = [nt.empirical_ntk_fn(f, (), (), 0, implementation) for implementation in (1, 2, 3)]
            return [fn(x1, x2, params) for fn in fns]

        for kernel in jax.jit(all_kernels)(x1, x2, params):
            assert np.abs(truth).max() > 1e-3
            assert_close(kernel, reduced(truth))
