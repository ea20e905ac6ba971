"""Programs as lists of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neural_tangents.tracing import LiftError, lift
from neural_tangents.tracing._steps import LONGEST_LOOP, program_of, trace


def run(program, *arguments):
    values = {**program.constants, **dict(zip(program.inputs, arguments, strict=True))}
    for step in program.steps:
        values.update(zip(step.results, step.run([values[i] for i in step.operands]), strict=True))
    return [values[i] for i in program.outputs]


def looped(reverse, length=5):
    def f(x):
        def step(carry, row):
            return jnp.sin(carry) * row, (carry, row + 1)

        return jax.tree.leaves(lax.scan(step, x[0], x, reverse=reverse, length=length))

    return f


@pytest.mark.parametrize(
    "f",
    [
        looped(False),
        looped(True),
        lambda x: [jnp.stack([x, 2 * x], 1), jnp.tile(x, (2, 3))],
        lambda x: [jax.nn.relu(x), jax.nn.gelu(x), jax.checkpoint(jnp.cos)(x)],
    ],
)
def test_computes_the_same(f):
    x = jnp.asarray(np.random.RandomState(0).normal(size=(5, 3)), jnp.float32)
    program = program_of(jax.make_jaxpr(f)(x))
    for got, want in zip(run(program, x), f(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert not {"scan", "jit", "pjit", "remat2", "checkpoint", "custom_jvp_call", "stack", "tile"} & {
        step.name for step in program.steps
    }


def test_long_loops_stay():
    x = jnp.ones((LONGEST_LOOP + 1, 2))
    program = program_of(jax.make_jaxpr(looped(False, len(x)))(x))
    assert "scan" in [step.name for step in program.steps]


def test_says_that_loops_are_long():
    def f(p, x):
        return jax.lax.fori_loop(0, LONGEST_LOOP + 1, lambda _, h: jnp.sin(h @ p), x) @ p

    struct = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    with pytest.raises(LiftError, match="more than the 512"):
        lift(f, struct, jnp.ones((2, 3)), distribution=lambda *_: 1.0)


def test_leaves_out_what_no_output_needs():
    program = program_of(jax.make_jaxpr(lambda x: (jnp.sin(x), jnp.cos(x))[0])(1.0))
    assert [step.name for step in program.steps] == ["sin"]
    assert "test_steps.py:" in program.steps[0].line


def test_says_that_any_batch_size_is_needed():
    x = jax.ShapeDtypeStruct((4, 3), jnp.float32)
    with pytest.raises(LiftError, match="vmap"):
        trace(lambda p, x: x.reshape(4, 3) @ p, jax.ShapeDtypeStruct((3, 2), jnp.float32), x, 2)
