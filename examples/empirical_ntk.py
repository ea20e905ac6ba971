"""Computes the NTK of a finite convolutional network by every implementation: they agree, and their times differ.

The network is written in plain JAX: `nt.empirical_ntk_fn` takes any function of parameters and inputs. It acts on each
image by itself, which `vmap_axes=0` lets the implementations make use of. The kernel has one entry for every pair of
images and every pair of outputs. Which implementation is fastest depends on the network, the outputs and the machine.

    python examples/empirical_ntk.py --channels 64
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from datasets import digits

import neural_tangents as nt

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 20, "number of images in each of two batches")
flags.DEFINE_integer("channels", 32, "channels of both convolutions")


def init(key, channels, n_outputs=10):
    """Returns random parameters of the network."""
    shapes = [(3, 3, 1, channels), (3, 3, channels, channels), (channels, n_outputs)]
    keys = jax.random.split(key, len(shapes))
    return [jax.random.normal(k, s) * (2 / np.prod(s[:-1])) ** 0.5 for k, s in zip(keys, shapes, strict=True)]


def network(params, images):
    """Two convolutions, an average over positions and a dense layer: (n, 8, 8, 1) to (n, 10)."""
    *filters, readout = params
    x = images
    for w in filters:
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
    return jnp.mean(x, axis=(1, 2)) @ readout


def timed(fn, *args):
    """Returns what the compiled function returns, and the seconds of the fastest of three calls after the first."""
    fn = jax.jit(fn)
    result = jax.block_until_ready(fn(*args))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(fn(*args))
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def main(argv):
    """Runs the comparison and returns, for each implementation, its kernel and its time in seconds."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x1, _), (x2, _) = digits(FLAGS.images, FLAGS.images)
    x1, x2 = (jnp.asarray(x).reshape(-1, 8, 8, 1) for x in (x1, x2))
    params = init(jax.random.key(0), FLAGS.channels)

    results = {}
    for implementation in nt.NtkImplementation:
        ntk_fn = nt.empirical_ntk_fn(network, trace_axes=(), vmap_axes=0, implementation=implementation)
        with jax.default_matmul_precision("highest"):  # GPUs round products of float32 otherwise
            results[implementation.name] = timed(ntk_fn, x1, x2, params)
    expected, _ = results["JACOBIAN_CONTRACTION"]

    n_parameters = sum(w.size for w in params)
    print(f"kernel of shape {expected.shape}, of a network with {n_parameters} parameters")
    for name, (kernel, seconds) in results.items():
        difference = jnp.max(jnp.abs(kernel - expected)) / jnp.max(jnp.abs(expected))
        print(f"{name:23} {1000 * seconds:8.1f} ms, largest relative difference {difference:.1e}")
    return results


if __name__ == "__main__":
    main(sys.argv)
