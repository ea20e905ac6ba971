"""Tiles on several devices, in processes whose CPU stands for 4 or 8 of them."""

import pytest
from simulated_devices import run

PREAMBLE = """
import functools, jax, jax.numpy as jnp, numpy as np, neural_tangents as nt
from neural_tangents import stax

def inputs(n, seed=0):
    return np.random.default_rng([seed, n]).normal(size=(n, 3)).astype(np.float32)

def assert_equal(found, expected, *case):
    assert jax.tree.structure(found) == jax.tree.structure(expected), case
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=str(case))

init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(4, b_std=0.1), stax.Relu(), stax.Dropout(0.5), stax.Dense(2))
"""

GRID = """
# A cheap function, for many sizes: an entry tells which inputs it belongs to.
def product(x1, x2):
    x2 = x1 if x2 is None else x2
    return jnp.tanh(x1 @ x2.T), x1[:, None, :, None] * x2[None, :, None, :]

def not_symmetric(x1, x2=None):
    return jnp.exp(x1) @ (x1 if x2 is None else x2).T

for count in (1, 2, 3, 8):
    found = nt.batch(not_symmetric, 3, count)(inputs(7))
    np.testing.assert_allclose(found, not_symmetric(inputs(7)), rtol=1e-4)

for count in (1, 2, 3, 8):
    for size in (0, 1, 3, 8):
        for n1 in (1, 7, 17):
            for n2 in (None, 1 + 5 * n1 % 17):
                x1, x2 = inputs(n1), None if n2 is None else inputs(n2, 1)
                store = (n1 + size) % 2 == 0
                found = nt.batch(product, size, count, store)(x1, x2)
                assert_equal(found, product(x1, x2), count, size, n1, n2, store)
                assert isinstance(found[0], jax.Array if store else np.ndarray)
"""

KINDS = """
init, apply, _ = stax.serial(stax.Dense(4, b_std=0.1), stax.Relu(), stax.Dense(2))
params = init(jax.random.key(0), (-1, 3))[1]
x1, x2 = inputs(7), inputs(5, 1)
for fn in (lambda a, b: a @ b.T @ b, lambda a, b: (a @ x1.T) @ x1 @ b.T if len(a) == 7 else None):
    for call in (nt.batch(fn), jax.jit(nt.batch(fn))):  # without a size of tiles, whole batches are a way out
        np.testing.assert_allclose(call(x1, x2), fn(x1, x2), rtol=1e-4, atol=1e-4)
assert_equal(nt.batch(kernel_fn, 2, 3)(np.matrix(x1), None, "ntk"), kernel_fn(x1, None, "ntk"))
mask = x1.copy()
mask[2] = 9
for name, fn, args, keywords in (
    ("kernels", kernel_fn, (), {}),
    ("masks", kernel_fn, (("ntk", "cov1"),), dict(mask_constant=9.0)),
    ("finite", nt.empirical_ntk_fn(apply, trace_axes=()), (params,), {}),
    ("diagonal", nt.empirical_ntk_fn(apply, trace_axes=(), diagonal_axes=(-1,)), (), dict(params=params)),
    ("both", nt.empirical_kernel_fn(apply, vmap_axes=0), (None, params), {}),
    ("random", nt.monte_carlo_kernel_fn(init, apply, jax.random.key(1), 2), ("ntk",), {}),
):
    for second in (None, x2, mask.copy()):
        assert_equal(nt.batch(fn, 2, 3)(mask, second, *args, **keywords), fn(mask, second, *args, **keywords), name)
assert_equal(nt.batch(kernel_fn)(x1, x2), kernel_fn(x1, x2))

# One compilation for all devices; whole arrays, such as parameters, are shared; keys are those of blocks.
ntk_fn = nt.batch(nt.empirical_ntk_fn(apply_fn), 2, 3)
first = init_fn(jax.random.key(0), (-1, 3))[1]
on_one = nt.batch(nt.empirical_ntk_fn(apply_fn), 2, 0)(x1, None, first, rng=jax.random.key(3))
assert_equal(ntk_fn(x1, None, first, rng=jax.random.key(3)), on_one)
later, other = jax.tree.map(lambda x: x + 1, first), jax.random.key(4)
events = []
listen = lambda event, duration, **_: events.append(event) if "trace" in event or "compile" in event else None
jax.monitoring.register_event_duration_secs_listener(listen)
ntk_fn(x1, None, later, rng=other)
assert not events, events

# Under transformations, devices are the caller's business.
total = lambda fn: lambda x: jnp.sum(fn(x, None, "ntk"))
assert_equal(jax.jit(jax.grad(total(nt.batch(kernel_fn, 3))))(x1), jax.grad(total(kernel_fn))(x1))
found = jax.grad(lambda s: jnp.sum(nt.batch(lambda a, b: s * a @ b.T, 2)(x1, x2)))(2.0)
np.testing.assert_allclose(found, np.sum(x1 @ x2.T), rtol=1e-4)
assert nt.batch(kernel_fn, 2)(x1, x2, "ntk").devices() == {jax.devices()[0]}
try:
    nt.batch(kernel_fn, 2, 9)
except ValueError as error:
    print(error)
"""

PLACES = """
params, x1, x2 = jnp.ones((3, 2)), inputs(8), inputs(5, 1)
project = nt.empirical_nngp_fn(lambda params, x: x @ params)
third = jax.device_put((x1, params), jax.devices()[2])
spread = jax.device_put(x1, jax.NamedSharding(jax.make_mesh((4,), ("x",)), jax.P("x")))
for x, weights in (third, (spread, params)):
    for count in (1, 3):
        assert_equal(nt.batch(project, 3, count)(x, None, weights), project(x1, None, params))
identity = stax.Identity()[2]
assert_equal(nt.batch(identity, 2)(nt.batch(identity, 3)(x1, x2)), identity(x1, x2))
"""

# In jax 0.10 and 0.12, arguments of `pmap` that are trees with as many leaves in all as there are arguments are mapped
# along the wrong axes. If this fails, the fault is mended, and `TileFunction.on_devices` can pass trees.
CANARY = """
import jax, jax.numpy as jnp
f = jax.pmap(lambda x, none, pair: (x + 0 * pair[0].sum(), pair[0]), in_axes=(0, None, 0), devices=jax.devices()[:2])
x = jnp.arange(2.0)
try:
    right = f(x, [], [jnp.ones((2, 3)), jnp.ones((2, 3))])[1].shape == (2, 3)
except ValueError:
    right = False
print(jax.__version__, "right" if right else "wrong")
"""


@pytest.mark.slow
def test_any_sizes_on_any_number_of_devices():
    """Most pairs of sizes of batches and of tiles are tested without devices, in tests/core/tiling/test_grid.py."""
    run(PREAMBLE + GRID, 8)


@pytest.mark.slow
def test_all_kinds_of_kernel_functions_on_several_devices():
    assert "`device_count` from -1, for all devices, to 4" in run(PREAMBLE + KINDS, 4)


@pytest.mark.slow
def test_inputs_may_lie_on_any_devices():
    """As the results of a call do, which another one may take."""
    run(PREAMBLE + PLACES, 4)


def test_pmap_of_trees():
    version, verdict = run(CANARY, 2).split()
    assert verdict == ("right" if version.startswith(("0.8.", "0.9.")) else "wrong")
