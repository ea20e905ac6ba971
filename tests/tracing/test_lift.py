"""Lifted networks against the same networks of `stax` layers, and networks without a kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeps import mostly_slow

from neural_tangents import stax, tracing
from neural_tangents.tracing import LiftError

WIDTH = 12


def dense(variance, bias=0.0, p="standard", n=WIDTH):
    """Returns a layer whose biases have a variance, and whose weights have `variance / fan_in`."""
    return stax.Dense(n, variance**0.5, bias**0.5, parameterization=p)


def plus(x, bias):
    return x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def mlp(phi):
    return lambda p, x: phi(plus(phi(plus(x @ p["u"], p["a"])) @ p["v"], p["b"])) @ p["w"]


def mlp_of(layer):
    return lambda p: stax.serial(
        dense(1.5, 0.2, p), layer, dense(2.0, 0.0, p), layer, stax.Dense(3, parameterization=p)
    )


MLP_SHAPES = {"u": (5, WIDTH), "a": (WIDTH,), "v": (WIDTH, WIDTH), "b": (WIDTH,), "w": (WIDTH, 3)}
MLP_VARIANCES = {"u": 1.5 / 5, "a": 0.2, "v": 2 / WIDTH, "b": 0.0, "w": 1 / WIDTH}


def conv(x, w, strides=(1, 1), padding="SAME"):
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def cnn(head, **options):
    def f(p, x):
        h = jax.nn.relu(plus(conv(x, p["u"], **options), p["a"]))
        return head(jax.nn.relu(conv(h, p["v"], **options))) @ p["w"]

    return f


def cnn_of(head, strides=(1, 1), padding="SAME"):
    def network(p):
        first = stax.Conv(WIDTH, (3, 3), strides, padding, 1.0, 0.2**0.5, parameterization=p)
        second = stax.Conv(WIDTH, (3, 3), strides, padding, 2.0**0.5, parameterization=p)
        return stax.serial(first, stax.Relu(), second, stax.Relu(), head, stax.Dense(2, parameterization=p))

    return network


def cnn_sizes(fan_in):
    shapes = {"u": (3, 3, 2, WIDTH), "a": (WIDTH,), "v": (3, 3, WIDTH, WIDTH), "w": (fan_in, 2)}
    return shapes, {"u": 1 / 18, "a": 0.2, "v": 2 / (9 * WIDTH), "w": 1 / fan_in}


def flat(x):
    return x.reshape(len(x), -1)


def gated(p, x):
    a, b = jnp.split(x @ p["u"], 2, axis=-1)
    return (a * jnp.sin(b)) @ p["w"]


def gated_of(p):
    branches = stax.parallel(bare(1.0, p), stax.serial(bare(1.0, p), stax.Sin()))
    return stax.serial(stax.FanOut(2), branches, stax.FanInProd(), bare(1.0, p, 3))


def bare(variance, p="standard", n=WIDTH):
    return stax.Dense(n, variance**0.5, parameterization=p)


def residual(p, x):
    h = x @ p["u"]
    h = h + jax.nn.relu(h) @ p["v"]
    return jax.nn.relu(h) @ p["w"]


def residual_of(p):
    block = stax.parallel(stax.Identity(), stax.serial(stax.Relu(), bare(2.0, p)))
    return stax.serial(bare(1.5, p), stax.FanOut(2), block, stax.FanInSum(), stax.Relu(), bare(1.0, p, 3))


NETWORKS = {
    "relu": (mlp(jax.nn.relu), MLP_SHAPES, MLP_VARIANCES, mlp_of(stax.Relu()), (5,)),
    "exact gelu": (mlp(lambda x: jax.nn.gelu(x, False)), MLP_SHAPES, MLP_VARIANCES, mlp_of(stax.Gelu()), (5,)),
    "leaky": (mlp(jax.nn.leaky_relu), MLP_SHAPES, MLP_VARIANCES, mlp_of(stax.LeakyRelu(0.01)), (5,)),
    "where": (mlp(lambda x: jnp.where(x > 0, x, x / 4)), MLP_SHAPES, MLP_VARIANCES, mlp_of(stax.LeakyRelu(0.25)), (5,)),
    "cube": (mlp(lambda x: x**3 / 4), MLP_SHAPES, MLP_VARIANCES, mlp_of(stax.Polynomial([0, 0, 0, 0.25])), (5,)),
    "flat": (cnn(flat), *cnn_sizes(16 * WIDTH), cnn_of(stax.Flatten()), (4, 4, 2)),
    "pooled": (
        cnn(lambda x: x.mean((1, 2)), strides=(2, 2)),
        *cnn_sizes(WIDTH),
        cnn_of(stax.GlobalAvgPool(), (2, 2)),
        (5, 6, 2),
    ),
    "valid": (
        cnn(lambda x: x.mean((1, 2)), padding="VALID"),
        *cnn_sizes(WIDTH),
        cnn_of(stax.GlobalAvgPool(), padding="VALID"),
        (6, 6, 2),
    ),
    "gated": (gated, {"u": (5, 2 * WIDTH), "w": (WIDTH, 3)}, {"u": 1 / 5, "w": 1 / WIDTH}, gated_of, (5,)),
    "residual": (
        residual,
        {"u": (5, WIDTH), "v": (WIDTH, WIDTH), "w": (WIDTH, 3)},
        {"u": 1.5 / 5, "v": 2 / WIDTH, "w": 1 / WIDTH},
        residual_of,
        (5,),
    ),
}


CASES = [("direct", "standard", "float64"), ("stax", "ntk", "float64"), ("stax", "standard", "float32")]


def structs(shapes, dtype):
    return {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes.items()}


def draws(shape, dtype, n=2):
    return [jnp.asarray(np.random.RandomState(i).normal(size=(i + 2, *shape)), dtype) for i in range(n)]


@pytest.mark.parametrize("name", mostly_slow(NETWORKS, ["pooled", "residual"]))
@pytest.mark.parametrize(("backend", "parameterization", "dtype"), CASES)
def test_equals_stax(name, backend, parameterization, dtype):
    with jax.enable_x64(dtype == "float64"):
        check_equal_to_stax(name, backend, parameterization, np.dtype(dtype))


def check_equal_to_stax(name, backend, parameterization, dtype):
    f, shapes, variances, network, shape = NETWORKS[name]
    x1, x2 = draws(shape, dtype)
    lifted = tracing.lift(
        *(f, structs(shapes, dtype), x1),
        parameterization=parameterization,
        distribution=lambda path, _: variances[path[2:-2]],
        backend=backend,
    )
    want_fn = network(parameterization)[2]
    for second in (None, x2):
        got, want = (fn(x1, second, ("nngp", "ntk")) for fn in (lifted.kernel_fn, want_fn))
        tolerance = 1e-10 if dtype == np.float64 else 1e-5
        for a, b in zip(got, want, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * float(jnp.abs(b).max()))


def refused(f, words, shapes=MLP_SHAPES, variance=0.1, shape=(5,), **options):
    with pytest.raises(LiftError, match=words) as caught:
        tracing.lift(
            f, structs(shapes, "float32"), draws(shape, "float32")[0], distribution=lambda *_: variance, **options
        )
    return str(caught.value)


def test_says_where_and_what():
    message = refused(lambda p, x: jax.nn.relu(x @ (p["u"] ** 2)) @ p["v"], "transformed")
    assert "['u']" in message and "test_lift.py:" in message


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda p, x: jax.nn.relu(x @ p["u"]), "readout"),
        (lambda p, x: x * 2.0, "readout"),
        (lambda p, x: jax.nn.relu(jax.nn.relu(x @ p["u"]) + x @ p["u"] @ p["v"]) @ p["w"], "one Gaussian"),
        (lambda p, x: (x - x.mean(0, keepdims=True)) @ p["u"], "mixes its inputs"),
        (lambda p, x: jnp.cumsum(x, 0) @ p["u"], "mix its inputs"),
        (lambda p, x: x[::-1] @ p["u"], "mix"),
        (lambda p, x: (x @ p["u"]) / len(x), "mixes its inputs|number"),
        (lambda p, x: (x @ p["u"]).max(-1, keepdims=True) * (x @ p["u"]), "average pooling"),
        (lambda p, x: (x @ p["u"]) @ (p["v"] + p["v"].T), "two parameters|transform"),
        (lambda p, x: jax.nn.relu(x @ p["u"] @ p["v"]) @ p["v"].T, "two ways"),
        (lambda p, x: jax.random.bernoulli(jax.random.key(0), 0.5, (1, 5)) * x @ p["u"], "deterministic"),
        (lambda p, x: (x @ p["u"]) * p["a"][None, :1], "shared by all channels"),
        (lambda p, x: x @ p["u"] + p["a"][0], "shared by all channels"),
        (lambda p, x: jax.nn.relu(x @ p["u"]) * jnp.arange(12.0)[None] @ p["w"], "differs between channels"),
        (lambda p, x: (x @ p["u"]).sum(-1, keepdims=True) * (x @ p["v"][:5]), "width"),
    ],
)
def test_refuses(f, words):
    refused(f, words)


def test_needs_a_distribution():
    with pytest.raises(LiftError, match="distribution"):
        tracing.lift(lambda p, x: x @ p, jnp.ones((3, 2)), jnp.ones((2, 3)))


@pytest.mark.parametrize("options", [{"parameterization": "ntp"}, {"products": "no"}, {"backend": "jax"}])
def test_checks_options(options):
    with pytest.raises(ValueError, match="must be one of"):
        tracing.lift(lambda p, x: x @ p, jnp.ones((3, 2)), jnp.ones((2, 3)), **options)


@pytest.mark.slow
def test_one_input_and_other_sizes():
    f, shapes, variances, network, shape = NETWORKS["relu"]
    x = draws(shape, "float32", 4)[3]
    lifted = tracing.lift(f, structs(shapes, "float32"), x[:2], distribution=lambda path, _: variances[path[2:-2]])
    want = network("standard")[2](x, None, "ntk")
    for n, m in ((1, 5), (3, 1)):
        np.testing.assert_allclose(lifted.kernel_fn(x[:n], x[:m], "ntk"), want[:n, :m], rtol=1e-5)
    np.testing.assert_allclose(lifted.kernel_fn(x[:1], None, "ntk"), want[:1, :1], rtol=1e-5)


def test_transformations():
    f, shapes, variances, network, shape = NETWORKS["cube"]
    x1, x2 = draws(shape, "float32")
    kernel_fn = tracing.lift(
        f, structs(shapes, "float32"), x1, distribution=lambda path, _: variances[path[2:-2]]
    ).kernel_fn
    want_fn = network("standard")[2]

    def total(fn):
        return jax.jit(jax.grad(lambda x: fn(x, x2, "ntk").sum()))

    np.testing.assert_allclose(total(kernel_fn)(x1), total(want_fn)(x1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax.jit(kernel_fn, static_argnums=2)(x1, x2, "nngp"), want_fn(x1, x2, "nngp"), rtol=1e-5)


def test_the_triple():
    f, shapes, variances, _, shape = NETWORKS["relu"]
    x = draws(shape, "float32")[0]
    init_fn, apply_fn, _ = tracing.lift(
        f, structs(shapes, "float32"), x, distribution=lambda path, _: variances[path[2:-2]]
    )
    out_shape, params = init_fn(jax.random.key(0), (-1, *shape))
    assert out_shape == (-1, 3) and {name: p.shape for name, p in params.items()} == shapes
    np.testing.assert_allclose(apply_fn(params, x), f(params, x))
    assert float(jnp.abs(params["b"]).max()) == 0
    np.testing.assert_allclose(jnp.std(params["v"]), (2 / WIDTH) ** 0.5, rtol=0.3)
