"""Which primitives have rules, and what is said of loops."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from neural_tangents.tracing import LiftError, lift
from neural_tangents.tracing._rules.table import RULES

STRUCT = jax.ShapeDtypeStruct((3, 3), jnp.float32)


def refused(f):
    with pytest.raises(LiftError) as caught:
        lift(f, STRUCT, jnp.ones((2, 3)), distribution=lambda *_: 1.0)
    return str(caught.value)


def test_loops_that_depend_on_activations():
    message = refused(lambda p, x: lax.while_loop(lambda h: h.sum() < 9, lambda h: h @ p, x))
    assert "`while`" in message and "`scan`" in message and "test_table.py:" in message


def test_primitives_without_a_rule_are_named():
    message = refused(lambda p, x: lax.cumprod(x @ p, 1) @ p)
    assert "`cumprod`" in message and "add, " in message


def test_has_rules_for_what_networks_are_made_of():
    assert {"add", "conv_general_dilated", "dot_general", "max", "reduce_sum", "tanh"} <= set(RULES.rules)
