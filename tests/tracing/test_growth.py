"""The error of one draw of a network falls with its width, as one over its square root."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import tracing

IMAGES, SEQUENCES = (
    np.random.RandomState(0).normal(size=size).astype(np.float32) for size in ((3, 4, 4, 2), (3, 4, 3))
)
DRAWS = {32: 100, 128: 60, 512: 16}  # by width


def conv(width, strides=1):
    return nn.Conv(width, (3, 3), strides=strides, use_bias=False)


def flat_cnn(x, width):
    x = nn.relu(conv(width)(nn.relu(conv(width)(x))))
    return x.reshape(x.shape[0], -1)


def resnet(x, width):
    x = conv(width)(x)
    y = conv(width)(nn.relu(conv(width, 2)(nn.relu(x))))
    x = nn.Conv(width, (1, 1), strides=2, use_bias=False)(x) + y
    return nn.relu(x).mean((1, 2))


def recurrent(x, width):
    return nn.RNN(nn.SimpleCell(width, activation_fn=nn.relu))(x)[:, -1]


MODELS = {"flat cnn": (flat_cnn, IMAGES), "resnet": (resnet, IMAGES), "recurrent": (recurrent, SEQUENCES)}


def network(features, width, n_out):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(n_out)(features(x, width))

    return Network()


def errors(features, x, width, options=None):
    """Errors of the NNGP, as the mean over as many outputs as units, and of the NTK of one output: means over draws."""
    wide, narrow = (network(features, width, n) for n in (width, 1))

    def init(key):
        return narrow.init(key, x)

    def of_draw(key):
        y = wide.apply(wide.init(key, x), x)
        ntk = nt.empirical_ntk_fn(narrow.apply, trace_axes=(-1,))(x, None, init(key))
        return y @ y.T / width, ntk

    expected = tracing.lift(narrow.apply, init, x).kernel_fn(x, None, ("nngp", "ntk"))
    found = jax.jit(lambda keys: jax.lax.map(of_draw, keys), compiler_options=options)(
        jax.random.split(jax.random.key(1), DRAWS[width])
    )
    return [
        float(jnp.mean(jnp.linalg.norm(k - e[None], axis=(1, 2))) / jnp.linalg.norm(e))
        for k, e in zip(found, expected, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_error_falls_with_width(name, optimised):
    nngp, ntk = zip(*(errors(*MODELS[name], width, optimised) for width in DRAWS), strict=True)
    for kernel in (nngp, ntk):
        assert kernel[-1] < 0.15 and all(b < a / 1.5 for a, b in zip(kernel[:-1], kernel[1:], strict=True)), kernel
