"""`serial`, `parallel`, `repeat`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate

from neural_tangents import stax

RANDOM = np.random.RandomState(2)
X1, X2 = (RANDOM.normal(size=(n, 4)).astype(np.float32) for n in (2, 3))
Z1, Z2 = (RANDOM.normal(size=(n, 3)).astype(np.float32) for n in (2, 3))
BLOCK = stax.serial(stax.Dense(4, 1.2, 0.2), stax.Relu())


def assert_equal_kernels(a, b, rtol=1e-5):
    for name in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol)
    for name in ("shape1", "shape2", "is_gaussian", "batch_axis", "channel_axis", "diagonal_batch", "diagonal_spatial"):
        assert getattr(a, name) == getattr(b, name)


def test_nesting_does_not_matter():
    layers = [stax.Dense(5, 1.2, 0.1), stax.Erf(), stax.Dense(3), stax.Relu(), stax.Dense(2)]
    flat = stax.serial(*layers)
    nested = stax.serial(stax.serial(*layers[:2]), stax.serial(layers[2], stax.serial(*layers[3:])))
    assert_equal_kernels(compiled(flat, X1, X2), compiled(nested, X1, X2))


def test_serial_parameters_nest_in_the_order_of_layers():
    """As in the reference library, they are a list, so that scripts can replace those of one layer."""
    shape, params = stax.serial(stax.Dense(5), stax.Relu(), BLOCK)[0](jax.random.PRNGKey(0), (-1, 4))
    assert shape == (-1, 4)
    assert [type(p) for p in params] == [tuple, tuple, list] and params[1] == ()
    assert params[0][0].shape == (4, 5) and params[2][0][0].shape == (5, 4)
    params[0] = (jnp.zeros((4, 5)), None)


def test_serial_draws_in_the_documented_order():
    key = jax.random.PRNGKey(3)
    _, params = stax.serial(stax.Dense(5), stax.Dense(2, b_std=1.0))[0](key, (-1, 4))
    rng, first = jax.random.split(key)
    _, second = jax.random.split(rng)
    for key, (w, b) in zip((first, second), params, strict=True):
        key_w, key_b = jax.random.split(key)
        np.testing.assert_array_equal(w, jax.random.normal(key_w, w.shape))
        if b is not None:
            np.testing.assert_array_equal(b, jax.random.normal(key_b, b.shape))


@pytest.mark.parametrize("container", [list, tuple])
def test_parallel_acts_on_each_branch(container):
    first, second = stax.serial(stax.Dense(5), stax.Relu()), stax.Dense(2, 1.1, 0.3)
    net = stax.parallel(first, second)
    both = compiled(net, container([X1, Z1]), container([X2, Z2]), ("ntk", "nngp"))
    assert type(both) is container
    for result, layer, x1, x2 in zip(both, (first, second), (X1, Z1), (X2, Z2), strict=True):
        assert result._fields == ("ntk", "nngp")
        expected = compiled(layer, x1, x2, ("ntk", "nngp"))
        np.testing.assert_allclose(result.ntk, expected.ntk, rtol=1e-6)
        np.testing.assert_allclose(result.nngp, expected.nngp, rtol=1e-6)
    shapes, params = net[0](jax.random.PRNGKey(0), container([(-1, 4), (-1, 3)]))
    assert tuple(shapes) == ((-1, 5), (-1, 2)) and len(params) == 2
    y = net[1](params, container([X1, Z1]))
    assert type(y) is container
    np.testing.assert_array_equal(y[1], second[1](params[1], Z1))


def test_parallel_with_some_second_inputs():
    net = stax.parallel(stax.Dense(5), stax.Dense(2))
    kernels = compiled(net, (X1, Z1), (None, Z2))
    assert kernels[0].cov2 is None and kernels[1].cov2.shape == (3,)
    assert kernels[0].nngp.shape == (2, 2) and kernels[1].nngp.shape == (2, 3)


@pytest.mark.slow
def test_tree_of_networks_against_finite_networks():
    net = stax.serial(
        stax.parallel(
            stax.serial(stax.Dense(8, 1.2, 0.3), stax.Relu()),
            stax.serial(stax.parallel(stax.Dense(8), stax.Dense(8, b_std=0.4)), stax.FanInSum(), stax.Erf()),
        ),
        stax.FanInConcat(),
        stax.Dense(1, 1.3, 0.1),
    )
    x1, x2 = [X1, (X1, Z1)], [X2, (X2, Z2)]
    nngp, ntk = estimate(net, x1, x2, seed=21, draws=2000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
def test_repeat_equals_serial(n):
    repeated = stax.serial(stax.Dense(4), stax.repeat(BLOCK, n), stax.Dense(2))
    unrolled = stax.serial(stax.Dense(4), *[BLOCK] * n, stax.Dense(2))
    assert_equal_kernels(compiled(repeated, X1, X2), compiled(unrolled, X1, X2))
    shape, params = repeated[0](jax.random.PRNGKey(n), (-1, 4))
    assert shape == (-1, 2)
    assert all(p.shape[0] == n for p in jax.tree.leaves(params[1]))
    each = [jax.tree.map(lambda p, i=i: p[i], params[1]) for i in range(n)]
    y = unrolled[1]([params[0], *each, params[2]], X1)
    np.testing.assert_allclose(repeated[1](params, X1), y, rtol=1e-4, atol=1e-6)
    if n > 1:
        assert not np.array_equal(*jax.tree.leaves(params[1])[0][:2])


def test_no_copies_are_the_inputs():
    """Also for images, of which no covariances exist until a layer asks for them."""
    images = np.random.RandomState(5).normal(size=(2, 3, 4, 5))
    for repeated in (stax.repeat(stax.Relu(), 0), stax.serial(stax.repeat(stax.Relu(), 0))):
        assert_equal_kernels(repeated[2](images, images[:1]), stax.Identity()[2](images, images[:1]))
        want = np.einsum("aijc,bklc->abikjl", images, images) / 5
        np.testing.assert_allclose(
            repeated[2](images, None, "nngp", diagonal_spatial=False), want, rtol=1e-5, atol=1e-6
        )
        assert repeated[1](repeated[0](jax.random.key(0), images.shape)[1], images) is images


def test_repeat_of_residual_block():
    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.Identity(), stax.serial(stax.Erf(), stax.Dense(4, 1.1, 0.1))),
        stax.FanInSum(),
    )
    repeated = stax.serial(stax.Dense(4), stax.repeat(block, 3))
    unrolled = stax.serial(stax.Dense(4), block, block, block)
    assert_equal_kernels(compiled(repeated, X1, X2), compiled(unrolled, X1, X2))


def test_repeat_draws_dropout_anew():
    net = stax.repeat(stax.serial(stax.Dense(50), stax.Dropout(0.5)), 2)
    _, params = net[0](jax.random.PRNGKey(0), (-1, 50))
    y = net[1](params, jnp.ones((1, 50)), rng=jax.random.PRNGKey(1))
    first = net[1](
        jax.tree.map(lambda p: p.at[1].set(jnp.eye(50)), params), jnp.ones((1, 50)), rng=jax.random.PRNGKey(1)
    )
    assert 10 < (y == 0).sum() < 40
    assert (first == 0).sum() > (y == 0).sum()  # zeros of both applications, at different places


def test_repeat_needs_equal_shapes():
    net = stax.repeat(stax.Dense(4), 3)
    with pytest.raises(ValueError, match="shape"):
        net[0](jax.random.PRNGKey(0), (-1, 3))
    with pytest.raises(ValueError, match="shape"):
        net[2](Z1)


# All layers have to agree on what the axes of activations mean.


@pytest.mark.parametrize(
    "layers",
    [
        (stax.Dense(4, channel_axis=1), stax.Relu(), stax.Dense(4, channel_axis=2)),
        (stax.Dense(4, channel_axis=1), stax.LayerNorm()),
        (stax.Dense(4), stax.Flatten(0, 1), stax.Dense(3)),
        (stax.Dense(4), stax.Dense(3, batch_axis=1, channel_axis=0)),
    ],
    ids=["channels", "layer norm", "flatten", "batch"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("of_kernel", [False, True])
def test_layers_that_disagree_on_axes(layers, of_kernel):
    x = np.ones((2, 3, 5))
    net = stax.serial(*layers)
    with pytest.raises(ValueError, match="axis"):
        if of_kernel:
            net = stax.serial(stax.Identity(), *layers[1:])
            net[2](layers[0][2](x))
        else:
            net[2](x)


def test_branches_that_disagree_on_axes():
    with pytest.warns(UserWarning, match="different `channel_axis`"):
        branches = stax.parallel(stax.Dense(4, channel_axis=-1), stax.Dense(4, channel_axis=1))
    net = stax.serial(stax.FanOut(2), branches)
    with pytest.raises(ValueError, match="axis"):
        net[2](np.ones((2, 3, 5)))
    assert net[2](np.ones((2, 3)), get="nngp")[0].shape == (2, 2)  # both are the same axis


def test_layers_may_name_the_same_axis_from_both_ends():
    net = stax.serial(stax.Dense(4, channel_axis=1), stax.Relu(), stax.Dense(4, batch_axis=-3, channel_axis=-2))
    same = stax.serial(stax.Dense(4, channel_axis=1), stax.Relu(), stax.Dense(4, channel_axis=1))
    x = np.random.RandomState(0).normal(size=(2, 3, 5))
    np.testing.assert_array_equal(compiled(net, x, get="ntk"), compiled(same, x, get="ntk"))


def test_dropout_may_differ_between_layers():
    net = stax.serial(stax.Dense(4), stax.Dropout(0.5, "test"), stax.Dense(3), stax.Dropout(0.5), stax.Dense(2))
    assert net[2](X1, get="nngp").shape == (2, 2)


def test_printing():
    net = stax.serial(
        stax.Dense(5, b_std=0.1), stax.repeat(BLOCK, 3), stax.FanOut(2), stax.parallel(BLOCK, stax.Identity())
    )
    text = repr(net)
    assert "Dense(5, b_std=0.1)" in text and "repeat(serial(Dense(4" in text and "n=3" in text and "Identity()" in text
