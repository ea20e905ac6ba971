"""What is said of values made of parameters, against their Jacobians."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import normal

from neural_tangents.empirical._structured.program import trace

PARAMS = [1 + np.abs(normal(4, 6)), 1 + np.abs(normal(4, 6))]

# How a value follows from two matrices `a` and `b`, and whether it can be differentiated by structure, with slopes.
INJECTIVE = {
    "itself": (lambda a, b: a, False),
    "transpose": (lambda a, b: a.T, False),
    "reshape": (lambda a, b: a.reshape(2, 2, 6)[None], False),
    "reversed": (lambda a, b: a[::-1], False),
    "new axis": (lambda a, b: jnp.broadcast_to(a[:, None], (4, 1, 6)), False),
    "row": (lambda a, b: a[1], False),
    "rows": (lambda a, b: a[2:], False),
    "columns": (lambda a, b: b[:, 1:3], False),
    "part of a part": (lambda a, b: a[1:][1:3, 2:][:1], False),
    # Old releases of jax index with strides by gathering, of which nothing is known.
    "strides": (lambda a, b: jax.lax.slice_in_dim(a, 0, 4, 2), False),
    "part with strides": (lambda a, b: jax.lax.slice_in_dim(a, 0, 4, 2)[1:], False),
    "other strides": (lambda a, b: jax.lax.slice_in_dim(a, 1, 4, 2), False),
    "first half": (lambda a, b: jnp.split(a, 2, 1)[0], False),
    "second half": (lambda a, b: jnp.split(a, 2, 1)[1], False),
    "part of a transpose": (lambda a, b: a.T[1:3], False),
    "concatenated": (lambda a, b: jnp.concatenate([a, b[:2]]), False),
    "parts concatenated": (lambda a, b: jnp.concatenate([a[2:], b, a[:2]]), False),
    "stacked": (lambda a, b: jnp.stack([a, b], 1), False),
    "part of a stack": (lambda a, b: jnp.stack([a, b])[0], False),
    "taken apart": (lambda a, b: jnp.unstack(a)[1], False),
    "taken apart along the last axis": (lambda a, b: jnp.unstack(a, axis=1)[5], False),
    "scaled": (lambda a, b: a / 3, True),
    "shifted": (lambda a, b: 1 - a, True),
    "function": (lambda a, b: jnp.exp(jnp.tanh(a) * 2), True),
    "masked": (lambda a, b: jnp.where(np.arange(6)[None] > 2, a, 0.0), True),
    "scaled parts": (lambda a, b: jnp.concatenate([a, 2 * b]), True),
    "rounded": (lambda a, b: a.astype(jnp.float16), False),
}
NOT_INJECTIVE = {
    "repeated": lambda a, b: jnp.broadcast_to(a[None], (3, 4, 6)),
    "sum": lambda a, b: a.sum(0),
    "product": lambda a, b: a * b,
    "square": lambda a, b: a * a,
    "matrix product": lambda a, b: a.T @ b,
    "normalised": lambda a, b: a / jnp.linalg.norm(a),
    "cumulative": lambda a, b: jnp.cumsum(a, 1),
    "concatenated twice": lambda a, b: jnp.concatenate([a, b[:1], a[:1]]),
    "gathered": lambda a, b: a[np.array([0, 0, 1])],
    "without a derivative": lambda a, b: jax.lax.stop_gradient(a),
}


def boxes_of(value):
    """The boxes of a value, and its Jacobian, `(entries, all parameters)`."""
    shape = jax.eval_shape(value, *PARAMS).shape
    program = trace(lambda p, x: [value(*p) + x], PARAMS, jax.ShapeDtypeStruct(shape, np.float32))
    (step,) = program.steps[-1:]
    (operand,) = [i for i in step.operands if i in program.boxes]
    jacobian = jax.jacobian(lambda p: value(*p).astype(np.float32))([jnp.asarray(p, np.float32) for p in PARAMS])
    return program.boxes[operand], np.concatenate([np.reshape(j, (-1, 24)) for j in jacobian], 1)


def parameters_of(boxes):
    """The parameters that a value may depend on, as a mask."""
    mask = np.zeros((2, 4, 6), bool)
    for leaf, box in boxes.pieces:
        mask[leaf][tuple(slice(a, b) for a, b in box)] = True
    return mask.ravel()


@pytest.mark.parametrize("name", INJECTIVE)
def test_entries_that_depend_on_one_parameter_each(name):
    value, scaled = INJECTIVE[name]
    boxes, jacobian = boxes_of(value)
    assert boxes.injective and boxes.scaled is scaled
    assert ((jacobian != 0).sum(0) <= 1).all() and ((jacobian != 0).sum(1) <= 1).all()
    if not scaled:
        assert ((jacobian != 0).sum(1) == 1).all()
        np.testing.assert_array_equal(jacobian[jacobian != 0], 1.0)
    assert parameters_of(boxes)[(jacobian != 0).any(0)].all()


@pytest.mark.parametrize("name", NOT_INJECTIVE)
def test_entries_that_depend_on_parameters_in_other_ways(name):
    boxes, jacobian = boxes_of(NOT_INJECTIVE[name])
    assert not boxes.injective
    assert parameters_of(boxes)[(jacobian != 0).any(0)].all()


@pytest.mark.slow
def test_values_of_common_parameters_overlap():
    """It would be an error to miss an overlap; for slices, none is reported that is not there."""
    found = {name: boxes_of(value) for name, (value, _) in INJECTIVE.items()}
    found |= {name: boxes_of(value) for name, value in NOT_INJECTIVE.items()}
    for (_, (boxes1, jacobian1)), (_, (boxes2, jacobian2)) in itertools.combinations(found.items(), 2):
        common = (jacobian1 != 0).any(0) & (jacobian2 != 0).any(0)
        assert boxes1.overlaps(boxes2) is boxes2.overlaps(boxes1)
        assert boxes1.overlaps(boxes2) or not common.any()
    slices = ["row", "rows", "columns", "part of a part", "first half", "second half", "taken apart"]
    for name1, name2 in itertools.combinations(slices, 2):
        (boxes1, jacobian1), (boxes2, jacobian2) = found[name1], found[name2]
        common = (jacobian1 != 0).any(0) & (jacobian2 != 0).any(0)
        assert boxes1.overlaps(boxes2) == common.any()


def test_integers_and_constants_have_no_boxes():
    program = trace(
        lambda p, x: [x * jnp.argsort(p)[0], x + jnp.floor(p).astype(np.int32), x * jnp.arange(3)],
        normal(3),
        jax.ShapeDtypeStruct((3,), np.float32),
    )
    operands = {i for step in program.steps for i in step.operands}
    assert not operands & set(program.boxes)


def test_complex_functions_have_no_slopes():
    """The derivative of a function of complex numbers that is not holomorphic is not one number."""
    program = trace(lambda p, x: [jnp.abs(p) * x], np.ones(3, np.complex64), jax.ShapeDtypeStruct((3,), np.float32))
    (operand,) = [i for i in program.steps[-1].operands if i in program.boxes]
    assert not program.boxes[operand].injective
