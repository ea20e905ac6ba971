"""Cotangents that are products, as results of steps reach the outputs through sums of their entries."""

import jax
import jax.numpy as jnp
import pytest
from finite_networks import assert_close, normal
from jax import lax

from neural_tangents import NtkImplementation, empirical_ntk_fn
from neural_tangents.empirical._structured.program import trace
from neural_tangents.empirical._structured.uses import Plan

CHANNELS = 4


def conv(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def make_params(dtype="float64"):
    filters = {"w1": (3, 3, 2, CHANNELS), "w2": (3, 3, CHANNELS, CHANNELS)}
    shapes = {**filters, "b": (CHANNELS,), "scale": (CHANNELS,), "v": (CHANNELS, 3)}
    return {name: normal(*shape).astype(dtype) for name, shape in shapes.items()}


def network(behind):
    def f(params, x):
        y = conv(jnp.tanh(conv(x, params["w1"])), params["w2"])
        return behind(params, y)

    return f


def along(w, y):
    """A vector, for each entry of the last axis."""
    return w.reshape([1] * (y.ndim - 1) + [-1])


def mean_of_relu(params, y):
    return jnp.mean(jnp.maximum(y + along(params["b"], y), 0.0), (1, 2)) @ params["v"]


def scaled(params, y):
    return jnp.sum(jnp.tanh(along(params["scale"], y) * y - along(params["b"], y)) / 2, (1, 2)) @ params["v"]


def row_sums(params, y):
    return jnp.sum(jnp.exp(-y) * along(params["scale"], y), 1).reshape(len(y), -1)


def sum_of_channels(params, y):
    return jnp.sum(jnp.where(y > 0, y, 0.1 * y), 3).reshape(len(y), -1)[:, :3]


def sum_twice(params, y):
    rows = jnp.sum(y, 1)
    return jnp.tanh(jnp.sum(rows * along(params["scale"], rows), 1)) @ params["v"]


def total(params, y):
    return jnp.sum(y + along(params["b"], y), (1, 2, 3))[:, None]


def read_twice(params, y):
    return jnp.sum(jnp.tanh(y) * y, (1, 2)) @ params["v"]


def normalised(params, y):
    return jnp.mean(y / jnp.sum(y, 1, keepdims=True) + along(params["b"], y), (1, 2)) @ params["v"]


BEHIND = (mean_of_relu, scaled, row_sums, sum_of_channels, sum_twice, total, read_twice, normalised)


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("trace_axes", [(), (-1,)])
def test_kernels_are_those_of_jacobians(behind, trace_axes):
    with jax.enable_x64(True):
        params, x1, x2 = make_params(), normal(3, 4, 5, 2), normal(2, 4, 5, 2)
        kernels = [
            jax.jit(empirical_ntk_fn(network(behind), trace_axes, vmap_axes=0, implementation=implementation))
            for implementation in (NtkImplementation.STRUCTURED_DERIVATIVES, NtkImplementation.JACOBIAN_CONTRACTION)
        ]
        for other in (None, x2):
            found, expected = (kernel_fn(x1, other, params) for kernel_fn in kernels)
            assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("behind", BEHIND)
def test_a_path_leads_from_the_last_convolution_to_its_sum(behind):
    params = make_params("float32")
    program = trace(lambda p, x: [network(behind)(p, x[None])[0]], params, normal(4, 5, 2).astype("float32"))
    (last,) = (n for n, step in enumerate(program.steps) if step.eqn.primitive.name == "conv_general_dilated" and n > 1)
    path = Plan.create(program).paths.get(last)
    kept = {"row_sums": (0, 2, 3), "sum_of_channels": (0, 1, 2), "sum_twice": (0, 3), "total": (0,)}
    if behind in (read_twice, normalised, sum_of_channels):  # what follows reads the convolution more than once
        assert path is None
    else:
        assert path.kept == kept.get(behind.__name__, (0, 3))


def grouped(params, x):
    y = lax.conv_general_dilated(
        conv(x, params["w1"]),
        params["w2"][:, :, :2],
        (1, 1),
        "SAME",
        feature_group_count=2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return total(params, jnp.tanh(y))


def dense(params, x):
    """Positions that share weights: the product is a step too, and what is kept is not its last axis."""
    y = jnp.maximum(jnp.tanh(conv(x, params["w1"])) @ params["v"], 0.0)
    return jnp.sum(y, (2, 3))


@pytest.mark.parametrize("f", [grouped, dense])
def test_other_steps(f):
    with jax.enable_x64(True):
        params, x1, x2 = make_params(), normal(3, 4, 5, 2), normal(2, 4, 5, 2)
        found, expected = (
            jax.jit(empirical_ntk_fn(f, (), vmap_axes=0, implementation=implementation))(x1, x2, params)
            for implementation in (NtkImplementation.STRUCTURED_DERIVATIVES, NtkImplementation.JACOBIAN_CONTRACTION)
        )
        assert_close(found, expected, 1e-12)


def test_kernels_have_derivatives():
    with jax.enable_x64(True):
        params, x = make_params(), normal(2, 3, 3, 2)

        def loss(implementation):
            kernel_fn = empirical_ntk_fn(network(scaled), vmap_axes=0, implementation=implementation)
            return jax.jit(jax.grad(lambda p: jnp.sum(kernel_fn(x, None, p) ** 2)))(params)

        found, expected = loss(NtkImplementation.STRUCTURED_DERIVATIVES), loss(NtkImplementation.JACOBIAN_CONTRACTION)
        jax.tree.map(lambda a, b: assert_close(a, b, 1e-11), found, expected)
