"""Right uses of kernels of finite networks: type checkers accept all of them, and they run."""

from typing import assert_type

import jax
import jax.numpy as jnp

import neural_tangents as nt
from neural_tangents import empirical, stax

Params = dict[str, jax.Array]

key1, key2, key3 = jax.random.split(jax.random.key(1), 3)
x1, x2 = jax.random.normal(key1, (4, 3)), jax.random.normal(key2, (2, 3))
params: Params = {"w": jax.random.normal(key1, (3, 8)), "v": jax.random.normal(key2, (8, 2))}


def f(params: Params, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["w"]) @ params["v"]


ntk_fn = nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=nt.NtkImplementation.NTK_VECTOR_PRODUCTS)
assert_type(ntk_fn(x1, x2, params), jax.Array)
assert ntk_fn(x1, None, params).shape == (4, 4, 2, 2)
nngp_fn = nt.empirical_nngp_fn(f, diagonal_axes=(), hermitian=True)
assert_type(nngp_fn(x1, x2, params), jax.Array)
kernel_fn = nt.empirical_kernel_fn(f, implementation=1, hermitian=True)
assert_type(kernel_fn(x1, x2, "ntk", params), jax.Array)
assert kernel_fn(x1, x2, None, params).nngp.shape == (4, 2)
assert kernel_fn(x1, x2, ("nngp", "ntk"), params).ntk.shape == (4, 2)

operator = nt.empirical_ntk_operator_fn(f, hermitian=True)(x1, None, params)
assert_type(operator, empirical.NtkOperator)
assert operator.matvec(x1[:, 0]).shape == operator.diagonal().shape == (4,)
assert nt.empirical_ntk_vp_fn(f, x1, x2, params)(f(params, x2)).shape == (4, 2)

f_lin = nt.linearize(f, params)
quadratic = nt.taylor_expand(f, params, degree=2)
assert f_lin(params, x1).shape == quadratic(params, x1).shape == (4, 2)

init_fn, apply_fn, _ = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
draws_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, key3, n_samples=2, vmap_axes=0)
assert_type(draws_fn(x1, x2, "ntk"), jax.Array)
assert draws_fn(x1, None).nngp.shape == (4, 4)
estimate = nt.monte_carlo_kernel_fn(init_fn, apply_fn, key3, 2, standard_error=True)(x1, x2, "nngp")
assert estimate.standard_error.shape == (4, 2)
several = nt.monte_carlo_kernel_fn(init_fn, apply_fn, key3, [1, 2])(x1, x2, "nngp")
assert [kernel.shape for kernel in several] == [(4, 2), (4, 2)]


def own_init_fn(rng: jax.Array, input_shape: tuple[int, ...]) -> tuple[tuple[int, ...], Params]:
    return (*input_shape[:-1], 2), {"w": jax.random.normal(rng, (3, 8)), "v": jax.random.normal(rng, (8, 2))}


def own_apply_fn(params: Params, x: jax.Array, rng: jax.Array | None = None) -> jax.Array:
    return f(params, x)


assert_type(nt.monte_carlo_kernel_fn(own_init_fn, own_apply_fn, key3, 2)(x1, x2, "ntk"), jax.Array)
