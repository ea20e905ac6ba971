"""`DotGeneral` against explicit features and finite networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from linear_truth import LAYOUTS, assert_exact

from neural_tangents import stax
from neural_tangents._core.requirements import Bool, Diagonal
from neural_tangents.stax import Dense, DotGeneral, Flatten, Relu, serial
from neural_tangents.stax._layers.dot_general_layer import dot_constant

RANDOM = np.random.RandomState(41)
X1, X2 = RANDOM.normal(size=(2, 2, 3, 4, 5))  # (N, S, T, C)
DENSE = Dense(5, 1.2, 0.3)
FULL, POSITIONS, ANY = LAYOUTS[:1], LAYOUTS[::2], LAYOUTS


def constant(*shape):
    return np.random.RandomState(sum(shape)).normal(size=shape)


# Constant, is it the left operand, dimension numbers (of inputs, of the constant), the outputs as an einsum, batch and
# channel axis of the outputs, layouts that can be.
CASES = {
    "number": (-3.0, True, (((), ()), ((), ())), "nstc,->nstc", (0, 3), ANY),
    "outer": (constant(2), False, (((), ()), ((), ())), "nstc,k->nstck", (0, 3), ANY),
    "shared": (constant(4), False, (((), ()), ((2,), (0,))), "nstc,t->tnsc", (1, 3), ANY),
    "each input its own": (constant(2, 3), True, (((), ()), ((0,), (0,))), "nstc,nk->nkstc", (0, 4), ANY),
    "vector": (constant(3), False, (((1,), (0,)), ((), ())), "nstc,s->ntc", (0, 2), POSITIONS),
    "matrix": (constant(6, 4), True, (((2,), (1,)), ((), ())), "nstc,kt->knsc", (1, 3), POSITIONS),
    "negative axes": (constant(4, 2), False, (((-2,), (-2,)), ((), ())), "nstc,tk->nsck", (0, 2), FULL),
    "and shared": (constant(4, 3), True, (((1,), (1,)), ((2,), (0,))), "nstc,ts->tnc", (1, 2), POSITIONS),
    "inputs mixed": (constant(7, 2), True, (((0,), (1,)), ((), ())), "nstc,kn->kstc", (0, 3), FULL),
    "inputs summed": (constant(2), False, (((0,), (0,)), ((), ())), "nstc,n->stc", (0, 2), FULL),
}


def layer_of(value, is_lhs, pairs, **options):
    value = (
        np.array(value) if isinstance(value, np.ndarray) else value
    )  # jax remembers the precision that it gave to an array
    numbers = tuple(pair[::-1] for pair in pairs) if is_lhs else pairs
    return DotGeneral(dimension_numbers=numbers, **{"lhs" if is_lhs else "rhs": value}, **options)


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_those_of_explicit_features(name):
    value, is_lhs, pairs, formula, axes_out, layouts = CASES[name]
    ys = [np.einsum(formula, x, value) for x in (X1, X2)]
    layer = layer_of(value, is_lhs, pairs)
    assert_exact(layer, (X1, X2), ys, axes_out=axes_out, layouts=layouts)


def test_one_batch_is_two_equal_ones():
    layer = layer_of(*CASES["matrix"][:3])
    y = np.einsum(CASES["matrix"][3], X1, CASES["matrix"][0])
    assert_exact(layer, (X1, None), (y, None), axes_out=(1, 3), layouts=FULL)
    net = serial(Dense(4, 1.2, 0.3), layer, Relu(), Dense(1, 0.8, 0.1, batch_axis=1))
    one, two = compiled(net, X1), compiled(net, X1, X1.copy())
    assert one.cov2 is None and bool(two.x1_is_x2)
    for field in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(one, field), getattr(two, field), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch_axis", "channel_axis"), [(1, 0), (3, -2), (-2, 3)])
def test_other_axes(batch_axis, channel_axis):
    xs = [np.moveaxis(x, (0, 3), (batch_axis, channel_axis)) for x in (X1, X2)]
    spatial = next(axis for axis in range(4) if axis not in (batch_axis % 4, channel_axis % 4))
    value = constant(3, 6)
    layer = DotGeneral(
        rhs=value,
        dimension_numbers=(((spatial,), (0,)), ((), ())),
        batch_axis=batch_axis,
        channel_axis=channel_axis,
    )
    ys = [np.tensordot(x, value, (spatial, 0)) for x in xs]
    axes_out = [axis % 4 - (axis % 4 > spatial) for axis in (batch_axis, channel_axis)]
    assert_exact(layer, xs, ys, axes=(batch_axis, channel_axis), axes_out=axes_out, layouts=FULL)


# The first mixes positions, the second weighs them for each input; channels stay the last axis.
FINITE = {
    "contracted": (constant(2, 6, 3), (((1,), (2,)), ((0,), (0,)))),
    "shared": (constant(2, 3), (((), ()), ((0, 1), (0, 1)))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_have_the_kernel_on_average(name):
    value, pairs = FINITE[name]
    layer = layer_of(value, True, pairs)
    x1, x2 = X1[:, :, 0, :3], X2[:, :, 0, :3]
    net = serial(Dense(8, 1.3, 0.4), Relu(), Dense(4, 1.1), layer, Dense(1, 0.9, 0.2))
    nngp, ntk = estimate(net, x1, x2, seed=list(FINITE).index(name), draws=2000)
    kernel = compiled(net, x1, x2, ("nngp", "ntk"))
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_masks():
    """An entry is masked if all that contributes to it is masked."""
    random = np.random.RandomState(4)
    absent = random.uniform(size=(2, 3, 4, 1)) < 0.6
    absent[0, :, 1] = True
    value = np.where(random.uniform(size=(3, 6)) < 0.4, 0, random.normal(size=(3, 6)))
    x = np.where(absent, np.inf, X1)
    mask = np.einsum("nstc,sk->ntck", ~absent, value != 0) == 0
    y = np.einsum("nstc,sk->ntck", np.where(absent, 0, X1), value)
    assert mask.any() and not mask.all()
    layer = layer_of(value, False, (((1,), (0,)), ((), ())))
    net = serial(Dense(5, 1.2, 0.3), layer)
    quiet = np.broadcast_to((value == 0).all(0), (2, 4, 1, 6))  # nothing at all contributes
    with jax.enable_x64(True):
        plain = compiled(DENSE, X1, X2, diagonal_spatial=False)
        kernel = compiled(net, x, X2, mask_constant=np.inf, diagonal_batch=False)
        outputs = layer[1]((), x, mask_constant=np.inf)
    np.testing.assert_array_equal(np.broadcast_to(outputs.mask, y.shape), np.broadcast_to(mask, y.shape))
    np.testing.assert_allclose(np.where(outputs.mask, 0, outputs.masked_value), y, atol=1e-12)
    np.testing.assert_array_equal(kernel.mask1, mask)
    np.testing.assert_array_equal(kernel.mask2, quiet)
    seen = np.where(absent[:, None, :, None, :, None, 0], 0, plain.nngp)
    np.testing.assert_allclose(kernel.nngp, np.einsum("nmspti,sk,pl->nmtikl", seen, value, value), atol=1e-12)


def test_without_a_constant_nothing_happens():
    layer = DotGeneral()
    assert_exact(layer, (X1, X2), (X1, X2))
    mask = np.arange(4)[:, None] > 1
    masked = stax.MaskedArray(jnp.asarray(X1), jnp.asarray(mask))
    np.testing.assert_array_equal(layer[1]((), masked).mask, mask)


def test_numbers_keep_the_precision(dtype):
    x = X1.astype(dtype)
    assert DotGeneral(lhs=2)[1]((), x).dtype == DotGeneral(rhs=-0.5)[1]((), x).dtype == dtype


def test_dot_constant():
    x, value = X1.astype(np.float32), constant(4, 3)
    right = dot_constant(x, value, False, (((-2,), (0,)), ((), ())))
    np.testing.assert_allclose(right, np.tensordot(x, value, (2, 0)), rtol=1e-5, atol=1e-5)
    left = dot_constant(x, value, True, (((-2,), (-2,)), ((), ())))
    np.testing.assert_allclose(left, np.tensordot(value, x, (0, 2)), rtol=1e-5, atol=1e-5)
    half = dot_constant(jnp.asarray(x), jnp.asarray(value, jnp.bfloat16), False, (((2,), (0,)), ((), ())), "highest")
    assert half.dtype == np.float32


def test_vectorised_and_differentiable_in_the_constant():
    values = np.random.RandomState(5).normal(size=(3, 4))

    def ntk(value, x):
        return serial(DENSE, layer_of(value, False, (((2,), (0,)), ((), ()))), Relu(), Dense(1))[2](x, None, "ntk")

    together = jax.jit(jax.vmap(ntk, (0, None)))(values, X1)
    for one, value in zip(together, values, strict=True):
        np.testing.assert_allclose(one, ntk(value, X1), rtol=1e-4, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda value: ntk(value, X1).sum()))(values[0])
    assert np.isfinite(gradient).all() and np.any(gradient)


def requirements(layer):
    return layer[2].input_req


@pytest.mark.parametrize(
    ("name", "spatial", "batch"),
    [("number", True, True), ("shared", True, True), ("each input its own", True, True), ("vector", False, True)]
    + [("and shared", False, True), ("inputs mixed", False, False), ("inputs summed", False, False)]
    + [("negative axes", False, False)],  # which may be the batch axis, while the number of axes is unknown
)
def test_demand(name, spatial, batch):
    stated = requirements(layer_of(*CASES[name][:3]))
    assert stated["diagonal_spatial"] == Diagonal(Bool.YES if spatial else Bool.NO, Bool.NO)
    assert stated.get("diagonal_batch", True) is batch
    assert (stated["batch_axis"], stated["channel_axis"]) == (0, -1)


def test_covariances_that_are_needed_are_made():
    mixed = serial(DENSE, layer_of(*CASES["inputs mixed"][:3]))
    assert not compiled(mixed, X1).diagonal_batch
    positions = serial(DENSE, layer_of(*CASES["vector"][:3]), Flatten())
    assert compiled(positions, X1).diagonal_batch
    weighed = serial(DENSE, layer_of(*CASES["shared"][:3]), Flatten(1))
    assert requirements(weighed)["diagonal_spatial"].input == Bool.YES
    with pytest.raises(ValueError, match="diagonal_batch=True"):
        mixed[2](X1, diagonal_batch=True)
    with pytest.raises(ValueError, match="diagonal_spatial=True"):
        positions[2](X1, diagonal_spatial=True)


def test_unknown_batch_sizes():
    key = jax.random.PRNGKey(0)
    assert layer_of(*CASES["matrix"][:3])[0](key, (-1, 3, 4, 5)) == ((6, -1, 3, 5), ())
    assert DotGeneral(lhs=2.0)[0](key, (None, 3, 4, 5)) == ((-1, 3, 4, 5), ())


def test_errors():
    with pytest.raises(ValueError, match="both `lhs` and `rhs`"):
        DotGeneral(lhs=1.0, rhs=2.0)
    channels = DotGeneral(rhs=constant(5), dimension_numbers=(((3,), (0,)), ((), ())))
    with pytest.raises(ValueError, match="without the channel axis 3"):
        channels[2](X1)
    assert channels[0](jax.random.PRNGKey(0), X1.shape) == ((*X1.shape[:3], *np.shape(constant(5))[1:]), ())
    np.testing.assert_allclose(channels[1]((), X1), X1 @ constant(5), rtol=1e-5, atol=1e-5)
    sizes = DotGeneral(rhs=constant(7), dimension_numbers=(((1,), (0,)), ((), ())))
    with pytest.raises(ValueError, match="got 3 for axis 1"):
        sizes[2](X1)
    own = DotGeneral(rhs=constant(2), dimension_numbers=(((), ()), ((0,), (0,))))
    with pytest.raises(ValueError, match="got 1 for axis 0"):
        own[2](X1, X1[:1])
    with pytest.raises(ValueError, match="channel_axis"):
        serial(layer_of(*CASES["outer"][:3]), DENSE)[2](X1)
