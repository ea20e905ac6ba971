"""Computes the kernels of networks with nonlinearities that have no closed form, by quadrature.

`stax.ElementwiseNumerical` integrates any smooth function over two correlated Gaussians, with `deg` nodes for each. For
GELU, whose kernel is known, the error is shown; more nodes make it smaller. For other functions, two numbers of
nodes are compared with each other, and with finite networks.

    python examples/elementwise_numerical.py --deg 40
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from datasets import digits

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("deg", 25, "nodes of the quadrature, for each of two inputs")
flags.DEFINE_integer("images", 10, "number of images")
flags.DEFINE_integer("width", 512, "hidden units of the finite networks")
flags.DEFINE_integer("draws", 64, "number of finite networks")

FUNCTIONS = {"gelu": lambda x: jax.nn.gelu(x, approximate=False), "tanh": jnp.tanh, "softplus": jax.nn.softplus}


def network(layer, width=1):
    """Returns a network with one hidden layer."""
    return stax.serial(stax.Dense(width, W_std=2.0, b_std=0.2), layer, stax.Dense(1))


def difference(first, second):
    """Returns the largest difference of two matrices, relative to the largest entry."""
    return float(np.max(np.abs(first - second)) / np.max(np.abs(second)))


def main(argv):
    """Runs the comparison and returns, for each function, errors of the NTK for `deg` and fewer nodes, and of draws."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x, _), _ = digits(FLAGS.images)
    fewer = max(2, FLAGS.deg // 3)
    print(f"NTK of {FLAGS.images} images: largest differences, relative to the largest entry;")
    print(f"draws: the mean over {FLAGS.draws} networks of {FLAGS.width} hidden units")
    print(
        f"  function   truth           {FLAGS.deg} nodes  {fewer} nodes  {FLAGS.draws} networks of {FLAGS.width} units"
    )
    results = {}
    for name, fn in FUNCTIONS.items():

        def ntk(deg, fn=fn):
            return network(stax.ElementwiseNumerical(fn, deg))[2](x, None, "ntk")

        truth, of_truth = ntk(2 * FLAGS.deg), f"{2 * FLAGS.deg} nodes"
        if name == "gelu":
            truth, of_truth = network(stax.Gelu())[2](x, None, "ntk"), "closed form"
        init_fn, apply_fn, _ = network(stax.ElementwiseNumerical(fn, FLAGS.deg), FLAGS.width)
        draws_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(0), FLAGS.draws, vmap_axes=0)
        found = ntk(FLAGS.deg), ntk(fewer), draws_fn(x, None, "ntk")
        results[name] = tuple(difference(kernel, truth) for kernel in found)
        print("  {:10} {:12} {:10.1e} {:8.1e} {:8.1e}".format(name, of_truth, *results[name]))
    return results


if __name__ == "__main__":
    main(sys.argv)
