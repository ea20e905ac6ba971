"""Wrong uses of kernels of finite networks: type checkers find each marked line, and none but these."""

import jax

import neural_tangents as nt
from neural_tangents import stax

Params = dict[str, jax.Array]

key = jax.random.key(1)
x = jax.random.normal(key, (4, 3))
params: Params = {"w": x.T}


def f(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["w"]


network = stax.Dense(8)

nt.empirical_ntk_fn(network)  # error: a layer for a function
nt.empirical_ntk_fn(f, trace_axis=())  # error: misspelt keyword argument
nt.empirical_ntk_fn(f, trace_axes="all")  # error: text for axes
nt.empirical_ntk_fn(f, implementation="AUTO")  # error: text for an implementation
nt.empirical_ntk_fn(f)(params, x)  # error: no parameters
nt.empirical_ntk_fn(f)(x, None, params).ntk  # error: an array has no kernels
nt.NtkImplementation.JACOBIAN  # error: no such implementation

kernel_fn = nt.empirical_kernel_fn(f)
kernel_fn(x, None, params)  # error: no `get`
kernel_fn(x, None, 3, params)  # error: a number for a name
kernel_fn(x, None, "ntk", params).nngp  # error: an array has no kernels
kernel_fn(x, None, None, params).nngpp  # error: misspelt name

operator = nt.empirical_ntk_operator_fn(f)(x, None, params)
operator.matmul(x)  # error: no such method
operator.trace(x)  # error: too many arguments

nt.linearize(f)  # error: no parameters
nt.taylor_expand(f, params, 2.5)  # error: no whole degree
nt.monte_carlo_kernel_fn(network, key, 2)  # error: a layer for two functions
nt.monte_carlo_kernel_fn(*network, key, 2)  # error: three functions instead of two
nt.monte_carlo_kernel_fn(network.init_fn, network.apply_fn, key, 2.5)  # error: no whole number of draws
