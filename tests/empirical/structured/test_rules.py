"""Derivatives of single operations, contracted, against those of jax; and that typical networks are made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import BY_JACOBIAN, STRUCTURED, assert_close, normal
from jax import lax

from neural_tangents.empirical._einsum import contract
from neural_tangents.empirical._samples import samples
from neural_tangents.empirical._structured.program import trace
from neural_tangents.empirical._structured.rules import derivative
from neural_tangents.empirical._structured.uses import Plan


def contracted(d, cotangent, shape):
    """The cotangent of an operand, by a rule for it."""
    arrays, labels = [d.pull(cotangent), *d.factors], [d.labels, *d.factor_labels]
    if d.index is not None:
        # Places are counted among the axes that are not read in full.
        whole = [label[1] for label in d.operand_labels[1:]]
        rest = [axis for axis in range(len(shape)) if axis not in whole]
        places = np.arange(np.prod([shape[axis] for axis in rest], dtype=int))
        arrays.append((np.asarray(d.index)[..., None] == places).astype(cotangent.dtype))
        labels.append((*d.index_labels, "index"))
        found = contract(arrays, labels, d.operand_labels)
        found = found.reshape(*(shape[axis] for axis in rest), *found.shape[1:])
        return jnp.transpose(found, np.argsort([*rest, *whole]))
    return contract(arrays, labels, d.operand_labels).reshape(shape)


def check(op, w, *data):
    """Compares the rule for `op(w, *data)`, which is a single operation, with its derivative by jax."""
    with jax.enable_x64(True):
        w, *data = map(jnp.asarray, (w, *data))
        program = trace(lambda p, xs: [op(p, *xs)], w, data)
        values = {**program.prepare([w]), **dict(zip(program.data, data, strict=True))}
        for step in program.steps:
            if program.parameters[0] in step.operands:
                break
            values.update(zip(step.results, step.run(values), strict=True))
        position = step.operands.index(program.parameters[0])
        d = derivative(step, position, [values[i] for i in step.operands], allow_index=False)
        out, pull = jax.vjp(lambda w: op(w, *data), w)
        cotangent = jnp.asarray(normal(1, *out.shape)[0], out.dtype)
        assert d is not None and step is program.steps[-1]
        (expected,) = pull(cotangent)
        assert np.abs(expected).max() > 0
        assert_close(contracted(d, cotangent, w.shape), expected, 1e-13)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize(
    ("shape1", "shape2", "contracting", "batch"),
    [
        ((3, 5), (5, 4), ((1,), (0,)), ((), ())),
        ((5, 3), (4, 5), ((0,), (1,)), ((), ())),
        ((5,), (5,), ((0,), (0,)), ((), ())),
        ((3,), (4,), ((), ()), ((), ())),
        ((2, 3, 5), (2, 5, 4), ((2,), (1,)), ((0,), (0,))),
        ((3, 2, 5), (5, 4, 2), ((2,), (0,)), ((1,), (2,))),
        ((2, 6, 3, 5), (5, 4, 6, 3), ((3, 2), (0, 3)), ((1,), (2,))),
        ((2, 3), (2, 3), ((), ()), ((0, 1), (0, 1))),
        ((2, 3), (3, 2), ((0, 1), (1, 0)), ((), ())),
        ((2, 3, 4), (3, 2, 4), ((2,), (2,)), ((1, 0), (0, 1))),
    ],
)
def test_matrix_products(left, shape1, shape2, contracting, batch):
    a, b = normal(1, *shape1)[0], normal(1, *shape2)[0]

    def product(a, b):
        return lax.dot_general(a, b, (contracting, batch))

    if left:
        check(product, a, b)
    else:
        check(lambda b, a: product(a, b), b, a)


@pytest.mark.parametrize(
    "keywords",
    [
        {"padding": "SAME"},
        {"padding": "VALID", "window_strides": (2, 3)},
        {"padding": [(2, 1), (0, 3)], "lhs_dilation": (2, 1), "rhs_dilation": (1, 2)},
        {"padding": [(-1, 1), (0, -2)]},
        {"padding": "SAME", "feature_group_count": 2},
        {"padding": [(1, 2), (3, 0)], "lhs_dilation": (3, 2), "window_strides": (2, 1), "feature_group_count": 4},
    ],
)
@pytest.mark.parametrize(
    "layout", [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("HNCW", "IWOH", "CWNH"), ("CNHW", "HOWI", "NHCW")]
)
def test_convolutions(keywords, layout):
    keywords = {"window_strides": (1, 1), **keywords}
    channels = 4 // keywords.get("feature_group_count", 1)
    x = normal(2, 7, 6, 4).transpose(["NHWC".index(c) for c in layout[0]])
    w = normal(3, 2, channels, 8).transpose(["HWIO".index(c) for c in layout[1]])
    check(lambda w, x: lax.conv_general_dilated(x, w, dimension_numbers=layout, **keywords), w, x)


@pytest.mark.parametrize("n_spatial", [0, 1, 3])
def test_convolutions_of_other_dimension(n_spatial):
    strides = tuple(range(1, n_spatial + 1))
    padding = [(1, 0)] * n_spatial
    x, w = normal(2, 4, *(5, 4, 6)[:n_spatial]), normal(3, 4, *(2, 3, 2)[:n_spatial])
    check(lambda w, x: lax.conv_general_dilated(x, w, strides, padding), w, x)


@pytest.mark.parametrize("layout", [("NWC", "WIO", "NWC"), ("NCW", "OIW", "NCW")])
@pytest.mark.parametrize("stride", [1, 3])
def test_convolutions_along_one_axis(layout, stride):
    x = normal(2, 9, 4).transpose(["NWC".index(c) for c in layout[0]])
    w = normal(5, 4, 3).transpose(["WIO".index(c) for c in layout[1]])
    check(lambda w, x: lax.conv_general_dilated(x, w, (stride,), "VALID", dimension_numbers=layout), w, x)


def test_convolution_with_filters_larger_than_its_input():
    def f(w, x):
        return lax.conv_general_dilated(x, w, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))

    x, w = jnp.ones((2, 3, 4)), jnp.ones((5, 4, 3))
    (step,) = trace(lambda w, x: [f(w, x)], w, x).steps
    d = derivative(step, 1, [x, w], allow_index=False)
    assert d is not None and f(w, x).shape == (2, 0, 3)
    np.testing.assert_array_equal(contracted(d, f(w, x), w.shape), np.zeros(w.shape))


POSITIVE = np.tile([[0.5, 5.0]], (3, 2)) + np.abs(normal(3, 4)) / 10  # on both sides of the other operand


@pytest.mark.parametrize("shape", [(3, 4), ()])
@pytest.mark.parametrize(
    "op",
    [
        *(lax.add, lax.sub, lax.mul, lax.div, lax.pow, lax.max, lax.min, lax.atan2, lax.rem),
        *(lambda w, x: lax.sub(x, w), lambda w, x: lax.div(x, w), lambda w, x: lax.pow(x, w)),
        *(lambda w, x: lax.atan2(x, w), lambda w, x: lax.max(x, w), lambda w, x: lax.rem(2 * x, w)),
    ],
)
def test_elementwise_operations(op, shape):
    """Also of a number with an array, which is repeated."""
    check(op, 2 + np.abs(normal(1, *shape)[0]) / 10, POSITIVE)


def test_choices():
    chosen = np.arange(12).reshape(3, 4) % 3 == 0
    check(lambda w, c, x: lax.select_n(c, w, x), normal(3, 4), chosen, normal(3, 4))
    check(lambda w, c, x: lax.select_n(c, x, w), normal(3, 4), chosen, normal(3, 4))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_concatenation(axis, position):
    w, *data = (normal(2, 3, 4), normal(2, 3, 4), normal(2, 3, 4)[:, :1] if axis == 1 else normal(2, 3, 4))

    def op(w, *data):
        return lax.concatenate([*data[:position], w, *data[position:]], axis)

    check(op, w, *data)


INDEX = np.array([[0, 2, 2], [4, 1, 0]])


def check_reading(op, primitive, w, *places):
    """Compares the rule for `op(w, *places)`, which reads entries, with its derivative by jax."""
    with jax.enable_x64(True):
        w, *places = map(jnp.asarray, (w, *places))
        program = trace(lambda p, places: [op(p, *places)], w, places)
        values = {**program.prepare([w]), **dict(zip(program.data, places, strict=True))}
        for step in program.steps:
            if program.parameters[0] in step.operands:
                break
            values.update(zip(step.results, step.run(values), strict=True))
        assert step.eqn.primitive.name == primitive
        operands = [values[i] for i in step.operands]
        d = derivative(step, 0, operands, allow_index=True)
        assert derivative(step, 0, operands, allow_index=False) is None
        (out,), pull = jax.vjp(lambda w: step.run({**values, step.operands[0]: w}), w)
        cotangent = jnp.asarray(normal(1, *out.shape)[0])
        assert_close(contracted(d, cotangent, w.shape), pull([cotangent])[0], 1e-13)
        return d


@pytest.mark.parametrize("mode", ["clip", "fill"])
@pytest.mark.parametrize(
    ("shape", "places"),
    [
        ((5, 3), lambda w, i: w.at[i]),
        ((3, 5), lambda w, i: w.at[:, i]),
        ((2, 5, 3), lambda w, i: w.at[:, i[0]]),
        ((6, 6), lambda w, i: w.at[i, i + 1]),
        ((6, 2, 6), lambda w, i: w.at[i, :, i]),
        ((6, 7), lambda w, i: w.at[i[0, 1], i]),
    ],
)
def test_reading_at_places(shape, places, mode):
    """Some are out of range: they are moved into it, or have no derivative."""
    w = normal(1, *shape)[0]
    for index in (INDEX, INDEX + 2):
        check_reading(lambda w, i: places(w, i).get(mode=mode), "gather", w, index)


@pytest.mark.parametrize("starts", [(0, 0, 0), (1, 1, 2), (5, 0, -1)])
@pytest.mark.parametrize("sizes", [(2, 3, 2), (5, 3, 1), (5, 3, 4), (1, 1, 1)])
def test_slices_at_places(sizes, starts):
    """Those that leave the array are moved into it."""
    starts = [np.asarray(start, np.int32) for start in starts]
    d = check_reading(lambda w, *starts: lax.dynamic_slice(w, starts, sizes), "dynamic_slice", normal(5, 3, 4), *starts)
    assert d.operand_labels == ("index", *(("axis", axis) for axis in range(3) if sizes[axis] == (5, 3, 4)[axis]))


@pytest.mark.parametrize(
    "op",
    [
        lambda w, x: lax.clamp(w, x, 10.0 + x),
        lambda w, x: lax.dynamic_update_slice(x, w, (0, 0)),
        lambda w, x: lax.conv_general_dilated(w[None], x[:, None], (1,), "VALID", feature_group_count=3),
        lambda w, x: lax.sort((x, w), num_keys=1)[1],
    ],
)
def test_operations_without_a_rule(op):
    """Among them the derivative of a convolution with respect to its input."""
    program = trace(lambda p, x: [op(p, x)], normal(3, 4), normal(3, 4))
    (step,) = [step for step in program.steps if set(step.operands) & set(program.boxes)]
    (position,) = [k for k, i in enumerate(step.operands) if i in program.boxes]
    operands = [jnp.zeros(atom.aval.shape, atom.aval.dtype) for atom in step.eqn.invars]
    assert derivative(step, position, operands, allow_index=True) is None


# Which networks are made of these operations.


def plan_of(net):
    net = net.cast(np.float32)
    batch = samples(net.f, net.params, net.x1, {}, 0)
    return Plan.create(trace(batch.apply, net.params, batch.one))


@pytest.mark.parametrize("name", STRUCTURED)
def test_all_parameters_are_differentiated_by_structure(name):
    plan = plan_of(STRUCTURED[name])
    assert plan.by_jacobian == {} and plan.jacobian_values == () and plan.jacobian_leaves == ()
    leaves = {leaf for value in plan.structured for leaf, _ in plan.program.boxes[value].pieces}
    assert leaves == set(range(len(jax.tree.leaves(STRUCTURED[name].params))))
    # There is a rule for each, so that no Jacobian is formed.
    for number, position in plan.structured.values():
        step = plan.program.steps[number]
        operands = [jnp.zeros(atom.aval.shape, atom.aval.dtype) for atom in step.eqn.invars]
        assert derivative(step, position, operands, allow_index=True) is not None


@pytest.mark.parametrize(
    ("name", "structured", "by_jacobian"),
    [
        ("tied", {"b"}, {"w"}),
        ("tied embedding", {"position", "scale", "shift", "q", "k", "v", "o"}, {"table"}),
        ("normalised weights", {"v"}, {"w", "g"}),
        ("overlapping slices", set(), {"w"}),
        ("scan over layers", {"w", "b"}, set()),
        ("output of parameters alone", set(), {"b"}),
    ],
)
def test_parameters_that_go_through_a_jacobian(name, structured, by_jacobian):
    """Those used twice, or mixed; all others are still differentiated by structure."""
    net = BY_JACOBIAN[name]
    plan = plan_of(net)
    names = sorted(net.params)
    by_structure = {names[leaf] for value in plan.structured for leaf, _ in plan.program.boxes[value].pieces}
    assert by_structure == structured and {names[leaf] for leaf in plan.jacobian_leaves} == by_jacobian
