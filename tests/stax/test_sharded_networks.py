"""Kernels of every layer inside `jax.shard_map` with its default check, in `jax.pmap`, and for inputs on shards."""

import layer_cases
import pytest
from simulated_devices import run

PREAMBLE = """
import functools, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from layer_cases import CASES
import neural_tangents as nt
from neural_tangents import stax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
random = np.random.default_rng(0)
x1, x2 = (random.normal(size=(n, 4, 3)) for n in (4, 3))
g1, g2 = (random.uniform(size=(n, 4, 4)) for n in (4, 3))
mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))

def fields(kernels):
    of_one = lambda k: (k.nngp, k.ntk, k.cov1)
    return jax.tree.map(of_one, kernels, is_leaf=lambda k: isinstance(k, nt.Kernel))

def assert_equal(found, wanted, name):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=name)

def check(name, net, takes_pattern=False, only_trace=False):
    def both(x1, x2, g1, g2):
        return fields(net[2](x1, x2, **({"pattern": (g1, g2)} if takes_pattern else {})))

    def own(x1, x2, g1, g2):
        return fields(net[2](x1, None, **({"pattern": (g1, g1)} if takes_pattern else {})))

    def parts(x1, x2, g1, g2):
        found = jax.vmap(own, (0, None, 0, None))(x1[:, None], x2, g1[:, None], g2)
        return both(x1, x2, g1, g2), jax.tree.map(lambda k: k.reshape(-1, *k.shape[2:]), found)

    fn = lambda *args: (both(*args), own(*args))
    spread = jax.shard_map(fn, mesh=mesh, in_specs=(P("i"), P(), P("i"), P()), out_specs=P("i"))
    if only_trace:
        return jax.eval_shape(spread, x1, x2, g1, g2)
    assert_equal(jax.jit(spread)(x1, x2, g1, g2), jax.jit(parts)(x1, x2, g1, g2), name)
"""

LAYERS = """
for name in sys.argv[1:]:
    case = CASES[name]
    check(name, case.net, case.takes == "pattern", ONLY_TRACE)
    if case.streams and name not in ("Flatten", "GlobalAvgPool", "GlobalSumPool"):
        streamed = stax.serial(stax.Conv(3, (2,), None, "SAME"), case.net, stax.GlobalAvgPool())
        check(name, streamed, only_trace=ONLY_TRACE)
"""

NETWORKS = """
dense, erf, conv = stax.Dense(3, 1.2, 0.1), stax.Erf(), stax.Conv(3, (3,), None, "SAME", 1.2, 0.1)
attention = stax.GlobalSelfAttention(5, 2, 2, 2, True, attention_mechanism="SOFTMAX")
networks = {
    "pooled": stax.serial(conv, erf, conv, stax.Relu(), stax.AvgPool((2,), (2,)), conv, stax.Flatten(), dense),
    "all pairs": stax.serial(conv, stax.Relu(), conv),
    "a loop": stax.serial(*[dense, erf] * 7),
    "numbers that differ": stax.serial(*[stax.serial(stax.Dense(3, 1 + i / 10), stax.Relu()) for i in range(7)]),
    "repeat": stax.repeat(stax.serial(dense, stax.Relu()), 7),
    "attention": stax.serial(attention, stax.GlobalAvgPool()),
}
for name, net in networks.items():
    check(name, net)

def masked(fn):
    return lambda x1, x2=None, **kwargs: fn(x1, x2, mask_constant=9.0, **kwargs)

x1[:, 2:] = x2[:2, 3:] = 9.0
check("masks", (None, None, masked(networks["pooled"][2])))
"""

WAYS = """
x1, x2 = (random.normal(size=(n, 4, 3)) for n in (8, 3))
conv, get = stax.Conv(3, (3,), None, "SAME", 1.2, 0.1), ("nngp", "ntk")
_, _, kernel_fn = stax.serial(conv, stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1))
whole = kernel_fn(x1, x2, get)

# A number that differs between devices in the network itself; two axes of a mesh; tiles; derivatives.
scaled = lambda s, x1, x2, get: stax.serial(stax.Dense(1, s), stax.Relu(), conv, stax.GlobalAvgPool())[2](x1, x2, get)
scales = np.linspace(0.5, 2, 4)
of_number = lambda s: scaled(s[0], x1, x2, "ntk")[None]
found = jax.jit(jax.shard_map(of_number, mesh=mesh, in_specs=P("i"), out_specs=P("i")))(scales)
assert_equal(found, [np.stack([scaled(s, x1, x2, "ntk") for s in scales])], "a number of a layer")

grid = jax.make_mesh((2, 2), ("i", "j"), axis_types=(AxisType.Auto,) * 2)
both = jax.shard_map(lambda a, b: kernel_fn(a, b, get), mesh=grid, in_specs=(P("i"), P("j")), out_specs=P("i", "j"))
assert_equal(jax.jit(both)(x1, x1[::-1]), kernel_fn(x1, x1[::-1], get), "two axes")

spread = functools.partial(jax.shard_map, mesh=mesh, in_specs=(P("i"), P()), out_specs=P("i"))
of_tiles = nt.batch(kernel_fn, 1)
assert_equal(jax.jit(spread(lambda a, b: of_tiles(a, b, get)))(x1, x2), whole, "tiles")
total = lambda fn: lambda a: jnp.sum(jnp.sin(fn(a, x2)))
slope = jax.jit(jax.grad(total(spread(lambda a, b: kernel_fn(a, b, "ntk")))))
assert_equal(slope(x1), jax.grad(total(lambda a, b: kernel_fn(a, b, "ntk")))(x1), "a derivative")

stacked = x1.reshape(4, 2, 4, 3)
blocks = jax.tree.map(lambda k: k.reshape(4, 2, *k.shape[1:]), whole)
assert_equal(jax.pmap(lambda a, b: kernel_fn(a, b, get), in_axes=(0, None))(stacked, x2), blocks, "pmap")
three = jnp.stack([x1, -x1, 2 * x1])
wanted = [jnp.stack(k) for k in zip(*(kernel_fn(x, x2, get) for x in three))]
mapped = jax.vmap(spread(lambda a, b: kernel_fn(a, b, get)), (0, None))
assert_equal(jax.jit(mapped)(three, x2), wanted, "vmap of shard_map")
inside = spread(lambda a, b: jax.vmap(lambda x: kernel_fn(x[None], b, get))(a))
assert_equal(jax.jit(inside)(x1, x2), jax.tree.map(lambda k: k[:, None], whole), "vmap in shard_map")
mapped = jax.pmap(jax.vmap(lambda a, b: kernel_fn(a, b, get), (0, None)), in_axes=(1, None))
wanted = jax.tree.map(lambda k: np.swapaxes(np.asarray(k).reshape(3, 4, 2, *k.shape[2:]), 0, 1), wanted)
assert_equal(mapped(three.reshape(3, 4, 2, 4, 3), x2), wanted, "pmap of vmap")

placed = jax.device_put(x1, NamedSharding(mesh, P("i"))), jax.device_put(x2, NamedSharding(mesh, P()))
for fn in (kernel_fn, of_tiles):
    assert_equal(jax.jit(lambda a, b: fn(a, b, get))(*placed), whole, "jit of sharded inputs")
    assert_equal(fn(*placed, get), whole, "sharded inputs")
"""


@pytest.mark.slow
def test_every_layer_is_traced():
    """What varies between devices is checked when a program is traced."""
    run(PREAMBLE + "ONLY_TRACE = True" + LAYERS, 4, *layer_cases.CASES)


@pytest.mark.slow
def test_numbers_of_some_layers():
    """Those with loops, tables, indices or branches of their own."""
    names = [
        "Relu",
        "Tanh",
        "HardTanh",
        "ElementwiseNumerical",
        "Conv",
        "GlobalSelfAttention",
        "LayerNorm",
        "Aggregate",
    ]
    run(PREAMBLE + "ONLY_TRACE = False" + LAYERS, 4, *names, "Index", "parallel", "repeat")


@pytest.mark.slow
@pytest.mark.parametrize("script", [NETWORKS, WAYS], ids=["networks", "ways to spread work"])
def test_networks(script):
    run(PREAMBLE + script, 4)
