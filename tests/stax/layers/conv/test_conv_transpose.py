"""`ConvTranspose` against jax, against the adjoint of a convolution, and against finite networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from jax import lax
from window_truth import quickly

from neural_tangents.stax import Conv, ConvTranspose, Relu, serial

KEY = jax.random.PRNGKey(0)


def inputs(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_outputs_are_those_of_jax(padding):
    for filter_shape, strides in (((3, 2), (2, 1)), ((1, 4), (3, 2))):
        layer = ConvTranspose(3, filter_shape, strides, padding, 1.5, 0.5)
        x = inputs(0, 2, 3, 4, 2)
        shape, (w, b) = layer[0](KEY, x.shape)
        assert w.shape == (*filter_shape, 2, 3) and b.shape == (1, 1, 1, 3)
        y = lax.conv_transpose(x, w, strides, padding)
        got = layer[1]((w, b), x)
        assert got.shape == shape == y.shape
        scale = 1.5 / (2 * filter_shape[0] * filter_shape[1]) ** 0.5
        np.testing.assert_allclose(got, scale * y + 0.5 * b, rtol=1e-4, atol=1e-5)


def adjoint_pairs(cases):
    """Outputs for inputs of some sizes, and those of the adjoint of a circular convolution; no scales."""

    def pair(key, sizes, strides, filter_shape):
        n = len(sizes)
        spread = ConvTranspose(3, filter_shape, strides, "CIRCULAR")
        gather = Conv(2, filter_shape, strides, "CIRCULAR")
        shape, (w, _) = spread[0](key, (1, *sizes, 2))
        assert shape == (1, *(size * stride for size, stride in zip(sizes, strides, strict=True)), 3)
        x = jax.random.normal(key, (1, *sizes, 2))
        turned = jnp.flip(jnp.swapaxes(w, n, n + 1), range(n))  # the filter turned around, and its channels swapped
        _, adjoint = jax.vjp(lambda z: gather[1]((turned, None), z), jnp.zeros(shape))
        return spread[1]((w, None), x) * 2**0.5, adjoint(x)[0] * 3**0.5

    keys = jax.random.split(KEY, len(cases))
    return quickly(lambda keys: [pair(key, *case) for key, case in zip(keys, cases, strict=True)], keys)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_circular_is_the_adjoint_of_the_circular_convolution(n):
    cases = [((n,), (stride,), (size,)) for stride in range(1, 5) for size in range(1, 5)]
    for case, (y, adjoint) in zip(cases, adjoint_pairs(cases), strict=True):
        np.testing.assert_allclose(y, adjoint, rtol=1e-4, atol=1e-5, err_msg=str(case))


def test_circular_is_the_adjoint_in_two_axes():
    cases = [((2, 3), (1, 2), (3, 2)), ((3, 1), (2, 3), (4, 2)), ((4, 2), (3, 1), (1, 4))]
    for case, (y, adjoint) in zip(cases, adjoint_pairs(cases), strict=True):
        np.testing.assert_allclose(y, adjoint, rtol=1e-4, atol=1e-5, err_msg=str(case))


FINITE = {
    "no axis, as Dense": ((), (), None, "VALID", "ntk", 0.4, (1, 1)),
    "VALID": ((2,), (3,), (2,), "VALID", "standard", 0.4, (1, 2)),
    "CIRCULAR": ((3,), (3,), (2,), "CIRCULAR", "ntk", None, (1, 1)),
    "SAME, two axes": ((2, 2), (3, 2), (2, 1), "SAME", "standard", 0.4, (1, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_finite_networks_have_the_kernel_on_average(name):
    sizes, filter_shape, strides, padding, parameterization, b_std, s = FINITE[name]
    seed = list(FINITE).index(name)

    def layer(width, W_std, s, strides):
        options = dict(b_std=b_std, parameterization=parameterization, s=s)
        return ConvTranspose(width, filter_shape, strides, padding, W_std, **options)

    net = serial(layer(6, 1.3, s, strides), Relu(), layer(1, 0.7, s[::-1], None))
    x1, x2 = inputs(seed, 1, *sizes, 2), inputs(seed + 50, 2, *sizes, 2)
    nngp, ntk = estimate(net, x1, x2, seed=seed, draws=2000)
    kernel = compiled(net, x1, x2)
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_parameters_in_standard_parameterization():
    layer = ConvTranspose(40, (3, 2), (1, 2), "SAME", 3.0, 0.5, parameterization="standard", s=(2, 3))
    shape, (w, b) = layer[0](KEY, (-1, 5, 6, 50))
    assert shape == (-1, 5, 12, 120) and w.shape == (3, 2, 50, 120) and b.shape == (1, 1, 1, 120)
    assert abs(w.std() / (3 / 150**0.5) - 1) < 0.03 and abs(b.std() / 0.5 - 1) < 0.3
