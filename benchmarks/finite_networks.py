"""Finite networks that are timed, as `(f, params)`; written for two releases of jax and flax."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def fully_connected(width: int, depth: int, outputs: int, inputs: int):
    """Hidden layers of equal width with ReLU, weights scaled by the width in the network."""
    sizes = [inputs, *[width] * depth, outputs]
    params = [_normal(i, (n, m)) for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False))]

    def f(params, x):
        for i, w in enumerate(params):
            x = jnp.maximum(x, 0.0) if i else x
            x = x @ w * (2 / w.shape[0]) ** 0.5
        return x

    return f, params


def convolutional(channels: int, depth: int, outputs: int, inputs: int):
    """Convolutions of 3 x 3 with biases and ReLU, average over positions, and a linear readout."""
    sizes = [inputs, *[channels] * depth]
    filters = [
        (_normal(i, (3, 3, n, m)) / (9 * n) ** 0.5, _normal(100 + i, (m,)) / 10)
        for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False))
    ]
    params = {"filters": filters, "readout": _normal(99, (channels, outputs)) / channels**0.5}

    def f(params, x):
        for w, b in params["filters"]:
            x = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jnp.maximum(x + b, 0.0)
        return jnp.mean(x, (1, 2)) @ params["readout"]

    return f, params


def resnet18(outputs: int):
    """A Flax network like ResNet18 for small images, with BatchNorm in inference mode."""
    from flax import linen as nn

    class Block(nn.Module):
        channels: int
        stride: int

        @nn.compact
        def __call__(self, x):
            strides = (self.stride, self.stride)
            y = nn.Conv(self.channels, (3, 3), strides, use_bias=False)(x)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
            y = nn.BatchNorm(use_running_average=True)(nn.Conv(self.channels, (3, 3), use_bias=False)(y))
            if x.shape != y.shape:
                x = nn.BatchNorm(use_running_average=True)(nn.Conv(self.channels, (1, 1), strides, use_bias=False)(x))
            return nn.relu(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(64, (3, 3), use_bias=False)(x)))
            for stage, channels in enumerate((64, 128, 256, 512)):
                for block in range(2):
                    x = Block(channels, 2 if stage and not block else 1)(x)
            return nn.Dense(outputs)(jnp.mean(x, (1, 2)))

    model = ResNet()
    shapes = jax.eval_shape(model.init, jax.random.PRNGKey(0), jnp.ones((1, 32, 32, 3)))
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    values = [_parameter(i, jax.tree_util.keystr(path), leaf.shape) for i, (path, leaf) in enumerate(leaves)]
    variables = jax.tree_util.tree_unflatten(structure, values)
    return lambda params, x: model.apply({**variables, "params": params}, x), variables["params"]


def _parameter(seed: int, path: str, shape):
    """A parameter of the usual size, from a stream of numbers that is the same in every release."""
    if "kernel" in path:
        return _normal(seed, shape) * (2 / np.prod(shape[:-1])) ** 0.5
    return jnp.ones(shape) if "scale" in path or "var" in path else jnp.zeros(shape)


def _normal(seed: int, shape):
    return jnp.asarray(np.random.RandomState(seed).normal(size=shape), jnp.zeros(()).dtype)
