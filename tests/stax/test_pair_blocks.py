"""Networks of vectors in blocks of pairs, against the same networks at once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeps import mostly_slow

from neural_tangents import stax
from neural_tangents.stax import _compiled_runs, _pair_blocks

KEY = jax.random.key(0)


def deep(*nonlinearities):
    layers = [layer for phi in nonlinearities for layer in (stax.Dense(8, 1.4, 0.1), phi)]
    return stax.serial(*layers, stax.Dense(1))


def residual():
    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Relu(), stax.Dense(8), stax.Erf(), stax.Dense(8)), stax.Identity()),
        stax.FanInSum(),
    )
    return stax.serial(stax.Dense(8), block, block, stax.LayerNorm(), stax.Relu(), stax.Dense(1))


def branches():
    """A network with two outputs."""
    first = [stax.Dense(8), stax.Relu(), stax.Dense(8), stax.Relu(), stax.Dense(8)]
    return stax.serial(*first, stax.FanOut(2), stax.parallel(stax.Relu(), stax.Erf()))


NETWORKS = {
    "relu": lambda: deep(*[stax.Relu()] * 4),
    "erf": lambda: deep(*[stax.Erf()] * 4),
    "several kinds": lambda: deep(stax.Relu(), stax.Tanh(), stax.Sin(), stax.LeakyRelu(0.1)),
    "residual": residual,
    "branches": branches,
}


@pytest.fixture
def in_blocks(monkeypatch):
    """Small blocks; how often they were used."""
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return _pair_blocks.in_blocks(*args, **options)

    monkeypatch.setattr(_compiled_runs, "in_blocks", counted)
    monkeypatch.setattr(_pair_blocks, "_PAIRS", 40)
    monkeypatch.setattr(_compiled_runs, "_MANY", 1)
    monkeypatch.setattr(_compiled_runs, "_SHARED", _compiled_runs.Programs())
    return calls


def inputs(kind, dtype=np.float32):
    x1, x2 = (jax.random.normal(key, (n, 3), dtype) for key, n in zip(jax.random.split(KEY), (23, 9), strict=True))
    x1, x2 = x1.at[3].set(0), x2.at[2].set(x1[5]).at[4].set(-x1[6]).at[5].set(x1[20] * (1 + 1e-3))
    return (
        (x1, jnp.array(x1)) if kind == "equal copies" else (x1, x1[::-1] * 1.0) if kind == "equal sizes" else (x1, x2)
    )


def at_once(fn, *args):
    """The result without blocks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_compiled_runs, "act_on_pairs", lambda *_: False)
        patched.setattr(_compiled_runs, "_SHARED", _compiled_runs.Programs())
        return fn(*args)


def check(found, expected, dtype, tolerance=None):
    tolerance = 50 * np.finfo(dtype).eps if tolerance is None else tolerance
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * np.abs(y).max())


@pytest.mark.parametrize("kind", ["two batches", "equal sizes", "equal copies", "one batch"])
@pytest.mark.parametrize("name", mostly_slow(NETWORKS, ["relu", "erf", "residual"]))
def test_equal_to_all_pairs_at_once(name, kind, dtype, in_blocks):
    x1, x2 = inputs(kind, dtype)
    kernel_fn = NETWORKS[name]()[2]
    found, expected = kernel_fn(x1, x2), at_once(NETWORKS[name]()[2], x1, x2)
    assert len(in_blocks) == 1  # in one program, without falling back
    # Behind `Sin`, the angle between an input and its copy in the other batch is a rounding error of their covariance.
    copies = name == "several kinds" and kind in ("equal sizes", "equal copies")
    check(found, expected, dtype, np.sqrt(np.finfo(dtype).eps) if copies else None)
    assert jax.tree.structure(found) == jax.tree.structure(expected)  # shapes and flags too


def test_variances_are_on_the_diagonal(in_blocks):
    """To the last bit, also where the last blocks overlap."""
    x = jax.random.normal(KEY, (23, 100))
    found, expected = (
        fn(stax.serial(*[stax.Dense(1), stax.Erf()] * 4)[2]) for fn in (lambda f: f(x), lambda f: at_once(f, x))
    )
    assert in_blocks
    np.testing.assert_array_equal(np.diag(found.nngp), found.cov1)
    np.testing.assert_array_equal(np.diag(found.ntk), np.diag(expected.ntk))


def with_numbers(nonlinearity, depth):
    """The kernel function of a network as a function of its standard deviations, of one or of each layer."""

    def kernel_fn(x1, x2, w, b, get="ntk"):
        w, b = (jnp.broadcast_to(x, (depth,)) if jnp.ndim(x) else [x] * depth for x in (w, b))
        layers = [layer for i in range(depth) for layer in (stax.Dense(8, w[i], b[i]), nonlinearity)]
        return stax.serial(*layers, stax.Dense(1))[2](x1, x2, get)

    return kernel_fn


def weights(shape):
    """Different for all pairs, so that rows are not taken for columns."""
    return jnp.cos(1 + jnp.arange(shape[0])[:, None] + 0.3 * jnp.arange(shape[1])[None] ** 1.5)


NONLINEARITIES = {
    "relu": stax.Relu(),
    "abs": stax.Abs(),
    "erf": stax.Erf(),
    "tanh": stax.Tanh(),
    "gelu": stax.Gelu(),
    "monomial": stax.RectifiedMonomial(2),
    "hard tanh": stax.HardTanh(),
    "rbf": stax.Rbf(),
}


@pytest.mark.parametrize("numbers", ["shared", "one for each layer", "one hidden layer"])
@pytest.mark.parametrize("kind", ["two batches", "equal copies", "one batch"])
@pytest.mark.parametrize("name", mostly_slow(NONLINEARITIES, ["relu", "erf"]))
def test_derivatives(name, kind, numbers, in_blocks):
    """In inputs and numbers, backward and forward, of both kernels and variances, against those of layers in turn."""
    with jax.enable_x64(True):
        x1, x2 = inputs(kind, np.float64)
        x2 = None if kind == "one batch" else x2
        kernel_fn = with_numbers(NONLINEARITIES[name], 1 if numbers == "one hidden layer" else 3)
        each = jnp.array([1.2, 1.1, 1.3]), jnp.array([0.1, 0.2, 0.3])
        w, b = each if numbers == "one for each layer" else (1.2, 0.1)

        def total(x1, x2, w, b):
            k = kernel_fn(x1, x2, w, b, None)
            return jnp.sum(weights(k.nngp.shape) * (k.nngp + k.ntk**2)) + jnp.sum(k.cov1 * weights(k.nngp.shape)[:, 0])

        places = (0, 2, 3) if x2 is None else (0, 1, 2, 3)
        args = x1, x2, w, b
        moving = [args[i] for i in places]
        along = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(0).normal(size=np.shape(x))), moving)

        def forward(*args):
            def of_moving(*some):
                return total(*(some[places.index(i)] if i in places else x for i, x in enumerate(args)))

            return jax.jvp(of_moving, [args[i] for i in places], along)

        for fn in (jax.jit(jax.value_and_grad(total, places)), jax.jit(jax.grad(total, 3)), jax.jit(forward)):
            before = len(in_blocks)
            found = fn(*args)
            assert len(in_blocks) == before + 1  # in one program, without falling back
            jax.clear_caches()
            expected = at_once(fn, *args)
            jax.clear_caches()
            for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                assert np.all(np.isfinite(x))
                np.testing.assert_allclose(x, y, rtol=0, atol=1e-7 * np.abs(y).max())


@pytest.mark.parametrize("kind", mostly_slow(["two batches", "equal copies", "one batch"], ["one batch"]))
def test_second_derivatives(kind, in_blocks):
    """In numbers, in inputs, and in both in turn, each way round."""
    with jax.enable_x64(True):
        x1, x2 = inputs(kind, np.float64)
        x1, x2 = x1[:9], None if kind == "one batch" else x2[:9]
        kernel_fn = with_numbers(stax.Relu(), 3)
        directions = jnp.cos(1.0 + jnp.arange(x1.size)).reshape(x1.shape), 1.0, 0.5

        def total(x, w, b):
            k = kernel_fn(x, x2, w, b, None)
            return jnp.sum(weights(k.nngp.shape) * (k.ntk + jnp.sin(k.nngp))) + jnp.sum(jnp.sin(k.cov1))

        def slope(*args):
            return jax.jvp(total, args, directions)[1]

        functions = (
            jax.hessian(total, (1, 2)),
            jax.grad(slope, (0, 1, 2)),
            lambda *args: jax.jvp(jax.grad(total, (0, 1, 2)), args, directions)[1],
            lambda *args: jax.grad(lambda x: jax.grad(total, 1)(x, *args[1:]))(args[0]),
            lambda *args: jax.grad(lambda w: jnp.sum(directions[0] * jax.grad(total)(args[0], w, args[2])))(args[1]),
        )
        args = x1, 1.2, 0.1
        for fn in functions:
            before = len(in_blocks)
            found = jax.jit(fn)(*args)
            assert len(in_blocks) > before
            jax.clear_caches()
            expected = at_once(jax.jit(fn), *args)
            jax.clear_caches()
            for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(x, y, rtol=0, atol=1e-7 * np.abs(y).max())


def test_derivatives_without_weights(in_blocks):
    """There is no NTK, a scalar zero."""
    x1, x2 = inputs("two batches")
    kernel_fn = stax.serial(*[stax.Identity()] * 6)[2]

    def total(x1, x2):
        k = kernel_fn(x1, x2)
        return jnp.sum(jnp.sin(k.nngp)) + k.ntk

    check(jax.jit(jax.grad(total))(x1, x2), at_once(jax.jit(jax.grad(total)), x1, x2), np.float32)
    assert in_blocks


@pytest.mark.parametrize("columns", [700, None])
def test_derivatives_copy_no_kernel_for_each_block(columns, optimised):
    """Nothing that is as large as the kernel is written in a loop over blocks."""
    x1, x2 = (None if n is None else jax.ShapeDtypeStruct((n, 8), jnp.float32) for n in (1500, columns))
    kernel_fn = with_numbers(stax.Relu(), 3)

    def total(w, x1, x2):
        return jnp.sum(jnp.sin(kernel_fn(x1, x2, w, 0.1)))

    program = jax.jit(jax.grad(total, (0, 1))).lower(1.4, x1, x2).compile(optimised).as_text()
    loops = [program.split(f"\n%{name} (")[1].split("\n}")[0] for name in re.findall(r"body=%([\w.]+)", program)]
    assert len(loops) > 1
    for loop in loops:
        assert not re.findall(rf"= f32\[1500,{columns or 1500}\]\S* (?:copy|fusion)\(.*", loop)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "erf"])
def test_under_transformations(name, in_blocks):
    with jax.enable_x64(True):
        x1, x2 = inputs("two batches", np.float64)
        kernel_fn = NETWORKS[name]()[2]

        def total(x1, x2):
            nngp, ntk = kernel_fn(x1, x2, ("nngp", "ntk"))
            return jnp.sum(jnp.sin(nngp) + ntk**2)

        def curvature(x1, x2):
            return jax.grad(lambda x1: jax.grad(total)(x1, x2).sum())(x1)

        def curvature_forward(x1, x2):
            return jax.jvp(lambda x1: jax.grad(total)(x1, x2), (x1,), (jnp.ones_like(x1),))[1]

        gradients = jax.grad(total), jax.jit(jax.grad(total, (0, 1)))
        for fn in (jax.jit(total), *gradients, curvature, curvature_forward):
            before = len(in_blocks)
            found = fn(x1, x2)
            assert len(in_blocks) > before
            jax.clear_caches()
            check(found, at_once(fn, x1, x2), np.float32)
            jax.clear_caches()
        many = jnp.stack([x1, x1 + 1])
        found = jax.vmap(lambda x: kernel_fn(x, x2, "ntk"))(many)
        check(found, jnp.stack([kernel_fn(x, x2, "ntk") for x in many]), np.float64)
        found = jax.vmap(lambda x: jax.grad(total)(x, x2))(many)
        check(found, jnp.stack([jax.grad(total)(x, x2) for x in many]), np.float32)


def test_what_is_not_cut(in_blocks):
    """Few layers, layers that see which inputs are the same or mix them, masks, covariances of a batch."""
    x1, x2 = inputs("two batches")
    relu = [stax.Dense(8), stax.Relu()] * 3

    @stax.layer
    def Centred():
        def kernel_fn(k, **kwargs):
            return k.replace(nngp=k.nngp - jnp.mean(k.nngp, axis=0, keepdims=True))

        return lambda rng, shape: (shape, ()), lambda params, x, **kwargs: x - jnp.mean(x, axis=0), kernel_fn

    masked = x1.at[0, 0].set(jnp.nan), x2
    cases = [
        (stax.serial(*relu[:2]), (x1, x2), {}),
        (stax.serial(*relu, stax.Dropout(0.9)), (x1, x2), {}),
        (stax.serial(*relu, Centred()), (x1, x2), {}),
        (stax.serial(*relu), masked, {"mask_constant": jnp.nan}),
        (stax.serial(*relu), (x1, x2), {"diagonal_batch": False}),
    ]
    for network, x, options in cases:
        found = network[2](*x, "nngp", **options)
        assert found.shape == (len(x[0]), 4 if x[1] is None else 9)
    assert not in_blocks


def test_memory_is_that_of_results(optimised):
    """A deep network needs little more than its results: of 2,048 x 2,048 pairs, 16 MiB each in float32."""
    kernel_fn = deep(*[stax.Relu()] * 8)[2]
    x = jax.ShapeDtypeStruct((2048, 8), jnp.float32)
    for fn in (lambda a, b: kernel_fn(a, b, "ntk"), lambda a, b: kernel_fn(a, None, "ntk")):
        program = jax.jit(fn).lower(x, x).compile(optimised)
        assert program.memory_analysis().temp_size_in_bytes < 32 * 2**20
