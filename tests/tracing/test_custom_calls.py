"""Derivatives that functions define, against those of what they compute."""

import jax
import jax.numpy as jnp
import pytest

from neural_tangents.tracing._custom_calls import agrees
from neural_tangents.tracing._steps import program_of


@jax.custom_vjp
def straight_through(x):
    return jnp.sign(x)


straight_through.defvjp(lambda x: (jnp.sign(x), None), lambda _, g: (g,))


@jax.custom_vjp
def own_rule(x):
    return jnp.sin(x)


own_rule.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@jax.custom_jvp
def blocked(x):
    return jnp.maximum(x, 0)


@blocked.defjvp
def _(primals, tangents):
    return blocked(*primals), jnp.zeros_like(tangents[0])


@pytest.mark.parametrize(
    ("f", "is_own"),
    [
        (jax.nn.relu, True),
        (jax.nn.softplus, True),
        (jax.nn.silu, True),
        (jax.nn.relu6, True),
        (own_rule, True),
        (straight_through, False),
        (blocked, False),
    ],
)
def test_agrees(f, is_own):
    program = program_of(jax.make_jaxpr(f)(jnp.ones((2, 3))))
    assert is_own != any(step.name.startswith("custom") for step in program.steps)


def test_of_one_call():
    closed = jax.make_jaxpr(blocked)(jnp.ones(4))
    (eqn,) = closed.eqns
    assert not agrees(closed.jaxpr, eqn, eqn.params["call_jaxpr"])
