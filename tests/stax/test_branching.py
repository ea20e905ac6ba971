"""`FanOut`, `FanInSum`, `FanInProd`, `FanInConcat`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate

from neural_tangents import stax
from neural_tangents.stax import (
    Dense,
    Dropout,
    Erf,
    FanInConcat,
    FanInProd,
    FanInSum,
    FanOut,
    Identity,
    Relu,
    parallel,
    serial,
)

RANDOM = np.random.RandomState(4)
X1, X2 = RANDOM.normal(size=(2, 3)), RANDOM.normal(size=(3, 3))
S1, S2 = RANDOM.normal(size=(2, 2, 3)), RANDOM.normal(size=(3, 2, 3))
A, B = Dense(8, 1.1, 0.3), Dense(8, 0.7)

FINITE = {
    "sum": (X1, X2, serial(FanOut(2), parallel(A, B), FanInSum(), Relu(), Dense(1, 1.2, 0.1))),
    "sum with identity": (X1, X2, serial(A, FanOut(2), parallel(Identity(), B), FanInSum(), Dense(1))),
    "product": (
        X1,
        X2,
        serial(FanOut(2), parallel(serial(A, Relu()), serial(B, Erf())), FanInProd(), Dense(1, 1.2, 0.1)),
    ),
    "product of three": (X1, X2, serial(FanOut(3), parallel(A, serial(B, Erf()), A), FanInProd(), Dense(1))),
    "channels": (
        X1,
        X2,
        serial(FanOut(2), parallel(serial(A, Relu()), Dense(3, 2.0)), FanInConcat(), Dense(1, 1.2, 0.1)),
    ),
    "shared channels": (
        X1,
        X2,
        serial(A, Relu(), FanOut(2), parallel(Identity(), Identity()), FanInConcat(), Dense(1)),
    ),
    "positions": (S1, S2, serial(FanOut(2), parallel(A, B), FanInConcat(1), Relu(), Dense(1, 1.2, 0.1))),
    "inputs": (X1, X2, serial(FanOut(2), parallel(A, B), FanInConcat(0), Relu(), Dense(1, 1.2, 0.1))),
}


@pytest.mark.filterwarnings("ignore:FanInConcat along the batch axis")
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_have_the_kernel_on_average(name):
    x1, x2, net = FINITE[name]
    nngp, ntk = estimate(net, x1, x2, seed=list(FINITE).index(name), draws=3000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_fan_out():
    init_fn, apply_fn, kernel_fn = FanOut(3)
    assert init_fn(jax.random.PRNGKey(0), (-1, 3))[1] == ()
    assert len(apply_fn((), X1)) == 3 and type(kernel_fn(X1)) is list and len(kernel_fn(X1)) == 3


@pytest.mark.filterwarnings("ignore:FanInConcat along the batch axis")
@pytest.mark.parametrize(("axis", "x2"), [(0, None), (0, S2), (1, S2), (2, S2), (-1, None), (-2, None)])
def test_layouts_of_concatenations_agree(axis, x2):
    net = serial(FanOut(2), parallel(serial(A, Relu(), Dense(3)), Dense(3, 1.3)), FanInConcat(axis))
    full = compiled(net, S1, x2, diagonal_batch=False, diagonal_spatial=False)
    part = compiled(net, S1, x2, diagonal_batch=True, diagonal_spatial=True)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(np.einsum("nmss->nms", getattr(full, name)), getattr(part, name), rtol=1e-6)
    np.testing.assert_allclose(np.einsum("nnss->ns", full.cov1), part.cov1, rtol=1e-5)
    if x2 is not None:
        np.testing.assert_allclose(np.einsum("nnss->ns", full.cov2), part.cov2, rtol=1e-5)
    # Blocks of a kernel with itself are those with its second batch.
    own = compiled(net, S1, S1, diagonal_batch=False, diagonal_spatial=False)
    np.testing.assert_allclose(own.cov1, own.nngp, rtol=1e-5, atol=1e-6)
    assert full.is_gaussian == (axis in (0, 1, -2))


@pytest.mark.parametrize("join", [FanInSum(), FanInProd(), FanInConcat()], ids=["sum", "product", "concat"])
class TestTreesOfInputs:
    """Each leaf may come with or without a second batch, and be the same or not."""

    a, b, c, d = (np.random.RandomState(i).normal(size=(3, 4)) for i in range(4))

    @pytest.mark.parametrize("first_is_none", [True, False])
    def test_missing_second_inputs_stand_for_the_first(self, join, first_is_none):
        net = serial(parallel(A, B), join)
        x1 = (self.a, self.b)
        missing, given = ((None, self.d), (self.a, self.d)) if first_is_none else ((self.c, None), (self.c, self.b))
        kernel, expected = compiled(net, x1, missing), compiled(net, x1, given)
        for name in ("nngp", "ntk", "cov1", "cov2"):
            np.testing.assert_allclose(getattr(kernel, name), getattr(expected, name), rtol=1e-5)

    @pytest.mark.parametrize("same", [0, 1])
    def test_batches_are_the_same_only_if_all_leaves_are(self, join, same):
        net = serial(parallel(A, B), join)
        x1 = (self.a, self.b)
        x2 = (self.a, self.d) if same == 0 else (self.c, self.b)
        assert not net[2](x1, x2, "x1_is_x2")
        assert net[2](x1, x1, "x1_is_x2")

    def test_dropout_sees_it(self, join):
        net = serial(parallel(A, B), join, Dropout(0.5), Dense(1))
        without = serial(parallel(A, B), join, Dense(1))
        x1, x2 = (self.a, self.b), (self.a, self.d)
        kernel, expected = (compiled(each, x1, x2, "nngp") for each in (net, without))
        np.testing.assert_allclose(kernel, expected, rtol=1e-6)


# Masks


def masked(x):
    x = x.copy()
    x[0, 1] = x[1] = np.nan
    return x


@pytest.mark.slow
@pytest.mark.parametrize("join", [FanInSum(), FanInProd(), FanInConcat()], ids=["sum", "product", "concat"])
def test_masked_positions_are_as_if_absent(join):
    net = serial(A, Relu(), FanOut(2), parallel(B, serial(B, Erf(), B)), join, Dense(2, 1.0, 0.2))
    kernel, every = compiled(net, masked(S1), S2, mask_constant=np.nan), compiled(net, S1, S2)
    absent = np.isnan(masked(S1)).all(-1)[:, None, :, None]
    for name in ("nngp", "ntk"):
        expected = np.where(absent, 0, getattr(every, name))
        np.testing.assert_allclose(getattr(kernel, name), expected, rtol=1e-5)
    params = net[0](jax.random.PRNGKey(0), S1.shape)[1]
    y = stax.unmask_fn(net[1])(params, masked(S1), mask_constant=np.nan)
    np.testing.assert_allclose(y, np.where(absent[:, 0], 0, net[1](params, S1)), rtol=1e-5)


def test_a_sum_is_masked_where_all_its_terms_are():
    net = serial(parallel(Identity(), Identity()), FanInSum())
    x = jnp.ones((3, 2))
    first, second = x.at[:2].set(7.0), x.at[1:].set(7.0)
    y = net[1](((), ()) and net[0](jax.random.PRNGKey(0), [(3, 2)] * 2)[1], [first, second], mask_constant=7.0)
    np.testing.assert_array_equal(y.mask[:, 0], [False, True, False])
    y = net[1](net[0](jax.random.PRNGKey(0), [(3, 2)] * 2)[1], [first, stax.MaskedArray(x)], mask_constant=7.0)
    np.testing.assert_array_equal(y, [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])


def test_masks_of_concatenations():
    net = serial(parallel(A, A), FanInConcat(1))
    x = jnp.ones((1, 2, 3))
    kernel = net[2]([x.at[:, 0].set(7.0), x], mask_constant=7.0)
    np.testing.assert_array_equal(kernel.mask1[0, :, 0], [True, False, False, False])


# Branches that are not independent


@pytest.mark.parametrize("join", [FanInSum, FanInProd])
@pytest.mark.parametrize(
    "branches",
    [
        (Identity(), Identity()),
        (Identity(), stax.Dropout(0.5)),
        (Identity(), serial(FanOut(2), parallel(A, Identity()), FanInSum())),
        (Identity(), serial(FanOut(2), parallel(A, Identity()), FanInConcat(1))),
    ],
    ids=["same", "dropout", "sum", "concatenation"],
)
def test_correlated_branches_raise(join, branches):
    net = serial(A, FanOut(2), parallel(*branches), join())
    with pytest.raises(ValueError, match="independent"):
        net[2](S1)


def test_products_of_inputs_raise():
    """Inputs have finitely many channels, so that the mean of a product is not the product of means."""
    with pytest.raises((ValueError, NotImplementedError)):
        serial(FanInProd(), Dense(1))[2]([X1, X1 + 1])


def test_residual_chains_are_independent():
    block = serial(FanOut(2), parallel(Identity(), serial(A, Relu(), Dense(8))), FanInSum())
    assert serial(A, block, block, block)[2](X1, get="nngp").shape == (2, 2)
