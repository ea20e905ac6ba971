"""Reading a program at two batch sizes."""

import jax
import jax.numpy as jnp
import pytest

from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import Host, Linear
from neural_tangents.tracing._reading import Leaf, Reading
from neural_tangents.tracing._rules.table import RULES
from neural_tangents.tracing._steps import trace
from neural_tangents.tracing._values import Data

LEAF = Leaf("['w']", (3, 8), 0.0, 0.5, 1.0, None)
STRUCTS = {"w": jax.ShapeDtypeStruct((3, 8), jnp.float32)}


def reading(f):
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    first, second = (trace(f, STRUCTS, x, n)[0] for n in (2, 3))
    return Reading((first, second), (2, 3), [LEAF], "error", RULES)


def test_values():
    value, inputs = reading(lambda p, x: (x @ p["w"], 2 * x)).read()
    assert isinstance(value, Data) and isinstance(value.node, Linear) and value.node.weights.variance == 0.5
    assert isinstance(inputs, Host)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda p, x: x @ p["w"] / len(x), "mixes its inputs|how many"),
        (lambda p, x: (x @ p["w"]) if len(x) == 2 else jnp.sin(x @ p["w"]), "differs between batch sizes"),
    ],
)
def test_batches_are_not_mixed(f, words):
    with pytest.raises(LiftError, match=words):
        reading(f).read()


def test_a_parameter_in_two_roles():
    read = reading(lambda p, x: ((x @ p["w"]), (x @ p["w"][:, ::-1] * 2)))
    nodes = [value.node for value in read.read()]
    with pytest.raises(LiftError, match="two ways"):
        read.check_uses(nodes)
    read.check_uses(nodes[:1])
