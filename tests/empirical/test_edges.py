"""Functions, shapes and arguments at the edges of what is allowed, against products of whole Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS, X1, X2, assert_close, full_ntk, mlp, normal, reduced
from sweeps import mostly_slow

import neural_tangents as nt

W, SQUARE, TABLE = normal(3, 2), normal(2, 3, 3), normal(4, 3)


def layers(p, x):
    return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["w"])[0]


# Networks of inputs `(N, 3)`: function, parameters, and whether it acts on each input alone.
FUNCTIONS = {
    "linear": (lambda p, x: x @ p["w"], {"w": W}, True),
    "parameters used twice": (lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"].T, {"w": W}, True),
    "parameters alone": (lambda p, x: jnp.broadcast_to(p["b"][None], (x.shape[0], 2)), {"b": normal(2)}, True),
    "no axes": (lambda p, x: jnp.sum(jnp.sin(x) * p["b"][None]), {"b": normal(3)}, False),
    "three axes": (lambda p, x: jnp.sin(x[:, :, None] * p["b"].reshape(1, 1, 2)), {"b": normal(2)}, True),
    "a number": (lambda p, x: (x @ p["w"], 0.0), {"w": W}, False),
    "an integer": (lambda p, x: {"y": x @ p["w"], "loss": 0}, {"w": W}, False),
    "a constant": (lambda p, x: [x @ p["w"], np.ones((x.shape[0], 1)), x], {"w": W}, True),
    "a sum of parameters": (lambda p, x: (jnp.sum(p["w"] ** 2), x @ p["w"], p["w"]), {"w": W}, False),
    "nothing": (lambda p, x: (x @ p["w"])[:, :0], {"w": W}, True),
    "nothing of parameters used twice": (lambda p, x: (x @ p["w"] @ p["w"].T)[:, :0], {"w": W}, True),
    "nothing and something": (lambda p, x: ((x @ p["w"])[:, :0], jnp.tanh(x @ p["w"]) @ p["w"].T), {"w": W}, True),
    "no parameters": (lambda p, x: jnp.tanh(x), {}, True),
    "unused parameters": (lambda p, x: jnp.tanh(x), {"w": W}, True),
    "empty parameters": (lambda p, x: x[:, :0] @ p["w"] + p["b"][None], {"w": W[:0], "b": normal(2)}, True),
    "no hidden units": (lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"].T, {"w": W[:, :0]}, True),
    "layers in a loop": (layers, {"w": SQUARE}, True),
    "a loop of no layers": (layers, {"w": SQUARE[:0]}, True),
    "reads nothing": (lambda p, x: p["t"][jnp.zeros((len(x), 0), int)].sum(1) + x, {"t": TABLE}, True),
    "reads a part": (lambda p, x: jax.lax.dynamic_slice(p["t"], (1, 0), (1, 3)) * x, {"t": TABLE}, True),
}


def kernels(name, x1, x2, params):
    f, _, independent = FUNCTIONS[name]
    return [
        nt.empirical_ntk_fn(f, (), (), vmap_axes, implementation)(x1, x2, params)
        for implementation in (0, 1, 2, 3)
        for vmap_axes in ((None, 0) if independent else (None,))
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    """Of several inputs, and of a single one with itself."""
    with jax.enable_x64(True):
        f, params, _ = FUNCTIONS[name]
        x1, x2 = normal(2, 3), normal(3, 3)

        def floats(p, x):
            return jax.tree.map(lambda out: 1.0 * out, f(p, x))

        both, own = jax.jit(lambda *args: (kernels(name, *args), kernels(name, args[0][:1], None, args[2])))(
            x1, x2, params
        )
        for found, a, b in ((both, x1, x2), (own, x1[:1], x1[:1])):
            outputs = jax.tree.leaves(jax.eval_shape(f, params, jnp.asarray(a)))
            truth = full_ntk(floats, params, jnp.asarray(a), jnp.asarray(b)) if params else [0.0] * len(outputs)
            for of_way in found:
                for kernel, wanted in zip(jax.tree.leaves(of_way), truth, strict=True):
                    assert_close(kernel, reduced(wanted) if params else np.zeros(kernel.shape))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("sizes", mostly_slow([(0, 2), (2, 0), (0, 0), (0, None)], [(2, 0), (0, None)]))
def test_empty_batches(name, sizes):
    """Only shapes are left to compare: outputs have no entries, or do not depend on parameters."""
    f, params, _ = FUNCTIONS[name]
    n1, n2 = sizes
    x1 = jnp.zeros((n1, 3))
    x2 = None if n2 is None else jnp.zeros((n2, 3))
    shapes1, shapes2 = (
        [out.shape for out in jax.tree.leaves(jax.eval_shape(f, params, x))] for x in (x1, x1 if n2 is None else x2)
    )
    wanted = [tuple(np.ravel([a, b], "F")) for a, b in zip(shapes1, shapes2, strict=True)]
    for found in jax.eval_shape(lambda *args: kernels(name, *args), x1, x2, params):
        assert [kernel.shape for kernel in jax.tree.leaves(found)] == wanted


# Trees with None in them.


def of_tree(p, x, **kwargs):
    assert x["a"][0] is None and x["b"] is None
    return mlp(p, x["a"][1] * x["c"])


def tree(x):
    return {"a": (None, x), "b": None, "c": x[:, :1]}


@pytest.mark.slow
def test_inputs_with_none_in_them():
    # jax 0.10 keeps float64 arrays of NumPy that are constants of compiled functions as float32, also for x64 later.
    constants = jax.tree.map(np.float32, MLP_PARAMS)

    def init_fn(key, shapes):
        assert shapes == {"a": (None, X1.shape), "b": None, "c": (3, 1)}
        return None, constants

    def both(x):
        return mlp(MLP_PARAMS, x * x[:, :1])

    ntk_fn = nt.empirical_ntk_fn(lambda p, x: mlp(p, x * x[:, :1]))
    wanted, own = ntk_fn(X1, X2, MLP_PARAMS), ntk_fn(X1, None, MLP_PARAMS)
    x1, x2 = tree(X1), tree(X2)
    found = nt.empirical_ntk_fn(of_tree)
    for fn in (found, nt.batch(found, 2), nt.empirical_ntk_fn(of_tree, vmap_axes=0), jax.jit(found)):
        np.testing.assert_allclose(fn(x1, x2, MLP_PARAMS), wanted, rtol=1e-5)
        for same in (None, {"a": (None, None), "b": None, "c": None}, {"a": None, "b": None, "c": x1["c"]}):
            np.testing.assert_allclose(fn(x1, same, MLP_PARAMS), own, rtol=1e-5)
    nngp = np.asarray(both(X1) @ both(X2).T / 3)
    np.testing.assert_allclose(nt.empirical_nngp_fn(of_tree)(x1, x2, MLP_PARAMS), nngp, rtol=1e-5)
    np.testing.assert_allclose(nt.empirical_kernel_fn(of_tree)(x1, x2, "nngp", MLP_PARAMS), nngp, rtol=1e-5)
    v = np.float32([1.0, -2.0])
    operator = nt.empirical_ntk_operator_fn(of_tree)(x1, x2, MLP_PARAMS)
    np.testing.assert_allclose(operator.matvec(v), wanted @ v, rtol=1e-4)
    for batch_size in (0, 2):
        estimate = nt.monte_carlo_kernel_fn(init_fn, of_tree, jax.random.key(0), 1, batch_size)
        np.testing.assert_allclose(estimate(x1, x2, "ntk"), wanted, rtol=1e-5)
    for other in ({"a": (X2, X2), "b": None, "c": X2}, {"a": [None, X2], "b": None, "c": X2}, {"a": X2}):
        with pytest.raises(ValueError, match="x1 and x2 to be trees of arrays of the same structure"):
            found(x1, other, MLP_PARAMS)


# Random keys.


def noisy(p, x, rng):
    return mlp(p, x) * jax.random.normal(rng, (1, 3))


def test_one_key_of_a_pair():
    """Without a second batch there is no use for a second key."""
    key, ntk_fn = jax.random.key(1), nt.empirical_ntk_fn(noisy)
    for fn in (ntk_fn, jax.jit(ntk_fn)):
        wanted = fn(X1, None, MLP_PARAMS, rng=key)
        np.testing.assert_array_equal(fn(X1, None, MLP_PARAMS, rng=(key, None)), wanted)
    tiles = nt.batch(ntk_fn, 2)
    pair, wanted = tiles(X1, None, MLP_PARAMS, rng=(key, None)), tiles(X1, None, MLP_PARAMS, rng=key)
    np.testing.assert_array_equal(pair, wanted)
    for fn in (ntk_fn, tiles):
        with pytest.raises(TypeError, match="`rng` to be None, a random key, or a pair of keys"):
            fn(X1, X2, MLP_PARAMS, rng=(key, None))
