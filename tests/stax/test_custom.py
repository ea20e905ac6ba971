"""Layers that users write: `layer`, `requires`, `supports_masking`, and triples with functions replaced."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import compiled

from neural_tangents import stax

X = np.random.RandomState(0).normal(size=(2, 3, 4)).astype(np.float32)
KEY = jax.random.PRNGKey(0)


@stax.layer
def Scale(c):
    def init_fn(rng, input_shape):
        return input_shape, ()

    def apply_fn(params, inputs, **kwargs):
        return c * inputs

    def kernel_fn(k, **kwargs):
        return k * c

    return init_fn, apply_fn, kernel_fn


@stax.layer
@stax.supports_masking(remask_kernel=True)
def Shift(c):
    """Adds a random constant, which masked entries must not get."""

    def init_fn(rng, input_shape):
        return input_shape, jax.random.normal(rng, (1, 1, input_shape[-1]))

    def apply_fn(params, inputs, **kwargs):
        assert kwargs["mask"] is None or kwargs["mask"].dtype == bool
        return inputs + c * params

    @stax.requires(batch_axis=0, channel_axis=-1, diagonal_spatial=stax.Diagonal())
    def kernel_fn(k, **kwargs):
        return k + c

    def mask_fn(mask, input_shape):
        return mask

    return init_fn, apply_fn, kernel_fn, mask_fn


class Factory:
    @stax.layer
    def Scaled(self, c):
        return (lambda rng, s: (s, ())), (lambda params, x, **kwargs: c * x), (lambda k, **kwargs: k * c)


@stax.layer
def Block(channel_axis=-1):
    """A layer made of layers of the library."""
    return stax.serial(stax.Dense(3, 1.2, 0.1, channel_axis=channel_axis), stax.Relu())


def same_network(net, expected, x=X):
    kernel, plain = compiled(net, x), compiled(expected, x)
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_allclose(getattr(kernel, name), getattr(plain, name), rtol=1e-5)
    shape, params = net[0](KEY, x.shape)
    assert shape == kernel.shape1 == plain.shape1 == net[1](params, x).shape


def test_layer_in_a_network():
    same_network(stax.serial(stax.Dense(5), Scale(2.0), stax.Relu()), stax.serial(stax.Dense(5, 2.0), stax.Relu()))
    kernel = compiled(stax.serial(stax.Dense(5), Scale(2.0)), X, get=("ntk", "nngp"))
    np.testing.assert_allclose(kernel.ntk, compiled(stax.Dense(5), X, get="ntk") * 4, rtol=1e-6)


def test_layer_by_itself():
    init_fn, apply_fn, kernel_fn = Scale(3.0)
    assert [fn.__name__ for fn in Scale(3.0)] == ["Scale"] * 3 and Scale.__name__ == "Scale"
    assert init_fn(KEY, (-1, 4)) == ((-1, 4), ())
    np.testing.assert_array_equal(apply_fn((), X), 3 * X)
    np.testing.assert_allclose(kernel_fn(X, get="nngp"), 9 * stax.Identity()[2](X, get="nngp"), rtol=1e-6)
    assert repr(Scale(3.0)) == "Scale(3.0)"


def test_decorated_method():
    layer = Factory().Scaled(3.0)
    assert [fn.__name__ for fn in layer] == ["Scaled"] * 3
    np.testing.assert_allclose(layer[2](X, get="nngp"), 9 * stax.Identity()[2](X, get="nngp"), rtol=1e-6)


def test_requirements():
    assert Shift(1.0)[2].input_req == {"batch_axis": 0, "channel_axis": -1, "diagonal_spatial": stax.Diagonal()}
    net = stax.serial(Shift(0.5), stax.Flatten(), stax.Dense(2))
    assert bool(net[2].input_req["diagonal_spatial"])
    with pytest.raises(NotImplementedError, match="diagonal_time"):
        stax.requires(diagonal_time=True)

    @stax.layer
    def Mixes():
        @stax.requires(diagonal_batch=False, diagonal_spatial=False)
        def kernel_fn(k, **kwargs):
            assert not k.diagonal_batch and not k.diagonal_spatial
            return k

        return (lambda rng, s: (s, ())), (lambda params, x, **kwargs: x), kernel_fn

    net = stax.serial(stax.Dense(3), Mixes(), stax.Flatten())
    assert net[2](X).cov1.shape == (2, 2)
    for name in ("diagonal_batch", "diagonal_spatial"):
        with pytest.raises(ValueError, match=name):
            net[2](X, **{name: True})


def test_masks():
    x = X.copy()
    x[0, 1] = 7.0
    net = stax.serial(stax.Dense(5, 1.0, 0.2), Shift(0.5), stax.Dense(2, 1.0, 0.1))
    kernel, every = compiled(net, x, mask_constant=7.0), compiled(net, X)
    absent = (x == 7.0).all(-1)
    either = absent[:, None, :, None] | absent[None, :, None, :]
    np.testing.assert_allclose(kernel.nngp, np.where(either, 0, every.nngp), rtol=1e-5)
    params = net[0](KEY, x.shape)[1]
    y = net[1](params, x, mask_constant=7.0)
    np.testing.assert_array_equal(y.mask[..., 0], absent)
    np.testing.assert_allclose(stax.unmask_fn(net[1])(params, x, mask_constant=7.0)[0, 1], 0)


def test_masks_that_a_layer_does_not_support():
    with pytest.raises(NotImplementedError, match="Scale does not support masked inputs"):
        Scale(2.0)[2](X, mask_constant=7.0)


def test_unmask_fn():
    def fn(x):
        return [stax.MaskedArray(x, x > 1), (x,)]

    masked, (plain,) = stax.unmask_fn(fn)(jnp.arange(4.0))
    np.testing.assert_array_equal(masked, [0, 1, 0, 0])
    np.testing.assert_array_equal(plain, jnp.arange(4.0))


def test_keywords_reach_the_layers_that_name_them():
    @stax.layer
    def Power():
        def apply_fn(params, x, exponent=1):
            return x**exponent

        def kernel_fn(k, exponent=1):
            return k.replace(nngp=k.nngp**exponent)

        return (lambda rng, s: (s, ())), apply_fn, kernel_fn

    net = stax.serial(stax.Identity(), stax.serial(Power(), stax.Identity()))
    np.testing.assert_allclose(net[1](net[0](KEY, X.shape)[1], X, exponent=2), X**2)
    np.testing.assert_allclose(net[2](X, get="nngp", exponent=2), net[2](X, get="nngp") ** 2, rtol=1e-6)
    with pytest.warns(UserWarning, match="nobody takes: .'exponent'"):
        stax.serial(stax.Identity())[2](X, exponent=2)


# A decorated function may return what the library's own factories return.


def test_block_in_a_network():
    plain = stax.serial(stax.Dense(3, 1.2, 0.1), stax.Relu())
    same_network(stax.serial(Block(), stax.Dense(2)), stax.serial(plain, stax.Dense(2)))


def test_block_keeps_the_requirements_of_its_layers():
    plain = stax.serial(stax.Dense(3, 1.2, 0.1), stax.Relu())
    same_network(stax.serial(Block(), stax.Flatten()), stax.serial(plain, stax.Flatten()))
    plain = stax.serial(stax.Dense(3, 1.2, 0.1, channel_axis=1), stax.Relu())
    same_network(Block(1), plain)
    assert Block(1)[2].input_req == plain[2].input_req


def test_layer_with_several_outputs():
    @stax.layer
    def Twice():
        return (lambda rng, s: ([s, s], ())), (lambda params, x, **kwargs: [x, 2 * x]), (lambda k, **kwargs: [k, k * 2])

    net = stax.serial(stax.Dense(3), Twice(), stax.parallel(stax.Dense(2), stax.Relu()))
    kernels = net[2](X, get="nngp")
    assert [k.shape for k in kernels] == [(2, 2, 3, 3)] * 2
    assert [y.shape for y in net[1](net[0](KEY, X.shape)[1], X)] == [(2, 3, 2), (2, 3, 3)]


def test_layers_without_parameters_do_not_make_branches_independent():
    net = stax.serial(stax.Dense(3), stax.FanOut(2), stax.parallel(Scale(1.0), Scale(2.0)), stax.FanInSum())
    with pytest.raises(ValueError, match="independent"):
        net[2](X)


# Triples with functions replaced


def replaced_apply(wrap):
    init_fn, apply_fn, kernel_fn = stax.Dense(3)

    def twice(params, x, **kwargs):
        return 2 * apply_fn(params, x)

    return init_fn, functools.wraps(apply_fn)(twice) if wrap else twice, kernel_fn


def replaced_kernel(wrap):
    init_fn, apply_fn, kernel_fn = stax.Dense(3)

    def twice(k, **kwargs):
        return kernel_fn(k) * 2

    return init_fn, apply_fn, functools.wraps(kernel_fn)(twice) if wrap else twice


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "functools.wraps"])
def test_replaced_functions_count(wrap):
    plain = stax.serial(stax.Dense(3), stax.Relu())
    params = plain[0](KEY, X.shape)[1]
    net = stax.serial(replaced_apply(wrap), stax.Relu())
    np.testing.assert_allclose(net[1](params, X), 2 * plain[1](params, X), rtol=1e-6)
    np.testing.assert_allclose(compiled(net, X, get="ntk"), compiled(plain, X, get="ntk"), rtol=1e-6)
    net = stax.serial(replaced_kernel(wrap), stax.Relu())
    np.testing.assert_allclose(net[1](params, X), plain[1](params, X), rtol=1e-6)
    np.testing.assert_allclose(compiled(net, X, get="ntk"), 4 * compiled(plain, X, get="ntk"), rtol=1e-5)


def test_functions_of_two_layers_in_one_triple():
    """The kernel of one layer, the finite network of another: replaced, it must not be taken for the former's own."""
    one, other = stax.Dense(3, 1.0), stax.Dense(5, 2.0)
    net = stax.serial((one[0], other[1], one[2]), stax.Relu())
    params = net[0](KEY, X.shape)[1]
    assert params[0][0].shape == (4, 3)
    np.testing.assert_allclose(net[1](params, X), 2 * stax.serial(one, stax.Relu())[1](params, X), rtol=1e-6)


def test_a_replaced_function_of_a_sequence():
    """The kernel function is still that of a sequence, which leaves out variances that nobody asks for."""
    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(3), stax.Relu(), stax.Dense(2))

    @stax.layer
    def Renamed():
        return init_fn, lambda params, x, **kwargs: apply_fn(params, x, **kwargs), kernel_fn

    np.testing.assert_array_equal(Renamed()[2](X, None, "ntk"), kernel_fn(X, None, "ntk"))


def test_triples_of_plain_functions():
    triple = ((lambda rng, s: (s, ())), (lambda params, x, **kwargs: 2 * x), (lambda k, **kwargs: k * 2))
    same_network(stax.serial(stax.Dense(4), triple), stax.Dense(4, 2.0))


def test_compiled_functions_in_a_triple():
    init_fn, apply_fn, kernel_fn = stax.Dense(3)
    net = stax.serial((init_fn, jax.jit(apply_fn), kernel_fn), stax.Relu())
    same_network(net, stax.serial(stax.Dense(3), stax.Relu()))


@pytest.mark.parametrize("functions", [(1, 2), (len, len, len, len, len)])
def test_wrong_number_of_functions(functions):
    with pytest.raises(ValueError, match="must return"):
        stax.layer(lambda: functions)()
    with pytest.raises(ValueError, match="must return"):
        stax.layer(stax.supports_masking(remask_kernel=False)(lambda: functions))()
