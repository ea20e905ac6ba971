"""Kernels of finite networks inside `jax.shard_map` with its default check, in `jax.pmap`, and for inputs on shards."""

import finite_networks
import pytest
from simulated_devices import run

PREAMBLE = """
import functools, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from finite_networks import NETWORKS
import neural_tangents as nt
jax.config.update("jax_enable_x64", True)
mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
spread = functools.partial(jax.shard_map, mesh=mesh, out_specs=P("i"))

def of_devices(x):
    "Four batches of the shape of one, a batch for each device."
    return np.stack([(x + k) % 5 if x.dtype.kind == "i" else x * (1 + k / 7) for k in range(4)])

def assert_equal(found, wanted, name):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=str(name))
"""

ALL = """
for name in sys.argv[1:]:
    net = NETWORKS[name].cast(np.float64)
    several = jax.tree.map(of_devices, net.x1)
    vmap_axes = 0 if net.independent else None

    def kernels(implementation, x, x2, params):
        ntk_fn = nt.empirical_ntk_fn(net.f, (), (), vmap_axes, implementation)
        return ntk_fn(x, x2, params), ntk_fn(x, None, params)

    def inside(several, x2, params):
        x = jax.tree.map(lambda x: x[0], several)
        found = [kernels(i, x, x2, params) for i in ((1, 2, 3) if net.forward else (1, 3))]
        return jax.tree.map(lambda k: k[None], found)

    on_devices = jax.jit(spread(inside, in_specs=(P("i"), P(), P())))
    if not NUMBERS:
        jax.eval_shape(on_devices, several, net.x2, net.params)
        continue
    of_one = lambda x: kernels(1, x, net.x2, net.params)
    truth = jax.jit(lambda several: jax.lax.map(of_one, several))(several)
    for of_implementation in on_devices(several, net.x2, net.params):
        assert_equal(of_implementation, truth, name)
"""


# Without those that jax itself cannot differentiate there: several cotangents of a convolution in groups.
NAMES = [name for name in finite_networks.NETWORKS if name != "conv, groups, crop"]


@pytest.mark.slow
def test_every_network_is_traced():
    """What varies between devices is checked when a program is traced."""
    run(PREAMBLE + "NUMBERS = False" + ALL, 4, *NAMES)


@pytest.mark.slow
def test_numbers_of_some_networks():
    """Derivatives could be summed over devices: each way to take them, and each kind of shared parameter."""
    names = ["mlp", "conv", "two outputs", "tied embedding", "stacked", "scan over layers", "holomorphic", "no rules"]
    run(PREAMBLE + "NUMBERS = True" + ALL, 4, *names)


OTHERS = """
net = NETWORKS["mlp"].cast(np.float64)
f, params, x2 = net.f, net.params, net.x2
x1 = jnp.asarray(of_devices(net.x1)).reshape(12, 5)
v1, v2 = (jnp.asarray(np.random.default_rng(n).normal(size=(n, 3))) for n in (12, 2))
of_blocks = functools.partial(jax.tree.map, lambda x: x.reshape(4, 3, *x.shape[1:]))

def blocks(fn, *args):
    "Results for each block of the arguments that are spread, without devices."
    found = jax.vmap(fn, (0, *[None] * (len(args) - 1)))(*of_blocks(args[:1]), *args[1:])
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

def check(name, fn, *args):
    "`fn`, whose first argument is spread over devices."
    found = jax.jit(spread(fn, in_specs=(P("i"), *[P()] * (len(args) - 1))))(*args)
    assert_equal(found, jax.jit(functools.partial(blocks, fn))(*args), name)

operator_fn = nt.empirical_ntk_operator_fn(f, vmap_axes=0)
shared = {"params": params, "rest": (x2, v2)}
for name, fn in {
    "operator": lambda x, s: operator_fn(x, s["rest"][0], s["params"]).matvec(s["rest"][1][:, 0]),
    "transposed": lambda x, s: operator_fn(s["rest"][0], x, s["params"]).matvec(x[:, 0])[None],
    "diagonal": lambda x, s: operator_fn(x, None, s["params"]).diagonal(),
    "in blocks": lambda x, s: nt.batch(operator_fn, 2)(x, None, s["params"]).matvec(x[:, 0]),
    "trace": lambda x, s: operator_fn(x, None, s["params"]).trace()[None],
    "vp": lambda x, s: nt.empirical_ntk_vp_fn(f, x, s["rest"][0], s["params"])(s["rest"][1]),
    "vp of the second batch": lambda x, s: nt.empirical_ntk_vp_fn(f, s["rest"][0], x, s["params"])(x[:, :3])[None],
    "nngp": lambda x, s: nt.empirical_nngp_fn(f)(x, s["rest"][0], s["params"]),
    "both": lambda x, s: nt.empirical_kernel_fn(f)(x, s["rest"][0], None, s["params"]),
    "tiles": lambda x, s: nt.batch(nt.empirical_ntk_fn(f), 2)(x, s["rest"][0], s["params"]),
    "tiles of one batch": lambda x, s: nt.batch(nt.empirical_kernel_fn(f), 2)(x, None, None, s["params"]),
    "vmap": lambda x, s: jax.vmap(lambda one: nt.empirical_ntk_fn(f)(one[None], s["rest"][0], s["params"]))(x),
    "linear": lambda x, s: nt.linearize(f, s["params"])(jax.tree.map(lambda p: 1.1 * p, s["params"]), x),
    "Taylor": lambda x, s: nt.taylor_expand(f, s["params"], 2)(jax.tree.map(lambda p: p * x[0, 0], s["params"]), x),
    "derivative": lambda x, s: jax.grad(lambda x: jnp.sum(nt.empirical_ntk_fn(f)(x, x2, s["params"]) ** 2))(x),
}.items():
    check(name, fn, x1, shared)

# The networks of other devices: parameters that are spread, or what a network takes besides.
def stretched(p, x, scale):
    return f(p, x * scale[0])

scales = jnp.arange(1.0, 5)
for implementation in (1, 2, 3):
    ntk_fn = nt.empirical_ntk_fn(stretched, implementation=implementation)
    for vmap_axes in (None, 0):
        of_scale = lambda s, x: nt.empirical_ntk_fn(
            stretched, vmap_axes=vmap_axes, implementation=implementation)(x, None, params, scale=s)[None]
        found = jax.jit(spread(of_scale, in_specs=(P("i"), P())))(scales, x2)
        assert_equal(found, [np.stack([of_scale(s[None], x2)[0] for s in scales])], ("keyword", implementation))
several = jax.tree.map(lambda p: jnp.stack([p * (1 + k / 5) for k in range(4)]), params)
ntk_fn = nt.empirical_ntk_fn(f)
own = lambda p: jax.tree.map(lambda k: k[None], ntk_fn(x2, None, jax.tree.map(lambda p: p[0], p)))
wanted = jax.vmap(lambda p: ntk_fn(x2, None, p))(several)
assert_equal(jax.jit(spread(own, in_specs=P("i")))(several), [wanted], "parameters")
assert_equal(jax.pmap(lambda p: ntk_fn(x2, None, p))(several), [wanted], "pmap")
mapped = jax.pmap(jax.vmap(lambda p, x: ntk_fn(x[None], x2, p), (None, 0)), in_axes=(0, None))
wanted = jax.vmap(jax.vmap(lambda p, x: ntk_fn(x[None], x2, p), (None, 0)), (0, None))(several, x1)
assert_equal(mapped(several, x1), [wanted], "pmap of vmap")
mapped = jax.vmap(spread(lambda x, p: ntk_fn(x, x2, p), in_specs=(P("i"), P())), (None, 0))
assert_equal(jax.jit(mapped)(x1, several), [jax.vmap(lambda p: ntk_fn(x1, x2, p))(several)], "vmap of shard_map")

# Two axes of a mesh; each kernel varies along those of its inputs.
grid = jax.make_mesh((2, 2), ("i", "j"), axis_types=(AxisType.Auto,) * 2)
specs = dict(in_specs=(P("i"), P("j"), P()), out_specs=P("i", "j"))
in_two = jax.shard_map(lambda a, b, p: ntk_fn(a, b, p), mesh=grid, **specs)
assert_equal(jax.jit(in_two)(x1, x2, params), [ntk_fn(x1, x2, params)], "two axes")
in_one = jax.shard_map(lambda a, p: ntk_fn(a, None, p), mesh=grid, in_specs=(P("i"), P()), out_specs=P("i"))
wanted = np.concatenate([ntk_fn(x, None, params) for x in (x1[:6], x1[6:])])
assert_equal(jax.jit(in_one)(x1, params), [wanted], "one of two axes")

# Random parameters, drawn on each device.
init_fn = lambda key, shape: ((shape[0], 3), jax.tree.map(lambda p: jax.random.normal(key, p.shape), params))
random_fn = nt.monte_carlo_kernel_fn(init_fn, lambda p, x, **_: f(p, x), jax.random.key(1), 2)
check("Monte Carlo", lambda x, s: random_fn(x, s), x1, x2)

for spec in (P("i"), P()):
    placed = jax.device_put(x1, NamedSharding(mesh, spec)), jax.device_put(x2, NamedSharding(mesh, P()))
    for implementation in (1, 2, 3):
        fn = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=implementation)
        assert_equal(jax.jit(fn)(*placed, params), [fn(x1, x2, params)], "shards")
    for fn in (nt.batch(ntk_fn, 2), lambda a, b, p: operator_fn(a, b, p).matvec(v2[:, 0])):
        assert_equal(jax.jit(fn)(*placed, params), [fn(x1, x2, params)], "shards")
"""


@pytest.mark.slow
def test_other_functions():
    run(PREAMBLE + OTHERS, 4)
