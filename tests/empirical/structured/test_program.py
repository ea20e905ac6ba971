"""Networks as lists of steps: run one after the other, they are the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import NETWORKS, X1, assert_close, normal, wrong_square
from jax import lax

from neural_tangents.empirical._structured.program import trace


def names(steps):
    return [step.eqn.primitive.name for step in steps]


def program_of(f, params, x):
    leaves = jax.tree.leaves(x)
    return trace(lambda p, sample: jax.tree.leaves(f(p, sample)), params, x), leaves


@pytest.mark.parametrize(
    "name", ["mlp", "attention", "scan over layers", "output of parameters alone", "jitted layers"]
)
def test_steps_give_the_outputs(name):
    with jax.enable_x64(True):
        net = NETWORKS[name].cast(np.float64)
        program, leaves = program_of(net.f, net.params, net.x1)
        values = program.prepare(jax.tree.leaves(net.params))
        values.update(zip(program.data, leaves, strict=True))
        for step in program.steps:
            values.update(zip(step.results, step.run(values), strict=True))
        for i, expected in zip(program.outputs, jax.tree.leaves(net.f(net.params, net.x1)), strict=True):
            assert_close(values[i], expected, 1e-13)


def test_what_does_not_depend_on_data_is_prepared():
    def f(p, x):
        return x @ (jnp.exp(p["w"]) * 2) + jnp.sin(jnp.arange(3.0))[None] * x[:, :3]

    program, _ = program_of(f, {"w": normal(5, 3)}, X1)
    assert {"exp", "mul", "iota", "sin"} <= set(names(program.preparation))
    assert set(names(program.steps)) <= {"dot_general", "slice", "mul", "add"}
    assert names(program.steps).count("mul") == 1


def test_what_no_output_needs_is_left_out():
    def f(p, x):
        jnp.cumsum(x), jnp.tanh(p["w"])
        return x @ p["w"]

    program, _ = program_of(f, {"w": normal(5, 3)}, X1)
    assert names(program.steps) == ["dot_general"] and program.preparation == ()


def test_calls_on_parameters_are_opened():
    def f(p, x):
        return jax.jit(jax.checkpoint(lambda p, x: jax.jit(jnp.tanh)(x @ jax.jit(lambda w: 2 * w)(p["w"]))))(p, x)

    program, _ = program_of(f, {"w": normal(5, 3)}, X1)
    assert names(program.preparation) == ["mul"] and names(program.steps)[0] == "dot_general"
    (step,) = [step for step in program.steps if set(step.operands) & set(program.boxes)]
    assert step.eqn.primitive.name == "dot_general"


def test_calls_with_derivatives_of_their_own_and_loops_stay():
    def f(p, x):
        h = lax.scan(lambda h, w: (h * w[None], None), x, p["w"])[0]
        return wrong_square(h * p["b"][None]) + wrong_square(p["b"])[None]

    program, _ = program_of(f, {"w": normal(2, 5), "b": normal(5)}, X1)
    assert "scan" in names(program.steps) and "custom_jvp_call" in names(program.steps)
    assert "custom_jvp_call" in names(program.preparation)


def test_outputs_may_be_inputs():
    params = {"w": jnp.asarray(normal(3)), "v": jnp.asarray(normal(2))}
    program, _ = program_of(lambda p, x: [p["v"], x, 1.5 * jnp.ones(2), p["w"]], params, X1)
    assert program.steps == ()
    assert [program.outputs[0], program.outputs[3]] == list(program.parameters)
    assert program.outputs[1] in program.data
    np.testing.assert_array_equal(program.prepare(jax.tree.leaves(params))[program.outputs[2]], 1.5)
