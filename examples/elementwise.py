"""Gives a nonlinearity a kernel of one's own, from the formula of its covariance alone.

`stax.Elementwise` takes a function and the formula of `E[f(u) f(v)]` for Gaussian `u`, `v` of mean zero, in terms of
their covariance and variances. The formula that the NTK needs as well, `E[f'(u) f'(v)]`, is found by automatic
differentiation. Here `f(x) = exp(a x)`, for which

    E[f(u) f(v)] = exp(a^2 (Var u + Var v + 2 Cov(u, v)) / 2),

and both kernels are compared with `stax.Exp`, which has both formulas, and with wide finite networks.

    python examples/elementwise.py --width 1024
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
flags.DEFINE_float("a", 0.5, "factor in the exponent")
flags.DEFINE_integer("images", 20, "number of images")
flags.DEFINE_integer("width", 512, "hidden units of the finite networks")
flags.DEFINE_integer("draws", 64, "number of finite networks")


def exponential(a):
    """Returns the layer `f(x) = exp(a x)`."""

    def fn(x):
        return jnp.exp(a * x)

    def nngp_fn(cov12, var1, var2):
        return jnp.exp(a**2 * (var1 + var2 + 2 * cov12) / 2)

    return stax.Elementwise(fn, nngp_fn)


def network(layer, width=1):
    """Returns a network with one hidden layer."""
    return stax.serial(stax.Dense(width, W_std=2.0), layer, stax.Dense(1))


def main(argv):
    """Runs the comparison and returns, for each kernel, the difference to `stax.Exp`, and errors of finite networks."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    (x, _), _ = digits(FLAGS.images)
    init_fn, apply_fn, kernel_fn = network(exponential(FLAGS.a), FLAGS.width)
    names = ("nngp", "ntk")
    kernels = kernel_fn(x, None, names)
    built_in = network(stax.Exp(1, FLAGS.a))[2](x, None, names)
    draws_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(0), FLAGS.draws, vmap_axes=0)
    estimates = draws_fn(x, None, names)

    print(f"largest relative differences, {FLAGS.images} images, f(x) = exp({FLAGS.a} x)")
    print(f"        to stax.Exp  to {FLAGS.draws} networks of {FLAGS.width} hidden units")
    results = {}
    for name in names:
        kernel, *others = (np.asarray(getattr(k, name)) for k in (kernels, built_in, estimates))
        results[name] = tuple(float(np.max(np.abs(other / kernel - 1))) for other in others)
        print(f"  {name.upper():4} {results[name][0]:12.1e} {results[name][1]:12.1e}")
    return results


if __name__ == "__main__":
    main(sys.argv)
