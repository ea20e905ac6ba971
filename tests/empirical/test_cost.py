"""Counts of arithmetic, and the choice of an algorithm by them."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import neural_tangents as nt
from neural_tangents import NtkImplementation
from neural_tangents.empirical import _ntk
from neural_tangents.empirical._cost import TRAFFIC, arithmetic, has_primitive


def count(fn, *shapes):
    return arithmetic(jax.make_jaxpr(fn)(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)))


def test_products_and_convolutions():
    assert count(jnp.matmul, (3, 4), (4, 5)) == 3 * 4 * 5 + TRAFFIC * 3 * 5

    def conv(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "VALID", feature_group_count=2)

    assert count(conv, (2, 4, 6, 6), (8, 2, 3, 3)) == 2 * 8 * 4 * 4 * (2 * 9) + TRAFFIC * 2 * 8 * 4 * 4


def test_calls_loops_and_conditionals():
    once = count(lambda x: jnp.sin(x), (5,))
    assert once == TRAFFIC * 5
    assert count(jax.jit(lambda x: jnp.sin(x)), (5,)) == once
    assert count(lambda x: lax.scan(lambda c, _: (jnp.sin(c), None), x, length=7)[0], (5,)) == 7 * once

    def branches(x):
        return lax.cond(True, lambda x: jnp.sin(jnp.sin(x)), lambda x: jnp.cos(x), x)

    assert 2 * once <= count(branches, (5,)) < 3 * once


def test_primitives_are_found_in_calls():
    @jax.custom_vjp
    def g(x):
        return x

    g.defvjp(lambda x: (x, None), lambda _, ct: (ct,))
    assert has_primitive(jax.make_jaxpr(jax.jit(lambda x: g(x) + 1))(1.0), "custom_vjp_call")
    assert not has_primitive(jax.make_jaxpr(jax.jit(lambda x: x + 1))(1.0), "custom_vjp_call")


def chosen(monkeypatch, f, params, x, **options):
    """What AUTO chooses, and how often it has to think for two calls."""
    choices, choose = [], _ntk._cheapest
    monkeypatch.setattr(_ntk, "_cheapest", lambda *args: choices.append(choose(*args)) or choices[-1])
    ntk_fn = nt.empirical_ntk_fn(f, **options)
    kernels = [ntk_fn(x, None, params) for _ in range(2)]
    assert jnp.all(kernels[0] == kernels[1])
    return choices


def test_wide_networks_are_differentiated_by_structure_and_wide_outputs_by_products(monkeypatch):
    def f(params, x):
        return jnp.tanh(x @ params[0]) @ params[1]

    wide = [jnp.ones((4, 64)), jnp.ones((64, 2))]
    assert chosen(monkeypatch, f, wide, jnp.ones((8, 4)), vmap_axes=0) == [NtkImplementation.STRUCTURED_DERIVATIVES]
    many_outputs = [jnp.ones((4, 2)), jnp.ones((2, 200))]
    assert chosen(monkeypatch, f, many_outputs, jnp.ones((1, 4)), vmap_axes=0) == [
        NtkImplementation.NTK_VECTOR_PRODUCTS
    ]


def test_nothing_is_traced_twice_where_jacobians_are_surely_cheaper_than_products(monkeypatch):
    def f(params, x):
        return jnp.tanh(x @ params[0]) @ params[1]

    def fail(*args):
        raise AssertionError("traced for its count")

    few_outputs, many_outputs = ([jnp.ones((4, n)), jnp.ones((n, o))] for n, o in ((64, 2), (2, 200)))
    monkeypatch.setattr(_ntk, "structured_derivatives", fail)
    found = chosen(monkeypatch, f, few_outputs, jnp.ones((8, 4)), vmap_axes=0)
    assert found == [NtkImplementation.STRUCTURED_DERIVATIVES]
    with pytest.raises(AssertionError, match="traced for its count"):
        chosen(monkeypatch, f, many_outputs, jnp.ones((1, 4)), vmap_axes=0)


def test_networks_without_forward_derivatives_are_not_differentiated_forward(monkeypatch):
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, (x, w)), lambda xw, ct: (ct @ xw[1].T, xw[0].T @ ct))

    def f(params, x):
        return product(jnp.tanh(product(x, params[0])), params[1])

    many_outputs = [jnp.ones((4, 2)), jnp.ones((2, 200))]
    found = chosen(monkeypatch, f, many_outputs, jnp.ones((1, 4)), vmap_axes=0)
    assert found == [NtkImplementation.STRUCTURED_DERIVATIVES]


def test_unknown_implementations_are_errors():
    with pytest.raises(KeyError, match="JACOBIAN_CONTRACTION"):
        nt.empirical_ntk_fn(lambda p, x: p, implementation=7)
